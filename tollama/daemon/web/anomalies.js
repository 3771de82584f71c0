// Values outside the interval that a model forecast for them, marked on the chart of the series.
import { call } from "./api.js";
import { data } from "./datapanel.js";
import { announce, byId, fill, h, notes, notice, waiting } from "./dom.js";
import { alike, moment, whole } from "./numbers.js";
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
  if (busy) return h("div.buttons", { role: "group", "aria-label": "Anomalies" }, waiting("Looking for anomalies"), h("button", { type: "button", id: "stop-anomalies", onclick: stop }, "Stop"));
  return h(
    "div.buttons",
    { role: "group", "aria-label": "Anomalies" },
    h("button", { type: "button", id: "find-anomalies", onclick: () => look(one) }, "Find anomalies"),
    h("label.inline", {}, "outside of", select),
    found.has(one) ? h("button", { type: "button", onclick: () => (found.delete(one), tell()) }, "Clear") : null,
  );
}

function stop() {
  busy?.abort();
  busy = null;
  tell();
}

async function look(one) {
  if (busy) return;
  busy = new AbortController();
  const { signal } = busy;
  tell();
  byId("stop-anomalies")?.focus({ preventScroll: true });
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
  if (!data.series.includes(one)) return;
  tell();
  if (document.activeElement === document.body) byId("find-anomalies")?.focus({ preventScroll: true });
}

/** What was found, in words and as a list; `goTo(x)` shows a place on the chart. */
export function anomalyList(one, goTo) {
  const result = found.get(one);
  if (!result) return null;
  if (result.error) return notice("error", "Anomalies could not be looked for", result.error.message);
  const odd = result.points.filter((point) => point.anomaly).sort((a, b) => (b.score ?? Infinity) - (a.score ?? Infinity));
  const checked = `${whole(result.points.length)} values were checked, each against the ${result.level} % interval forecast from those before it (the grey area). A score of 1 lies on its border, of 2 twice as far out.`;
  const box = h("section.anomalies", { "aria-label": "Anomalies" }, h("h3", {}, odd.length ? `${whole(odd.length)} anomal${odd.length === 1 ? "y" : "ies"}` : "No anomalies"), h("p.hint", {}, checked));
  if (odd.length) {
    const write = alike(odd.flatMap((point) => [point.value, point.lower, point.upper]));
    const when = (point) => h("button.link", { type: "button", title: "Show it on the chart", onclick: () => goTo(xOf(one, point.index)) }, one.stamps ? moment(one.stamps[point.index], one.form) : `step ${point.index + 1}`);
    const row = (point) =>
      h("tr", {}, h("th", { scope: "row" }, when(point)), h("td.strong", {}, write(point.value)), h("td", {}, `${write(point.lower)} to ${write(point.upper)}`), h("td", {}, point.score === null ? "–" : point.score.toFixed(1)));
    box.append(
      h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "List of anomalies" }, h("table.values", {}, h("thead", {}, h("tr", {}, ["When", "Value", "Expected", "Score"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, odd.slice(0, 100).map(row)))),
    );
  }
  if (odd.length > 100) box.append(h("p.hint", {}, `The 100 furthest outside of ${whole(odd.length)}; the chart marks all.`));
  const list = notes(result.warnings, [one.id]);
  return list ? fill(h("div.anomalies-box", {}), box, list) : box;
}
