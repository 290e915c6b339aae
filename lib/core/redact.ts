/** Keeps secrets out of texts for people and other programs. Pure. @module */

/** Replaces the secrets in a text. */
export type Redact = (text: string) => string;

/** Replaces a secret. */
const REPLACEMENT = "[secret]";
/**
 * Shortest line of a multi-line secret, such as a certificate, that is redacted alone; shorter ones are common words.
 */
const MIN_LINE_CHARS = 12;
/** Characters of the shortest value that is redacted because it may be secret; shorter ones occur in ordinary words. */
export const MIN_SECRET_CHARS = 6;
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

/**
 * Lists the parts of an address that can be secret, in each form that a message may have: its user, its password and
 * its query, whole and by its values. The version of Azure's API is public, and servers name it in their errors.
 */
export function urlSecrets(address: string): string[] {
  const { username, password, search } = new URL(address);
  const values = search.slice(1).split("&").filter((pair) => !pair.startsWith("api-version="))
    .map((pair) => pair.slice(pair.indexOf("=") + 1));
  const forms = [username, password, ...values].flatMap((raw) => {
    const decoded = new URLSearchParams(`value=${raw}`).get("value") ?? raw;
    const formEncoded = new URLSearchParams({ value: decoded }).toString().slice("value=".length);
    return [decoded, raw, encodeURIComponent(decoded), formEncoded];
  });
  return [...new Set([search, ...forms])].filter((secret) => secret.length >= MIN_SECRET_CHARS);
}
