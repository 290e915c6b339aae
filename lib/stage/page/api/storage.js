// @ts-check
/** What the tab remembers while it is open, and the colours that it remembers for longer. @module */

import { latest } from "./chat.js";
import { keyInHash } from "./key.js";

/** @typedef {import("./chat.js").Message} Message */

const KEY = "oab-vtuber.key";
const SESSION = "oab-vtuber.session";
const MESSAGES = "oab-vtuber.messages";
const THEME = "oab-vtuber.theme";
/** A store that may be forbidden: then nothing is remembered. @param {"sessionStorage" | "localStorage"} name */
function storage(name) {
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
        // Full, or forbidden: the page works without it.
      }
    },
  };
}

const tab = storage("sessionStorage");
const device = storage("localStorage");

/** The key: from the address, which then loses it, or from before. */
export function takeKey() {
  const key = keyInHash(location.hash);
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

/** The name of this tab's conversation. */
export function sessionName() {
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
  tab.set(MESSAGES, JSON.stringify(latest(messages)));
}

/** The colours that were chosen: `light`, `dark`, or nothing for those of the system. */
export function loadTheme() {
  return device.get(THEME);
}

/** @param {string} theme */
export function saveTheme(theme) {
  device.set(THEME, theme);
}
