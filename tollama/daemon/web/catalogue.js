// The models that can be had, and badges that say what they can.
import { call } from "./api.js";
import { h } from "./dom.js";

let models = [];
let last = ""; // the answer that they are from
const listeners = [];

export const all = () => models;
export const installed = () => models.filter((model) => model.installed);
export const find = (name) => models.find((model) => model.name === name);
export const onModels = (listener) => listeners.push(listener);

/** Read the models again, and tell everyone who shows them when they have changed. */
export async function refresh() {
  const before = last;
  last = ""; // after a failure whatever comes is news
  const found = await call("GET", "v1/models");
  last = JSON.stringify(found);
  if (last === before) return models;
  const known = new Map((found.available ?? []).map((model) => [model.name, model]));
  for (const model of found.installed ?? []) {
    known.set(model.name, { ...known.get(model.name), ...model, installed: true });
  }
  // What to begin with comes first, then what was installed, then the rest by name.
  const rank = (model) => (model.name === "auto" ? 0 : model.installed && !model.builtin ? 1 : model.installed ? 2 : 3);
  models = [...known.values()].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  listeners.forEach((listener) => listener(models));
  return models;
}

const CAN = {
  future_covariates: "future covariates",
  past_covariates: "past covariates",
  categorical_covariates: "categories",
  static_covariates: "static covariates",
  multivariate: "multivariate",
  missing_values: "missing values",
  embeddings: "embeddings",
};

/** What a model can, as words. */
export function abilities(model) {
  const can = model.capabilities ?? model.forecast_capabilities ?? {};
  const found = Object.entries(CAN).filter(([name]) => can[name] === true).map(([, text]) => text);
  if (can.quantiles) found.unshift(can.quantiles === "any" ? "any level" : "levels");
  return found;
}

/** The same as badges, for lists. */
export const badges = (model) => h("span.badges", {}, abilities(model).map((text) => h("span.badge", {}, text)));

/** The licence of a model as a word. */
export const licence = (model) => (typeof model.license === "object" ? model.license?.type : model.license) ?? "unknown licence";
