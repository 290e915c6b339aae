// @ts-check
/** Agent text as elements: text stays text, and only fenced and inline code looks different. @module */

/** @typedef {{ kind: "text" | "code" | "block", text: string }} Part */

/**
 * The parts of a reply. A block that has not ended yet is one too.
 *
 * @param {string} text
 * @returns {Part[]}
 */
export function partsOf(text) {
  /** @type {Part[]} */
  const parts = [];
  const pattern =
    /(?:^|\n)[ \t>]*(`{3,}(?=[^`\n]*(?:\n|$))|~{3,})[^\n]*(?:\n([\s\S]*?))?(?:\n[ \t>]*\1[`~]*[ \t]*(?:\n|$)|$)|(`+)([^`\n]+)\3/g;
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > from) parts.push({ kind: "text", text: text.slice(from, match.index) });
    parts.push(
      match[1] === undefined
        ? { kind: "code", text: match[4] ?? "" }
        : { kind: "block", text: match[2] ?? "" },
    );
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push({ kind: "text", text: text.slice(from) });
  return parts;
}

/**
 * Shows a reply in an element; what is the same as before is not touched.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function showReply(element, text) {
  const parts = partsOf(text);
  parts.forEach((part, index) => {
    const tag = part.kind === "text" ? "span" : part.kind === "code" ? "code" : "pre";
    let child = element.children[index];
    if (child === undefined || child.localName !== tag) {
      const next = document.createElement(tag);
      if (tag === "pre") next.tabIndex = 0;
      if (child) child.replaceWith(next);
      else element.append(next);
      child = next;
    }
    if (child.textContent !== part.text) child.textContent = part.text;
  });
  while (element.children.length > parts.length) element.lastElementChild?.remove();
}

/**
 * An element with this text and class.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

/** What is not seen, or turns the order of what is seen around. */
const HIDDEN = /(?![\t\n])[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/**
 * Text in which nothing is hidden: a person decides by what it shows.
 *
 * @param {string} text
 */
export function unhidden(text) {
  return text.replace(HIDDEN, (char) => "\\u" + (char.codePointAt(0) ?? 0).toString(16).padStart(4, "0"));
}

/**
 * The element of the page with this id.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no element ${id}.`);
  return element;
}
