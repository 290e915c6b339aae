// @ts-check
/** Markdown: the elements of replies, and the prose of notifications. Text only ever becomes text nodes. @module */

import { Lexer } from "../vendor/marked.js";
import { createElement } from "./dom.js";

/** @typedef {import("../vendor/marked.js").Tokens.Generic} Token A block, or a part of its text. */

/** Longest text whose emphasis and links are parsed: the parser takes quadratic time for unusual texts. */
const MAX_INLINE_CHARS = 4_000;
/** Time for which the copy button says that it has copied. */
const COPIED_MS = 2_000;
/** Addresses that a link may open. */
const LINK = /^(https?|mailto):/i;
const EMPHASIS = /** @type {const} */ ({ strong: "strong", em: "em", del: "del" });

/**
 * Parses Markdown into blocks. A text that the parser cannot read is one paragraph.
 *
 * @param {string} markdown
 * @returns {Token[]}
 */
function parseBlocks(markdown) {
  try {
    const blocks = new Lexer({ gfm: true, breaks: true }).blockTokens(markdown, []);
    return blocks.filter(({ type }) => type !== "space" && type !== "def");
  } catch {
    return [plainParagraph(markdown)];
  }
}

/**
 * Parses the text within one block of {@linkcode parseBlocks}.
 *
 * @param {string} raw
 * @returns {Token[]}
 */
function parseBlock(raw) {
  try {
    const lexer = new Lexer({ gfm: true, breaks: true });
    const blocks = lexer.blockTokens(raw, []);
    for (const { src, tokens } of lexer.inlineQueue) {
      if (src.length <= MAX_INLINE_CHARS) lexer.inlineTokens(src, tokens);
      else tokens.push({ type: "text", raw: src, text: src, escaped: false });
    }
    return blocks;
  } catch {
    return [plainParagraph(raw)];
  }
}

/** @param {string} raw @returns {Token} */
function plainParagraph(raw) {
  return { type: "paragraph", raw, text: raw, tokens: [{ type: "text", raw, text: raw, escaped: false }] };
}

/**
 * Shows growing Markdown in an element. Blocks that did not change are not touched, so that a selection in them stays.
 *
 * @param {HTMLElement} element
 * @returns {(markdown: string) => void}
 */
export function createMarkdownView(element) {
  /** The blocks that are shown. @type {string[]} */
  let shown = [];
  return (markdown) => {
    const blocks = parseBlocks(markdown).map(({ raw }) => raw);
    const same = blocks.findIndex((raw, index) => raw !== shown[index]);
    const kept = same < 0 ? blocks.length : same;
    while (element.children.length > kept) element.lastElementChild?.remove();
    for (const raw of blocks.slice(kept)) {
      const block = createElement("div", "block");
      block.append(...parseBlock(raw).map(renderBlock));
      element.append(block);
    }
    shown = blocks;
  };
}

/** @param {Token} token @returns {Node} */
function renderBlock(token) {
  switch (token.type) {
    case "heading":
      return withChildren(createElement(token.depth === 1 ? "h3" : "h4"), token.tokens);
    case "paragraph":
      return withChildren(createElement("p"), token.tokens);
    case "blockquote":
      return withBlocks(createElement("blockquote"), token.tokens);
    case "code":
      return renderCode(token.text);
    case "list":
      return renderList(token);
    case "table":
      return renderTable(token);
    case "hr":
      return createElement("hr");
    case "space":
    case "def":
      return document.createTextNode("");
    default:
      // The text of a tight list item, and everything inline. HTML stays text.
      return renderInline(token);
  }
}

/** @param {HTMLElement} element @param {Token[] | undefined} tokens */
function withBlocks(element, tokens = []) {
  element.append(...tokens.map(renderBlock));
  return element;
}

/** @param {HTMLElement} element @param {Token[] | undefined} tokens */
function withChildren(element, tokens = []) {
  element.append(...tokens.map(renderInline));
  return element;
}

/** @param {Token} token @returns {Node} */
function renderInline(token) {
  switch (token.type) {
    case "strong":
    case "em":
    case "del":
      return withChildren(createElement(EMPHASIS[token.type]), token.tokens);
    case "codespan":
      return createElement("code", "", token.text);
    case "br":
      return createElement("br");
    case "checkbox":
      return document.createTextNode(token.checked ? "☑ " : "☐ ");
    case "link":
      return renderLink(token.href, withChildren(createElement("a"), token.tokens));
    case "image":
      // Nothing is loaded from another server: an address could tell it what was said.
      return renderLink(token.href, createElement("a", "", token.text || token.href));
    case "text":
      if (token.tokens) return withChildren(createElement("span"), token.tokens);
      return document.createTextNode(token.text);
    case "escape":
      return document.createTextNode(token.text);
    default:
      return document.createTextNode(token.raw);
  }
}

/** @param {string} href @param {HTMLElement} link @returns {Node} */
function renderLink(href, link) {
  if (!(link instanceof HTMLAnchorElement) || !LINK.test(href)) {
    const text = createElement("span");
    text.append(...link.childNodes);
    return text;
  }
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

/** @param {string} text */
function renderCode(text) {
  const code = createElement("code", "", text);
  const pre = createElement("pre");
  // The keyboard can then scroll a long block.
  pre.tabIndex = 0;
  pre.append(code);
  const copy = createElement("button", "copy", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", "Copy the code");
  copy.addEventListener("click", async () => {
    copy.textContent = await copyText(code) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => {
      copy.textContent = "Copy";
    }, COPIED_MS);
  });
  const block = createElement("div", "code");
  block.append(copy, pre);
  return block;
}

/** Copies the text of an element. Without permission (a page without TLS), selects it. @param {HTMLElement} element */
async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return false;
  }
}

/** @param {Token} list */
function renderList({ ordered, start, items }) {
  const element = createElement(ordered ? "ol" : "ul");
  if (element instanceof HTMLOListElement && typeof start === "number") element.start = start;
  for (const { tokens } of items) element.append(withBlocks(createElement("li"), tokens));
  return element;
}

/** @param {Token} table */
function renderTable({ header, rows }) {
  const table = createElement("table");
  for (const cells of [header, ...rows]) {
    const row = createElement("tr");
    for (const { tokens, align } of cells) {
      const cell = withChildren(createElement(cells === header ? "th" : "td"), tokens);
      if (align) cell.style.textAlign = align;
      row.append(cell);
    }
    table.append(row);
  }
  const scroller = createElement("div", "table");
  scroller.tabIndex = 0;
  scroller.append(table);
  return scroller;
}

/** Returns the prose of a notification: without code blocks, tables, HTML and marks. @param {string} markdown */
export function toProse(markdown) {
  return parseBlocks(markdown)
    .map(({ raw }) => parseBlock(raw).map(proseOf).join("\n"))
    .filter((text) => text !== "")
    .join("\n");
}

/** Tokens that are not spoken. */
const SILENT = new Set(["code", "table", "html", "hr", "space", "def", "image", "checkbox"]);
/** Tokens whose parts are lines of their own. */
const BLOCKS = new Set(["list", "list_item", "blockquote"]);

/** @param {Token} token @returns {string} */
function proseOf(token) {
  const { type, text, href, items, tokens } = token;
  if (SILENT.has(type)) return "";
  if (type === "br") return "\n";
  // A bare address is said as the name of its server.
  if (type === "link" && text === href) return URL.parse(href)?.host ?? "";
  /** @type {Token[] | undefined} */
  const parts = items ?? tokens;
  if (parts === undefined) return String(text ?? "");
  const prose = parts.map(proseOf);
  return BLOCKS.has(type) ? prose.filter((line) => line.trim() !== "").join("\n") : prose.join("");
}
