// Cells of a column read as numbers, dates or missing values, one style for the whole column.

const MISSING = new Set(["", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", ".", "?", "missing", "<na>"]);
const POINT = /^[+-]?(?:\d{1,3}(?:[ \u00a0\u202f'’]\d{3})+|\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:e[+-]?\d+)?$/i;
const COMMA = /^[+-]?(?:\d{1,3}(?:[ \u00a0\u202f'’]\d{3})+|\d{1,3}(?:\.\d{3})+|\d+)?(?:,\d*)?(?:e[+-]?\d+)?$/i;

export const isMissing = (cell) => MISSING.has((cell ?? "").trim().toLowerCase());
const digits = (text) => /\d/.test(text);

/** Whether a cell is a number in either style. */
export const looksNumeric = (cell) => digits(cell) && (POINT.test(cell) || COMMA.test(cell));

/** "." or ",": the decimal sign in which all cells are numbers, the point when both would do. */
export function decimalOf(cells) {
  const numbers = cells.filter((cell) => !isMissing(cell) && looksNumeric(cell));
  const point = numbers.filter((cell) => POINT.test(cell)).length;
  const comma = numbers.filter((cell) => COMMA.test(cell)).length;
  if (point !== comma) return point > comma ? "." : ",";
  if (!numbers.some((cell) => cell.includes(","))) return ".";
  // "1,234" alone: a thousands sign, unless longer whole numbers stand beside it without one.
  return numbers.some((cell) => /^[+-]?(\d{4,}|0,\d+)$/.test(cell)) ? "," : ".";
}

/** A function that reads a cell as a number: null when missing, undefined when it is neither. */
export function numberReader(decimal) {
  const pattern = decimal === "," ? COMMA : POINT;
  return (cell) => {
    const text = (cell ?? "").trim().replace("\u2212", "-");
    if (isMissing(text)) return null;
    if (!digits(text) || !pattern.test(text)) return undefined;
    let bare = text.replace(/[ \u00a0\u202f'’]/g, "");
    bare = decimal === "," ? bare.replaceAll(".", "").replace(",", ".") : bare.replaceAll(",", "");
    const value = Number(bare);
    return Number.isFinite(value) ? value : undefined;
  };
}

// -- dates ------------------------------------------------------------------------------------------

const CLOCK = String.raw`(?:[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s*([AaPp][Mm])?\s*(Z|z|UTC|GMT|[+-]\d{2}:?\d{2})?`;
const NAMES = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const NAME = String.raw`([A-Za-z]{3,9})\.?`;
const month = (name) => NAMES.indexOf(name.slice(0, 3).toLowerCase()) + 1;
const century = (text) => (text.length === 4 ? +text : +text + (+text < 70 ? 2000 : 1900));

// Each kind: pattern, and [year, month, day, clock parts from index] of a match.
const KINDS = {
  iso: [new RegExp(String.raw`^(\d{4})-(\d{1,2})(?:-(\d{1,2}))?${CLOCK}$`), (m) => [+m[1], +m[2], +(m[3] ?? 1), m.slice(4)]],
  slashed: [new RegExp(String.raw`^(\d{4})([/.])(\d{1,2})\2(\d{1,2})${CLOCK}$`), (m) => [+m[1], +m[3], +m[4], m.slice(5)]],
  month: [/^(\d{4})(?:\/| ?[Mm])(\d{1,2})$/, (m) => [+m[1], +m[2], 1]],
  quarter: [/^(\d{4})[-/ ]?[Qq]([1-4])$/, (m) => [+m[1], 3 * m[2] - 2, 1]],
  quarterFirst: [/^[Qq]([1-4])[-/ ]?(\d{4})$/, (m) => [+m[2], 3 * m[1] - 2, 1]],
  numeric: [new RegExp(String.raw`^(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})${CLOCK}$`), (m, order) => (order === "mdy" ? [century(m[4]), +m[1], +m[3], m.slice(5)] : [century(m[4]), +m[3], +m[1], m.slice(5)])],
  monthYear: [/^(\d{1,2})[/-](\d{4})$/, (m) => [+m[2], +m[1], 1]],
  dayName: [new RegExp(String.raw`^(\d{1,2})[- ]?${NAME}[-, ]*(\d{4}|\d{2})${CLOCK}$`), (m) => [century(m[3]), month(m[2]), +m[1], m.slice(4)]],
  nameDay: [new RegExp(String.raw`^${NAME} (\d{1,2}),? (\d{4})${CLOCK}$`), (m) => [+m[3], month(m[1]), +m[2], m.slice(4)]],
  nameYear: [new RegExp(String.raw`^${NAME}[- ,]*'?(\d{4}|\d{2})$`), (m) => [century(m[2]), month(m[1]), 1]],
  compact: [/^((?:1[6-9]|2[01])\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$/, (m) => [+m[1], +m[2], +m[3]]],
  year: [/^(1[5-9]\d{2}|2[01]\d{2})$/, (m) => [+m[1], 1, 1]],
  compactMonth: [/^((?:1[6-9]|2[01])\d{2})(0[1-9]|1[0-2])$/, (m) => [+m[1], +m[2], 1]],
  epoch: [/^(\d{9,10})(\d{3})?$/, (m) => new Date(m[1] * 1000 + +(m[2] ?? 0))],
};
const NEED_A_NAME = new Set(["year", "compactMonth", "epoch"]);

/** The kind of date that nine in ten of the cells are, or null; `named`: the column says it is a time. */
export function dateKind(cells, named) {
  const texts = cells.filter((cell) => !isMissing(cell));
  if (!texts.length) return null;
  for (const [kind, [pattern, parts]] of Object.entries(KINDS)) {
    if (NEED_A_NAME.has(kind) && !named) continue;
    const hits = texts.filter((text) => {
      const match = pattern.exec(text);
      if (!match) return false;
      const found = parts(match, "dmy");
      return found instanceof Date || found[1] > 0;
    }).length;
    if (hits && hits >= 0.9 * texts.length) return kind;
  }
  return null;
}

/** Day or month first: {order, sure}; sure is false when nothing in the column tells. */
export function dateOrder(cells) {
  let first = 0;
  let second = 0;
  let dots = true;
  const days = [];
  for (const cell of cells) {
    const match = KINDS.numeric[0].exec(cell);
    if (!match) continue;
    first = Math.max(first, +match[1]);
    second = Math.max(second, +match[3]);
    dots &&= match[2] === ".";
    days.push([century(match[4]), +match[1], +match[3]]);
  }
  if (first > 12) return { order: "dmy", sure: true };
  if (second > 12) return { order: "mdy", sure: true };
  if (dots && days.length) return { order: "dmy", sure: true };
  const even = ["dmy", "mdy"].filter((order) => {
    const stamps = days.map(([y, a, b]) => (order === "dmy" ? [y, b, a] : [y, a, b]));
    const steps = new Set();
    const months = new Set();
    for (let i = 1; i < stamps.length; i++) {
      steps.add(Date.UTC(stamps[i][0], stamps[i][1] - 1, stamps[i][2]) - Date.UTC(stamps[i - 1][0], stamps[i - 1][1] - 1, stamps[i - 1][2]));
      months.add(12 * (stamps[i][0] - stamps[i - 1][0]) + stamps[i][1] - stamps[i - 1][1]);
    }
    return steps.size === 1 || (months.size === 1 && new Set(stamps.map((s) => s[2])).size === 1);
  });
  return even.length === 1 && days.length > 2 ? { order: even[0], sure: true } : { order: "dmy", sure: false };
}

const two = (value) => String(value).padStart(2, "0");

/** A function that reads a cell of a kind as {iso, ms}, undefined when it is no such date. */
export function dateReader(kind, order) {
  const [pattern, parts] = KINDS[kind];
  return (cell) => {
    const match = pattern.exec(cell.trim());
    if (!match) return undefined;
    const found = parts(match, order);
    if (found instanceof Date) return { iso: found.toISOString().slice(0, 19), ms: found.getTime() };
    const [year, mon, day, clock] = found;
    const date = new Date(Date.UTC(year, mon - 1, day));
    if (date.getUTCMonth() !== mon - 1 || date.getUTCDate() !== day) return undefined;
    const iso = `${year}-${two(mon)}-${two(day)}`;
    if (!clock || clock[0] === undefined) return { iso, ms: date.getTime() };
    let hour = +clock[0];
    if (clock[4]) {
      if (hour < 1 || hour > 12) return undefined;
      hour = (hour % 12) + (/p/i.test(clock[4]) ? 12 : 0);
    }
    if (hour > 23 || +clock[1] > 59 || +(clock[2] ?? 0) > 59) return undefined;
    const zone = !clock[5] ? "" : /^[zug]/i.test(clock[5]) ? "Z" : clock[5].replace(/^(.\d\d):?(\d\d)$/, "$1:$2");
    const fraction = clock[3] && +clock[3] ? `.${clock[3]}` : "";
    const time = `${iso}T${two(hour)}:${two(clock[1])}:${two(clock[2] ?? 0)}${fraction}`;
    return { iso: time + zone, ms: Date.parse(time + (zone || "Z")) };
  };
}
