// @ts-check
/** Permission requests of the agent: a card for each, with a button for each answer and the time left. @module */

import { byId, createElement, escapeInvisible } from "./dom.js";

/** Time that a card stays after its request was resolved. */
const SHOWN_AFTER_END_MS = 6_000;

/** @type {ReadonlyMap<string, string>} */
const KIND_LABELS = new Map([
  ["read", "wants to read"],
  ["edit", "wants to change files"],
  ["delete", "wants to delete"],
  ["move", "wants to move files"],
  ["search", "wants to search"],
  ["execute", "wants to run a command"],
  ["fetch", "wants to fetch from the network"],
]);

/** @param {string} outcome @param {string} by Name of the client that answered. */
function outcomeLabel(outcome, by) {
  switch (outcome) {
    case "allowed":
      return `Allowed by ${by}.`;
    case "rejected":
      return `Rejected by ${by}.`;
    case "expired":
      return "Rejected, because nobody answered in time.";
    default:
      return "The agent no longer asks.";
  }
}

/** @param {number} expiresAt In unix seconds. */
function timeLeft(expiresAt) {
  const seconds = Math.max(0, Math.ceil(expiresAt - Date.now() / 1000));
  return seconds > 90 ? `${Math.round(seconds / 60)} minutes left` : `${seconds} s left`;
}

/**
 * @typedef {{ request_id: string, session_id: string, turn_id: string, expires_at: number,
 *   tool: { tool_name: string, kind: string, detail?: string },
 *   options: readonly { option_id: string, name: string, kind: string }[] }} Request
 */

/**
 * Creates the list of cards.
 *
 * @param {{ answer: (requestId: string, optionId: string) => boolean, onFocusLost: () => void }} actions
 *   `onFocusLost` is called when the card that had the focus is resolved and no other card waits.
 */
export function createPermissions({ answer, onFocusLost }) {
  const region = byId("permissions");
  const field = /** @type {HTMLTextAreaElement} */ (byId("say"));
  /** Open cards by request id. @type {Map<string, { card: HTMLElement, close: (words: string) => void }>} */
  const cards = new Map();

  /** @param {Request} request */
  function show({ request_id, tool, options, expires_at }) {
    if (cards.has(request_id)) return;
    const id = `permission-${request_id}`;
    const name = escapeInvisible(tool.tool_name);
    const title = createElement("h2", "", name);
    title.id = id;
    const left = createElement("span", "", timeLeft(expires_at));
    left.setAttribute("aria-live", "off");
    const about = createElement(
      "p",
      "about",
      `The agent ${KIND_LABELS.get(tool.kind) ?? "asks for permission"}. `,
    );
    about.id = `${id}-about`;
    about.append(left);
    const card = createElement("section", "permission");
    card.setAttribute("role", "alertdialog");
    card.setAttribute("aria-modal", "false");
    card.setAttribute("aria-labelledby", id);
    card.setAttribute("aria-describedby", about.id);
    card.tabIndex = -1;
    card.append(title, about);
    if (tool.detail) {
      const detail = createElement("pre", "", escapeInvisible(tool.detail));
      detail.tabIndex = 0;
      detail.setAttribute("aria-label", "Details of the request");
      card.append(detail);
    }
    const buttons = options.map(({ option_id, name, kind }) => {
      const style = kind === "allow_once" ? "primary" : kind.startsWith("reject") ? "reject" : "";
      const button = createElement("button", `button ${style}`.trim(), escapeInvisible(name));
      button.type = "button";
      button.dataset.kind = kind;
      button.addEventListener("click", () => {
        if (!answer(request_id, option_id)) {
          left.textContent = "Not connected: the answer was not sent.";
          return;
        }
        for (const other of buttons) other.disabled = true;
        focusNext();
      });
      return button;
    });
    const answers = createElement("div", "answers");
    answers.append(...buttons);
    card.append(answers);
    region.append(card);

    const timer = setInterval(() => {
      left.textContent = timeLeft(expires_at);
    }, 1000);
    cards.set(request_id, {
      card,
      close(words) {
        clearInterval(timer);
        cards.delete(request_id);
        const hadFocus = card.contains(document.activeElement);
        card.className = "permission over";
        card.setAttribute("role", "status");
        card.replaceChildren(createElement("p", "", `${name}: ${words}`));
        if (hadFocus) focusNext();
        setTimeout(() => card.remove(), SHOWN_AFTER_END_MS);
      },
    });
    // Keep the focus of a user who writes or answers another card. Focus the card and never a button: Enter or Space
    // that was meant for the message must not allow anything.
    if (region.contains(document.activeElement)) return;
    card.scrollIntoView({ block: "nearest" });
    if (field.value === "") card.focus();
  }

  function focusNext() {
    const open = [...cards.values()].find(({ card }) => card.querySelector("button:enabled") !== null);
    if (open === undefined) return onFocusLost();
    open.card.scrollIntoView({ block: "nearest" });
    open.card.focus();
  }

  return {
    show,

    /** Closes the card of a request that was resolved. @param {{ request_id: string, outcome: string, by: string }} event */
    resolve({ request_id, outcome, by }) {
      cards.get(request_id)?.close(outcomeLabel(outcome, by));
    },

    /** Enables all buttons again, because the server did not accept an answer. */
    enableAnswers() {
      for (const { card } of cards.values()) {
        for (const button of card.querySelectorAll("button")) button.disabled = false;
      }
    },

    /** Closes the cards of all other requests. @param {readonly string[]} requestIds */
    keepOnly(requestIds) {
      for (const [id, { close }] of [...cards]) {
        if (!requestIds.includes(id)) close(outcomeLabel("", ""));
      }
    },
  };
}
