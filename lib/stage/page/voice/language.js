// @ts-check
/** Tells the language of a sentence, and which voice speaks it. @module */

/**
 * A voice of the server or of the browser.
 *
 * @typedef {object} Voice
 * @property {"server" | "browser"} engine
 * @property {string} id Its id on the server, or the browser's `voiceURI`.
 * @property {string} name
 * @property {string} language A BCP 47 tag; empty for a voice that speaks every language.
 * @property {boolean} [isDefault] Whether it is the first choice of the system.
 */

/** A syllable counts as much as so many letters. */
const LETTERS_PER_SYLLABLE = 3;

/** Scripts of one language, or of several of which the first is the usual one. @type {[RegExp, string[]][]} */
const SCRIPTS = [
  [/\p{Script=Cyrillic}/gu, ["ru", "uk", "bg", "sr", "mk", "be"]],
  [/\p{Script=Greek}/gu, ["el"]],
  [/\p{Script=Arabic}/gu, ["ar", "fa", "ur"]],
  [/\p{Script=Hebrew}/gu, ["he"]],
  [/\p{Script=Devanagari}/gu, ["hi", "mr", "ne"]],
  [/\p{Script=Thai}/gu, ["th"]],
];
/** Languages that are never written in Latin letters alone. */
const NOT_LATIN = new Set(["zh", "ja", "ko", ...SCRIPTS.flatMap(([, languages]) => languages)]);

/** Frequent words that few other languages have. @type {Readonly<Record<string, string>>} */
const WORDS = {
  en:
    "the and is are was were you your it this that of to with have has not what for my we they will would i'm it's",
  de:
    "der die das und ist sind war nicht ein eine ich du wir sie mit auf für wie auch ja kann den dem von zu",
  fr: "le les des est et je tu nous vous une pas que qui dans pour avec sur c'est oui mais être ce cette au",
  es: "el los las es y yo una que no por para con muy está esto eso pero sí qué cómo del al tu mi",
  it: "il gli è e io una che non per con sono questo quello ma sì come della nel ciao anche",
  pt: "o os as é e eu uma que não por para com muito está isto mas sim como da do em você",
  nl: "de het een is en ik je niet van voor met dat deze maar ja hoe wat zijn op aan",
};
/** The languages of each word. @type {Map<string, string[]>} */
const LANGUAGES_OF = new Map();
for (const [language, words] of Object.entries(WORDS)) {
  for (const word of words.split(" ")) LANGUAGES_OF.set(word, [...LANGUAGES_OF.get(word) ?? [], language]);
}

/** Returns the language of a tag, without its region. @param {string} tag */
function baseOf(tag) {
  return tag.toLowerCase().split(/[-_]/)[0] ?? "";
}

/**
 * Tells the language of a sentence by its script and, in Latin letters, by its frequent words.
 *
 * @param {string} text
 * @param {readonly string[]} preferred Languages that count first where the text leaves a choice: that of the sentence
 *   before, and the person's.
 * @returns {string} Without a region, such as `ja`.
 */
export function languageOf(text, preferred) {
  /** @param {RegExp} letters */
  const count = (letters) => text.match(letters)?.length ?? 0;
  /** @param {readonly string[]} languages @param {string} usual */
  const choose = (languages, usual) => preferred.map(baseOf).find((tag) => languages.includes(tag)) ?? usual;
  const [kana, hangul, han] = [
    count(/[\p{Script=Hiragana}\p{Script=Katakana}]/gu),
    count(/\p{Script=Hangul}/gu),
    count(/\p{Script=Han}/gu),
  ];
  const syllables = LETTERS_PER_SYLLABLE * (kana + hangul + han);
  const [script, languages] = SCRIPTS.map((
    [letters, languages],
  ) => /** @type {const} */ ([count(letters), languages])).reduce((most, next) =>
    next[0] > most[0] ? next : most
  );
  const latin = count(/\p{Script=Latin}/gu);
  if (syllables > Math.max(script, latin)) {
    if (hangul > kana + han) return "ko";
    return kana > 0 ? "ja" : choose(["zh", "ja"], "zh");
  }
  if (script > latin) return choose(languages, languages[0] ?? "");
  const isLatin = preferred.map(baseOf).find((tag) => tag !== "" && !NOT_LATIN.has(tag));
  return languageOfWords(text) ?? isLatin ?? "en";
}

/** Returns the language that most of the frequent words belong to, if it is one. @param {string} text */
function languageOfWords(text) {
  /** @type {Map<string, number>} */
  const scores = new Map();
  for (const word of text.toLowerCase().replaceAll("’", "'").match(/[\p{L}']+/gu) ?? []) {
    const found = LANGUAGES_OF.get(word) ?? [];
    // A word of several languages says less.
    for (const language of found) scores.set(language, (scores.get(language) ?? 0) + 1 / found.length);
  }
  const [first, second] = [...scores].sort((a, b) => b[1] - a[1]);
  return first && first[1] > (second?.[1] ?? 0) ? first[0] : undefined;
}

/** Whether a voice speaks a language. @param {Voice} voice @param {string} language */
export function speaks(voice, language) {
  return voice.language === "" || baseOf(voice.language) === language;
}

/**
 * Chooses the voice of a sentence: the picked one if it speaks the language, else one of the server, else one of the
 * browser, best in the person's region.
 *
 * @param {readonly Voice[]} voices
 * @param {string} picked The value of a voice, see {@linkcode valueOf}; another text picks none.
 * @param {string} language
 * @param {readonly string[]} preferred The person's languages.
 * @returns {Voice | undefined} `undefined` if no voice speaks the language.
 */
export function chooseVoice(voices, picked, language, preferred) {
  const able = voices.filter((voice) => speaks(voice, language));
  /** @param {Voice} voice */
  const rank = (voice) =>
    (valueOf(voice) === picked ? 8 : 0) + (voice.engine === "server" ? 4 : 0) +
    (preferred.some((tag) => tag.toLowerCase() === voice.language.toLowerCase().replace("_", "-")) ? 2 : 0) +
    (voice.isDefault ? 1 : 0);
  return able.reduce(
    (/** @type {Voice | undefined} */ best, voice) =>
      best === undefined || rank(voice) > rank(best) ? voice : best,
    undefined,
  );
}

/** Returns the text that stands for a voice in the picker and in the storage. @param {Voice} voice */
export function valueOf({ engine, id }) {
  return `${engine}:${id}`;
}
