// @ts-check
/** Questions of the agent: what it asks leave for, a button for each answer, and the time that is left. @module */

import { byId, make, unhidden } from "./dom.js";

/** How long a card stays after its end. */
const LINGER_MS = 6_000;

/** @type {Readonly<Record<string, string>>} */
const KINDS = {
  read: "wants to read",
  edit: "wants to change files",
  delete: "wants to delete",
  move: "wants to move files",
  search: "wants to search",
  execute: "wants to run a command",
  fetch: "wants to fetch from the network",
};

/**
 * How a permission ended, in words.
 *
 * @param {string} outcome
 * @param {string} by
 */
export function outcomeWords(outcome, by) {
  switch (outcome) {
    case "allowed":
      return `Allowed by ${by}.`;
    case "rejected":
      return `Rejected by ${by}.`;
    case "expired":
      return "Nobody answered in time, so it was rejected.";
    default:
      return "The agent no longer asks.";
  }
}

/** The time that is left, in words. @param {number} seconds */
export function timeLeft(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  return whole > 90 ? `${Math.round(whole / 60)} minutes left` : `${whole} s left`;
}

/**
 * @typedef {{ request_id: string, session_id: string, turn_id: string, expires_at: number,
 *   tool: { tool_name: string, kind: string, detail?: string },
 *   options: readonly { option_id: string, name: string, kind: string }[] }} Request
 */

/**
 * The cards.
 *
 * @param {{ answer: (requestId: string, optionId: string) => boolean, done: () => void }} actions `done` is told when
 *   the focus was on a card that went away.
 */
export function createPermissions({ answer, done }) {
  const region = byId("permissions");
  /** @type {Map<string, { card: HTMLElement, resolve: (words: string) => void }>} */
  const cards = new Map();

  /** @param {Request} request */
  function show({ request_id, tool, options, expires_at }) {
    if (cards.has(request_id)) return;
    const card = make("section", "permission");
    card.setAttribute("role", "alertdialog");
    card.setAttribute("aria-modal", "false");
    card.tabIndex = -1;
    const id = `permission-${request_id}`;
    const title = make("h2", "", unhidden(tool.tool_name));
    title.id = id;
    const left = make("span", "", timeLeft(expires_at - Date.now() / 1000));
    left.setAttribute("aria-live", "off");
    const about = make("p", "about", `The agent ${KINDS[tool.kind] ?? "asks for leave"}. `);
    about.id = `${id}-about`;
    about.append(left);
    card.setAttribute("aria-labelledby", id);
    card.setAttribute("aria-describedby", about.id);
    card.append(title, about);
    if (tool.detail) {
      const detail = make("pre", "", unhidden(tool.detail));
      detail.tabIndex = 0;
      detail.setAttribute("aria-label", "What it would do");
      card.append(detail);
    }
    const answers = make("div", "answers");
    const buttons = options.map(({ option_id, name, kind }) => {
      const look = kind === "allow_once" ? "primary" : kind.startsWith("reject") ? "reject" : "";
      const button = make("button", `button ${look}`.trim(), unhidden(name));
      button.type = "button";
      button.dataset.kind = kind;
      button.addEventListener("click", () => {
        if (!answer(request_id, option_id)) {
          left.textContent = "Not connected: the answer was not sent.";
          return;
        }
        for (const other of buttons) other.disabled = true;
        next();
      });
      return button;
    });
    answers.append(...buttons);
    card.append(answers);
    region.append(card);

    const timer = setInterval(() => {
      left.textContent = timeLeft(expires_at - Date.now() / 1000);
    }, 1000);
    cards.set(request_id, {
      card,
      resolve(words) {
        clearInterval(timer);
        cards.delete(request_id);
        const focused = card.contains(document.activeElement);
        card.className = "permission over";
        card.setAttribute("role", "status");
        card.replaceChildren(make("p", "", `${unhidden(tool.tool_name)}: ${words}`));
        if (focused) next();
        setTimeout(() => card.remove(), LINGER_MS);
      },
    });
    // Whoever writes is not interrupted. The focus goes to the card, never to an answer: a key that was meant for the
    // message must not allow anything.
    const field = /** @type {HTMLTextAreaElement} */ (byId("say"));
    if (region.contains(document.activeElement)) return;
    card.scrollIntoView({ block: "nearest" });
    if (field.value === "") card.focus();
  }

  /** The next question, or the chat. */
  function next() {
    const open = [...cards.values()].find(({ card }) => card.querySelector("button:enabled") !== null);
    if (open === undefined) return done();
    open.card.scrollIntoView({ block: "nearest" });
    open.card.focus();
  }

  return {
    show,
    /** @param {{ request_id: string, outcome: string, by: string }} resolution */
    resolve({ request_id, outcome, by }) {
      cards.get(request_id)?.resolve(outcomeWords(outcome, by));
    },
    /** The answer did not arrive: the card can be used again. @param {string} words */
    refuse(words) {
      for (const { card } of cards.values()) {
        for (const button of card.querySelectorAll("button")) button.disabled = false;
      }
      return words;
    },
    /** Those that are not among these are asked no longer. @param {readonly string[]} open */
    keep(open) {
      for (const [id, { resolve }] of [...cards]) {
        if (!open.includes(id)) resolve("The agent no longer asks.");
      }
    },
  };
}
