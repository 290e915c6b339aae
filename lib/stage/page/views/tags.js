// @ts-check
/** What of a reply is for eyes and ears: its text without the tags that move the character. @module */

/** Words that are a tag when they stand alone in brackets. */
const WORDS = new Set(
  ("neutral happy sad angry surprised curious excited shy love smirk sleepy proud disgusted pain laugh bored " +
    "anger disgust fear joy sadness surprise relaxed jealous serious suspicious victory sleep sorrow fun think " +
    "awkward question silent").split(" "),
);
/** Names before a colon that make a tag of whatever stands behind it. */
const NAMES = "face|anim|animation|emotion|expression|motion|pose|pause|lang|vision";
const NAMED = new RegExp(`^\\s*(?:${NAMES})\\s*:\\s*[^\\[\\]\\n]*$`, "i");
/** Longest tags; the same as the server's. */
const MAX_TAG_CHARS = 64;
const MAX_ACT_CHARS = 512;

/** Blocks of code, code in a line, what is escaped, `<|...|>`, and brackets that are no link. */
const PARTS = new RegExp(
  "^[ \\t>]*(?<run>`{3,}|~{3,})[\\s\\S]*?(?:\\n[ \\t>]*\\k<run>[`~]*(?=\\s|$)|(?![\\s\\S]))" +
    "|(?<tick>`+)[^\\n]*?[^`\\n]\\k<tick>(?!`)|\\\\[\\s\\S]" +
    `|<\\|(?<act>[A-Za-z_][^\\n]{0,${MAX_ACT_CHARS}}?)\\|>` +
    `|\\[(?<word>[^\\[\\]\\n\`]{1,${MAX_TAG_CHARS}})\\](?!\\()`,
  "gm",
);

/**
 * Adds a word that is a tag on this server, such as one that an event named.
 *
 * @param {string} word
 */
export function learnTag(word) {
  if (WORDS.size < 500) WORDS.add(word.trim().toLowerCase());
}

/** @param {string} inside What stands in brackets. */
function isTag(inside) {
  return WORDS.has(inside.trim().toLowerCase()) || NAMED.test(inside);
}

/**
 * The text without tags. Code, links, `[1]` and other brackets stay.
 *
 * @param {string} raw The reply so far.
 * @param {boolean} whole Whether it is over: else a tag that may have begun at its end is held back.
 */
export function withoutTags(raw, whole) {
  const text = whole ? raw : raw.slice(0, raw.length - heldBack(raw));
  let out = "";
  let from = 0;
  for (const match of text.matchAll(PARTS)) {
    const { act, word } = match.groups ?? {};
    if (act === undefined && (word === undefined || !isTag(word))) continue;
    out += text.slice(from, match.index);
    from = match.index + match[0].length;
    // A tag between two spaces leaves one.
    if (/(^|\s)$/.test(out)) from += /^[ \t]*/.exec(text.slice(from))?.[0].length ?? 0;
  }
  return (out + text.slice(from)).replace(/^\s+/, "");
}

/** How many characters at the end may be the beginning of a tag. @param {string} raw */
function heldBack(raw) {
  const act = raw.lastIndexOf("<|");
  if (act >= 0 && raw.length - act <= MAX_ACT_CHARS && !/\|>|\n/.test(raw.slice(act))) {
    return raw.length - act;
  }
  if (raw.endsWith("<")) return 1;
  const open = raw.lastIndexOf("[");
  if (open < 0 || raw.length - open > MAX_TAG_CHARS) return 0;
  const rest = raw.slice(open + 1);
  if (/^[^\]\n`[]*\]$/.test(rest)) return isTag(rest.slice(0, -1)) ? raw.length - open : 0;
  return /^\s*[\p{L}_]*\s*(:[^\]\n`[]*)?$/u.test(rest) ? raw.length - open : 0;
}
