// Choosing models: a folded list of checkboxes with what each model can, and a search.
import { badges, installed, licence, onModels } from "./catalogue.js";
import { h, newId } from "./dom.js";

/** A picker: {node, value()}. `wanted` are the names chosen at first. */
export function modelPicker(wanted, onChange) {
  const chosen = new Set(wanted);
  const id = newId("picker");
  const summary = h("summary.picker-summary", { id });
  const search = h("input", { type: "search", placeholder: "Search models", "aria-label": "Search models", oninput: show });
  const list = h("div.picker-list", { role: "group", "aria-label": "Models" });
  const error = h("p.field-error", { id: `${id}-error`, hidden: true });
  const details = h("details.picker", {}, summary, h("div.picker-panel", {}, search, list));
  const node = h("div.field.models-field", {}, h("span.label", { id: `${id}-label` }, "Models"), details, error);

  function name() {
    const names = [...chosen].filter((one) => installed().some((model) => model.name === one) || !installed().length);
    summary.replaceChildren(
      h("span.visually-hidden", {}, "Models: "),
      ...(names.length ? names.map((one) => h("span.chip", {}, one)) : ["choose a model"]),
    );
  }
  function show() {
    const wantedText = search.value.trim().toLowerCase();
    const rows = installed().filter((model) => `${model.name} ${model.family} ${model.description ?? ""}`.toLowerCase().includes(wantedText));
    list.replaceChildren(
      ...rows.map((model) => {
        const box = h("input", {
          type: "checkbox",
          checked: chosen.has(model.name),
          onchange: () => {
            if (box.checked) chosen.add(model.name);
            else chosen.delete(model.name);
            name();
            onChange?.([...chosen]);
          },
        });
        return h(
          "label.picker-row",
          {},
          box,
          h(
            "span.picker-text",
            {},
            h("span.picker-name", {}, h("strong", {}, model.name), h("span.faint", {}, `${model.family} · ${licence(model)}`)),
            model.description ? h("span.picker-description", { title: model.description }, model.description) : null,
            badges(model),
          ),
        );
      }),
      ...(rows.length ? [] : [h("p.hint", {}, "No installed model is called so. The Models tab pulls more.")]),
    );
  }
  // A list that stays open over other controls is in the way.
  document.addEventListener("click", (event) => {
    if (details.open && !node.contains(event.target) && event.target.isConnected) details.open = false;
  });
  node.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && details.open) {
      details.open = false;
      summary.focus();
    }
  });
  onModels(() => {
    for (const one of chosen) if (!installed().some((model) => model.name === one)) chosen.delete(one);
    name();
    show();
  });
  name();
  show();
  return {
    node,
    value: () => [...chosen],
    error(message) {
      error.textContent = message ?? "";
      error.hidden = !message;
    },
  };
}
