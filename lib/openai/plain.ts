/** Tells text that needs no care: on the token path one look instead of a pattern at every step. @module */

/** Whether a text is nothing but printable ASCII without a colon, as most tokens are. */
export function isPlain(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e || code === 0x3a) return false;
  }
  return true;
}
