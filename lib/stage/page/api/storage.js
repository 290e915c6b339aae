// @ts-check
/** Browser storage: the key and the conversation while the tab is open, the colours for longer. @module */

import { newestMessages } from "./chat.js";
import { keyFromHash } from "./key.js";

/** @typedef {import("./chat.js").Message} Message */

const KEY = "oab-vtuber.key";
const SESSION = "oab-vtuber.session";
const MESSAGES = "oab-vtuber.messages";
const THEME = "oab-vtuber.theme";

/** Opens a storage. If the browser forbids it or it is full, nothing is stored. @param {"sessionStorage" | "localStorage"} name */
function openStorage(name) {
  return {
    /** @param {string} key */
    get(key) {
      try {
        return globalThis[name].getItem(key) ?? "";
      } catch {
        return "";
      }
    },
    /** @param {string} key @param {string} value */
    set(key, value) {
      try {
        globalThis[name].setItem(key, value);
      } catch {
        // The page works without storage.
      }
    },
  };
}

const tab = openStorage("sessionStorage");
const device = openStorage("localStorage");

/** Returns the key from the page's address, which is then removed there, or else the stored one. */
export function loadKey() {
  const key = keyFromHash(location.hash);
  if (key !== undefined) {
    history.replaceState(null, "", location.pathname + location.search);
    saveKey(key);
  }
  return key ?? tab.get(KEY);
}

/** @param {string} key */
export function saveKey(key) {
  tab.set(KEY, key);
}

/** Returns the name of this tab's conversation. */
export function loadSessionName() {
  let name = tab.get(SESSION);
  if (name === "") {
    const bytes = crypto.getRandomValues(new Uint8Array(9));
    name = `stage-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    tab.set(SESSION, name);
  }
  return name;
}

/** @returns {Message[]} */
export function loadMessages() {
  try {
    const messages = JSON.parse(tab.get(MESSAGES) || "[]");
    return Array.isArray(messages) ? messages.filter((message) => typeof message?.content === "string") : [];
  } catch {
    return [];
  }
}

/** @param {readonly Message[]} messages */
export function saveMessages(messages) {
  tab.set(MESSAGES, JSON.stringify(newestMessages(messages)));
}

/** Returns the chosen colours: `light`, `dark`, or empty for the system's. */
export function loadTheme() {
  return device.get(THEME);
}

/** @param {string} theme */
export function saveTheme(theme) {
  device.set(THEME, theme);
}
