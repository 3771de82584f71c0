// The Forecast tab: what is asked for, and the requests. What comes back is shown by results.js.
import { ApiError, stream } from "./api.js";
import { data, onSeries } from "./datapanel.js";
import { announce, byId, field, fieldError, fill, h, notice } from "./dom.js";
import { whole } from "./numbers.js";
import { modelPicker } from "./picker.js";
import { clearResults, showResults } from "./results.js";
import { bodyFor } from "./series.js";

const LEVELS = [50, 80, 90, 95, 99];
const MAX_HORIZON = 100000;
/** More series than this are asked for only when the user says so. */
const MANY = 50;

let picker;
let horizon;
let levels;
let scope;
let season;
let positive;
let running = null;

/** Set up the form. */
export function bindForecast() {
  picker = modelPicker(["auto"], () => picker.error(null));
  horizon = h("input", { type: "number", min: 1, max: MAX_HORIZON, step: 1, value: 12, inputMode: "numeric", required: true });
  levels = LEVELS.map((level) => h("input", { type: "checkbox", value: level, checked: level === 80 || level === 95 }));
  scope = h("select", {});
  season = h("input", { type: "number", min: 1, step: 1, placeholder: "from dates", inputMode: "numeric" });
  positive = h("select", {}, [["", "as the data are"], ["true", "yes"], ["false", "no"]].map(([value, text]) => h("option", { value }, text)));
  const form = byId("forecast-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else run();
  });
  fill(
    form,
    h(
      "div.form-row",
      {},
      picker.node,
      field("Horizon", horizon),
      h("fieldset.field.levels", {}, h("legend", {}, "Intervals"), h("div.toggles", {}, levels.map((box) => h("label.toggle", {}, box, h("span", {}, `${box.value} %`))))),
      h("div.field.scope", {}, h("label", { htmlFor: (scope.id = "scope") }, "Series"), scope),
      h("button.primary.go", { type: "submit", id: "run-forecast" }, "Forecast"),
    ),
    h("details.more", {}, h("summary", {}, "More settings"), h("div.form-row", {}, field("Season length", season, "Steps in a season, such as 12 for months"), field("Never below zero", positive))),
  );
  onSeries(() => {
    running?.abort();
    clearResults();
    const one = data.series[0];
    if (one) {
      horizon.value = one.known || suggested(one);
      const count = data.series.length;
      fill(scope, h("option", { value: "one" }, "the one shown"), count > 1 ? h("option", { value: "all", selected: count <= MANY }, `all ${whole(count)}`) : null);
      scope.parentElement.hidden = count < 2;
    }
    byId("forecast-status").replaceChildren();
    showResults();
  });
}

/** A season, or what is left of it for short series. */
const suggested = (one) => Math.max(1, Math.min(one.season > 1 ? one.season : 12, Math.ceil(one.target.length / 3)));

/** What the form says, or null after marking what is wrong. */
function settings() {
  const models = picker.value();
  picker.error(models.length ? null : "choose at least one model");
  const steps = Number(horizon.value);
  const good = Number.isInteger(steps) && steps >= 1 && steps <= MAX_HORIZON;
  fieldError(horizon, good ? null : `a whole number from 1 to ${whole(MAX_HORIZON)}`);
  const length = season.value === "" ? null : Number(season.value);
  const goodSeason = length === null || (Number.isInteger(length) && length >= 1);
  fieldError(season, goodSeason ? null : "a whole number of steps, or empty");
  if (!models.length || !good || !goodSeason) return null;
  const options = {};
  if (length !== null) options.season_length = length;
  if (positive.value) options.non_negative = positive.value === "true";
  const chosen = levels.filter((box) => box.checked).map((box) => Number(box.value));
  const series = scope.value === "all" && data.series.length > 1 ? data.series : [data.chosen];
  return { models, horizon: steps, levels: chosen, options, series };
}

async function run() {
  const asked = settings();
  if (!asked || !data.chosen) return;
  const button = byId("run-forecast");
  const status = byId("forecast-status");
  running = new AbortController();
  button.textContent = "Stop";
  const these = data.series;
  const total = asked.models.length * asked.series.length;
  const bar = h("progress", { max: total, value: 0, "aria-label": "Forecast" });
  const words = h("span", {}, "Starting");
  fill(status, h("div.progress-line", {}, bar, words));
  const found = asked.models.map((model) => ({ model, forecasts: new Map(), warnings: [], usage: null, error: null }));
  let done = 0;
  const results = { asked, runs: found };
  const one = async (target) => {
    const body = bodyFor(asked, target.model);
    body.options.stream_series = true;
    try {
      for await (const event of stream("POST", "api/forecast", body, running.signal)) {
        if (event.status) words.textContent = `${target.model}: ${event.status}`;
        if (event.forecast) {
          target.forecasts.set(event.forecast.id, event.forecast);
          bar.value = ++done;
          words.textContent = `${whole(done)} of ${whole(total)}`;
        }
        if (event.done) {
          // In the order of the request, as they had come in any order.
          target.forecasts = new Map(event.response.forecasts.map((forecast) => [forecast.id, forecast]));
          target.warnings = event.response.warnings ?? [];
          target.usage = event.response.usage ?? null;
        }
      }
    } catch (error) {
      target.error = error;
    }
  };
  try {
    await Promise.all(found.map(one));
  } finally {
    running = null;
    button.textContent = "Forecast";
  }
  if (data.series !== these) return; // other data were brought in meanwhile
  const stopped = found.some((target) => target.error?.name === "AbortError");
  fill(status, stopped ? notice("info", "Stopped", done ? "What had come before is shown." : null) : null, found.filter((target) => target.error && target.error.name !== "AbortError").map((target) => explain(target, asked.series.length)));
  showResults(results);
  const good = found.filter((target) => target.forecasts.size).map((target) => target.model);
  if (good.length) announce(`forecast ready: ${good.join(", ")}`);
}

/** An error under the field that it is about, else under the form with the model's name. */
function explain({ model, error, forecasts }, total) {
  if (error instanceof ApiError) {
    const about = error.about("horizon");
    if (about) {
      fieldError(horizon, about);
      horizon.focus();
      return null;
    }
    const model_ = error.about("model");
    if (model_) {
      picker.error(model_);
      return null;
    }
  }
  const came = forecasts.size;
  return notice("error", came ? `${model} could not forecast all series` : `${model} could not forecast`, error.message, came ? `${whole(came)} of ${whole(total)} had come before; they are shown.` : null);
}
