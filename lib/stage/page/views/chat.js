// @ts-check
/** The messages of the chat, and the field where they are written. @module */

import { byId, make, showReply } from "./dom.js";

/** Messages on the page; older ones leave it. */
const MAX_SHOWN = 200;
/** Nearer to its end than this, the list follows what is added. */
const NEAR_END_PX = 80;

/**
 * An answer on the page.
 *
 * @typedef {object} Reply
 * @property {(text: string) => void} show
 * @property {(note: string, isProblem: boolean) => void} end
 */

/** The list of messages. */
export function createLog() {
  const log = byId("log");
  const empty = byId("empty");

  let atEnd = true;
  const toEnd = () => {
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  log.addEventListener("scroll", () => {
    atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
  }, { passive: true });
  // A question below it, or a keyboard on a phone, takes its room.
  new ResizeObserver(toEnd).observe(log);

  /** @param {() => void} change */
  function keepEnd(change) {
    change();
    toEnd();
  }

  /** @param {HTMLElement} element */
  function add(element) {
    empty.hidden = true;
    log.append(element);
    while (log.children.length > MAX_SHOWN + 1) log.children[1]?.remove();
    atEnd = true;
    toEnd();
  }

  return {
    /** @param {string} text */
    addUser(text) {
      const message = make("div", "message user");
      message.append(make("span", "visually-hidden", "You: "), make("span", "text", text));
      add(message);
    },

    /** @returns {Reply} */
    addReply() {
      const message = make("div", "message assistant");
      const text = make("div", "text");
      const waiting = make("span", "waiting");
      waiting.append(make("i"), make("i"), make("i"));
      waiting.setAttribute("role", "img");
      waiting.setAttribute("aria-label", "The answer is being made");
      message.append(make("span", "visually-hidden", "Agent: "), text, waiting);
      add(message);
      return {
        show(reply) {
          keepEnd(() => {
            showReply(text, reply);
            waiting.hidden = reply !== "";
          });
        },
        end(note, isProblem) {
          keepEnd(() => {
            waiting.remove();
            if (note !== "") message.append(make("p", isProblem ? "problem" : "note", note));
          });
        },
      };
    },
  };
}

/**
 * The field where messages are written.
 *
 * @param {{ send: (text: string) => void, stop: () => void }} actions
 */
export function createComposer({ send, stop }) {
  const form = /** @type {HTMLFormElement} */ (byId("composer"));
  const field = /** @type {HTMLTextAreaElement} */ (byId("say"));
  const stopButton = byId("stop");

  function grow() {
    field.style.height = "auto";
    field.style.height = `${Math.min(170, field.scrollHeight + 3)}px`;
  }

  function submit() {
    const text = field.value.trim();
    if (text === "") return;
    field.value = "";
    grow();
    send(text);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
    field.focus();
  });
  field.addEventListener("input", grow);
  field.addEventListener("keydown", (event) => {
    // What an input method is still composing is not finished by Enter; Safari says so by its key code alone.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  });
  stopButton.addEventListener("click", () => {
    stop();
    field.focus();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing && !stopButton.hidden) stop();
  });
  return {
    /** @param {boolean} busy Whether there is something to stop. */
    setBusy(busy) {
      if (!busy && document.activeElement === stopButton) field.focus();
      stopButton.hidden = !busy;
    },
    focus() {
      field.focus();
    },
  };
}
