// The button that chooses between the system's theme, light and dark.

import { h } from "./dom.js";

const ORDER = ["system", "light", "dark"];
const KEY = "llm-hub-theme";

export function startTheme(button) {
  const root = document.documentElement;
  const current = () => root.dataset.theme ?? "system";
  const draw = () => {
    button.replaceChildren(h("span", { class: "theme-word", text: "Theme: " }), current());
  };
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } catch {
      // Storage may be blocked. The choice then lasts until the page is closed.
    }
    draw();
  });
  draw();
}
