// @ts-check
/** Browser storage: the key while the tab is open; the conversations, the colours and the voice for longer. @module */

import { newestMessages } from "./chat.js";
import { keyFromHash } from "./key.js";

/** @typedef {import("./chat.js").Message} Message */

const KEY = "oab-vtuber.key";
const SESSION = "oab-vtuber.session";
const CHATS = "oab-vtuber.chats";
const THEME = "oab-vtuber.theme";
const VOICE = "oab-vtuber.voice";

/** Conversations that are kept. The least recently used ones are removed first. */
const MAX_CHATS = 30;
const MAX_TITLE_CHARS = 80;

/**
 * A conversation in the list.
 *
 * @typedef {{ id: string, title: string, usedAt: number }} Chat `id` names it to the server; `usedAt` is in
 *   milliseconds since 1970.
 */

/**
 * Opens a storage. If the browser forbids it or it is full, nothing is stored.
 *
 * @param {"sessionStorage" | "localStorage"} name
 */
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
    /** @param {string} key @param {string} value @returns {boolean} Whether it was stored. The page works without. */
    set(key, value) {
      try {
        globalThis[name].setItem(key, value);
        return true;
      } catch {
        return false;
      }
    },
    /** @param {string} key */
    remove(key) {
      try {
        globalThis[name].removeItem(key);
      } catch {
        // Nothing is stored.
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

/** Returns the id of this tab's conversation, a new one for a new tab. */
export function loadChatId() {
  const id = tab.get(SESSION);
  return id === "" ? newChatId() : id;
}

/** Makes an id for a conversation of this tab. */
export function newChatId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  const id = `stage-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  saveChatId(id);
  return id;
}

/** @param {string} id */
export function saveChatId(id) {
  tab.set(SESSION, id);
}

/** Returns the stored conversations, the last used first. @returns {Chat[]} */
export function listChats() {
  return parseList(device.get(CHATS)).filter(isChat).sort((a, b) => b.usedAt - a.usedAt);
}

/** Whether a conversation is stored. @param {string} id */
export function isStored(id) {
  return listChats().some((chat) => chat.id === id);
}

/** @param {string} id @returns {Message[]} */
export function loadMessages(id) {
  return parseList(device.get(`${CHATS}.${id}`)).filter(isMessage);
}

/**
 * Stores the newest messages of a conversation. If there is no room, the oldest conversations go.
 *
 * @param {string} id
 * @param {readonly Message[]} messages
 */
export function saveChat(id, messages) {
  const others = listChats().filter((chat) => chat.id !== id);
  const known = listChats().find((chat) => chat.id === id);
  const title = known?.title ?? (messages[0]?.content ?? "").trim().slice(0, MAX_TITLE_CHARS);
  const text = JSON.stringify(newestMessages(messages));
  const chats = [{ id, title, usedAt: Date.now() }, ...others];
  while (chats.length > MAX_CHATS) device.remove(`${CHATS}.${chats.pop()?.id}`);
  while (!device.set(`${CHATS}.${id}`, text) && chats.length > 1) {
    device.remove(`${CHATS}.${chats.pop()?.id}`);
  }
  device.set(CHATS, JSON.stringify(chats));
}

/** @param {string} id */
export function deleteChat(id) {
  device.set(CHATS, JSON.stringify(listChats().filter((chat) => chat.id !== id)));
  device.remove(`${CHATS}.${id}`);
}

/** @param {object} item @returns {item is Chat} */
function isChat(item) {
  const { id, title, usedAt } = /** @type {Partial<Chat>} */ (item);
  return typeof id === "string" && typeof title === "string" && typeof usedAt === "number";
}

/** @param {object} item @returns {item is Message} */
function isMessage(item) {
  const { role, content } = /** @type {Partial<Message>} */ (item);
  return typeof role === "string" && typeof content === "string";
}

/** @param {string} text @returns {object[]} */
function parseList(text) {
  try {
    const list = JSON.parse(text || "[]");
    return Array.isArray(list) ? list.filter((item) => typeof item === "object" && item !== null) : [];
  } catch {
    return [];
  }
}

/** Returns the chosen colours: `light`, `dark`, or empty for the system's. */
export function loadTheme() {
  return device.get(THEME);
}

/** @param {string} theme */
export function saveTheme(theme) {
  device.set(THEME, theme);
}

/**
 * The settings of voice and microphone that the person chose.
 *
 * @typedef {{ isOn: boolean, voice: string, microphone: string }} VoiceChoice Whether replies are spoken; the value of
 *   the voice, or `auto`; and `push`, `hands-free`, or empty for no microphone.
 */

/** Returns the person's choice; at first, everything is off. @returns {VoiceChoice} */
export function loadVoiceChoice() {
  const [choice] = parseList(`[${device.get(VOICE) || "{}"}]`);
  const { isOn, voice, microphone } = /** @type {Partial<VoiceChoice>} */ (choice ?? {});
  return {
    isOn: isOn === true,
    voice: typeof voice === "string" ? voice : "auto",
    microphone: microphone === "push" || microphone === "hands-free" ? microphone : "",
  };
}

/** @param {VoiceChoice} choice */
export function saveVoiceChoice(choice) {
  device.set(VOICE, JSON.stringify(choice));
}
