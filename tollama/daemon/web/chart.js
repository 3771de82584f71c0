// A chart of a series, its forecasts with their intervals, and marks: uPlot, dressed for this page.
// Not here: what is said about the place under the cursor (readout.js), the picture of it (picture.js).
import { h, notice } from "./dom.js";
import { axisTimes, number, whole } from "./numbers.js";
import { picture } from "./picture.js";
import { attachReadout } from "./readout.js";
import { colour, faded, onTheme } from "./theme.js";

export const hasCharts = () => typeof window.uPlot === "function";

const drawn = new Set();
onTheme(() => drawn.forEach((chart) => chart.redraw()));

/** One x axis for everything on the chart, and each line's values on it. */
function align(lines) {
  const xs = [...new Set(lines.flatMap((line) => line.xs))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, i) => [x, i]));
  const columns = lines.map((line) => {
    // undefined means "no value wanted here", null is a real gap.
    const column = new Array(xs.length).fill(undefined);
    line.xs.forEach((x, i) => (column[place.get(x)] = line.ys[i]));
    return column;
  });
  return [xs, ...columns];
}

/**
 * Draw into `host`: {label, time, form, history: {xs, ys}, forecasts: [{name, property, colour, xs,
 * mean, bands: [{level, low, high}]}], cutoffs: [x], expected: {xs, low, high}, marks: [{x, y}],
 * view}. Times are seconds. Returns {png, destroy, show(name, visible), centre(x)}.
 */
export function drawChart(host, spec) {
  host.replaceChildren();
  if (!hasCharts()) {
    host.append(notice("info", "No chart in this installation", "The chart library is packed into tollama.pyz when it is built (make build); the tables and downloads below have everything."));
    return { png: null, destroy() {}, show() {}, centre() {} };
  }
  const frame = h("div.chart-frame", { tabIndex: 0, role: "group", "aria-roledescription": "chart", "aria-label": `${spec.label}. Left and right arrows read values, plus and minus zoom, comma and point move, 0 shows everything.` });
  const hidden = new Set();
  const hint = h("span", {});
  const mouse = h("span.mouse", {});
  let plot;
  let readout;

  function build() {
    const { lines, series, bands } = layers(spec, hidden);
    const width = Math.max(host.clientWidth, 200);
    const options = {
      width,
      height: heightFor(width),
      series: [{}, ...series],
      bands,
      legend: { show: false },
      padding: [12, 14, 0, 4],
      cursor: { y: false, drag: { x: true, y: false, dist: 6 }, points: { size: 7 }, dataIdx: (u, series, at) => at },
      scales: { x: { time: spec.time }, y: { range: (u, low, high) => padded(low, high) } },
      axes: [xAxis(spec), yAxis(spec)],
      hooks: { drawAxes: [(u) => cutLines(u, spec.cutoffs ?? [])], setScale: [(u, key) => key === "x" && inView(u)] },
    };
    if (spec.time) options.tzDate = (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "UTC");
    const data = align(lines);
    plot = new window.uPlot(options, data, frame);
    if (spec.view) plot.setScale("x", { min: spec.view[0], max: spec.view[1] });
    readout = attachReadout(plot, frame, spec, hidden);
  }
  /** How much is seen, in words. */
  function inView(u) {
    const xs = u.data[0];
    const { min, max } = u.scales.x;
    const seen = xs.filter((x) => x >= min && x <= max).length;
    hint.textContent = seen < xs.length ? `${whole(seen)} of ${whole(xs.length)} steps in view` : "";
    mouse.textContent = seen < xs.length ? " · double-click for all" : "Drag to zoom";
  }
  function redraw() {
    const view = plot.scales.x;
    const kept = [view.min, view.max];
    readout.destroy();
    plot.destroy();
    build();
    plot.setScale("x", { min: kept[0], max: kept[1] });
  }
  const ends = () => [plot.data[0][0], plot.data[0].at(-1)];
  /** Show [min, max], moved so that it lies within the data. */
  function look(min, max) {
    const [first, last] = ends();
    const size = Math.min(max - min, last - first);
    const from = Math.max(first, Math.min(min, last - size));
    plot.setScale("x", { min: from, max: from + size });
  }
  function zoom(factor) {
    const { min, max } = plot.scales.x;
    const size = (max - min) * factor;
    // About the middle, but the end stays where it is seen: forecasts are there.
    const from = max >= ends()[1] ? max - size : (min + max - size) / 2;
    look(from, from + size);
  }
  function pan(share) {
    const { min, max } = plot.scales.x;
    look(min + share * (max - min), max + share * (max - min));
  }
  const all = () => look(...ends());
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = { "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: all, ",": () => pan(-0.5), ".": () => pan(0.5) }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  const button = (text, label, onclick) => h("button.small", { type: "button", "aria-label": label, title: label, onclick }, text);
  host.append(
    frame,
    h(
      "div.chart-tools",
      { role: "group", "aria-label": "Zoom" },
      h("span.hint", {}, hint, mouse),
      button("‹", "Earlier", () => pan(-0.5)),
      button("›", "Later", () => pan(0.5)),
      button("−", "Zoom out", () => zoom(1 / 0.6)),
      button("+", "Zoom in", () => zoom(0.6)),
      button("All", "All: show everything", all),
    ),
  );
  build();
  const watcher = new ResizeObserver(() => {
    const width = host.clientWidth;
    if (width && Math.abs(width - plot.width) > 1) plot.setSize({ width, height: heightFor(width) });
  });
  watcher.observe(host);
  const chart = {
    redraw,
    png: () => picture(plot, spec, hidden),
    /** Bring a place into the middle. */
    centre(x) {
      const { min, max } = plot.scales.x;
      look(x - (max - min) / 2, x + (max - min) / 2);
      frame.focus({ preventScroll: true });
      frame.scrollIntoView({ block: "nearest" });
    },
    show(name, visible) {
      if (visible) hidden.delete(name);
      else hidden.add(name);
      redraw();
    },
    destroy() {
      drawn.delete(chart);
      watcher.disconnect();
      readout.destroy();
      plot.destroy();
    },
  };
  drawn.add(chart);
  return chart;
}

const heightFor = (width) => Math.round(Math.min(430, Math.max(270, width * 0.46)));

function padded(low, high) {
  if (low === null || high === null) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  // Values that are never negative keep zero as their floor.
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

/** The lines of a spec, uPlot's series for them, and the bands between some of them. */
function layers(spec, hidden) {
  const lines = [];
  const series = [];
  const bands = [];
  const add = (xs, ys, options) => {
    lines.push({ xs, ys });
    series.push({ spanGaps: false, points: { show: false }, ...options });
    return series.length;
  };
  const none = { stroke: "transparent", width: 0 };
  const between = (xs, low, high, fill, show = true) => {
    const top = add(xs, high, { ...none, show });
    const bottom = add(xs, low, { ...none, show });
    bands.push({ series: [top, bottom], fill });
  };
  if (spec.expected) between(spec.expected.xs, spec.expected.low, spec.expected.high, faded(colour("ink"), 0.1));
  const several = spec.forecasts.length > 1;
  for (const one of spec.forecasts) {
    const show = !hidden.has(one.name);
    // Wide intervals first, so that narrow ones are darker on top of them.
    [...one.bands]
      .sort((a, b) => b.level - a.level)
      .forEach((band) => between(one.xs, band.low, band.high, faded(one.colour, several ? 0.1 : 0.17), show));
  }
  add(spec.history.xs, spec.history.ys, { stroke: colour("ink"), width: 1.5, points: { size: 4, fill: colour("ink") } });
  for (const one of spec.forecasts) {
    add(one.xs, one.mean, { stroke: one.colour, width: 2.2, show: !hidden.has(one.name), dash: one.dash });
  }
  if (spec.marks?.length) {
    add(
      spec.marks.map((mark) => mark.x),
      spec.marks.map((mark) => mark.y),
      { ...none, paths: () => null, points: { show: true, size: 10, width: 2, stroke: colour("surface"), fill: colour("anomaly") } },
    );
  }
  return { lines, series, bands };
}

function xAxis(spec) {
  return {
    stroke: colour("faint"),
    grid: { stroke: colour("grid"), width: 1 },
    ticks: { stroke: colour("grid"), width: 1, size: 6 },
    font: "12px system-ui, sans-serif",
    space: 62,
    size: (u, values) => (values?.some((text) => String(text).includes("\n")) ? 48 : 32),
    values: spec.time ? (u, splits, axis, space, step) => axisTimes(splits, step) : (u, splits) => splits.map((x) => (Number.isInteger(x) ? number(x) : "")),
  };
}

function yAxis(spec) {
  const top = Math.max(...[spec.history.ys, ...spec.forecasts.map((one) => one.mean)].map((ys) => ys.reduce((most, y) => Math.max(most, Math.abs(y ?? 0)), 0)));
  return {
    // uPlot's own steps end at 5e15.
    incrs: top < 1e15 ? undefined : (u, side, low, high) => [0.05, 0.1, 0.2, 0.25, 0.5, 1].map((part) => part * 10 ** Math.ceil(Math.log10(high - low || 1))),
    stroke: colour("faint"),
    grid: { stroke: colour("grid"), width: 1 },
    ticks: { show: false },
    font: "12px system-ui, sans-serif",
    values: (u, splits) => splits.map(number),
    size: (u, values) => 14 + 7.2 * Math.max(2, ...(values ?? [""]).map((text) => String(text).length)),
  };
}

function cutLines(plot, cutoffs) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colour("faint");
  ctx.setLineDash([4, 4]);
  for (const x of cutoffs) {
    const at = Math.round(plot.valToPos(x, "x", true)) + 0.5;
    if (at < bbox.left || at > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

/** The legend of a chart: what each colour is; forecasts can be switched off and on. */
export function legend(spec, chart) {
  const swatch = (name, kind = "line") => {
    const node = h(`span.swatch.${kind}`, { "aria-hidden": "true" });
    node.style.background = name;
    return node;
  };
  const seen = new Set();
  const entries = spec.forecasts.filter((one) => !seen.has(one.name) && seen.add(one.name));
  return h(
    "div.legend",
    {},
    h("span.legend-item", {}, swatch("var(--ink)"), "observed"),
    entries.map((one) => {
      const toggle = h(
        "button.legend-item",
        {
          type: "button",
          "aria-pressed": "true",
          title: `Show or hide ${one.name}`,
          onclick: () => {
            const visible = toggle.getAttribute("aria-pressed") !== "true";
            toggle.setAttribute("aria-pressed", String(visible));
            chart.show(one.name, visible);
          },
        },
        swatch(`var(--${one.property})`),
        one.name,
      );
      return toggle;
    }),
    spec.levels?.length ? h("span.legend-item.faint", {}, `shaded: ${spec.levels.map((level) => `${level} %`).join(", ")}`) : null,
    spec.expected ? h("span.legend-item", {}, swatch("var(--line)", "area"), "expected") : null,
    spec.marks?.length ? h("span.legend-item", {}, swatch("var(--anomaly)", "dot"), "anomaly") : null,
  );
}
