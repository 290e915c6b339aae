// @ts-check
/** Speaks replies and notifications one after the other: voice, mouth, face, caption, and for screen readers. @module */

import { byId } from "./dom.js";
import { toProse } from "./markdown.js";
import { createReader } from "../voice/reader.js";
import { captionOf, SpeechPacer, splitSentences } from "./speech.js";

const STEP_MS = 33;
/** Longest step. After a pause of the browser, speech continues from where it was. */
const MAX_STEP_S = 0.5;
/** Characters of notifications that can wait. */
const MAX_WAITING_CHARS = 600;
/** Characters that a voice has still to read at which the next reply does not wait for them. */
const MAX_UNREAD_CHARS = 1_500;
/** Characters of the replies that are read one after the other before the text begins anew. */
const MAX_TEXT_CHARS = 20_000;
/** Time that a caption stays after its last word, and how much longer for each of its characters. */
const CAPTION_MS = 3_500;
const CAPTION_MS_PER_CHAR = 45;

/**
 * Creates the queue.
 *
 * @param {object} options
 * @param {ReturnType<typeof import("../voice/voices.js").createVoices>} options.voices
 * @param {(openness: number) => void} options.onMouth
 * @param {(tag: string, intensity: number) => void} options.onEmotion
 * @param {() => void} options.onFinished Called when the last caption disappears.
 * @param {() => void} options.onReadingChange Called when a voice begins or ends to read.
 * @param {(problem: string) => void} options.onProblem Called when a voice fails.
 */
export function createSpeechQueue({ voices, onMouth, onEmotion, onFinished, onReadingChange, onProblem }) {
  const caption = byId("caption");
  const captionText = byId("caption-text");
  const liveRegion = byId("spoken");
  const pacer = new SpeechPacer();
  const reader = createReader({ pacer, voices, onSentenceEnd: step, onProblem });
  /** The replies that are read one after the other, as the server's `say` events have them. */
  let text = "";
  /** Characters of the text before the present reply. */
  let base = 0;
  let wasReading = false;
  /**
   * Emotions that are felt when so many characters have been spoken.
   *
   * @type {{ position: number, tag: string, intensity: number }[]}
   */
  let emotions = [];
  let isComplete = true;
  /** Sentences that screen readers have got. */
  let announced = 0;
  /** Whether the text has grown since the last step. */
  let hasGrown = false;
  let lastStepMs = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let stepTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let finishTimer;

  function updateText() {
    hasGrown = false;
    pacer.setText(text.trimEnd());
    // Screen readers get whole sentences, each once.
    const sentences = splitSentences(text);
    const ready = isComplete ? sentences.length : sentences.length - 1;
    if (ready <= announced) return;
    // Two voices at once cannot be understood.
    if (!voices.canSpeak) liveRegion.textContent = sentences.slice(announced, ready).join(" ");
    announced = ready;
  }

  function step() {
    const nowMs = performance.now();
    const seconds = Math.min(MAX_STEP_S, (nowMs - lastStepMs) / 1000);
    lastStepMs = nowMs;
    // Text is processed once a step, however many pieces came.
    if (hasGrown) updateText();
    const openness = reader.step(seconds, isComplete);
    const isOver = pacer.isDone && isComplete && reader.engine === "";
    onMouth(isOver || pacer.isDone && reader.engine === "" ? 0 : openness);
    if (wasReading !== reader.isReading) {
      wasReading = !wasReading;
      onReadingChange();
    }
    while (emotions[0] && (isOver || emotions[0].position <= pacer.position)) {
      const { tag, intensity } = emotions[0];
      emotions.shift();
      onEmotion(tag, intensity);
    }
    // The first word waits for the voice.
    const spoken = pacer.position === 0 && voices.canSpeak ? "" : captionOf(pacer.spoken);
    if (spoken !== "") {
      if (captionText.textContent !== spoken) captionText.textContent = spoken;
      caption.hidden = false;
    }
    if (isOver) pause();
  }

  function pause() {
    clearInterval(stepTimer);
    stepTimer = undefined;
    clearTimeout(finishTimer);
    const chars = (captionText.textContent ?? "").length;
    finishTimer = setTimeout(() => {
      caption.hidden = true;
      onFinished();
    }, CAPTION_MS + CAPTION_MS_PER_CHAR * chars);
  }

  function resume() {
    clearTimeout(finishTimer);
    if (stepTimer !== undefined) return;
    lastStepMs = performance.now();
    stepTimer = setInterval(step, STEP_MS);
  }

  /** Begins another reply. The one before is dropped, unless a voice is about to finish it. */
  function begin() {
    isComplete = false;
    if (
      reader.isReading && text.length < MAX_TEXT_CHARS &&
      pacer.text.length - pacer.position < MAX_UNREAD_CHARS
    ) {
      text += "\n";
      base = text.length;
      announced = Math.min(announced, splitSentences(text).length);
      return;
    }
    reader.stop();
    voices.begin();
    text = "";
    base = 0;
    emotions = [];
    hasGrown = false;
    announced = 0;
    pacer.setText("");
    pacer.skip();
    captionText.textContent = "";
    caption.hidden = true;
    resume();
  }

  return {
    begin,

    /** The engine whose voice sounds at this moment: `server`, `browser`, or empty. */
    get engine() {
      return reader.engine;
    },

    /** Whether a voice reads. */
    get isReading() {
      return wasReading;
    },

    /** Adds a piece of the reply. @param {string} piece */
    push(piece) {
      text += piece;
      hasGrown = true;
      resume();
    },

    /**
     * Adds an emotion of the reply.
     *
     * @param {string} tag @param {number} intensity
     * @param {number} at Characters of the reply before the emotion.
     */
    express(tag, intensity, at) {
      emotions.push({ position: text.slice(0, base + at).trimEnd().length, tag, intensity });
      resume();
    },

    /** Ends the reply. @param {boolean} isCut Whether the text that waits is neither spoken nor shown. */
    end(isCut) {
      isComplete = true;
      if (isCut) {
        reader.stop();
        text = pacer.position === 0 ? "" : pacer.spoken;
        emotions = [];
      }
      updateText();
      if (isCut) pacer.skip();
      resume();
    },

    /**
     * Speaks a notification after the text that is being spoken. Too much waiting text is dropped for it.
     *
     * @param {string} markdown
     */
    announce(markdown) {
      if (pacer.isDone || text.length > MAX_WAITING_CHARS) begin();
      text += text === "" ? toProse(markdown) : `\n${toProse(markdown)}`;
      isComplete = true;
      // Screen readers read the notice itself.
      announced = Infinity;
      updateText();
      resume();
    },
  };
}
