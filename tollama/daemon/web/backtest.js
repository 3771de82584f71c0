// The Backtest tab: models compared on rolling origins of the data. Scores are shown by scores.js.
import { ApiError, stream } from "./api.js";
import { data, onChosen, onSeries } from "./datapanel.js";
import { announce, byId, field, fieldError, fill, h, notice } from "./dom.js";
import { whole } from "./numbers.js";
import { modelPicker } from "./picker.js";
import { clearScores, showScores } from "./scores.js";
import { toRequest } from "./series.js";

const QUANTILES = [0.025, 0.1, 0.5, 0.9, 0.975];
const MANY = 200;

let picker;
let fields;
let scope;
let running = null;

/** Set up the form. */
export function bindBacktest() {
  picker = modelPicker(["auto", "theta", "seasonal-naive"], () => picker.error(null));
  const count = (value, max) => h("input", { type: "number", min: 1, max, step: 1, value, inputMode: "numeric", required: true });
  fields = { horizon: count(12, 100000), windows: count(3, 10000), stride: h("input", { type: "number", min: 1, max: 100000, step: 1, placeholder: "horizon", inputMode: "numeric" }) };
  scope = h("select", { id: "backtest-scope" });
  const form = byId("backtest-form");
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
      field("Horizon", fields.horizon),
      field("Windows", fields.windows),
      field("Stride", fields.stride),
      h("div.field.scope", {}, h("label", { htmlFor: "backtest-scope" }, "Series"), scope),
      h("button.primary.go", { type: "submit", id: "run-backtest" }, "Backtest"),
    ),
  );
  onSeries(() => {
    running?.abort();
    clearScores();
    byId("backtest-status").replaceChildren();
    const one = data.series[0];
    if (!one) return;
    const season = one.season > 1 ? one.season : 12;
    fields.horizon.value = Math.max(1, Math.min(season, Math.floor(one.target.length / 6)));
    const all = data.series.length;
    fill(scope, all > 1 ? h("option", { value: "all", selected: all <= MANY }, `all ${whole(all)}`) : null, h("option", { value: "one", selected: all > MANY }, "the one shown"));
    scope.parentElement.hidden = all < 2;
  });
  onChosen(() => showScores());
}

function settings() {
  const models = picker.value();
  picker.error(models.length ? null : "choose at least one model");
  let good = models.length > 0;
  const body = { models, forecasts: true, stream: true, quantiles: QUANTILES, options: { timestamps: true } };
  for (const [name, input] of Object.entries(fields)) {
    const value = Number(input.value);
    const empty = input.value === "" && name === "stride";
    const fine = empty || (Number.isInteger(value) && value >= 1 && value <= Number(input.max));
    fieldError(input, fine ? null : "a whole number, at least 1");
    good &&= fine;
    if (fine && !empty) body[name] = value;
  }
  return good ? body : null;
}

async function run() {
  const body = settings();
  if (!body || !data.chosen) return;
  const these = data.series;
  const series = scope.value === "all" && data.series.length > 1 ? data.series : [data.chosen];
  body.series = series.map((one) => toRequest(one, 0));
  const button = byId("run-backtest");
  const status = byId("backtest-status");
  running = new AbortController();
  button.textContent = "Stop";
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Backtest" });
  const words = h("span", {}, "Starting");
  fill(status, h("div.progress-line", {}, bar, words));
  let answer = null;
  let failure = null;
  try {
    for await (const event of stream("POST", "api/backtest", body, running.signal)) {
      if (event.total) {
        Object.assign(bar, { max: event.total, value: event.completed });
        words.textContent = `${event.model}: ${whole(event.completed)} of ${whole(event.total)}`;
      }
      if (event.response) answer = event.response;
    }
  } catch (error) {
    failure = error;
  }
  running = null;
  button.textContent = "Backtest";
  if (data.series !== these) return; // other data were brought in meanwhile
  if (answer) {
    fill(status);
    showScores({ answer, series, models: body.models });
    announce(`backtest ready, the best model is ${answer.winner}`);
    return;
  }
  if (failure?.name === "AbortError") return void fill(status, notice("info", "Stopped"));
  const field_ = failure instanceof ApiError ? Object.keys(fields).find((name) => failure.about(name)) : null;
  if (field_) {
    fill(status);
    fieldError(fields[field_], failure.about(field_));
    fields[field_].focus();
    return;
  }
  const about = failure instanceof ApiError && failure.about("models");
  if (about) picker.error(about);
  fill(status, about ? null : notice("error", "The backtest failed", failure.message));
}
