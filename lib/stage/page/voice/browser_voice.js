// @ts-check
/** Speaks with a voice of the browser (`speechSynthesis`), which tells its words, but no loudness. @module */

import { mouthOpenness } from "../views/speech.js";

/** Speed of speech that is assumed until the first sentence is over, in letters and in syllables. */
const CHARS_PER_S = 14;
const SYLLABLES_PER_S = 6;
/** Characters that the caption goes on alone behind the last word that the browser told. */
const MAX_WORD_CHARS = 15;
/** Part of a sentence that the caption shows alone, if the browser tells no words. */
const MAX_GUESS = 0.95;
/** Longest wait for the start of a sentence, and for its end beyond twice the usual time: some voices never tell. */
const START_MS = 6_000;
const END_MS = 10_000;

const synthesis = globalThis.speechSynthesis;

/** Lists the voices. Some browsers load them after the page. @returns {import("./language.js").Voice[]} */
export function browserVoices() {
  return (synthesis?.getVoices() ?? []).map((voice) => ({
    engine: "browser",
    id: voice.voiceURI,
    name: voice.name,
    language: voice.lang,
    isDefault: voice.default,
  }));
}

/** Calls a function when the list of voices changes. @param {() => void} onChange */
export function onBrowserVoices(onChange) {
  synthesis?.addEventListener?.("voiceschanged", onChange);
}

/**
 * Prepares a sentence.
 *
 * @param {string} text @param {string} id
 * @returns {import("./server_voice.js").Prepared}
 */
export function prepareBrowserVoice(text, id) {
  return { play: () => play(text, id), cancel() {} };
}

/** @param {string} text @param {string} id @returns {import("./server_voice.js").Playback} */
function play(text, id) {
  const utterance = new SpeechSynthesisUtterance(text);
  utterance.voice = synthesis.getVoices().find(({ voiceURI }) => voiceURI === id) ?? null;
  if (utterance.voice) utterance.lang = utterance.voice.lang;
  const isSyllabic = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/.test(text);
  const charsPerMs = (isSyllabic ? SYLLABLES_PER_S : CHARS_PER_S) / 1000;
  /** The last character that the browser told, and when. */
  let anchor = { chars: 0, atMs: Infinity };
  let limit = text.length * MAX_GUESS;
  let resolve = (/** @type {string} */ _problem) => {};
  /** @type {Promise<string>} */
  const ended = new Promise((settle) => resolve = settle);
  const giveUp = () => {
    synthesis.cancel();
    resolve("The browser's voice does not speak.");
  };
  let timer = setTimeout(giveUp, START_MS);

  utterance.onstart = () => {
    clearTimeout(timer);
    timer = setTimeout(giveUp, END_MS + 2 * text.length / charsPerMs);
    anchor = { chars: 0, atMs: performance.now() };
  };
  utterance.onboundary = ({ charIndex }) => {
    anchor = { chars: charIndex, atMs: performance.now() };
    limit = Math.min(text.length, charIndex + MAX_WORD_CHARS);
  };
  utterance.onend = () => resolve("");
  utterance.onerror = ({ error }) =>
    resolve(/interrupted|canceled/.test(error) ? "" : `The browser's voice does not speak (${error}).`);
  synthesis.speak(utterance);

  const position = () =>
    Math.min(limit, anchor.chars + charsPerMs * Math.max(0, performance.now() - anchor.atMs));
  return {
    progress: () => position() / text.length,
    openness: () => anchor.atMs === Infinity ? 0 : mouthOpenness(text[Math.floor(position())] ?? ""),
    stop() {
      synthesis.cancel();
      resolve("");
    },
    ended: ended.finally(() => clearTimeout(timer)),
  };
}
