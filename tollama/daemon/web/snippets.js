// The same request as a command or a program, ready to run.
import { BASE, hasKey } from "./api.js";
import { bodyFor } from "./series.js";

/**
 * One curl command a model, for the series that is shown. The body goes in by standard input: as an
 * argument it could be 128 kB at most.
 */
export function asCurl({ asked, runs }, one) {
  return runs
    .map(({ model }) => {
      const body = JSON.stringify(bodyFor({ ...asked, series: [one] }, model));
      const key = hasKey() ? ` -H "Authorization: Bearer $TOLLAMA_API_KEY"` : "";
      return `curl -s ${new URL("v1/forecast", BASE)} -H 'Content-Type: application/json'${key} --data-binary @- <<'JSON'\n${body}\nJSON`;
    })
    .join("\n\n") + "\n";
}

/** A value as Python writes it. */
function python(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** A program with the Python client. */
export function asPython({ asked, runs }, one) {
  const body = bodyFor({ ...asked, series: [one] }, "auto");
  const options = Object.entries(asked.options).map(([name, value]) => `, ${name}=${python(value)}`).join("");
  const names = runs.map((run) => run.model);
  return [
    "# from the one file: PYTHONPATH=tollama.pyz python this.py",
    ...(hasKey() ? ["import os", ""] : []),
    "from tollama import Client",
    "",
    `client = Client(${python(BASE.origin + BASE.pathname.replace(/\/$/, ""))}${hasKey() ? ', api_key=os.environ["TOLLAMA_API_KEY"]' : ""})`,
    `series = [${python(body.series[0])}]`,
    "",
    `for model in ${python(names)}:`,
    `    found = client.forecast(series, model=model, horizon=${body.horizon}, quantiles=${python(body.quantiles)}${options})`,
    "    print(model, found.mean, found.quantiles)",
    "",
  ].join("\n");
}
