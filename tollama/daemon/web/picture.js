// A chart as a PNG: what is seen of it, under its title and legend.
import { h } from "./dom.js";
import { colour } from "./theme.js";

const FONT = "system-ui, sans-serif";
const EDGE = 14;
const LINE = 20;

/** The chart as it is seen, as a PNG blob; `hidden` are the names that are switched off. */
export function picture(plot, spec, hidden) {
  const scale = devicePixelRatio || 1;
  const source = plot.ctx.canvas;
  const width = source.width / scale;
  const canvas = h("canvas", {});
  const ctx = canvas.getContext("2d");
  ctx.font = `12px ${FONT}`;
  const { rows, items } = layOut(ctx, entries(spec, hidden), width - 2 * EDGE);
  const head = 36 + rows * LINE;
  Object.assign(canvas, { width: source.width, height: Math.round(source.height + head * scale) });
  ctx.fillStyle = colour("surface");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(source, 0, Math.round(head * scale));
  ctx.scale(scale, scale);
  ctx.fillStyle = colour("ink");
  ctx.font = `600 16px ${FONT}`;
  ctx.fillText(shortened(ctx, spec.title ?? spec.label, width - 2 * EDGE), EDGE, 25);
  ctx.font = `12px ${FONT}`;
  for (const { name, ink, x, row } of items) {
    const y = 46 + row * LINE;
    if (ink) {
      ctx.fillStyle = ink;
      ctx.fillRect(EDGE + x, y - 6, 14, 4);
    }
    ctx.fillStyle = colour(ink ? "ink" : "faint");
    ctx.fillText(name, EDGE + x + (ink ? 20 : 0), y);
  }
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** What the legend says: names with their colours, and the levels. */
function entries(spec, hidden) {
  const seen = new Map(spec.forecasts.filter((one) => !hidden.has(one.name)).map((one) => [one.name, one.colour]));
  const found = [["observed", colour("ink")], ...seen];
  if (spec.marks?.length) found.push(["anomaly", colour("anomaly")]);
  if (spec.levels?.length && seen.size) found.push([`shaded: ${spec.levels.map((level) => `${level} %`).join(", ")}`, null]);
  return found;
}

/** Each entry's place, in as many rows as they need. */
function layOut(ctx, found, room) {
  let x = 0;
  let row = 0;
  const items = found.map(([name, ink]) => {
    const size = ctx.measureText(name).width + (ink ? 20 : 0);
    if (x && x + size > room) [x, row] = [0, row + 1];
    const item = { name, ink, x, row };
    x += size + 18;
    return item;
  });
  return { rows: row + 1, items };
}

function shortened(ctx, text, room) {
  if (ctx.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && ctx.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end)}…`;
}
