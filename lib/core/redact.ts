/** Keeps secrets out of what people and other programs read: pure. @module */

/** Replaces secrets in a text. */
export type Redact = (text: string) => string;

/** What stands in the place of a secret. */
const HIDDEN = "[secret]";
/** Characters of a line of a secret that has several, as certificates have; shorter ones stand everywhere. */
const LINE_CHARS = 12;

/**
 * Makes a function that takes these secrets out of a text: as they are, as they look inside of JSON, and line by line,
 * since texts are read in lines.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { createRedactor } from "./redact.ts";
 * const redact = createRedactor(["sk-123456"]);
 * assertEquals(redact("The key sk-123456 is wrong."), "The key [secret] is wrong.");
 * ```
 */
export function createRedactor(secrets: readonly string[]): Redact {
  const lines = secrets.flatMap((secret) => secret.split(/\r?\n/)).filter((line) =>
    line.length >= LINE_CHARS
  );
  const all = [...secrets, ...lines].filter((secret) => secret !== "")
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
  // One may begin another: the longest goes first.
  const hidden = [...new Set(all)].sort((a, b) => b.length - a.length);
  return (text) => hidden.reduce((text, secret) => text.replaceAll(secret, HIDDEN), text);
}
