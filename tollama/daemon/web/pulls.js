// Pulls that are going on: progress, cancel, and what came of them.
import { call, stream } from "./api.js";
import { find, licence, refresh } from "./catalogue.js";
import { confirm } from "./dialogs.js";
import { announce, byId, fill, h, notice } from "./dom.js";
import { bytes } from "./numbers.js";

const active = new Map(); // name -> abort

/** Whether a model is being pulled in this page. */
export const isPulling = (name) => active.has(name);

/** Pull a model; `options` are further fields of the request. */
export async function pull(name, options = {}) {
  if (active.has(name)) return;
  const model = find(name);
  const needs = model?.license?.needs_acceptance && !model.license.accepted;
  if (needs && !options.accept_license) {
    if (!(await confirm(`Accept the licence of ${name}?`, `${name} is under “${licence(model)}”, which must be accepted before it is pulled.`, "Accept and pull"))) return;
    options = { ...options, accept_license: true };
  }
  const abort = new AbortController();
  active.set(name, abort);
  const bar = h("progress", { "aria-label": `Pulling ${name}` });
  const words = h("span.faint", {}, "Starting");
  const cancel = h("button.small", { type: "button", onclick: () => stop(name) }, "Cancel");
  const row = h("li.pull", { "data-model": name }, h("div.pull-head", {}, h("strong", {}, name), cancel), bar, words);
  byId("pulls").append(row);
  byId("pulls-box").hidden = false;
  let speed = meter();
  try {
    for await (const event of stream("POST", "api/pull", { model: name, ...options }, abort.signal)) {
      const total = event.total_bytes ?? event.total;
      const done = event.completed_bytes ?? event.completed;
      if (total) {
        Object.assign(bar, { max: total, value: done ?? 0 });
        const rate = speed(done ?? 0);
        words.textContent = `${bytes(done)} of ${bytes(total)}${rate ? `, ${bytes(rate)}/s` : ""}`;
      } else if (event.status && event.status !== "warning") words.textContent = event.status;
      if (event.status === "success") announce(`${name} is here`);
    }
    fill(row, notice("success", `${name} is here`, h("p", {}, "Choose it in the Forecast tab."), dismiss(row)));
  } catch (error) {
    if (error.code === "license_required" && !options.accept_license) {
      row.remove();
      active.delete(name);
      if (await confirm(`Accept the licence of ${name}?`, error.message, "Accept and pull")) await pull(name, { ...options, accept_license: true });
      return;
    }
    const cancelled = error.code === "cancelled" || error.name === "AbortError";
    if (cancelled) fill(row, notice("info", `The pull of ${name} was cancelled`, "What was downloaded is kept: pulling again goes on from there.", dismiss(row)));
    else fill(row, notice("error", `${name} could not be pulled`, error.message, dismiss(row)));
  } finally {
    active.delete(name);
    speed = null;
  }
  await refresh().catch(() => {});
}

function dismiss(row) {
  return h(
    "button.small",
    {
      type: "button",
      onclick: () => {
        row.remove();
        byId("pulls-box").hidden = !byId("pulls").children.length;
      },
    },
    "Dismiss",
  );
}

async function stop(name) {
  try {
    await call("DELETE", "api/pull", { model: name });
  } catch (error) {
    byId("pulls").append(h("li", {}, notice("error", `${name} could not be cancelled`, error.message)));
  }
}

/** Bytes a second over the last few seconds. */
function meter() {
  const seen = [];
  return (done) => {
    const now = performance.now() / 1000;
    seen.push([now, done]);
    while (seen.length > 2 && now - seen[0][0] > 5) seen.shift();
    const [then, before] = seen[0];
    return now - then > 0.5 ? (done - before) / (now - then) : 0;
  };
}
