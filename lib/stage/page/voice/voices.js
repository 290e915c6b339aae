// @ts-check
/** The voices that can speak here, and the one that the person picked. @module */

import { browserVoices, onBrowserVoices, prepareBrowserVoice } from "./browser_voice.js";
import { chooseVoice, languageOf } from "./language.js";
import { createServerVoice } from "./server_voice.js";

/** @typedef {import("./language.js").Voice} Voice */
/** @typedef {import("./server_voice.js").Prepared} Prepared */
/** The value of the picker for the voice that speaks the language of each sentence. */
export const AUTOMATIC = "auto";

/**
 * Creates the voices.
 *
 * @param {object} options
 * @param {ReturnType<typeof import("./audio.js").createAudio>} options.audio
 * @param {Parameters<typeof createServerVoice>[0]} options.requestSpeech
 * @param {() => void} options.onChange Called when another voice can speak.
 */
export function createVoices({ audio, requestSpeech, onChange }) {
  const server = createServerVoice(requestSpeech);
  /** @type {Voice[]} */
  let serverVoices = [];
  let isOn = false;
  let picked = AUTOMATIC;
  /** The language of the sentence before. */
  let language = "";
  /** Engines that failed, until the next reply. @type {Set<string>} */
  const failed = new Set();
  onBrowserVoices(onChange);

  const all = () => [...serverVoices, ...browserVoices()];

  return {
    all,

    /** Whether replies are spoken: the voice is on, and the browser lets it make sound. */
    get canSpeak() {
      return isOn && audio.running !== undefined;
    },

    get picked() {
      return picked;
    },

    /** @param {boolean} on @param {string} voice */
    choose(on, voice) {
      isOn = on;
      picked = voice;
      failed.clear();
    },

    /** Sets the voices of the server. @param {readonly Omit<Voice, "engine">[]} voices */
    setServerVoices(voices) {
      serverVoices = voices.map((voice) => ({ engine: "server", ...voice }));
      onChange();
    },

    /** Begins another reply: engines that failed are tried again. */
    begin() {
      failed.clear();
    },

    /** Does without an engine for the rest of the reply. @param {string} engine */
    giveUp(engine) {
      failed.add(engine);
    },

    /**
     * Prepares a sentence.
     *
     * @param {string} text
     * @returns {(Prepared & { engine: string }) | undefined} `undefined` if no voice speaks its language.
     */
    prepare(text) {
      const context = audio.running;
      if (context === undefined) return undefined;
      language = languageOf(text, [language, ...navigator.languages]);
      const able = all().filter(({ engine }) => !failed.has(engine));
      const voice = chooseVoice(able, picked, language, navigator.languages);
      if (voice === undefined) return undefined;
      const { engine, id } = voice;
      const prepared = engine === "server"
        ? server.prepare(context, text, id)
        : prepareBrowserVoice(text, id);
      return { engine, ...prepared };
    },
  };
}
