// @ts-check
/** Cards on which a person answers the agent, each with the time that is left. @module */

import { byId, createElement } from "./dom.js";

/** Time that a card stays after it was answered. */
const SHOWN_AFTER_END_MS = 6_000;

/** @param {number} expiresAt In unix seconds. */
function timeLeft(expiresAt) {
  const seconds = Math.max(0, Math.ceil(expiresAt - Date.now() / 1000));
  return seconds > 90 ? `${Math.round(seconds / 60)} minutes left` : `${seconds} s left`;
}

/**
 * A card that is open.
 *
 * @typedef {object} Card
 * @property {HTMLElement} body The place for what is asked and for the answers.
 * @property {(isSent: boolean) => void} answered Disables the card until it is closed; says so if nothing was sent.
 */

/**
 * Creates the list of cards.
 *
 * @param {() => void} onFocusLost Called when the card that had the focus is closed and no other card waits.
 */
export function createCards(onFocusLost) {
  const region = byId("cards");
  const field = /** @type {HTMLTextAreaElement} */ (byId("say"));
  /**
   * Open cards by id.
   *
   * @type {Map<string, { card: HTMLElement, body: HTMLFieldSetElement, close: (words: string) => void }>}
   */
  const cards = new Map();

  function focusNext() {
    const open = [...cards.values()].find(({ body }) => !body.disabled);
    if (open === undefined) return onFocusLost();
    open.card.scrollIntoView({ block: "nearest" });
    open.card.focus();
  }

  return {
    /** @param {string} id */
    has(id) {
      return cards.has(id);
    },

    /**
     * Adds a card. The card gets the focus and never a button: Enter or Space that was meant for the message must not
     * allow anything. A user who writes or answers another card keeps the focus.
     *
     * @param {{ id: string, title: string, about: string, expiresAt: number }} options `expiresAt` is in unix seconds.
     * @returns {Card}
     */
    add({ id, title, about, expiresAt }) {
      const heading = createElement("h2", "", title);
      heading.id = `card-${id}`;
      const left = createElement("span", "", timeLeft(expiresAt));
      left.setAttribute("aria-live", "off");
      const description = createElement("p", "about", `${about} `);
      description.id = `card-${id}-about`;
      description.append(left);
      const body = createElement("fieldset", "card-body");
      const card = createElement("section", "card");
      card.setAttribute("role", "alertdialog");
      card.setAttribute("aria-modal", "false");
      card.setAttribute("aria-labelledby", heading.id);
      card.setAttribute("aria-describedby", description.id);
      card.tabIndex = -1;
      card.append(heading, description, body);
      const hadFocus = region.contains(document.activeElement);
      region.append(card);
      const timer = setInterval(() => {
        left.textContent = timeLeft(expiresAt);
      }, 1000);
      cards.set(id, {
        card,
        body,
        close(words) {
          clearInterval(timer);
          cards.delete(id);
          const hadFocus = card.contains(document.activeElement);
          card.className = "card over";
          card.setAttribute("role", "status");
          card.replaceChildren(createElement("p", "", `${title}: ${words}`));
          if (hadFocus) focusNext();
          setTimeout(() => card.remove(), SHOWN_AFTER_END_MS);
        },
      });
      if (!hadFocus) {
        card.scrollIntoView({ block: "nearest" });
        if (field.value === "") card.focus();
      }
      return {
        body,
        answered(isSent) {
          if (!isSent) {
            left.textContent = "Not connected: the answer was not sent.";
            return;
          }
          body.disabled = true;
          focusNext();
        },
      };
    },

    /** Closes a card, if it is open. @param {string} id @param {string} words How it ended. */
    close(id, words) {
      cards.get(id)?.close(words);
    },

    /** Enables all cards again, because the server did not accept an answer. */
    enable() {
      for (const { body } of cards.values()) body.disabled = false;
    },

    /** Closes the cards of what is no longer asked. @param {readonly string[]} ids */
    keepOnly(ids) {
      for (const [id, { close }] of [...cards]) {
        if (!ids.includes(id)) close("The agent no longer asks.");
      }
    },
  };
}

/** Creates a button of a card. @param {string} text @param {string} style @param {() => void} onClick */
export function createAnswer(text, style, onClick) {
  const button = createElement("button", `button ${style}`.trim(), text);
  button.type = "button";
  button.addEventListener("click", onClick);
  return button;
}
