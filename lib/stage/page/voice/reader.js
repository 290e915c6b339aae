// @ts-check
/** Reads a growing text aloud, sentence by sentence, and moves the captions along. @module */

import { nextSentence, speakableText } from "./sentences.js";

/** Characters of the longest word that is begun again. */
const MAX_WORD_CHARS = 40;

/**
 * A sentence of the text: `start` and `end` in it, and how it is spoken. Without a voice, the captions go on silently.
 *
 * @typedef {object} Sentence
 * @property {number} start
 * @property {number} end
 * @property {import("./server_voice.js").Prepared & { engine: string } | undefined} prepared
 */

/**
 * Creates a reader.
 *
 * @param {object} options
 * @param {import("../views/speech.js").SpeechPacer} options.pacer
 * @param {Pick<ReturnType<typeof import("./voices.js").createVoices>, "canSpeak" | "prepare" | "giveUp">} options.voices
 * @param {() => void} options.onSentenceEnd Called when the next sentence can begin.
 * @param {(problem: string) => void} options.onProblem
 */
export function createReader({ pacer, voices, onSentenceEnd, onProblem }) {
  /** @type {(Sentence & { playback: import("./server_voice.js").Playback | undefined }) | undefined} */
  let current;
  /** Where the sentence behind the last one begins; `undefined` if the captions went on without the reader. */
  let from = /** @type {number | undefined} */ (undefined);
  /** The sentence behind it, which is prepared while the current one is spoken. @type {Sentence | undefined} */
  let next;

  /** @param {number} at @param {boolean} isComplete @returns {Sentence | undefined} */
  function prepare(at, isComplete) {
    const range = nextSentence(pacer.text, at, isComplete);
    if (range === undefined) return undefined;
    const text = speakableText(pacer.text.slice(range.start, range.end));
    return { ...range, prepared: text === "" ? undefined : voices.prepare(text) };
  }

  /** @param {boolean} isComplete */
  function begin(isComplete) {
    const sentence = next ?? prepare(from ?? startOfWord(pacer.text, pacer.position), isComplete);
    next = undefined;
    if (sentence === undefined) return;
    const playback = sentence.prepared?.play();
    const playing = current = { ...sentence, playback };
    playback?.ended.then((problem) => {
      if (current !== playing) return;
      current = undefined;
      if (problem === "") {
        pacer.moveTo(playing.end);
        from = playing.end;
      } else {
        voices.giveUp(playing.prepared?.engine ?? "");
        next?.prepared?.cancel();
        next = undefined;
        onProblem(problem);
      }
      onSentenceEnd();
    });
  }

  function stop() {
    current?.playback?.stop();
    next?.prepared?.cancel();
    current = next = from = undefined;
  }

  return {
    stop,

    /** The engine that speaks at this moment: `server`, `browser`, or empty. */
    get engine() {
      return current?.playback === undefined ? "" : current.prepared?.engine ?? "";
    },

    /** Whether the captions wait for the voice. */
    get isReading() {
      return current !== undefined || voices.canSpeak && !pacer.isDone;
    },

    /**
     * Reads on.
     *
     * @param {number} seconds Time since the last step.
     * @param {boolean} isComplete Whether the text is over.
     * @returns {number} How far the mouth is open, from 0 to 1.
     */
    step(seconds, isComplete) {
      if (!voices.canSpeak) {
        stop();
        pacer.isPatient = false;
        return pacer.advance(seconds);
      }
      pacer.isPatient = true;
      // The last word of a text that was skipped is not begun again.
      if (current === undefined && !pacer.isDone) begin(isComplete);
      if (current === undefined) {
        if (isComplete) pacer.skip();
        return 0;
      }
      next ??= prepare(current.end, isComplete);
      const { start, end, playback } = current;
      if (playback !== undefined) {
        pacer.moveTo(start + (end - start) * playback.progress());
        return playback.openness();
      }
      const openness = pacer.advance(seconds);
      if (pacer.position >= end) {
        current = undefined;
        from = end;
      }
      return openness;
    },
  };
}

/** Returns where the word at a position begins; in scripts without spaces, the position. @param {string} text @param {number} position */
function startOfWord(text, position) {
  const before = text.slice(Math.max(0, position - MAX_WORD_CHARS), position);
  return position - (/[^\s\u3000-\u9fff\uac00-\ud7af\uff00-\uffef]*$/.exec(before)?.[0].length ?? 0);
}
