// Light, dark or as the system has it; and the colours that charts take from the style sheet.
const STORED = "tollama.theme";
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = [];

const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

/** Call back when the colours change. */
export const onTheme = (listener) => listeners.push(listener);

/** The value of a custom property of the style sheet. */
export const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

/** The custom property with the colour of the n-th model in charts. */
export const modelProperty = (n) => `model-${(n % 6) + 1}`;

/** A colour with an opacity, for canvas. */
export function faded(hex, opacity) {
  const value = parseInt(hex.slice(1), 16);
  return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${opacity})`;
}

const tell = () => listeners.forEach((listener) => listener());

/** Make a button switch the theme. */
export function bindTheme(button) {
  const stored = localStorage.getItem(STORED);
  if (stored) root.dataset.theme = stored;
  const name = () => {
    button.setAttribute("aria-label", dark() ? "Switch to light colours" : "Switch to dark colours");
    button.title = button.getAttribute("aria-label");
  };
  name();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem(STORED, root.dataset.theme);
    name();
    tell();
  });
  system.addEventListener("change", () => {
    name();
    tell();
  });
}
