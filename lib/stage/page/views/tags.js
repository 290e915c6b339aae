// @ts-check
/** Removes the tags that move the character from a reply, so that only its text is shown and spoken. @module */

/** Words that are a tag when they stand alone in brackets. */
const WORDS = new Set(
  ("neutral happy sad angry surprised curious excited shy love smirk sleepy proud disgusted pain laugh bored " +
    "anger disgust fear joy sadness surprise relaxed jealous serious suspicious victory sleep sorrow fun think " +
    "awkward question silent").split(" "),
);
const MAX_WORDS = 500;
/** `[name: value]` is a tag with any value. */
const NAMES = "face|anim|animation|emotion|expression|motion|pose|pause|lang|vision";
const NAMED = new RegExp(`^\\s*(?:${NAMES})\\s*:\\s*[^\\[\\]\\n]*$`, "i");
/** Longest `[tag]` and `<|tag|>`, the same as the server's. */
const MAX_TAG_CHARS = 64;
const MAX_ACT_CHARS = 512;

/** Fenced blocks, code in a line, escaped characters, `<|...|>`, and brackets that are no link. */
const PARTS = new RegExp(
  "^[ \\t>]*(?<run>`{3,}|~{3,})[\\s\\S]*?(?:\\n[ \\t>]*\\k<run>[`~]*(?=\\s|$)|(?![\\s\\S]))" +
    "|(?<tick>`+)[^\\n]*?[^`\\n]\\k<tick>(?!`)|\\\\[\\s\\S]" +
    `|<\\|(?<act>[A-Za-z_][^\\n]{0,${MAX_ACT_CHARS}}?)\\|>` +
    `|\\[(?<word>[^\\[\\]\\n\`]{1,${MAX_TAG_CHARS}})\\](?!\\()`,
  "gm",
);

/**
 * Adds a word that is a tag on this server, for example of its configuration.
 *
 * @param {string} word
 */
export function addTag(word) {
  if (WORDS.size < MAX_WORDS) WORDS.add(word.trim().toLowerCase());
}

/** @param {string} content The text between the brackets. */
function isTag(content) {
  return WORDS.has(content.trim().toLowerCase()) || NAMED.test(content);
}

/**
 * Removes the tags. Code, links, `[1]` and other brackets stay.
 *
 * @param {string} raw The reply so far.
 * @param {boolean} isComplete If false, the end of the text is withheld while it may be the beginning of a tag.
 */
export function stripTags(raw, isComplete) {
  const text = isComplete ? raw : raw.slice(0, raw.length - unfinishedTagLength(raw));
  let stripped = "";
  let from = 0;
  for (const match of text.matchAll(PARTS)) {
    const { act, word } = match.groups ?? {};
    if (act === undefined && (word === undefined || !isTag(word))) continue;
    stripped += text.slice(from, match.index);
    from = match.index + match[0].length;
    // If there are spaces before a tag, remove the ones behind it.
    if (/(^|\s)$/.test(stripped)) from += /^[ \t]*/.exec(text.slice(from))?.[0].length ?? 0;
  }
  return (stripped + text.slice(from)).replace(/^\s+/, "");
}

/** Returns how many characters at the end may belong to a tag that is not complete. @param {string} raw */
function unfinishedTagLength(raw) {
  const act = raw.lastIndexOf("<|");
  if (act >= 0 && raw.length - act <= MAX_ACT_CHARS && !/\|>|\n/.test(raw.slice(act))) {
    return raw.length - act;
  }
  if (raw.endsWith("<")) return 1;
  const open = raw.lastIndexOf("[");
  if (open < 0 || raw.length - open > MAX_TAG_CHARS) return 0;
  const rest = raw.slice(open + 1);
  // A complete tag at the end is withheld too: with a `(` after it, the brackets are a link.
  if (/^[^\]\n`[]*\]$/.test(rest)) return isTag(rest.slice(0, -1)) ? raw.length - open : 0;
  return /^\s*[\p{L}_]*\s*(:[^\]\n`[]*)?$/u.test(rest) ? raw.length - open : 0;
}
