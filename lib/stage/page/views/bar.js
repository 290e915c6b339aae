// @ts-check
/** The bar at the top: the state of the connection, and the button that changes the colours. @module */

import { loadTheme, saveTheme } from "../api/storage.js";
import { byId } from "./dom.js";

const LABELS = {
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Connection lost, trying again",
  locked: "Key needed",
};

/** Themes in the order in which the button goes through them; the empty one is the system's. */
const THEMES = [["", "same as the system"], ["light", "light"], ["dark", "dark"]];

/** Creates the display of the connection. */
export function createConnectionChip() {
  const chip = byId("connection");
  let isLost = false;
  return {
    /** @param {import("../api/events.js").ConnectionState} state */
    show(state) {
      // While the page reconnects, the chip keeps saying that the connection is lost.
      if (state === "connecting" && isLost) return;
      isLost = state === "waiting";
      chip.textContent = LABELS[state];
      chip.dataset.state = isLost ? "closed" : state;
    },
  };
}

/** Applies the stored theme and makes the button change it. */
export function createThemeButton() {
  const button = byId("theme");
  let index = Math.max(0, THEMES.findIndex(([theme]) => theme === loadTheme()));

  function apply() {
    const [theme = "", label = ""] = THEMES[index] ?? [];
    if (theme === "") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.title = `Colours: ${label}`;
    button.setAttribute("aria-label", button.title);
    return theme;
  }

  apply();
  button.addEventListener("click", () => {
    index = (index + 1) % THEMES.length;
    saveTheme(apply());
  });
}
