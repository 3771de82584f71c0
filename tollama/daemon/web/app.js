// The page put together: tabs, theme, and the first look at the models.
import { BASE, call, changeKey, hasKey, onKey } from "./api.js";
import { bindBacktest } from "./backtest.js";
import { onModels, refresh } from "./catalogue.js";
import { bindData, data, onSeries } from "./datapanel.js";
import { byId, fill, h, notice } from "./dom.js";
import { bindForecast } from "./forecast.js";
import { bindModels, modelsShown } from "./models.js";
import { bindTheme } from "./theme.js";

const TABS = ["forecast", "backtest", "models"];

function show(name, focus = false) {
  for (const tab of TABS) {
    const button = byId(`tab-${tab}`);
    const chosen = tab === name;
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
    byId(`panel-${tab}`).hidden = !chosen;
    if (chosen && focus) button.focus();
  }
  byId("data-panel").hidden = name === "models";
  document.body.dataset.tab = name;
  modelsShown(name === "models");
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
}

function bindTabs() {
  TABS.forEach((name, i) => {
    const button = byId(`tab-${name}`);
    button.addEventListener("click", () => show(name));
    button.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: TABS.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(TABS[(to + TABS.length) % TABS.length], true);
    });
  });
  addEventListener("hashchange", () => TABS.includes(location.hash.slice(1)) && show(location.hash.slice(1)));
}

bindTheme(byId("theme"));
bindTabs();
bindData();
bindForecast();
bindBacktest();
bindModels();
onSeries(() => {
  for (const form of ["forecast-form", "backtest-form"]) byId(form).hidden = !data.series.length;
});
for (const form of ["forecast-form", "backtest-form"]) byId(form).hidden = true;
show(TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "forecast");
document.body.dataset.ready = "yes";

function begin() {
  fill(byId("page-error"));
  refresh().catch((error) => fill(byId("page-error"), notice("error", "The models could not be listed", error.message, h("button.small", { type: "button", onclick: begin }, "Try again"))));
}
byId("key").hidden = !hasKey();
byId("key").addEventListener("click", () => changeKey().then(begin));
onKey(() => (byId("key").hidden = false));
onModels(() => fill(byId("page-error")));
begin();
call("GET", "api/version").then(
  ({ version }) => (byId("version").textContent = `tollama ${version} · ${BASE.host}`),
  () => {},
);
