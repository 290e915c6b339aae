// @ts-check
/** Detects in the sound of a microphone when somebody talks. @module */

import { loudnessDb } from "./sound.js";

/** Length of a frame in milliseconds. */
export const FRAME_MS = 20;

/** The background is never thought quieter or louder, in dB below full scale. */
const MIN_FLOOR_DB = -75;
const MAX_FLOOR_DB = -32;
/**
 * Part of the way that the background's estimate goes in a frame: quickly down; up in two seconds, and in eight while
 * somebody talks, so that a hum which was taken for talk comes to an end.
 */
const FALL = 0.3;
const RISE = 0.01;
const TALK_RISE = 0.0025;
/** Speech has fewer crossings of zero in a second; noise, such as that of a fan, has more. */
const MAX_CROSSINGS_PER_S = 5_000;
/**
 * A frame is voiced that is so much louder than the background, and at least so loud, in dB. Somebody talks once so many
 * of the last frames are voiced: 120 of 200 ms. While the character speaks, its own voice, less what the browser's echo
 * cancellation removes, must not count: 280 of 500 ms that are clearly louder.
 */
const QUIET_ROOM = { marginDb: 10, minDb: -52, voiced: 6, of: 10 };
const OVER_VOICE = { marginDb: 20, minDb: -34, voiced: 14, of: 25 };
/** The talk goes on while frames are so much louder than the background, and ends after so many that are not: 800 ms. */
const ACTIVE_DB = 6;
const END_FRAMES = 40;
/** Longest talk in frames: 30 s. */
const MAX_TALK_FRAMES = 1_500;

/** Detects talk in frames of {@linkcode FRAME_MS}. */
export class VoiceActivity {
  /** The loudness of the background; at first that of the first frame. */
  #floorDb = NaN;
  /** The last frames: whether each was voiced. */
  #voiced = /** @type {boolean[]} */ ([]);
  #isTalking = false;
  #silentFrames = 0;
  #talkFrames = 0;

  /** The frames before the start of a talk that may belong to it. */
  static get preRollFrames() {
    return OVER_VOICE.of + 5;
  }

  /**
   * Takes the next frame.
   *
   * @param {Float32Array} frame
   * @param {boolean} isOverVoice Whether the character speaks at the same time.
   * @returns {"start" | "end" | undefined} Whether a talk starts or ends with it.
   */
  push(frame, isOverVoice) {
    const db = loudnessDb(frame);
    this.#learn(db, isOverVoice);
    if (this.#isTalking) return this.#goOn(db);
    const { marginDb, minDb, voiced, of } = isOverVoice ? OVER_VOICE : QUIET_ROOM;
    const isLoud = db > Math.max(this.#floorDb + marginDb, minDb);
    this.#voiced.push(isLoud && crossings(frame) / (FRAME_MS / 1000) < MAX_CROSSINGS_PER_S);
    if (this.#voiced.length > OVER_VOICE.of) this.#voiced.shift();
    if (this.#voiced.slice(-of).filter(Boolean).length < voiced) return undefined;
    this.#isTalking = true;
    this.#silentFrames = this.#talkFrames = 0;
    return "start";
  }

  /** Estimates the background. @param {number} db @param {boolean} isOverVoice */
  #learn(db, isOverVoice) {
    const floorDb = Number.isNaN(this.#floorDb) ? db : this.#floorDb;
    // The echo of the character's voice is not background noise.
    const rise = isOverVoice ? 0 : this.#isTalking ? TALK_RISE : RISE;
    const next = floorDb + (db - floorDb) * (db < floorDb ? FALL : rise);
    this.#floorDb = Math.min(MAX_FLOOR_DB, Math.max(MIN_FLOOR_DB, next));
  }

  /** @param {number} db */
  #goOn(db) {
    this.#silentFrames = db > this.#floorDb + ACTIVE_DB ? 0 : this.#silentFrames + 1;
    if (this.#silentFrames < END_FRAMES && ++this.#talkFrames < MAX_TALK_FRAMES) return undefined;
    this.reset();
    return "end";
  }

  /** Forgets the talk, but not the background. */
  reset() {
    this.#isTalking = false;
    this.#voiced = [];
  }
}

/** Counts how often samples cross zero. @param {Float32Array} samples */
function crossings(samples) {
  let count = 0;
  for (let at = 1; at < samples.length; at++) {
    if (Number(samples[at]) >= 0 !== Number(samples[at - 1]) >= 0) count++;
  }
  return count;
}
