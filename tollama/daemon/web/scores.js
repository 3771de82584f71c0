// What a backtest found: the leaderboard, a chart of the windows, and which series each model wins.
import { drawChart, legend } from "./chart.js";
import { choose, data } from "./datapanel.js";
import { byId, fill, h, notes } from "./dom.js";
import { downloadRows } from "./downloads.js";
import { alike, percent, whole } from "./numbers.js";
import { forecastLine } from "./results.js";
import { historyLine, historyXs } from "./series.js";
import { modelProperty } from "./theme.js";

const WORDS = {
  mase: ["MASE", "mean absolute error, scaled by that of the seasonal naive forecast inside the history; lower is better"],
  smape: ["sMAPE", "symmetric percentage error; lower is better"],
  mape: ["MAPE", "percentage error; lower is better"],
  rmse: ["RMSE", "root mean squared error; lower is better"],
  wql: ["WQL", "weighted quantile loss; lower is better"],
};
const SHOWN = 300;

let found = null;
let chart = null;
let window_ = "all";

/** Forget the scores (the data have changed). */
export function clearScores() {
  found = null;
  window_ = "all";
  chart?.destroy();
  chart = null;
  byId("backtest-results").hidden = true;
}

const title = (name) => WORDS[name]?.[0] ?? name.replace(/^(msis|coverage)_(0\.\d+)$/, (_, kind, level) => `${kind === "msis" ? "MSIS" : "Coverage"} ${Math.round(level * 100)} %`);
const shownMetrics = (answer) => Object.keys(answer.leaderboard[0].metrics);
const shownValue = (name, value, write) => (value === null || value === undefined ? "–" : name === "smape" || name === "mape" || name.startsWith("coverage") ? percent(value) : write(value));

/** Draw all of it; `fresh` is {answer, series, models}. */
export function showScores(fresh) {
  if (fresh) {
    found = fresh;
    window_ = "all";
  }
  if (!found) return;
  const { answer } = found;
  const host = byId("backtest-results");
  host.hidden = false;
  chart?.destroy();
  chart = null;
  const area = h("div.chart-area", {});
  const legendPlace = h("div", {});
  const one = found.series.includes(data.chosen) ? data.chosen : found.series[0];
  fill(
    host,
    h("div.result-head", {}, h("h2", {}, "Leaderboard"), h("button.small", { type: "button", onclick: () => save(answer) }, "CSV")),
    h("p.hint", {}, `Ranked by ${title(answer.ranked_by)} over ${answer.windows} window${answer.windows > 1 ? "s" : ""} of ${answer.horizon} steps, ${answer.stride} apart. ${title(answer.ranked_by)} is the ${WORDS[answer.ranked_by]?.[1] ?? "score"}; skill is the share of it saved against ${answer.baseline.model}.`),
    leaderboard(answer),
    h("div.result-head", {}, h("h2", { title: one.id }, one.id ? `Windows of ${one.id}` : "Windows"), windowChoice(answer), legendPlace),
    area,
    found.series.length > 1 ? wins(answer) : null,
    notes(answer.warnings ?? [], found.series.map((each) => each.id)),
  );
  const spec = windowSpec(answer, one);
  chart = drawChart(area, spec);
  fill(legendPlace, legend(spec, chart));
}

function leaderboard(answer) {
  const metrics = shownMetrics(answer);
  const best = Object.fromEntries(metrics.map((name) => [name, Math.min(...answer.leaderboard.map((row) => rank(name, row.metrics[name])))]));
  const key = answer.ranked_by;
  const writers = Object.fromEntries(metrics.map((name) => [name, alike(answer.leaderboard.map((row) => row.metrics[name]))]));
  return h(
    "div.scroll",
    { tabIndex: 0, role: "region", "aria-label": "Leaderboard" },
    h(
      "table.values.leaderboard",
      {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "#"), h("th", { scope: "col" }, "Model"), h("th", { scope: "col", title: `1 - ${title(key)} / that of ${answer.baseline.model}` }, "Skill"), h("th", { scope: "col", title: `series on which its ${title(key)} is the lowest` }, "Wins"), metrics.map((name) => h("th", { scope: "col", title: WORDS[name]?.[1] ?? "" }, title(name))))),
      h(
        "tbody",
        {},
        answer.leaderboard.map((row, i) =>
          h(
            i === 0 ? "tr.winner" : "tr",
            {},
            h("td", {}, String(i + 1)),
            h("th", { scope: "row" }, modelName(row.model)),
            h("td", {}, row.skill[key] === undefined ? "–" : percent(row.skill[key])),
            h("td", {}, whole(row.wins)),
            metrics.map((name) => h(rank(name, row.metrics[name]) === best[name] ? "td.strong" : "td", {}, shownValue(name, row.metrics[name], writers[name]))),
          ),
        ),
      ),
    ),
  );
}

/** A model under the colour that it has in the chart. */
function modelName(model) {
  const swatch = h("span.swatch", { "aria-hidden": "true" });
  swatch.style.background = `var(--${modelProperty(found.models.indexOf(model))})`;
  return h("span.model-name", {}, swatch, model);
}

/** How far a score is from the best it could be. */
function rank(name, value) {
  if (value === null || value === undefined) return Infinity;
  return name.startsWith("coverage_") ? Math.abs(value - Number(name.slice(9))) : value;
}

function windowChoice(answer) {
  const select = h("select", { id: "window", onchange: () => ((window_ = select.value), showScores()) }, h("option", { value: "all" }, "all windows"), answer.cutoffs.map((cut, i) => h("option", { value: String(i), selected: window_ === String(i) }, `window ${i + 1} of ${answer.cutoffs.length}`)));
  select.setAttribute("aria-label", "Window");
  return select;
}

function windowSpec(answer, one) {
  const lines = [];
  const cutoffs = [];
  const xs = historyXs(one);
  const level = 80;
  answer.cutoffs.forEach((cut, i) => {
    if (window_ !== "all" && window_ !== String(i)) return;
    const place = cut.series.findIndex((item) => item.id === one.id);
    if (place < 0) return;
    const { seen } = cut.series[place];
    cutoffs.push(xs[seen - 1]);
    found.models.forEach((model, n) => {
      const forecast = answer.forecasts[model]?.[i]?.find((item) => item.id === one.id);
      if (forecast) lines.push(forecastLine(one, forecast, model, n, window_ === "all" && found.models.length > 1 ? [] : [level], seen));
    });
  });
  const first = Math.min(...cutoffs);
  const all = xs.at(-1) - xs[0];
  const part = xs.at(-1) - first;
  return {
    title: `${one.id}: backtest`,
    label: `${one.id}: forecasts of ${found.models.join(", ")} at ${cutoffs.length} cutoffs beside what came`,
    time: Boolean(one.stamps),
    form: one.form,
    history: historyLine(one),
    forecasts: lines,
    levels: lines[0]?.bands.length ? [level] : [],
    cutoffs,
    view: cutoffs.length && part * 4 < all ? [xs.at(-1) - part * 3, xs.at(-1)] : null,
  };
}

/** For each series the best model, by the score that ranks the leaderboard. */
function winners(answer) {
  const key = answer.ranked_by;
  const scores = new Map();
  for (const row of answer.leaderboard) for (const one of row.series) scores.set(`${row.model}\u0000${one.id}`, one[key]);
  return found.series.map((one) => {
    const row = found.models.map((model) => scores.get(`${model}\u0000${one.id}`) ?? null);
    const best = row.reduce((at, value, i) => (value !== null && (at < 0 || value < row[at]) ? i : at), -1);
    return { one, row, best };
  });
}

function wins(answer) {
  const rows = winners(answer);
  const search = h("input", { type: "search", placeholder: "Search series", "aria-label": "Search series", oninput: () => show() });
  const only = h("select", { "aria-label": "Won by", onchange: () => show() }, h("option", { value: "" }, "any model wins"), found.models.map((model, i) => h("option", { value: String(i) }, `${model} wins (${rows.filter((row) => row.best === i).length})`)));
  const body = h("tbody", {});
  const write = alike(rows.flatMap(({ row }) => row));
  function show() {
    const text = search.value.trim().toLowerCase();
    const chosen = rows.filter((row) => row.one.id.toLowerCase().includes(text) && (only.value === "" || row.best === Number(only.value)));
    fill(
      body,
      chosen.slice(0, SHOWN).map(({ one, row, best }) =>
        h("tr", {}, h("th", { scope: "row" }, h("button.link", { type: "button", onclick: () => choose(one) }, one.id)), h("td.words", {}, best < 0 ? "–" : modelName(found.models[best])), row.map((value, i) => h(i === best ? "td.strong" : "td", {}, write(value)))),
      ),
      chosen.length > SHOWN ? h("tr", {}, h("td", { colSpan: 2 + found.models.length }, `and ${whole(chosen.length - SHOWN)} more: search for them`)) : null,
    );
  }
  show();
  return h(
    "section",
    { "aria-label": "Wins" },
    h("div.result-head", {}, h("h2", {}, "Which series each model wins"), search, only),
    h("div.scroll.tall", { tabIndex: 0, role: "region", "aria-label": "Wins by series" }, h("table.values", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Series"), h("th.words", { scope: "col" }, "Best"), found.models.map((model) => h("th", { scope: "col" }, model)))), body)),
  );
}

function save(answer) {
  const metrics = shownMetrics(answer);
  const rows = [["model", "wins", ...metrics], ...answer.leaderboard.map((row) => [row.model, row.wins, ...metrics.map((name) => row.metrics[name] ?? "")])];
  downloadRows(rows, "leaderboard.csv");
}
