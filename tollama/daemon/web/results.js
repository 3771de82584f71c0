// What came back, for the chosen series: chart, table, notes, downloads, copied commands.
import { showCode } from "./dialogs.js";
import { anomalyControl, anomalyList, anomalyMarks, clearAnomalies, onAnomalies } from "./anomalies.js";
import { drawChart, legend } from "./chart.js";
import { data, onChosen } from "./datapanel.js";
import { byId, fill, h, notes } from "./dom.js";
import { downloadCsv, downloadJson, downloadPng } from "./downloads.js";
import { alike, moment, whole } from "./numbers.js";
import { bounds, historyXs, instant, stepNames } from "./series.js";
import { asCurl, asPython } from "./snippets.js";
import { modelColour } from "./theme.js";

let results = null;
let chart = null;

/** Forget what was forecast (the data have changed). */
export function clearResults() {
  results = null;
  clearAnomalies();
}

onChosen(() => showResults());
onAnomalies(() => showResults());

/** A forecast as a line of the chart, joined to the last observation. */
export function forecastLine(one, forecast, name, colour, levels, seen = one.target.length) {
  const steps = forecast.mean.length;
  const known = historyXs(one);
  let xs = forecast.timestamps ? forecast.timestamps.map((text) => instant(text) / 1000) : null;
  if (!xs) xs = Array.from({ length: steps }, (_, k) => known[seen + k] ?? (one.stamps ? NaN : seen + k + 1));
  const last = one.target[seen - 1];
  const joined = last !== null && last !== undefined;
  const lead = (values) => (joined ? [last, ...values] : values);
  const bands = levels
    .map((level) => {
      const [low, high] = bounds(level).map((quantile) => forecast.quantiles?.[String(quantile)]);
      return low && high ? { level, low: lead(low), high: lead(high) } : null;
    })
    .filter(Boolean);
  return { name, colour, joined, xs: joined ? [known[seen - 1], ...xs] : xs, mean: lead(forecast.mean), bands };
}

/** Draw everything about the chosen series; `fresh` are new results. */
export function showResults(fresh) {
  if (fresh) results = fresh;
  const host = byId("forecast-results");
  chart?.destroy();
  chart = null;
  const one = data.chosen;
  host.hidden = !one;
  if (!one) return;
  const runs = (results?.runs ?? []).filter((run) => run.forecasts.has(one.id));
  const levels = results?.asked.levels ?? [];
  const marks = anomalyMarks(one);
  const spec = {
    title: one.id,
    label: `${one.id || "series"}: ${whole(one.target.length)} values${runs.length ? `, forecast by ${runs.map((run) => run.model).join(", ")}` : ""}`,
    time: Boolean(one.stamps),
    form: one.form,
    history: { xs: historyXs(one), ys: one.target },
    forecasts: runs.map((run) => forecastLine(one, run.forecasts.get(one.id), run.model, modelColour(results.runs.indexOf(run)), levels)),
    levels,
    marks: marks.marks,
    expected: marks.expected,
  };
  spec.view = recent(spec, host.clientWidth || 800);
  const area = h("div.chart-area", {});
  const legendPlace = h("div", {});
  const redo = runs.length || !results ? null : h("p.hint", {}, "This series has not been forecast yet: press Forecast.");
  fill(
    host,
    h("div.result-head", {}, h("h2", {}, one.id || "Series"), legendPlace),
    area,
    redo,
    h("div.result-tools", {}, anomalyControl(one), runs.length ? tools(one, runs) : null),
    anomalyList(one),
    runs.length ? notes([...new Set(runs.flatMap((run) => run.warnings))]) : null,
    runs.length ? table(one, runs, levels) : null,
  );
  chart = drawChart(area, spec);
  fill(legendPlace, legend(spec, chart));
}

/** A long history would make the forecast a sliver: begin with what is near it. */
function recent({ history: { xs }, forecasts }, width) {
  const steps = Math.max(0, ...forecasts.map((line) => line.xs.length));
  if (!steps || xs.length + steps < Math.max(4 * steps, width / 4)) return null;
  const shown = Math.round(Math.max(4 * steps, width / 7));
  return shown < xs.length ? [xs[xs.length - shown], Math.max(...forecasts.map((line) => line.xs.at(-1)))] : null;
}

function tools(one, runs) {
  const button = (text, onclick) => h("button", { type: "button", onclick }, text);
  const stem = data.name.replace(/\.[^.]*$/, "") || "forecast";
  return h(
    "div.buttons",
    { role: "group", "aria-label": "Take it along" },
    button("CSV", () => downloadCsv(results, stem)),
    button("JSON", () => downloadJson(results, stem)),
    chart?.png === null ? null : button("PNG", () => downloadPng(chart, `${stem}-${one.id}`)),
    button("Copy as curl", () => showCode("The same with curl", asCurl(results, one))),
    button("Copy as Python", () => showCode("The same in Python", asPython(results, one))),
  );
}

function table(one, runs, levels) {
  const first = runs[0].forecasts.get(one.id);
  const names = stepNames(one, first);
  const shown = one.stamps && first.timestamps ? names.map((name) => moment(instant(name), one.form)) : names;
  const columns = runs.flatMap((run) => {
    const forecast = run.forecasts.get(one.id);
    return [
      { label: runs.length > 1 ? run.model : "Forecast", values: forecast.mean, strong: true },
      ...levels.flatMap((level) => bounds(level).map((quantile, i) => ({ label: `${i ? "to" : "from"} (${level} %)`, values: forecast.quantiles?.[String(quantile)] }))),
    ].filter((column) => column.values);
  });
  const write = alike(columns.flatMap((column) => column.values.slice(0, 1000)));
  return h(
    "details.table-box",
    { open: true },
    h("summary", {}, `Values (${whole(names.length)} steps)`),
    h(
      "div.scroll",
      { tabIndex: 0, role: "region", "aria-label": "Forecast values" },
      h(
        "table.values",
        {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, one.stamps ? "Time" : "Step"), columns.map((column) => h("th", { scope: "col" }, column.label)))),
        h("tbody", {}, shown.slice(0, 1000).map((name, k) => h("tr", {}, h("th", { scope: "row" }, name), columns.map((column) => h(column.strong ? "td.strong" : "td", {}, write(column.values[k])))))),
      ),
    ),
  );
}
