// @ts-check
/** Questions of the agent (ACP elicitation): a card for each, answered by a button or a form. @module */

import { createAnswer } from "./cards.js";
import { createElement, escapeInvisible } from "./dom.js";

/**
 * @typedef {{ name: string, title: string, type: string, description?: string, required?: boolean,
 *   options?: readonly { value: string, title: string }[], default?: unknown }} Field
 */
/**
 * @typedef {{ question_id: string, message: string, url?: string, is_private?: boolean,
 *   fields: readonly Field[], expires_at: number }} Question
 */

/** Answers that are shown as buttons; more are a list. */
const MAX_BUTTONS = 8;

/** @type {Readonly<Record<string, string>>} */
const OUTCOMES = {
  answered: "Answered",
  declined: "Declined",
  expired: "Nobody answered in time",
};

/**
 * Shows questions as cards.
 *
 * @param {object} options
 * @param {ReturnType<typeof import("./cards.js").createCards>} options.cards
 * @param {(answer: { question_id: string, action: "accept" | "decline", content?: Record<string, unknown> }) => boolean
 *   } options.answer Returns false if there is no connection.
 */
export function createQuestions({ cards, answer }) {
  return {
    /** @param {Question} question */
    show({ question_id: id, message, url, is_private = false, fields, expires_at: expiresAt }) {
      if (cards.has(id)) return;
      const card = cards.add({ id, title: escapeInvisible(message), about: "The agent asks.", expiresAt });
      /** @param {Record<string, unknown>} [content] */
      const accept = (content) => {
        card.answered(answer({ question_id: id, action: "accept", ...(content ? { content } : {}) }));
      };
      const answers = createElement("div", "answers");
      const [field] = fields;
      if (url !== undefined) {
        card.body.append(createElement("pre", "", escapeInvisible(url)));
        answers.append(createAnswer("Open the page", "primary", () => {
          // Only the web: no address of another program.
          if (/^https?:/i.test(url)) open(url, "_blank", "noopener,noreferrer");
          accept();
        }));
      } else if (field && fields.length === 1 && choicesOf(field).length > 0) {
        for (const { value, title } of choicesOf(field)) {
          answers.append(createAnswer(escapeInvisible(title), "", () => accept({ [field.name]: value })));
        }
      } else {
        const form = createElement("form", "question");
        const inputs = fields.map((each) => createInput(each, is_private));
        const submit = createElement("button", "button primary", "Answer");
        form.append(...inputs.map(({ row }) => row), submit);
        form.addEventListener("submit", (event) => {
          event.preventDefault();
          const given = inputs.map(({ name, read }) => [name, read()]);
          accept(Object.fromEntries(given.filter(([, value]) => value !== undefined)));
        });
        card.body.append(form);
      }
      answers.append(createAnswer("Decline", "reject", () => {
        card.answered(answer({ question_id: id, action: "decline" }));
      }));
      card.body.append(answers);
    },

    /**
     * Closes the card of a question that was answered.
     *
     * @param {{ question_id: string, outcome: string, by: string }} event
     */
    resolve({ question_id, outcome, by }) {
      const words = OUTCOMES[outcome] ?? "The agent no longer asks";
      cards.close(
        question_id,
        outcome === "expired" || !OUTCOMES[outcome] ? `${words}.` : `${words} by ${by}.`,
      );
    },
  };
}

/**
 * Returns the answers of a field that is answered by one button; none for other fields.
 *
 * @param {Field} field
 * @returns {readonly { value: unknown, title: string }[]}
 */
function choicesOf({ type, options = [] }) {
  if (type === "boolean") return [{ value: true, title: "Yes" }, { value: false, title: "No" }];
  return type === "choice" && options.length <= MAX_BUTTONS ? options : [];
}

/**
 * Creates the row of a field in a form.
 *
 * @param {Field} field
 * @param {boolean} isPrivate
 * @returns {{ name: string, row: HTMLElement, read: () => unknown }}
 */
function createInput(
  { name, title, type, description = "", required = false, options = [], ...field },
  isPrivate,
) {
  const row = createElement("label", "question-field");
  row.append(createElement("span", "name", escapeInvisible(title)));
  if (description !== "") row.append(createElement("span", "about", escapeInvisible(description)));
  if (type === "choice" || type === "choices") {
    const select = createElement("select");
    select.multiple = type === "choices";
    select.required = required;
    for (const { value, title } of options) select.append(new Option(escapeInvisible(title), value));
    for (const option of select.options) {
      option.selected = [field.default ?? []].flat().includes(option.value);
    }
    row.append(select);
    const chosen = () => [...select.selectedOptions].map(({ value }) => value);
    return { name, row, read: () => type === "choices" ? chosen() : chosen()[0] };
  }
  const input = createElement("input");
  row.append(input);
  if (type === "boolean") {
    input.type = "checkbox";
    input.checked = field.default === true;
    return { name, row, read: () => input.checked };
  }
  const isNumber = type === "number" || type === "integer";
  input.type = isNumber ? "number" : isPrivate ? "password" : "text";
  input.step = type === "number" ? "any" : "1";
  input.required = required;
  input.autocomplete = "off";
  input.value = String(field.default ?? "");
  return {
    name,
    row,
    read: () => input.value === "" ? undefined : isNumber ? input.valueAsNumber : input.value,
  };
}
