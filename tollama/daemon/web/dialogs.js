// Modal questions: the API key, a confirmation, a piece of code to copy.
import { announce, h } from "./dom.js";

function open(node) {
  document.body.append(node);
  node.addEventListener("close", () => node.remove());
  node.showModal();
  return node;
}

let asking = null;

/** Ask for the API key once for all calls that wait for it; null when the user does not give one. */
export function askKey(wrong) {
  asking ??= new Promise((resolve) => {
    const input = h("input", { type: "password", id: "api-key", autocomplete: "off", required: true, spellcheck: false, "aria-invalid": wrong ? "true" : null, "aria-describedby": wrong ? "key-error" : null });
    const dialog = h(
      "dialog.dialog",
      { "aria-labelledby": "key-title" },
      h(
        "form",
        {
          method: "dialog",
          onsubmit: (event) => {
            event.preventDefault();
            dialog.returnValue = input.value.trim();
            dialog.close(input.value.trim());
          },
        },
        h("h2", { id: "key-title" }, "API key"),
        h("p", {}, "This daemon asks for a key (TOLLAMA_API_KEYS)."),
        h("label", { htmlFor: "api-key" }, "Key"),
        input,
        wrong ? h("p.field-error", { id: "key-error", role: "alert" }, "That key is not known here.") : null,
        h("p.hint", {}, "Kept until this tab is closed, sent to this daemon only."),
        h("div.actions", {}, h("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"), h("button.primary", { type: "submit" }, "Continue")),
      ),
    );
    dialog.addEventListener("close", () => {
      asking = null;
      resolve(dialog.returnValue || null);
    });
    open(dialog);
    input.focus();
  });
  return asking;
}

/** A question with a yes; resolves to whether it was said. */
export function confirm(title, text, yes, { danger = false } = {}) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog.dialog",
      { "aria-labelledby": "confirm-title" },
      h("h2", { id: "confirm-title" }, title),
      [text].flat().map((line) => (line instanceof Node ? line : h("p", {}, line))),
      h(
        "div.actions",
        {},
        h("button", { type: "button", onclick: () => dialog.close(""), autofocus: true }, "Cancel"),
        h(danger ? "button.danger" : "button.primary", { type: "button", onclick: () => dialog.close("yes") }, yes),
      ),
    );
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
    open(dialog);
  });
}

/** A piece of code to read and copy. */
export function showCode(title, code) {
  const area = h("textarea.code", { readOnly: true, rows: 14, value: code, "aria-label": title, spellcheck: false });
  const copy = h("button.primary", { type: "button", onclick: () => copyText(code, area).then((done) => (copy.textContent = done ? "Copied" : "Press Ctrl+C")) }, "Copy");
  const dialog = h(
    "dialog.dialog.wide",
    { "aria-labelledby": "code-title" },
    h("h2", { id: "code-title" }, title),
    area,
    h("div.actions", {}, h("button", { type: "button", onclick: () => dialog.close() }, "Close"), copy),
  );
  open(dialog);
  area.setSelectionRange(0, 0);
  area.scrollTop = 0;
  copy.focus();
  copyText(code, area).then((done) => {
    if (done) {
      copy.textContent = "Copied";
      announce("copied to the clipboard");
    }
  });
}

/** Put a text into the clipboard; whether that was possible. `area` shows the text already. */
export async function copyText(text, area) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS, browsers give the clipboard to localhost only: the old way, then the user's hand.
    area?.select();
    return Boolean(area) && document.execCommand("copy");
  }
}

/** A dialog with any content; returns it. */
export function showPanel(title, ...content) {
  const dialog = h(
    "dialog.dialog.wide",
    { "aria-labelledby": "panel-title" },
    h("h2", { id: "panel-title" }, title),
    content.flat(),
    h("div.actions", {}, h("button.primary", { type: "button", onclick: () => dialog.close(), autofocus: true }, "Close")),
  );
  return open(dialog);
}
