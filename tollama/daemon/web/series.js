// Series out of a table and the roles of its columns, and what is odd about them.
import { dateReader, decimalOf, isMissing, numberReader } from "./cells.js";
import { frequency } from "./frequency.js";

/**
 * The series of a table: {series, problems, notes}. A series has id, target, stamps (ms) and isos
 * or null without times, covariates {name: values}, future {name: values}, and a report: freq,
 * label, gaps, missing, form, season. `problems` stop a forecast, `notes` do not.
 */
export function buildSeries(table, { roles, kinds, dates }, fileName) {
  const { header, rows } = table;
  const of = (role) => [...header.keys()].filter((i) => roles[i] === role);
  const [times, ids, targets, covariates] = ["time", "id", "target", "covariate"].map(of);
  const problems = [];
  const notes = [];
  if (!targets.length) problems.push(kinds.includes("number") ? "choose the column to forecast: give one the role “target”" : "no column holds numbers to forecast: expected a table such as date,sales with a row for each date");
  if (times.length > 1) problems.push("only one column can be the time");
  const time = times[0];
  if (time !== undefined && !dates) problems.push(`column “${header[time]}”: expected dates such as 2024-01-31, 31.01.2024, 2024-01 or 2024Q1, got “${rows[0][time] ?? ""}”`);
  if (problems.length) return { series: [], problems, notes };

  const readDate = time === undefined ? null : dateReader(dates.kind, dates.order);
  const readers = new Map();
  for (const i of [...targets, ...covariates]) {
    const cells = rows.slice(0, 5000).map((row) => row[i] ?? "");
    if (kinds[i] === "text" && covariates.includes(i)) readers.set(i, (cell) => (isMissing(cell) ? null : cell));
    else readers.set(i, numberReader(decimalOf(cells)));
  }
  const groups = new Map();
  rows.forEach((row, number) => {
    const id = ids.map((i) => row[i] ?? "").join(" / ");
    if (!groups.has(id)) groups.set(id, []);
    groups.get(id).push(row);
    row.line ??= number + (table.bare ? 1 : 2);
  });
  const series = [];
  for (const [id, members] of groups) {
    const kept = [];
    for (const row of members) {
      const date = readDate ? readDate(row[time] ?? "") : null;
      if (readDate && !date) {
        if (problems.length < 5) problems.push(`line ${row.line}: “${row[time] ?? ""}” in “${header[time]}” is no date like the others`);
        continue;
      }
      kept.push({ row, date });
    }
    if (readDate) kept.sort((a, b) => a.date.ms - b.date.ms);
    const unique = readDate ? kept.filter((item, i) => i === 0 || item.date.ms !== kept[i - 1].date.ms) : kept;
    if (unique.length < kept.length) {
      const which = id ? `${id}: ` : "";
      notes.push(`${which}${kept.length - unique.length} rows repeat a time of another row; the first of each counts. Is a column the id of several series?`);
    }
    for (const target of targets) {
      const name = targets.length > 1 ? (id ? `${id} / ${header[target]}` : header[target]) : id || titled(header[target], fileName);
      const one = makeSeries(name, unique, target, { header, covariates, readers, problems });
      if (one) series.push(one);
    }
  }
  if (!series.length && !problems.length) problems.push("no value was found in the target column");
  return { series, problems, notes };
}

const GENERIC = new Set(["y", "target", "value", "values"]);
const titled = (name, fileName) => (GENERIC.has(name.toLowerCase()) || /^column_\d+$/.test(name) ? fileName || name : name);

function makeSeries(id, items, target, { header, covariates, readers, problems }) {
  const read = (i) =>
    items.map(({ row }) => {
      const value = readers.get(i)(row[i] ?? "");
      if (value === undefined && problems.length < 5) problems.push(`line ${row.line}: “${row[i]}” in “${header[i]}” is no number like the others`);
      return value ?? null;
    });
  const values = read(target);
  let last = values.length;
  while (last > 0 && values[last - 1] === null) last--;
  if (!last) return null;
  const tables = Object.fromEntries(covariates.map((i) => [header[i], read(i)]));
  // Rows after the last target that still have covariates are known ahead; else they are gaps.
  const ahead = Object.entries(tables).filter(([, column]) => column.slice(last).some((value) => value !== null));
  const length = ahead.length || last < values.length ? last : values.length;
  const known = ahead.length ? values.length - last : 0;
  const dated = items.length && items[0].date;
  const stamps = dated ? items.slice(0, length).map((item) => item.date.ms) : null;
  const target_ = values.slice(0, length);
  const report = stamps ? frequency(stamps) : { freq: null, label: "no dates", gaps: 0, irregular: 0, form: "index", season: 1 };
  return {
    id,
    target: target_,
    stamps,
    isos: dated ? items.slice(0, length).map((item) => item.date.iso) : null,
    covariates: Object.fromEntries(Object.entries(tables).map(([name, column]) => [name, column.slice(0, length)])),
    future: Object.fromEntries(ahead.map(([name, column]) => [name, column.slice(length)])),
    known,
    missing: target_.filter((value) => value === null).length,
    ...report,
  };
}

/**
 * A series as the API takes it; covariates known for the whole horizon go along as future ones.
 * Without a horizon (a backtest cuts it itself) all that is known ahead does.
 */
export function toRequest(one, horizon) {
  const body = { id: one.id, target: one.target };
  if (one.isos) body.timestamps = one.isos;
  if (one.freqGiven) body.freq = one.freqGiven;
  const future = {};
  const past = {};
  for (const [name, column] of Object.entries(one.covariates)) {
    const ahead = one.future[name] ?? [];
    if (!horizon && ahead.length) future[name] = column;
    else if (horizon && ahead.length >= horizon && !ahead.slice(0, horizon).includes(null)) future[name] = [...column, ...ahead.slice(0, horizon)];
    else past[name] = column;
  }
  if (Object.keys(future).length) body.future_covariates = future;
  if (Object.keys(past).length) body.past_covariates = past;
  return body;
}

/** The quantiles that bound an interval of a level in percent. */
export const bounds = (level) => [Number(((100 - level) / 200).toFixed(6)), Number(((100 + level) / 200).toFixed(6))];

/** The body of a request for one model. */
export function bodyFor({ horizon: steps, levels: wanted, options, series }, model) {
  return {
    model,
    horizon: steps,
    quantiles: [...new Set(wanted.flatMap(bounds))].sort((a, b) => a - b),
    series: series.map((one) => toRequest(one, steps)),
    options: { ...options, timestamps: true },
  };
}

/** An instant of an answer in ms; without a zone it is taken as UTC, as the axis is. */
export function instant(text) {
  const iso = text.replace(" ", "T");
  return Date.parse(iso.length > 10 && !/(Z|[+-]\d\d:?\d\d)$/.test(iso) ? `${iso}Z` : iso);
}

/** The x values of a series: seconds, or 1, 2, 3 ... without times. */
export const historyXs = (one) => (one.stamps ? one.stamps.map((ms) => ms / 1000) : one.target.map((_, i) => i + 1));

/** The history as a line: {xs, ys, breaks}; a break is a point without value where rows are absent. */
export function historyLine(one) {
  const xs = historyXs(one);
  if (!one.gaps || !one.freq) return { xs, ys: one.target, breaks: null };
  const steps = xs.slice(1).map((x, i) => x - xs[i]);
  const usual = [...steps].sort((a, b) => a - b)[steps.length >> 1];
  const line = { xs: [], ys: [], breaks: new Set() };
  xs.forEach((x, i) => {
    line.xs.push(x);
    line.ys.push(one.target[i]);
    // Weekends are longer than the usual step of business days and no gaps.
    if (i === xs.length - 1 || steps[i] < (one.freq === "B" ? 4 : 1.6) * usual) return;
    line.breaks.add(x + usual / 2);
    line.xs.push(x + usual / 2);
    line.ys.push(null);
  });
  return line;
}

/** When each step of a forecast is, as text. */
export function stepNames(one, forecast) {
  return forecast.timestamps ?? forecast.mean.map((_, k) => `step ${one.target.length + k + 1}`);
}
