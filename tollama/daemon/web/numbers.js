// Numbers, sizes, durations and dates as people read them.

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A value of a series: five digits, or all of a whole number. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e12 || (size > 0 && size < 1e-4)) return value.toExponential(3);
  return size >= 1e4 ? grouped.format(value) : plain.format(value);
}

/** A function that writes numbers of one column or table alike: as many decimals as all need. */
export function alike(values) {
  const sizes = values.filter((value) => Number.isFinite(value)).map(Math.abs);
  const top = sizes.reduce((most, size) => Math.max(most, size), 0);
  if (top >= 1e12 || (top > 0 && top < 1e-4)) return number;
  if (sizes.every(Number.isInteger)) return number;
  const decimals = Math.max(0, Math.min(6, 4 - Math.floor(Math.log10(top || 1))));
  const format = new Intl.NumberFormat("en", { minimumFractionDigits: Math.min(decimals, 4), maximumFractionDigits: Math.min(decimals, 4) });
  return (value) => (Number.isFinite(value) ? format.format(value) : "–");
}

export const whole = (value) => grouped.format(value);

/** A share as percent. */
export const percent = (share) => `${(100 * share).toFixed(Math.abs(share) < 0.1 ? 1 : 0)} %`;

/** Bytes in the unit that fits. */
export function bytes(count) {
  if (!count) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(Math.floor(Math.log10(count) / 3), units.length - 1);
  const value = count / 1000 ** step;
  return `${value >= 100 || step === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[step]}`;
}

/** A number of parameters: 28 M. */
export function amount(count) {
  if (!count) return "–";
  const units = ["", "k", "M", "B"];
  const step = Math.min(Math.floor(Math.log10(count) / 3), units.length - 1);
  return `${(count / 1000 ** step).toFixed(step && count / 1000 ** step < 10 ? 1 : 0)} ${units[step]}`.trim();
}

/** Seconds from now as "in 4 min". */
export function until(iso) {
  if (!iso) return "never";
  const seconds = Math.round((Date.parse(iso) - Date.now()) / 1000);
  if (seconds <= 0) return "now";
  if (seconds < 90) return `in ${seconds} s`;
  if (seconds < 5400) return `in ${Math.round(seconds / 60)} min`;
  return `in ${Math.round(seconds / 3600)} h`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (value) => String(value).padStart(2, "0");

/** Labels of a time axis in UTC; `step` is the distance between two of them in seconds. */
export function axisTimes(seconds, step) {
  let lastYear = null;
  let lastDay = null;
  return seconds.map((at) => {
    const date = new Date(at * 1000);
    const year = date.getUTCFullYear();
    const day = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
    const firstOfYear = year !== lastYear;
    const firstOfDay = day !== lastDay || firstOfYear;
    lastYear = year;
    lastDay = day;
    if (step >= 350 * 86400) return String(year);
    if (step >= 27 * 86400) return MONTHS[date.getUTCMonth()] + (firstOfYear ? `\n${year}` : "");
    if (step >= 86400) return day + (firstOfYear ? `\n${year}` : "");
    return `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}` + (firstOfDay ? `\n${day}` : "");
  });
}

/** An instant without what is zero in all of its series: "1960-12" stays readable. */
export function moment(ms, form) {
  const iso = new Date(ms).toISOString();
  if (form === "month") return iso.slice(0, 7);
  if (form === "day") return iso.slice(0, 10);
  return iso.slice(0, iso.endsWith(":00.000Z") ? 16 : 19).replace("T", " ");
}
