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

/**
 * Cuts a text with too many signs in its middle. To replace millions of signs would take seconds.
 *
 * @param sign Matches one character, with the flag `g`.
 * @returns The text, and the number of its signs.
 */
export function cutCrowded(text: string, sign: RegExp, maxCount: number): { text: string; count: number } {
  const half = Math.floor(maxCount / 2);
  let [count, head, tail] = [0, 0, text.length];
  sign.lastIndex = 0;
  for (; count <= maxCount && sign.test(text); count++) if (count < half) head = sign.lastIndex;
  if (count <= maxCount) return { text, count };
  for (let left = half; left > 0; tail--) {
    sign.lastIndex = 0;
    if (sign.test(text[tail - 1]!)) left--;
  }
  const note = `\n[${tail - head} characters left out]\n`;
  return { text: (text.slice(0, head) + note + text.slice(tail)).toWellFormed(), count: 2 * half };
}
