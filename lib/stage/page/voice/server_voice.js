// @ts-check
/** Speaks with a voice of the server: plays the sound as it comes, and tells its loudness for the lips. @module */

import { loudnessDb, opennessOf, toFloats } from "./sound.js";

/** The sound of the server: 16-bit samples of one channel, so many in a second. */
const RATE = 24_000;
/** Sound that is scheduled at once, and how far ahead of the loudspeaker the page reads, in seconds. */
const PART_S = 0.1;
const MAX_AHEAD_S = 4;
/** Time between the arrival of the first sound and its play, so that the next one is there in time. */
const LEAD_S = 0.05;
/** Samples whose loudness opens the mouth: 43 ms at 48,000 Hz. */
const ANALYSED_SAMPLES = 2048;
/** Speed of speech that is assumed until the length of the sound is known; a learned one takes its place. */
const FIRST_CHARS_PER_S = 15;

/**
 * Speech that is being played.
 *
 * @typedef {object} Playback
 * @property {() => number} progress Part of the text that has been spoken, from 0 to 1.
 * @property {() => number} openness How far the mouth is open, from 0 to 1.
 * @property {() => void} stop
 * @property {Promise<string>} ended Resolves to the problem, or an empty text. Never rejects.
 */
/** @typedef {{ play: () => Playback, cancel: () => void }} Prepared A sentence that can be spoken at once. */

/**
 * Creates the engine.
 *
 * @param {(text: string, voice: string, signal: AbortSignal) => Promise<ReadableStream<Uint8Array>>} requestSpeech
 */
export function createServerVoice(requestSpeech) {
  let charsPerS = FIRST_CHARS_PER_S;

  /**
   * Asks the server for a sentence.
   *
   * @param {AudioContext} context @param {string} text @param {string} voice
   * @returns {Prepared}
   */
  function prepare(context, text, voice) {
    const stopping = new AbortController();
    const asked = requestSpeech(text, voice, stopping.signal);
    // A sentence that is cancelled is never played.
    asked.catch(() => {});
    return { play: () => play(context, text, asked, stopping), cancel: () => stopping.abort() };
  }

  /**
   * @param {AudioContext} context @param {string} text
   * @param {Promise<ReadableStream<Uint8Array>>} asked @param {AbortController} stopping
   * @returns {Playback}
   */
  function play(context, text, asked, stopping) {
    const analyser = context.createAnalyser();
    analyser.fftSize = ANALYSED_SAMPLES;
    analyser.connect(context.destination);
    const samples = new Float32Array(analyser.fftSize);
    const { signal } = stopping;
    /** @type {Set<AudioBufferSourceNode>} */
    const sources = new Set();
    /** When the scheduled sound ends, on the clock of the context; and its length. */
    let endsAt = 0;
    let scheduledS = 0;
    let isWhole = false;
    let onPlayed = () => {};

    /** @param {Float32Array} part */
    function schedule(part) {
      const buffer = context.createBuffer(1, part.length, RATE);
      buffer.getChannelData(0).set(part);
      const source = context.createBufferSource();
      source.buffer = buffer;
      source.connect(analyser);
      endsAt = Math.max(endsAt, context.currentTime + (scheduledS === 0 ? LEAD_S : 0));
      source.start(endsAt);
      endsAt += buffer.duration;
      scheduledS += buffer.duration;
      sources.add(source);
      source.onended = () => {
        sources.delete(source);
        onPlayed();
      };
    }

    const aheadS = () => Math.max(0, endsAt - context.currentTime);

    /** Waits until so much of the scheduled sound is left. @param {number} leftS */
    async function untilLeft(leftS) {
      while (sources.size > 0 && aheadS() > leftS && !signal.aborted) {
        await /** @type {Promise<void>} */ (new Promise((resolve) => onPlayed = resolve));
      }
      signal.throwIfAborted();
    }

    async function run() {
      for await (const part of samplesOf((await asked).getReader(), signal)) {
        schedule(part);
        await untilLeft(MAX_AHEAD_S);
      }
      isWhole = true;
      if (scheduledS > 0) charsPerS = (charsPerS + text.length / scheduledS) / 2;
      await untilLeft(0);
    }

    return {
      progress() {
        const playedS = scheduledS - aheadS();
        const lengthS = isWhole ? scheduledS : Math.max(text.length / charsPerS, scheduledS * 1.1);
        return lengthS > 0 ? Math.min(1, Math.max(0, playedS / lengthS)) : 0;
      },
      openness() {
        analyser.getFloatTimeDomainData(samples);
        return opennessOf(loudnessDb(samples));
      },
      stop() {
        stopping.abort();
        for (const source of sources) source.stop();
        analyser.disconnect();
        onPlayed();
      },
      ended: run().then(() => "", (error) => signal.aborted ? "" : messageOf(error)).finally(() => {
        analyser.disconnect();
      }),
    };
  }

  return { prepare };
}

/**
 * Reads the samples of a stream, in parts that are worth scheduling.
 *
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader @param {AbortSignal} signal
 */
async function* samplesOf(reader, signal) {
  let rest = new Uint8Array();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      const bytes = new Uint8Array(rest.length + (value?.length ?? 0));
      bytes.set(rest);
      if (value) bytes.set(value, rest.length);
      const whole = bytes.length - bytes.length % 2;
      if (done) {
        if (whole > 0) yield toFloats(bytes.subarray(0, whole));
        return;
      }
      const isEnough = whole >= 2 * PART_S * RATE;
      if (isEnough) yield toFloats(bytes.subarray(0, whole));
      rest = bytes.subarray(isEnough ? whole : 0);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error && error.name === "SpeechError"
    ? error.message
    : "The server's voice cannot be reached.";
}
