// Values outside the interval that a model forecast for them, marked on the chart of the series.
import { call } from "./api.js";
import { data } from "./datapanel.js";
import { announce, byId, fill, h, notes, notice } from "./dom.js";
import { alike, moment } from "./numbers.js";
import { toRequest } from "./series.js";

const LEVELS = [90, 95, 99, 99.9];
const found = new Map(); // series -> {level, points, warnings} | {error}
const listeners = [];
let level = 99;
let busy = null;

export const onAnomalies = (listener) => listeners.push(listener);
const tell = () => listeners.forEach((listener) => listener());

/** Forget everything (the data have changed). */
export function clearAnomalies() {
  busy?.abort();
  busy = null;
  found.clear();
}

const xOf = (one, index) => (one.stamps ? one.stamps[index] / 1000 : index + 1);

/** What the chart marks: the anomalies, and the interval that was expected. */
export function anomalyMarks(one) {
  const result = found.get(one);
  if (!result?.points) return { marks: [], expected: null };
  const { points } = result;
  return {
    marks: points.filter((point) => point.anomaly).map((point) => ({ x: xOf(one, point.index), y: point.value })),
    expected: { xs: points.map((point) => xOf(one, point.index)), low: points.map((point) => point.lower), high: points.map((point) => point.upper) },
  };
}

/** The button that looks for them, with its level. */
export function anomalyControl(one) {
  const select = h("select", { "aria-label": "Level of the interval", onchange: () => (level = Number(select.value)) }, LEVELS.map((value) => h("option", { value, selected: value === level }, `${value} %`)));
  const has = found.has(one);
  return h(
    "div.buttons",
    { role: "group", "aria-label": "Anomalies" },
    h("button", { type: "button", id: "find-anomalies", onclick: () => look(one) }, busy ? "Looking…" : "Find anomalies"),
    select,
    has ? h("button", { type: "button", onclick: () => (found.delete(one), tell()) }, "Clear") : null,
  );
}

async function look(one) {
  if (busy) return;
  busy = new AbortController();
  const { signal } = busy;
  byId("find-anomalies").textContent = "Looking…";
  try {
    const body = { series: [toRequest(one, 0)], level: level / 100 };
    const answer = await call("POST", "api/anomalies", body, signal);
    const [result] = answer.series;
    found.set(one, { level, points: result.points, warnings: answer.warnings });
    announce(`${result.anomalies} anomalies`);
  } catch (error) {
    if (error.name === "AbortError") return;
    found.set(one, { error });
  } finally {
    if (busy?.signal === signal) busy = null;
  }
  if (data.series.includes(one)) tell();
}

/** What was found, in words and as a list. */
export function anomalyList(one) {
  const result = found.get(one);
  if (!result) return null;
  if (result.error) return notice("error", "Anomalies could not be looked for", result.error.message);
  const odd = result.points.filter((point) => point.anomaly).sort((a, b) => (b.score ?? Infinity) - (a.score ?? Infinity));
  const checked = `${result.points.length} values were checked, each against the ${result.level} % interval forecast from those before it (the grey area).`;
  const box = h("section.anomalies", { "aria-label": "Anomalies" }, h("h3", {}, odd.length ? `${odd.length} anomal${odd.length === 1 ? "y" : "ies"}` : "No anomalies"), h("p.hint", {}, checked));
  if (odd.length) {
    const write = alike(odd.flatMap((point) => [point.value, point.lower, point.upper]));
    const row = (point) =>
      h("tr", {}, h("th", { scope: "row" }, one.stamps ? moment(one.stamps[point.index], one.form) : `step ${point.index + 1}`), h("td.strong", {}, write(point.value)), h("td", {}, `${write(point.lower)} to ${write(point.upper)}`), h("td", {}, point.score === null ? "–" : point.score.toFixed(1)));
    box.append(
      h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "List of anomalies" }, h("table.values", {}, h("thead", {}, h("tr", {}, ["When", "Value", "Expected", "Score"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, odd.slice(0, 100).map(row)))),
    );
  }
  const list = notes([...new Set(result.warnings)]);
  return list ? fill(h("div", {}), box, list) : box;
}
