// @ts-check
/** The messages of the chat, and the field in which they are written. @module */

import { byId, createElement } from "./dom.js";
import { createMarkdownView } from "./markdown.js";

/** Messages on the page. Older ones are removed from it. */
const MAX_MESSAGES = 200;
/** Distance to the end of the list within which it scrolls along with new text. */
const NEAR_END_PX = 80;
const MAX_FIELD_PX = 170;

/**
 * A reply on the page.
 *
 * @typedef {object} ReplyView
 * @property {(text: string) => void} show
 * @property {(note: string, isProblem: boolean) => void} end Adds a note below the reply, unless it is empty.
 */

/** Creates the list of messages. */
export function createMessageList() {
  const list = byId("log");
  const empty = byId("empty");

  let isAtEnd = true;
  const followEnd = () => {
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  };
  list.addEventListener("scroll", () => {
    isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PX;
  }, { passive: true });
  // A permission card or the keyboard of a phone makes the list smaller.
  new ResizeObserver(followEnd).observe(list);

  /** @param {HTMLElement} message */
  function add(message) {
    empty.hidden = true;
    list.append(message);
    // The first child is the text of the empty list.
    while (list.children.length > MAX_MESSAGES + 1) list.children[1]?.remove();
    isAtEnd = true;
    followEnd();
  }

  return {
    /** Removes all messages. */
    clear() {
      list.replaceChildren(empty);
      empty.hidden = false;
    },

    /** @param {string} text */
    addUser(text) {
      const message = createElement("div", "message user");
      message.append(createElement("span", "visually-hidden", "You: "), createElement("span", "text", text));
      add(message);
    },

    /** @returns {ReplyView} */
    addReply() {
      const message = createElement("div", "message assistant");
      const text = createElement("div", "text");
      const waiting = createElement("span", "waiting");
      waiting.append(createElement("i"), createElement("i"), createElement("i"));
      waiting.setAttribute("role", "img");
      waiting.setAttribute("aria-label", "Waiting for the answer");
      message.append(createElement("span", "visually-hidden", "Agent: "), text, waiting);
      add(message);
      const showMarkdown = createMarkdownView(text);
      return {
        show(reply) {
          showMarkdown(reply);
          waiting.hidden = reply !== "";
          followEnd();
        },
        end(note, isProblem) {
          waiting.remove();
          if (note !== "") message.append(createElement("p", isProblem ? "problem" : "note", note));
          followEnd();
        },
      };
    },
  };
}

/**
 * Creates the field with its buttons.
 *
 * @param {{ onSend: (text: string) => void, onStop: () => void }} actions
 */
export function createComposer({ onSend, onStop }) {
  const form = /** @type {HTMLFormElement} */ (byId("composer"));
  const field = /** @type {HTMLTextAreaElement} */ (byId("say"));
  const stopButton = byId("stop");

  function fitHeight() {
    field.style.height = "auto";
    field.style.height = `${Math.min(MAX_FIELD_PX, field.scrollHeight + 3)}px`;
  }

  function submit() {
    const text = field.value.trim();
    if (text === "") return;
    field.value = "";
    fitHeight();
    onSend(text);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
    field.focus();
  });
  field.addEventListener("input", fitHeight);
  field.addEventListener("keydown", (event) => {
    // Enter that confirms an input method's suggestion does not send. Safari marks it by key code 229 only.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  });
  stopButton.addEventListener("click", () => {
    onStop();
    field.focus();
  });
  addEventListener("keydown", (event) => {
    // Escape also closes an open dialog.
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
    if (!stopButton.hidden) onStop();
  });

  return {
    /** Shows or hides the stop button. @param {boolean} isBusy */
    setBusy(isBusy) {
      if (!isBusy && document.activeElement === stopButton) field.focus();
      stopButton.hidden = !isBusy;
    },
    focus() {
      field.focus();
    },
  };
}
