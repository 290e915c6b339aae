/** Characters of foreign texts that must not reach a terminal, a log or a name. Pure. @module */

/**
 * Control characters (C0 and C1), which start lines and move a terminal's cursor; line separators; and the characters
 * that change the direction of text, with which a command or a name looks like another one.
 */
const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
const UNSAFE_RUN = new RegExp(`${UNSAFE.source}+`, "gu");

const UNSAFE_IN_LINES = new RegExp(`(?![\\t\\n\\r])${UNSAFE.source}`, "gu");

/** Replaces unsafe characters with their JSON escapes. */
export function escapeUnsafe(text: string): string {
  return text.replace(UNSAFE, escape);
}

/** Replaces unsafe characters with their JSON escapes, except tabs and line breaks. */
export function escapeUnsafeInLines(text: string): string {
  return text.replace(UNSAFE_IN_LINES, escape);
}

function escape(char: string): string {
  return "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0");
}

/** Replaces each run of unsafe characters with a space. */
export function spaceUnsafe(text: string): string {
  return text.replace(UNSAFE_RUN, " ");
}
