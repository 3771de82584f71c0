// What is said about the place under the cursor: a tip beside it, and words for screen readers when
// the arrow keys move it.
import { announce, h } from "./dom.js";
import { alike, moment, number } from "./numbers.js";

/** The values at an x as rows [name, value, intervals, colour's property, height]. */
function rowsAt(spec, hidden, x) {
  const rows = [];
  const at = spec.history.breaks?.has(x) ? -1 : spec.history.xs.indexOf(x);
  const said = spec.history.ys[at] === null ? "missing" : number(spec.history.ys[at]);
  if (at >= 0 && spec.history.ys[at] !== undefined) rows.push(["observed", said, "", null, spec.history.ys[at]]);
  const ahead = spec.forecasts.flatMap((one) => (one.xs.includes(x) && !hidden.has(one.name) ? one.mean[one.xs.indexOf(x)] : []));
  const write = ahead.length ? alike(ahead) : number;
  for (const one of spec.forecasts) {
    const i = one.xs.indexOf(x);
    // The first point of a joined line is the last observation, not a forecast.
    if (i < (one.joined ? 1 : 0) || hidden.has(one.name)) continue;
    const bands = [...one.bands].sort((a, b) => a.level - b.level).map((band) => `${band.level} %: ${write(band.low[i])} to ${write(band.high[i])}`);
    rows.push([one.name, write(one.mean[i]), bands, one.property, one.mean[i]]);
  }
  if (spec.expected) {
    const i = spec.expected.xs.indexOf(x);
    if (i >= 0) rows.push(["expected", `${number(spec.expected.low[i])} to ${number(spec.expected.high[i])}`, "", null, spec.expected.high[i]]);
  }
  return rows;
}

export const placeName = (spec, x) => (spec.time ? moment(x * 1000, spec.form) : `step ${x}`);

/** Make a plot say its values; returns {destroy}. */
export function attachReadout(plot, frame, spec, hidden) {
  // On a narrow screen a tip would hide the chart that it explains: there it stands below.
  const below = frame.clientWidth < 480;
  const tip = h(below ? "div.tip.below" : "div.tip", { hidden: true });
  (below ? frame : plot.over).append(tip);

  function show() {
    const i = plot.cursor.idx;
    const x = i === null || i === undefined || plot.cursor.left < 0 ? undefined : plot.data[0][i];
    const rows = x === undefined ? [] : rowsAt(spec, hidden, x);
    tip.hidden = !rows.length;
    if (!rows.length) return rows;
    tip.replaceChildren(
      h("strong", {}, placeName(spec, x)),
      ...rows.map(([name, value, bands, property]) => {
        const swatch = h("span.swatch", {});
        if (property) swatch.style.background = `var(--${property})`;
        return h("div", {}, h("div.tip-row", {}, swatch, h("span", {}, name), h("b", {}, value)), bands ? bands.map((text) => h("div.tip-band", {}, text)) : null);
      }),
    );
    if (below) return rows;
    const width = tip.offsetWidth;
    const left = plot.valToPos(x, "x");
    const room = plot.over.clientWidth;
    tip.style.left = `${left + 14 + width < room ? left + 14 : Math.max(0, left - width - 14)}px`;
    // Beside the lines rather than over them: below where the values are high.
    const high = plot.valToPos(rows.at(-1)[4], "y") < plot.over.clientHeight / 2;
    tip.style.top = `${high ? plot.over.clientHeight - tip.offsetHeight - 8 : 8}px`;
    return rows;
  }
  plot.hooks.setCursor = [...(plot.hooks.setCursor ?? []), show];

  function move(step) {
    const xs = plot.data[0];
    const { min, max } = plot.scales.x;
    const within = (i) => Math.min(xs.length - 1, Math.max(0, i));
    let i = within(plot.cursor.left >= 0 && plot.cursor.idx !== null && plot.cursor.idx !== undefined ? plot.cursor.idx + step : xs.length - 1);
    if (!rowsAt(spec, hidden, xs[i]).length) i = within(i + Math.sign(step)); // where rows are absent
    // The view follows the place that is read.
    const off = xs[i] < min ? xs[i] - min : xs[i] > max ? xs[i] - max : 0;
    if (off) plot.setScale("x", { min: min + off, max: max + off });
    plot.setCursor({ left: plot.valToPos(xs[i], "x"), top: 10 });
    const rows = show();
    const said = rows.map(([name, value, bands]) => `${name} ${value}${bands.length ? `, ${bands.join(", ")}` : ""}`);
    announce(`${placeName(spec, xs[i])}: ${said.join("; ")}`);
  }
  const onKey = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (!step) return;
    event.preventDefault();
    move(step);
  };
  frame.addEventListener("keydown", onKey);
  return {
    destroy() {
      frame.removeEventListener("keydown", onKey);
      tip.remove();
    },
  };
}
