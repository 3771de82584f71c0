// Making and changing elements. Text always goes in as text, never as markup.

/** An element: h("button.primary", {onclick, "aria-label": "x"}, "text", child, ...). */
export function h(spec, props, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else if (name in node && name !== "list" && !name.startsWith("aria")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  put(node, ...children);
  return node;
}

/** Append children; strings become text, arrays are flattened, nothing is left out silently but null and false. */
export function put(node, ...children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

/** Replace what is inside a node. */
export function fill(node, ...children) {
  node.replaceChildren();
  return put(node, ...children);
}

export const byId = (id) => document.getElementById(id);

let count = 0;
/** A new id for label-for and aria pairs. */
export const newId = (prefix) => `${prefix}-${++count}`;

/** Say something to screen readers. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** A labelled field: its label above it, room for a hint and for an error below. */
export function field(label, input, hint) {
  input.id ||= newId("field");
  const error = h("p.field-error", { id: `${input.id}-error`, hidden: true });
  input.setAttribute("aria-describedby", error.id);
  return h(
    "div.field",
    {},
    h("label", { htmlFor: input.id }, label),
    input,
    hint ? h("p.hint", {}, hint) : null,
    error,
  );
}

/** Show an error under a field (or take it away with null). */
export function fieldError(input, message) {
  const error = byId(`${input.id}-error`);
  if (!error) return;
  error.textContent = message ?? "";
  error.hidden = !message;
  if (message) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

/** A message where it belongs; kind is "error", "warning" or "info". */
export function notice(kind, title, ...details) {
  const list = details.flat().filter(Boolean);
  return h(
    `div.notice.${kind}`,
    { role: kind === "error" ? "alert" : "status" },
    title ? h("p.notice-title", {}, title) : null,
    list.map((text) => (text instanceof Node ? text : h("p", {}, text))),
  );
}

/**
 * Longer notes folded away under their number; what is said of several series ("id: text"), or with
 * other numbers, is said once.
 */
export function notes(list, ids = []) {
  const groups = new Map();
  const known = new Set(ids);
  for (const text of new Set(list)) {
    const [, model = "", rest] = /^([\w.:/-]+: )?(series\[\d+\]: .*|.*)$/s.exec(text);
    // Either of the two words before the text may be the series.
    const cut = [rest, text].map((one) => [one, one.indexOf(": ")]).find(([one, at]) => at > 0 && (known.has(one.slice(0, at)) || /^series\[\d+\]$/.test(one.slice(0, at))));
    const said = cut ? cut[0].slice(cut[1] + 2) : rest;
    const sense = said.replace(/\d+/g, "#");
    const group = groups.get(sense) ?? { texts: new Set(), models: new Set(), ids: new Set() };
    groups.set(sense, group.texts.add(said) && group);
    if (cut) {
      const name = cut[0].slice(0, cut[1]);
      group.ids.add(ids[/^series\[(\d+)\]$/.exec(name)?.[1]] ?? name);
    }
    if (model && cut?.[0] !== text) group.models.add(model.slice(0, -2));
  }
  if (!groups.size) return null;
  const line = ({ texts: [text, ...alike], models, ids: which }) => {
    const [first, ...others] = which;
    const whose = [[...models].join(", "), first && (others.length ? `${first} and ${others.length} more` : first)].filter(Boolean);
    return h("li", {}, [...whose, text].join(": ") + (alike.length ? ` (and ${alike.length} alike)` : ""));
  };
  const lines = [...groups.values()];
  return h(
    "details.notes",
    {},
    h("summary", {}, `${lines.length} note${lines.length > 1 ? "s" : ""}`),
    h("ul", {}, lines.slice(0, 50).map(line), lines.length > 50 ? h("li", {}, `and ${lines.length - 50} more`) : null),
  );
}

/** A sign that something goes on: a bar without an end, and words. */
export const waiting = (text) => h("div.progress-line", { role: "status" }, h("progress", { "aria-label": text }), h("span", {}, text));
