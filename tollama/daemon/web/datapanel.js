// The data: dropped, pasted or an example; columns shown for correction; what was found in them; the
// list of series. Tells its listeners when series or the chosen one change.
import { BASE } from "./api.js";
import { ROLES, datesOf, guess } from "./columns.js";
import { parseTable } from "./csv.js";
import { announce, byId, fill, h, newId, notes, notice, waiting } from "./dom.js";
import { moment, whole } from "./numbers.js";
import { buildSeries } from "./series.js";

const MAX_BYTES = 40e6;
/** Reading more than this is felt. */
const LONG = 1e6;
const SHOWN = 200;
const listeners = { series: [], chosen: [] };
const state = { name: "", table: null, roles: null, series: [], chosen: null };

export const data = state;
export const onSeries = (listener) => listeners.series.push(listener);
export const onChosen = (listener) => listeners.chosen.push(listener);
const tell = (what) => listeners[what].forEach((listener) => listener(state));

/** Set up the places in the page where data come in. */
export function bindData() {
  const file = byId("file");
  byId("choose-file").addEventListener("click", () => file.click());
  file.addEventListener("change", () => file.files[0] && loadFile(file.files[0]));
  const marked = document.body.classList;
  const over = (event) => {
    event.preventDefault();
    marked.add("dropping");
  };
  for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, over);
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && marked.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    marked.remove("dropping");
    const dropped = event.dataTransfer.files[0];
    if (dropped) loadFile(dropped);
    else loadText(event.dataTransfer.getData("text/plain"), "pasted");
  });
  // Pasting anywhere outside of a field brings the table in.
  document.addEventListener("paste", (event) => {
    if (event.target.closest("input, textarea, dialog")) return;
    const text = event.clipboardData.getData("text/plain");
    if (text.includes("\n")) loadText(text, "pasted");
  });
  byId("use-paste").addEventListener("click", () => loadText(byId("paste").value, "pasted"));
  byId("use-example").addEventListener("click", example);
  byId("change-data").addEventListener("click", clear);
}

async function example() {
  try {
    const answer = await fetch(new URL("web/air_passengers.csv", BASE));
    loadText(await answer.text(), "air_passengers.csv");
  } catch {
    fail(`the daemon at ${BASE.host} does not answer: is it still running?`);
  }
}

/** The encoding of a file: its byte order mark, else UTF-8, else what old sheets write. */
function decode(buffer) {
  const [a, b] = new Uint8Array(buffer, 0, Math.min(2, buffer.byteLength));
  if (a === 0xff && b === 0xfe) return new TextDecoder("utf-16le").decode(buffer);
  if (a === 0xfe && b === 0xff) return new TextDecoder("utf-16be").decode(buffer);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(buffer);
  } catch {
    return new TextDecoder("windows-1252").decode(buffer);
  }
}

async function loadFile(file) {
  byId("file").value = ""; // so that the same file can be read again
  if (file.size > MAX_BYTES) return fail(`${file.name} has ${Math.ceil(file.size / 1e6)} MB and a browser reads up to ${MAX_BYTES / 1e6} MB here: tollama run auto ${file.name} reads it on the command line`);
  if (file.size > LONG) {
    tellHere(waiting(`Reading ${file.name}`));
    await new Promise((resolve) => setTimeout(resolve, 30)); // to be painted before the work begins
  }
  let text;
  try {
    text = decode(await file.arrayBuffer());
  } catch {
    return fail(`${file.name} could not be read: is it a folder, or has it moved?`);
  }
  if (text.includes("\u0000")) return fail(`${file.name} is no text: save the sheet as CSV first`);
  return loadText(text, file.name);
}

const fail = (message) => tellHere(notice("error", "That did not work", message));

/** Beside the drop zone, or beside the data when some are shown. */
function tellHere(node) {
  const place = byId(state.table ? "data-problems" : "load-error");
  fill(place, node);
  place.hidden = false;
}

/** Read a text as a table, propose roles and show them. */
export function loadText(text, name) {
  byId("load-error").hidden = true;
  let table;
  try {
    table = parseTable(text);
  } catch (error) {
    return fail(error.message);
  }
  Object.assign(state, { name, table, roles: guess(table) });
  byId("data-empty").hidden = true;
  byId("data-loaded").hidden = false;
  document.body.classList.add("has-data");
  apply();
  byId("data-title").focus({ preventScroll: true });
  return null;
}

function clear() {
  Object.assign(state, { table: null, series: [], chosen: null });
  byId("data-empty").hidden = false;
  byId("data-loaded").hidden = true;
  byId("paste").value = "";
  byId("load-error").hidden = true;
  document.body.classList.remove("has-data");
  tell("series");
  byId("choose-file").focus();
}

/** Build the series from the roles as they are now and show everything about them. */
function apply() {
  const { table, name, roles } = state;
  const found = buildSeries(table, roles, name.replace(/\.[^.]*$/, ""));
  state.series = found.series;
  state.chosen = found.series[0] ?? null;
  byId("data-title").textContent = name;
  const columns = table.header.length;
  const line = `${whole(table.rows.length)} rows, ${columns === 1 ? "one column" : `${whole(columns)} columns`}`;
  byId("data-size").textContent = found.series.length ? `${line}, ${found.series.length === 1 ? "one series" : `${whole(found.series.length)} series`}` : line;
  showColumns(found.problems.length > 0 || !roles.sure || (roles.dates && !roles.dates.sure));
  fill(byId("data-problems"), found.problems.length ? notice("error", "These data cannot be used yet", ...found.problems) : null, notes(found.notes, found.series.map((one) => one.id)));
  showFacts();
  showList("");
  if (found.series.length) announce(`${name}: ${line}, ${found.series.length} series`);
  tell("series");
}

function showColumns(open) {
  const { table, roles } = state;
  const preview = table.rows.slice(0, 3);
  const rows = table.header.map((name, i) => {
    const id = newId("role");
    const select = h(
      "select",
      {
        id,
        onchange: () => {
          roles.roles[i] = select.value;
          if (select.value === "time") {
            roles.roles.forEach((role, j) => j !== i && role === "time" && (roles.roles[j] = "ignore"));
            roles.dates = datesOf(table.rows.map((row) => row[i] ?? ""));
          }
          roles.sure = true;
          apply();
          byId("columns").open = true;
          [...byId("columns").querySelectorAll("select")][i]?.focus();
        },
      },
      ROLES.map((role) => h("option", { value: role, selected: roles.roles[i] === role }, role)),
    );
    return h("tr", {}, h("th", { scope: "row" }, h("label", { htmlFor: id }, name)), h("td.sample", {}, preview.map((row) => row[i] ?? "").join(", ")), h("td", {}, select));
  });
  const order =
    roles.dates?.kind === "numeric"
      ? h(
          "label.inline",
          {},
          "Dates are written ",
          h(
            "select",
            {
              onchange: (event) => {
                Object.assign(roles.dates, { order: event.target.value, sure: true });
                apply();
                byId("columns").open = true;
              },
            },
            [["dmy", "day first"], ["mdy", "month first"]].map(([value, text]) => h("option", { value, selected: roles.dates.order === value }, text)),
          ),
        )
      : null;
  const unused = roles.roles.filter((role) => role === "ignore").length;
  fill(
    byId("columns-body"),
    roles.dates && !roles.dates.sure ? notice("warning", "Day or month first?", "Nothing in the column tells; please choose below.") : null,
    h("table.columns", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Column"), h("th", { scope: "col" }, "Sample"), h("th", { scope: "col" }, "Used as"))), h("tbody", {}, rows)),
    order,
    unused ? h("p.hint", {}, "“covariate” passes a column to models that can use it; values in rows after the last target are taken as known ahead.") : null,
  );
  const words = ROLES.slice(0, 4).map((role) => [role, table.header.filter((_, i) => roles.roles[i] === role)]).filter(([, names]) => names.length);
  byId("columns-summary").textContent = `${words.map(([role, names]) => `${role}: ${names.length > 3 ? `${whole(names.length)} columns` : names.join(", ")}`).join(" · ") || "no column is used"}`;
  byId("columns").open = open;
}

function showFacts() {
  const one = state.chosen;
  if (!one) return fill(byId("facts"));
  const whole_ = (text) => h("span.nowrap", {}, text);
  const span = one.stamps ? [whole_(moment(one.stamps[0], one.form)), " to ", whole_(moment(one.stamps.at(-1), one.form))] : "rows in order, no dates";
  const gaps = [];
  if (one.gaps) gaps.push(`${whole(one.gaps)} ${one.gaps === 1 ? "step is" : "steps are"} absent`);
  if (one.missing) gaps.push(`${whole(one.missing)} ${one.missing === 1 ? "value is" : "values are"} empty`);
  if (one.irregular) gaps.push(`${whole(one.irregular)} off the step`);
  const ahead = Object.keys(one.future);
  const fact = (name, value, warn) => h(warn ? "div.fact.warn" : "div.fact", {}, h("dt", {}, name), h("dd", {}, value));
  return fill(
    byId("facts"),
    fact("Frequency", one.freq ? `${one.label} (${one.freq})` : one.label, one.stamps && !one.freq),
    fact("Gaps", gaps.join(", ") || "none", gaps.length > 0),
    fact("Values", whole(one.target.length)),
    fact("Range", span),
    Object.keys(one.covariates).length ? fact("Covariates", Object.keys(one.covariates).map((name) => (ahead.includes(name) ? `${name} (known ahead)` : name)).join(", ")) : null,
  );
}

function showList(wanted) {
  const box = byId("series-box");
  box.hidden = state.series.length < 2;
  if (box.hidden) return;
  const search = byId("series-search");
  search.oninput = () => showList(search.value);
  const text = wanted.trim().toLowerCase();
  const found = text ? state.series.filter((one) => one.id.toLowerCase().includes(text)) : state.series;
  byId("series-count").textContent = text ? `${whole(found.length)} of ${whole(state.series.length)}` : whole(state.series.length);
  fill(
    byId("series-list"),
    found.slice(0, SHOWN).map((one) => {
      const odd = one.gaps + one.missing;
      return h(
        "li",
        {},
        h(
          "button.series-row",
          { type: "button", "aria-current": one === state.chosen ? "true" : null, onclick: () => choose(one) },
          h("span.series-name", { title: one.id }, one.id || "(no name)"),
          h("span.faint", {}, `${whole(one.target.length)} values${odd ? ` · ${odd} missing` : ""}`),
        ),
      );
    }),
    found.length > SHOWN ? h("li.hint", {}, `and ${whole(found.length - SHOWN)} more: search for them`) : null,
    found.length ? null : h("li.hint", {}, "No series is called so."),
  );
}

/** Make a series the one that charts show. */
export function choose(one) {
  state.chosen = one;
  showFacts();
  for (const button of byId("series-list").querySelectorAll("button")) {
    const here = button.firstChild.textContent === (one.id || "(no name)");
    if (here) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  tell("chosen");
}
