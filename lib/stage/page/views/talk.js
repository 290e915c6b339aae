// @ts-check
/** The button with the microphone: it is held to talk, or clicked to be heard hands-free. @module */

import { byId, hasKeyboard } from "./dom.js";

/** @typedef {import("../voice/listening.js").ListeningState} ListeningState */

/** Lines above the message field, for a held button and hands-free. @type {Readonly<Record<ListeningState, [string, string]>>} */
const LINES = {
  off: ["", ""],
  opening: ["The microphone is being opened…", "The microphone is being opened…"],
  waiting: ["", "Hands-free: just talk."],
  recording: [`Listening. Release to send${hasKeyboard() ? ", Escape to forget" : ""}.`, "Listening…"],
  writing: ["Writing down what you said…", "Writing down what you said…"],
};
const TITLES = new Map([
  ["", "Talk: turn the microphone on"],
  ["push", `Hold to talk${hasKeyboard() ? ", or the space bar" : ""}`],
  ["hands-free", "Hands-free: on or off"],
]);

/**
 * Creates the button.
 *
 * @param {object} actions
 * @param {() => string} actions.mode `push`, `hands-free`, or empty if the microphone was not turned on yet.
 * @param {() => boolean} actions.isListening
 * @param {() => void} actions.onPress
 * @param {() => void} actions.onRelease
 * @param {() => void} actions.onCancel
 * @param {() => void} actions.onClick In another mode than `push`.
 */
export function createTalkButton({ mode, isListening, onPress, onRelease, onCancel, onClick }) {
  const button = byId("talk");
  const line = byId("hearing");
  const isPush = () => mode() === "push" && !button.hidden;
  /** Whether the pointer or a key has handled the click that follows. */
  let isHandled = false;

  function press() {
    isHandled = true;
    onPress();
  }

  button.addEventListener("pointerdown", (event) => {
    isHandled = false;
    if (!isPush() || event.button !== 0) return;
    button.setPointerCapture(event.pointerId);
    press();
  });
  for (const type of ["pointerup", "pointercancel"]) {
    button.addEventListener(type, () => isPush() && onRelease());
  }
  // A long press of a finger would open a menu.
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("click", () => {
    if (!isPush()) return onClick();
    // Programs that press buttons for a person cannot hold them: a click begins, and another one ends.
    if (isHandled) isHandled = false;
    else if (isListening()) onRelease();
    else onPress();
  });

  /** Whether a key is for talking: Space or Enter on the button, and Space where nothing has the focus. @param {KeyboardEvent} event */
  function isTalkKey({ key, target }) {
    if (!isPush() || document.querySelector("dialog[open]")) return false;
    return target === button ? key === " " || key === "Enter" : key === " " && target === document.body;
  }
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isPush() && isListening()) onCancel();
    if (!isTalkKey(event)) return;
    event.preventDefault();
    if (!event.repeat) press();
  });
  addEventListener("keyup", (event) => {
    // The key may have been pressed elsewhere.
    if (isPush() && isListening() && (event.key === " " || event.key === "Enter")) onRelease();
    if (isTalkKey(event)) event.preventDefault();
  });
  // The release of a key is not told to a page that has lost the focus.
  addEventListener("blur", () => isPush() && onRelease());

  return {
    /** Offers the button, or hides it. @param {boolean} isPossible */
    offer(isPossible) {
      button.hidden = !isPossible;
      button.title = TITLES.get(mode()) ?? "";
      if (mode() === "") button.setAttribute("aria-haspopup", "dialog");
      else button.removeAttribute("aria-haspopup");
    },

    /** @param {ListeningState} state */
    show(state) {
      button.dataset.state = state;
      button.setAttribute("aria-pressed", String(!["off", "writing"].includes(state)));
      const text = LINES[state][mode() === "hands-free" ? 1 : 0];
      line.hidden = text === "";
      if (line.textContent !== text) line.textContent = text;
    },
  };
}
