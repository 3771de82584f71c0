// What came back, for the chosen series: chart, table, notes, downloads, copied commands.
import { showCode } from "./dialogs.js";
import { anomalyControl, anomalyList, anomalyMarks, clearAnomalies, onAnomalies } from "./anomalies.js";
import { drawChart, legend } from "./chart.js";
import { data, onChosen } from "./datapanel.js";
import { byId, fill, h, notes, notice } from "./dom.js";
import { downloadCsv, downloadJson, downloadPng } from "./downloads.js";
import { whole } from "./numbers.js";
import { bounds, historyLine, historyXs, instant } from "./series.js";
import { asCurl, asPython } from "./snippets.js";
import { colour, modelProperty } from "./theme.js";
import { valuesTable } from "./values.js";

let results = null;
let chart = null;

/** Forget what was forecast (the data have changed). */
export function clearResults() {
  results = null;
  clearAnomalies();
}

onChosen(() => showResults());
onAnomalies(() => showResults());

/** A forecast of the n-th model as a line of the chart, joined to the last observation. */
export function forecastLine(one, forecast, name, n, levels, seen = one.target.length) {
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
  const property = modelProperty(n);
  return {
    name,
    property,
    // Asked when it is drawn: the theme may change.
    get colour() {
      return colour(property);
    },
    dash: n > 5 ? [7, 4] : undefined,
    joined,
    xs: joined ? [known[seen - 1], ...xs] : xs,
    mean: lead(forecast.mean),
    bands,
  };
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
  const levels = runs.length ? results.asked.levels : [];
  const marks = anomalyMarks(one);
  const spec = {
    title: one.id,
    label: `${one.id || "series"}: ${whole(one.target.length)} values${runs.length ? `, forecast by ${runs.map((run) => run.model).join(", ")}` : ""}`,
    time: Boolean(one.stamps),
    form: one.form,
    history: historyLine(one),
    forecasts: runs.map((run) => forecastLine(one, run.forecasts.get(one.id), run.model, results.runs.indexOf(run), levels)),
    levels,
    marks: marks.marks,
    expected: marks.expected,
  };
  spec.view = marks.marks.length ? null : recent(spec, host.clientWidth || 800);
  const area = h("div.chart-area", {});
  const legendPlace = h("div", {});
  const redo = runs.length || !results?.runs.some((run) => run.forecasts.size) ? null : notice("info", null, "This series has not been forecast yet: press Forecast.");
  fill(
    host,
    h("div.result-head", {}, h("h2", { title: one.id }, one.id || "Series"), legendPlace),
    area,
    redo,
    h("div.result-tools", {}, anomalyControl(one), runs.length ? tools(one, runs) : null),
    anomalyList(one, (x) => chart.centre(x)),
    runs.length ? notes(runs.flatMap((run) => run.warnings), results.asked.series.map((each) => each.id)) : null,
    runs.length ? valuesTable(one, runs, levels) : null,
  );
  chart = drawChart(area, spec);
  fill(legendPlace, legend(spec, chart));
}

/** A long history would make the forecast a sliver: begin with what is near it. */
function recent({ history: { xs }, forecasts }, width) {
  const steps = Math.max(0, ...forecasts.map((line) => line.xs.length));
  const shown = Math.round(Math.max(4 * steps, width / 9));
  return steps && 1.4 * shown < xs.length ? [xs[xs.length - shown], Math.max(...forecasts.map((line) => line.xs.at(-1)))] : null;
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
