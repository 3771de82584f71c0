// Which column of a table is what: names are looked at first, then what the cells hold. The result
// is a proposal that the page shows for correction.
import { dateKind, dateOrder, isMissing, looksNumeric } from "./cells.js";

export const ROLES = ["time", "id", "target", "covariate", "ignore"];
const TIME = "ds timestamp timestamps datetime date time period month day week quarter year hour yearmonth observationdate".split(" ");
const ID = "uniqueid itemid seriesid tsid series id item".split(" ");
const TARGET = "y target value values".split(" ");
const LIKE_ID = "store shop sku product dept department family region country state city ticker symbol station sensor device customer site location meter channel category brand group key name label code unit line".split(" ");
const LIKE_TARGET = "sales demand close adjclose count quantity qty amount price load consumption total revenue volume orders visits units passengers".split(" ");

const key = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

/** "number", "text" or "empty", by nine in ten of the filled cells. */
function kindOf(cells) {
  const filled = cells.filter((cell) => !isMissing(cell));
  if (!filled.length) return "empty";
  return filled.filter(looksNumeric).length >= 0.9 * filled.length ? "number" : "text";
}

/** A proposal for a table: {roles, kinds, dates, sure}; `dates` is {kind, order, sure} or null. */
export function guess(table) {
  const { header, rows } = table;
  const sample = rows.length > 3000 ? rows.slice(0, 3000) : rows;
  const column = (i) => sample.map((row) => row[i] ?? "");
  const keys = header.map(key);
  const kinds = header.map((_, i) => kindOf(column(i)));
  const roles = header.map(() => "ignore");

  const named = keys.map((name) => TIME.includes(name) || TIME.some((time) => time.length > 3 && name.endsWith(time)));
  const order = [...header.keys()].sort((a, b) => named[b] - named[a] || a - b);
  const time = order.find((i) => dateKind(column(i), named[i] || (table.bare && i === 0 && rising(column(i)))) !== null);
  if (time !== undefined) roles[time] = "time";
  const free = () => [...header.keys()].filter((i) => roles[i] === "ignore" && kinds[i] !== "empty");

  const counts = time === undefined ? null : repeats(sample, time);
  const usual = ID.map((name) => keys.indexOf(name)).find((i) => i >= 0 && roles[i] === "ignore");
  if (usual !== undefined && (counts !== false || kinds[usual] === "text")) roles[usual] = "id";
  else if (counts) {
    const likely = free().filter((i) => kinds[i] === "text" || LIKE_ID.includes(keys[i]));
    const one = likely.find((i) => !repeats(sample, time, [i]));
    for (const i of one === undefined ? likely : [one]) roles[i] = "id";
  }
  const hasId = roles.includes("id");
  const numeric = free().filter((i) => kinds[i] === "number");
  const byName = [...TARGET, ...LIKE_TARGET].map((name) => numeric.find((i) => keys[i] === name)).find((i) => i !== undefined);
  let sure = true;
  if (byName !== undefined && (hasId || TARGET.includes(keys[byName]) || numeric.length === 1)) roles[byName] = "target";
  else if (hasId) {
    if (numeric.length) roles[numeric[0]] = "target";
    sure = numeric.length === 1;
  } else for (const i of numeric) roles[i] = "target";
  // Beside one target, other numbers and words are known to us as covariates only by the user.
  return { roles, kinds, dates: time === undefined ? null : datesOf(column(time), named[time]), sure };
}

/** How the cells of a time column are read; null when they are no dates. */
export function datesOf(cells, named = true) {
  const kind = dateKind(cells.slice(0, 3000), named);
  if (kind === null) return null;
  return { kind, ...(kind === "numeric" ? dateOrder(cells) : { order: "", sure: true }) };
}

function rising(cells) {
  return cells.every((cell, i) => i === 0 || Number(cell) > Number(cells[i - 1]));
}

/** Whether any two rows have the same time (and ids). */
function repeats(rows, time, ids = []) {
  const seen = new Set();
  for (const row of rows) {
    const place = [time, ...ids].map((i) => row[i]).join("\u0000");
    if (seen.has(place)) return true;
    seen.add(place);
  }
  return false;
}
