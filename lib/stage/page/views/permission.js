// @ts-check
/** Permission requests of the agent: a card for each, with a button for each answer. @module */

import { createAnswer } from "./cards.js";
import { createElement, escapeInvisible } from "./dom.js";

/** Distance to the end of a long command within which it counts as seen. */
const NEAR_END_PX = 8;

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

/**
 * The request. `detail_chars` is the length of a long detail, whose middle is left out; it then has only the options
 * that reject.
 *
 * @typedef {{ request_id: string, expires_at: number,
 *   tool: { tool_name: string, kind: string, detail?: string, detail_chars?: number },
 *   options: readonly { option_id: string, name: string, kind: string }[] }} Request
 */

/**
 * Shows permission requests as cards.
 *
 * @param {object} options
 * @param {ReturnType<typeof import("./cards.js").createCards>} options.cards
 * @param {(answer: { request_id: string, option_id: string, detail_chars?: number | undefined }) => boolean
 *   } options.answer Returns false if there is no connection.
 * @param {(requestId: string) => Promise<Request>} options.fetchWhole Gets a request with its whole detail.
 */
export function createPermissions({ cards, answer, fetchWhole }) {
  return {
    /** @param {Request} request */
    show(request) {
      const { request_id: id, tool, expires_at: expiresAt } = request;
      if (cards.has(id)) return;
      const title = escapeInvisible(tool.tool_name);
      const about = `The agent ${KIND_LABELS.get(tool.kind) ?? "asks for permission"}.`;
      const card = cards.add({ id, title, about, expiresAt });

      /** @param {Request} request @param {boolean} isWhole Whether the detail is all of it. */
      const render = ({ tool: { detail = "", detail_chars }, options }, isWhole) => {
        const detailView = createElement("pre", "", escapeInvisible(detail));
        detailView.tabIndex = 0;
        detailView.setAttribute("aria-label", "Details of the request");
        const answers = createElement("div", "answers");
        const buttons = options.map(({ option_id, name, kind }) => {
          const style = kind === "allow_once" ? "primary" : kind.startsWith("reject") ? "reject" : "";
          return createAnswer(escapeInvisible(name), style, () => {
            card.answered(answer({ request_id: id, option_id, detail_chars }));
          });
        });
        answers.append(...buttons);
        card.body.replaceChildren(...(detail === "" ? [] : [detailView]), answers);
        if (detail_chars === undefined) return;
        if (isWhole) {
          const allowing = buttons.filter((_, index) => !options[index]?.kind.startsWith("reject"));
          allowAtEnd(detailView, allowing);
        } else {
          answers.prepend(
            createAnswer(`Show all ${detail_chars} characters`, "primary", async () => {
              try {
                render(await fetchWhole(id), true);
              } catch {
                card.answered(false);
              }
            }),
          );
        }
      };
      render(request, false);
    },

    /**
     * Closes the card of a request that was resolved.
     *
     * @param {{ request_id: string, outcome: string, by: string }} event
     */
    resolve({ request_id, outcome, by }) {
      cards.close(request_id, outcomeLabel(outcome, by));
    },
  };
}

/**
 * Enables buttons once a text was scrolled to its end.
 *
 * @param {HTMLElement} text
 * @param {readonly HTMLButtonElement[]} buttons
 */
function allowAtEnd(text, buttons) {
  const hint = createElement("p", "about", "Read it to its end to allow it.");
  const update = () => {
    if (text.scrollHeight - text.scrollTop - text.clientHeight > NEAR_END_PX) return;
    for (const button of buttons) button.disabled = false;
    hint.remove();
  };
  for (const button of buttons) button.disabled = true;
  text.after(hint);
  text.addEventListener("scroll", update, { passive: true });
  text.focus();
  update();
}
