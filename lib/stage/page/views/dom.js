// @ts-check
/** Helpers for elements. Text of the agent only ever becomes text nodes, never markup. @module */

/**
 * Returns the element with an id.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no element ${id}.`);
  return element;
}

/**
 * Creates an element.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function createElement(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

/** Control and format characters: invisible, or changing the order of the visible ones. */
const INVISIBLE = /(?![\t\n])[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/**
 * Replaces invisible characters by their `\u` escapes, so that a person who decides by a text sees all of it.
 *
 * @param {string} text
 */
export function escapeInvisible(text) {
  return text.replace(
    INVISIBLE,
    (char) => "\\u" + (char.codePointAt(0) ?? 0).toString(16).padStart(4, "0"),
  );
}

/** @typedef {{ kind: "text" | "code" | "block", text: string }} ReplyPart */

/** A fenced block, which may still be open at the end of the text, or code in a line. */
const CODE =
  /(?:^|\n)[ \t>]*(`{3,}(?=[^`\n]*(?:\n|$))|~{3,})[^\n]*(?:\n([\s\S]*?))?(?:\n[ \t>]*\1[`~]*[ \t]*(?:\n|$)|$)|(`+)([^`\n]+)\3/g;

/**
 * Splits a reply into text, code in a line and fenced blocks.
 *
 * @param {string} reply
 * @returns {ReplyPart[]}
 */
export function splitReply(reply) {
  /** @type {ReplyPart[]} */
  const parts = [];
  let from = 0;
  for (const match of reply.matchAll(CODE)) {
    const [all, fence, block = "", , code = ""] = match;
    if (match.index > from) parts.push({ kind: "text", text: reply.slice(from, match.index) });
    parts.push(fence === undefined ? { kind: "code", text: code } : { kind: "block", text: block });
    from = match.index + all.length;
  }
  if (from < reply.length) parts.push({ kind: "text", text: reply.slice(from) });
  return parts;
}

const TAGS = /** @type {const} */ ({ text: "span", code: "code", block: "pre" });

/**
 * Shows a reply in an element. Parts that did not change are not touched, so that a selection in them stays.
 *
 * @param {HTMLElement} element
 * @param {string} reply
 */
export function renderReply(element, reply) {
  const parts = splitReply(reply);
  parts.forEach(({ kind, text }, index) => {
    const tag = TAGS[kind];
    let child = element.children[index];
    if (child?.localName !== tag) {
      const created = createElement(tag);
      // The keyboard can then scroll a long block.
      if (tag === "pre") created.tabIndex = 0;
      if (child) child.replaceWith(created);
      else element.append(created);
      child = created;
    }
    if (child.textContent !== text) child.textContent = text;
  });
  while (element.children.length > parts.length) element.lastElementChild?.remove();
}
