// @ts-check
/** The list of the stored conversations, and the buttons that open it and begin a new conversation. @module */

import { listChats } from "../api/storage.js";
import { byId, createElement } from "./dom.js";

/**
 * Creates the list.
 *
 * @param {object} options
 * @param {() => string} options.current Id of the conversation that is shown.
 * @param {(id?: string) => void} options.onOpen Without an id, begins a new conversation.
 * @param {(id: string) => void} options.onDelete
 */
export function createChatList({ current, onOpen, onDelete }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("chats"));
  const list = byId("chat-list");
  const empty = byId("no-chats");

  /** @param {import("../api/storage.js").Chat} chat */
  function createRow({ id, title, usedAt }) {
    const name = title === "" ? "Untitled" : title;
    const open = createElement("button", "chat-open");
    open.type = "button";
    if (id === current()) open.setAttribute("aria-current", "true");
    const time = new Date(usedAt).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    open.append(createElement("span", "name", name), createElement("span", "when", time));
    open.addEventListener("click", () => {
      dialog.close();
      onOpen(id);
    });
    const remove = createElement("button", "chat-delete", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Delete: ${name}`);
    remove.addEventListener("click", () => {
      onDelete(id);
      refresh();
      (list.querySelector("button") ?? byId("chats-close")).focus();
    });
    const row = createElement("li");
    row.append(open, remove);
    return row;
  }

  function refresh() {
    const chats = listChats();
    list.replaceChildren(...chats.map(createRow));
    empty.hidden = chats.length > 0;
  }

  byId("chats-open").addEventListener("click", () => {
    refresh();
    dialog.showModal();
  });
  byId("chats-close").addEventListener("click", () => dialog.close());
  byId("chat-new").addEventListener("click", () => onOpen());
}
