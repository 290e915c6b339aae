/** Keeps secrets out of texts for people and other programs. Pure. @module */

/** Replaces the secrets in a text. */
export type Redact = (text: string) => string;

/** Replaces a secret. */
const REPLACEMENT = "[secret]";
/**
 * Shortest line of a multi-line secret, such as a certificate, that is redacted alone; shorter ones are common words.
 */
const MIN_LINE_CHARS = 12;
/** A key that `oab-vtuber key new` made. The program may know only its hash. */
const MADE_KEY = /oab_[\w-]{32}/g;

/**
 * Creates a function that replaces these secrets in a text: as they are, in their JSON form, and line by line, because
 * output is often read in lines. It also replaces everything that looks like a key of this program.
 */
export function createRedactor(secrets: readonly string[]): Redact {
  const lines = secrets.flatMap((secret) => secret.split(/\r?\n/))
    .filter((line) => line.length >= MIN_LINE_CHARS);
  const forms = [...secrets, ...lines].filter((secret) => secret !== "")
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
  // Replace the longest first, because one secret may be the start of another.
  const sorted = [...new Set(forms)].sort((a, b) => b.length - a.length);
  return (text) =>
    sorted.reduce((text, secret) => text.replaceAll(secret, REPLACEMENT), text)
      .replaceAll(MADE_KEY, REPLACEMENT);
}
