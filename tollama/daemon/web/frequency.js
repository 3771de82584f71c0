// The step of a time axis as people see it, and how many steps are missing. What counts in the end
// is what the daemon infers; this is the report before anything is sent.

const SECOND = 1000;
const UNITS = [
  ["W", 7 * 86400 * SECOND, "week"],
  ["D", 86400 * SECOND, "day"],
  ["h", 3600 * SECOND, "hour"],
  ["min", 60 * SECOND, "minute"],
  ["s", SECOND, "second"],
];
const EVERY = { W: "weekly", D: "daily", h: "hourly", min: "every minute", s: "every second" };
const SEASONS = { h: 24, D: 7, B: 5, W: 52, MS: 12, QS: 4, YS: 1 };

const monthOf = (ms) => {
  const date = new Date(ms);
  return 12 * date.getUTCFullYear() + date.getUTCMonth();
};

/** The value that occurs most often, the smallest of equals. */
function mode(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0]?.[0];
}

/**
 * The step of rising instants (ms): {freq, label, gaps, irregular, form, season}. `gaps` counts the
 * steps that are missing, `irregular` the instants that lie on no step. `form` is how to write them.
 */
export function frequency(stamps) {
  const dates = stamps.every((ms) => ms % (86400 * SECOND) === 0);
  const none = { freq: null, label: "no regular step", gaps: 0, irregular: 0, form: dates ? "day" : "time", season: 1 };
  if (stamps.length < 2) return { ...none, label: "one point" };
  const days = stamps.map((ms) => new Date(ms).getUTCDate());
  const lasts = stamps.map((ms) => new Date(ms + 86400 * SECOND).getUTCDate() === 1);
  const sameDay = dates && days.every((day) => day === days[0]);
  if (sameDay || (dates && lasts.every(Boolean))) {
    const months = stamps.map(monthOf);
    const steps = months.slice(1).map((month, i) => month - months[i]);
    const step = mode(steps);
    if (step >= 1 && steps.every((one) => one % step === 0)) {
      const gaps = steps.reduce((sum, one) => sum + one / step - 1, 0);
      const [unit, word, season] = step % 12 === 0 ? ["Y", "yearly", 1] : step === 3 ? ["Q", "quarterly", 4] : step === 1 ? ["M", "monthly", 12] : ["M", `every ${step} months`, Math.max(1, Math.round(12 / step))];
      const freq = sameDay && days[0] === 1 ? `${unit}S` : unit;
      const label = step % 12 === 0 && step > 12 ? `every ${step / 12} years` : word;
      return { freq, label, gaps, irregular: 0, form: days[0] === 1 && unit !== "Y" ? "month" : "day", season };
    }
  }
  const steps = stamps.slice(1).map((ms, i) => ms - stamps[i]);
  const step = mode(steps);
  if (dates && step === 86400 * SECOND && stamps.every((ms) => ![0, 6].includes(new Date(ms).getUTCDay())) && stamps.length > 9) {
    // Weekends are no gaps of business days.
    const gaps = steps.reduce((sum, one, i) => sum + businessDays(stamps[i], one) - 1, 0);
    return { freq: "B", label: "business days", gaps, irregular: 0, form: "day", season: 5 };
  }
  const irregular = steps.filter((one) => one % step !== 0).length;
  if (!step || irregular > steps.length / 10) return { ...none, irregular };
  const gaps = steps.reduce((sum, one) => sum + Math.max(0, Math.round(one / step) - 1), 0);
  const [unit, size, word] = UNITS.find(([, length]) => step % length === 0) ?? UNITS.at(-1);
  const count = step / size;
  const label = count === 1 ? EVERY[unit] : `every ${count} ${word}s`;
  const season = count === 1 ? (SEASONS[unit] ?? 1) : unit === "min" && 1440 % count === 0 ? 1440 / count : unit === "h" && 24 % count === 0 ? 24 / count : 1;
  return { freq: count === 1 ? unit : `${count}${unit}`, label, gaps, irregular, form: dates ? "day" : "time", season };
}

function businessDays(from, length) {
  let found = 0;
  for (let at = 86400 * SECOND; at <= length && found < 400; at += 86400 * SECOND) {
    if (![0, 6].includes(new Date(from + at).getUTCDay())) found++;
  }
  return found;
}
