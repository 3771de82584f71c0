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

/** Longer notes folded away under their number. */
export function notes(list, label = "note") {
  if (!list.length) return null;
  return h(
    "details.notes",
    {},
    h("summary", {}, `${list.length} ${label}${list.length > 1 ? "s" : ""}`),
    h("ul", {}, list.slice(0, 50).map((text) => h("li", {}, text)), list.length > 50 ? h("li", {}, `and ${list.length - 50} more`) : null),
  );
}
