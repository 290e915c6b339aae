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

/** Whether the person has a keyboard, as far as a page can tell: a screen where nothing hovers is a phone's. */
export function hasKeyboard() {
  return !matchMedia("(hover: none)").matches;
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
