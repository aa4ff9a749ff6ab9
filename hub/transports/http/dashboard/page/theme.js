// Runs before the first paint, so that the page never flashes the wrong theme.
"use strict";
(() => {
  try {
    const theme = localStorage.getItem("llm-hub-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be blocked. The system's theme then applies.
  }
})();
