/** Cuts long texts. @module */

/** Cuts a text after this number of characters, and marks the cut with `...`. */
export function truncate(text: string, maxChars: number): string {
  return text.length > maxChars ? text.slice(0, maxChars).toWellFormed() + "..." : text;
}

/** Cuts a text in its middle, so that its start and its end are seen, and says how many characters are left out. */
export function cutMiddle(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const half = Math.floor(maxChars / 2);
  const leftOut = text.length - 2 * half;
  return `${text.slice(0, half)}\n[${leftOut} characters left out]\n${text.slice(-half)}`.toWellFormed();
}
