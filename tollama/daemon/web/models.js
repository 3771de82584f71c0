// The Models tab: what is installed, loaded and on offer, with everything that can be done to it.
import { call } from "./api.js";
import { abilities, all, badges, licence, onModels, refresh } from "./catalogue.js";
import { confirm, copyText, showPanel } from "./dialogs.js";
import { announce, byId, fill, h, notice } from "./dom.js";
import { amount, bytes, until, whole } from "./numbers.js";
import { isPulling, pull } from "./pulls.js";

const EVERY = 2500;
let timer = null;
let gone = false; // the daemon did not answer the last time
let missing = new Map(); // family -> the command that installs its runtime

/** Set up the tab. */
export function bindModels() {
  const form = byId("pull-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("pull-name").value.trim();
    byId("pull-error").hidden = Boolean(name);
    if (!name) return;
    const options = {};
    if (byId("pull-insecure").checked) options.insecure = true;
    if (byId("pull-token").value) options.token = byId("pull-token").value;
    byId("pull-name").value = "";
    pull(name, options);
  });
  byId("model-search").addEventListener("input", showModels);
  onModels(showModels);
}

/** The tab has been opened (true) or left. */
export async function modelsShown(shown) {
  clearInterval(timer);
  timer = null;
  if (!shown) return;
  timer = setInterval(() => document.visibilityState === "visible" && showLoaded(), EVERY);
  await showAll();
}

const showAll = () => Promise.all([refresh().catch((error) => failed("models-list", error)), showLoaded(), showMachine()]);

function failed(place, error) {
  fill(byId(place), notice("error", "This could not be read", error.message));
}

// -- loaded -----------------------------------------------------------------------------------------

async function showLoaded() {
  let models;
  try {
    ({ models } = await call("GET", "api/ps"));
  } catch (error) {
    gone = true;
    return failed("loaded", error);
  }
  if (gone) {
    gone = false;
    return showAll();
  }
  const host = byId("loaded");
  const focused = host.contains(document.activeElement) ? document.activeElement.dataset.model : null;
  if (!models.length) return fill(host, h("p.hint", {}, "None: a model is loaded when it is first asked, and let go after a while."));
  const row = (model) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, model.name),
      h("td", {}, bytes(model.size)),
      h("td", {}, [model.device, model.dtype].filter(Boolean).join(", ") || "–"),
      h("td", {}, queue(model)),
      h("td", {}, until(model.expires_at)),
      h("td.act", {}, h("button.small", { type: "button", "data-model": model.name, "aria-label": `Unload ${model.name}`, onclick: () => unload(model.name) }, "Unload")),
    );
  fill(
    host,
    h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Loaded models" }, h("table.values.left", {}, h("thead", {}, h("tr", {}, ["Model", "Memory", "Runs on", "Queue", "Unloaded", ""].map((text) => (text ? h("th", { scope: "col" }, text) : h("td.act", {}))))), h("tbody", {}, models.map(row)))),
  );
  // The table is made anew: the keyboard's place must not be lost.
  if (focused) host.querySelector(`[data-model="${CSS.escape(focused)}"]`)?.focus();
  return null;
}

function queue({ running = 0, queue_depth: waiting = 0 }) {
  if (!running && !waiting) return "idle";
  return `${running} running${waiting ? `, ${waiting} waiting` : ""}`;
}

async function unload(name) {
  try {
    await call("POST", "api/generate", { model: name, keep_alive: 0 });
    announce(`${name} is unloaded`);
    byId("models-error").replaceChildren();
  } catch (error) {
    failed("models-error", error);
  }
  await showLoaded();
}

// -- list -------------------------------------------------------------------------------------------

function showModels() {
  const text = byId("model-search").value.trim().toLowerCase();
  const found = all().filter((model) => `${model.name} ${model.family} ${model.description ?? ""}`.toLowerCase().includes(text));
  const groups = [
    ["Pulled", (model) => model.installed && !model.builtin],
    ["Built in", (model) => model.installed && model.builtin],
    ["On offer", (model) => !model.installed],
  ];
  fill(
    byId("models-list"),
    groups.map(([title, test]) => {
      const models = found.filter(test);
      return models.length ? h("section.model-group", { "aria-label": title }, h("h3", {}, title, h("span.count", {}, whole(models.length))), h("ul.model-list", {}, models.map(row))) : null;
    }),
    found.length ? null : h("p.hint", {}, "No model is called so. A repository can be pulled by its name: hf.co/ORG/REPO."),
  );
}

function row(model) {
  const size = model.size ?? model.size_bytes;
  const faint = (...facts) => (facts.some(Boolean) ? h("span.faint", {}, facts.filter(Boolean).join(" · ")) : null);
  const button = (text, onclick, kind = "button.small") => h(kind, { type: "button", "aria-label": `${text} ${model.name}`, onclick }, text);
  const command = missing.get(model.family);
  return h(
    "li.model",
    { "data-model": model.name },
    h("div.model-head", {}, h("strong", {}, model.name), faint(model.family, licence(model)), faint(model.parameters && `${amount(model.parameters)} parameters`, size && bytes(size))),
    h(
      "div.model-text",
      {},
      model.description ? h("p.clamp", { title: model.description }, model.description) : null,
      badges(model),
      command ? h("p.hint", {}, "Runs after ", h("code", {}, command)) : null,
    ),
    h(
      "div.buttons",
      {},
      button("Details", () => details(model)),
      !model.installed ? button("Pull", () => pull(model.name), "button.small.primary") : null,
      model.installed && !model.builtin ? button("Delete", () => remove(model), "button.small.danger") : null,
    ),
  );
}

async function details(model) {
  let shown;
  try {
    shown = await call("POST", "api/show", { model: model.name });
  } catch (error) {
    shown = null;
    if (model.installed) return void failed("models-error", error);
  }
  const line = (name, value) => (value === null || value === undefined || value === "" ? null : [h("dt", {}, name), h("dd", {}, value)]);
  const info = shown?.model_info ?? {};
  const source = shown?.source ?? model.source ?? {};
  const files = info.files ?? [];
  const options = info.options && Object.keys(info.options).length ? info.options : null;
  showPanel(
    model.name,
    model.description ? h("p", {}, model.description) : null,
    h(
      "dl.facts",
      {},
      line("Family", shown?.family ?? model.family),
      line("Can", abilities(model).join(", ")),
      line("Licence", licence(model)),
      line("Source", [source.type, source.repo_id, source.revision].filter(Boolean).join(" ")),
      line("Commit", shown?.resolved?.commit_sha),
      line("Parameters", model.parameters ? whole(model.parameters) : null),
      line("Size", shown?.size || model.size_bytes ? bytes(shown?.size || model.size_bytes) : null),
      line("Context", model.context_length ? `${whole(model.context_length)} values` : null),
      line("Horizon", model.max_horizon ? `up to ${whole(model.max_horizon)} steps at once` : null),
      line("Digest", shown?.digest ? h("code", {}, shown.digest) : null),
    ),
    options ? [h("h3", {}, "Options"), h("dl.facts", {}, Object.entries(options).map(([name, text]) => line(name, String(text))))] : null,
    files.length
      ? [h("h3", {}, "Files"), h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Files" }, h("table.values.left", {}, h("thead", {}, h("tr", {}, ["File", "Size", "SHA-256"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, files.map((file) => h("tr", {}, h("th", { scope: "row" }, file.path), h("td", {}, bytes(file.size)), h("td", {}, h("code", {}, file.sha256 ?? "–")))))))]
      : null,
  );
}

async function remove(model) {
  const size = model.size ?? model.size_bytes;
  if (!(await confirm(`Delete ${model.name}?`, `Its files (${bytes(size)}) are removed from this machine. It can be pulled again.`, "Delete", { danger: true }))) return;
  try {
    await call("DELETE", "api/delete", { model: model.name });
    announce(`${model.name} is deleted`);
    byId("models-error").replaceChildren();
  } catch (error) {
    failed("models-error", error);
  }
  await Promise.all([refresh(), showLoaded()]).catch(() => {});
}

// -- machine ----------------------------------------------------------------------------------------

async function showMachine() {
  let info;
  try {
    info = await call("GET", "api/info");
  } catch (error) {
    return failed("runtimes", error);
  }
  // Pulls that another window or the command line has begun are joined.
  for (const one of info.models?.pulling ?? []) {
    const name = typeof one === "string" ? one : one.model ?? one.name;
    if (name && !isPulling(name)) pull(name);
  }
  const commands = info.runners.filter((runner) => !runner.installed).map((runner) => [runner.family, command(runner)]);
  if (String(commands) !== String([...missing])) {
    missing = new Map(commands);
    showModels();
  }
  fill(
    byId("runtimes"),
    h(
      "ul.runtimes",
      {},
      info.runners.map((runner) =>
        h(
          "li",
          {},
          h("strong", {}, runner.family),
          h(runner.installed ? "span.state.good" : "span.state", {}, runner.installed ? (runner.running ? "running" : "installed") : "not installed"),
          runner.installed ? null : installation(runner),
          runner.last_error ? h("p.hint", {}, `last error: ${runner.last_error}`) : null,
        ),
      ),
    ),
  );
  const { machine, daemon } = info;
  fill(byId("machine"), `tollama ${daemon.version} · Python ${machine.python} · ${machine.cpus} CPUs · ${info.paths.tollama_home}`);
  return null;
}

/** The command that installs a runtime, to copy. */
function installation(runner) {
  const text = command(runner);
  const button = h("button.small", { type: "button", "aria-label": `Copy the command for ${runner.family}`, onclick: async () => (button.textContent = (await copyText(text)) ? "Copied" : "Copy it by hand") }, "Copy");
  return h("span.command", {}, h("code", {}, text), button);
}

const command = (runner) => /`(tollama runtime install [^`]+)`/.exec(runner.missing ?? "")?.[1] ?? `tollama runtime install ${runner.family}`;
