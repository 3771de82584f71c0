// The table of forecast values: a row a step, and for each model its mean and its intervals.
import { h } from "./dom.js";
import { alike, moment, whole } from "./numbers.js";
import { bounds, instant, stepNames } from "./series.js";

/** Longer forecasts are in the files to download. */
const SHOWN = 1000;

/** The forecasts of one series by several models, folded open. */
export function valuesTable(one, runs, levels) {
  const first = runs[0].forecasts.get(one.id);
  const names = stepNames(one, first);
  const shown = one.stamps && first.timestamps ? names.map((name) => moment(instant(name), one.form)) : names;
  const groups = runs.map(({ model, forecasts }) => ({ model, columns: columnsOf(forecasts.get(one.id), levels) }));
  const columns = groups.flatMap((group) => group.columns);
  const write = alike(columns.flatMap((column) => column.values.slice(0, SHOWN)));
  const several = groups.length > 1;
  const time = h("th", { scope: "col", rowSpan: several ? 2 : 1 }, one.stamps ? "Time" : "Step");
  const head = columns.map((column) => h(column.first && several ? "th.first" : "th", { scope: "col" }, column.label));
  const row = (name, k) =>
    h("tr", {}, h("th", { scope: "row" }, name), columns.map((column) => h(`td${column.strong ? ".strong" : ""}${column.first && several ? ".first" : ""}`, {}, write(column.values[k]))));
  return h(
    "details.table-box",
    { open: true },
    h("summary", {}, `Values (${whole(names.length)} step${names.length === 1 ? "" : "s"})`),
    h(
      "div.scroll",
      { tabIndex: 0, role: "region", "aria-label": "Forecast values" },
      h(
        "table.values",
        {},
        h(
          "thead",
          {},
          several ? [h("tr", {}, time, groups.map((group) => h("th.group.first", { scope: "colgroup", colSpan: group.columns.length }, group.model))), h("tr", {}, head)] : h("tr", {}, time, head),
        ),
        h("tbody", {}, shown.slice(0, SHOWN).map(row)),
      ),
    ),
    names.length > SHOWN ? h("p.hint", {}, `The first ${whole(SHOWN)} of ${whole(names.length)} steps; CSV has all of them.`) : null,
  );
}

function columnsOf(forecast, levels) {
  const mean = { label: "Forecast", values: forecast.mean, strong: true, first: true };
  const edges = levels.flatMap((level) => bounds(level).map((quantile, i) => ({ label: `${level} % ${i ? "to" : "from"}`, values: forecast.quantiles?.[String(quantile)] })));
  return [mean, ...edges].filter((column) => column.values);
}
