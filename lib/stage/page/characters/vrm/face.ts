/** The face of a VRM: one emotion at a time, blinking, and a mouth that moves. @module */

import type { VRM } from "@pixiv/three-vrm";
import { candidates } from "../pictures/pictures.js";

const VOWELS = ["aa", "ih", "ou", "ee", "oh"] as const;
/** Vowels of the mouth during speech, as indexes of {@linkcode VOWELS}: the open ones more often. */
const VOWEL_CYCLE = [0, 4, 1, 0, 2, 0, 3, 4] as const;
const VOWEL_S = 0.11;
/** Weight of a vowel while an emotion shapes the mouth too. */
const VOWEL_WEIGHT_WITH_EMOTION = 0.7;
const BLINK_S = 0.16;
const BLINK_EVERY_S = { least: 2, most: 6 };
/** Emotions that close the eyes. */
const CLOSED_EYES: ReadonlySet<string> = new Set(["happy", "relaxed", "sleepy", "sleep"]);
/** Rates at which weights approach their goals. */
const EMOTION_RATE_PER_S = 9;
const MOUTH_RATE_PER_S = 22;

/** The face of a model. */
export interface Face {
  /** Shows an emotion. Returns the name of the model's expression that is used for it, or `neutral`. */
  express(tag: string, intensity: number): string;
  /** Opens the mouth, from 0 to 1. */
  mouth(openness: number): void;
  /** Sets the weights of the expressions for a frame. */
  update(deltaS: number): void;
}

/** Creates the face of a model. Without expressions in the model, the face does not move. */
export function createFace(vrm: VRM): Face {
  const manager = vrm.expressionManager;
  const names = new Map(Object.keys(manager?.expressionMap ?? {}).map((name) => [name.toLowerCase(), name]));
  const vowels = VOWELS.filter((vowel) => names.has(vowel));
  const lids = names.has("blink") ? ["blink"] : ["blinkleft", "blinkright"].filter((name) => names.has(name));
  const notEmotions = new Set<string>([...VOWELS, "blink", "blinkleft", "blinkright"]);

  /** Weights of the emotions that show. */
  const weights = new Map<string, number>();
  let emotion = "neutral";
  let intensity = 1;
  let openness = 0;
  const vowelWeights = new Map<string, number>(vowels.map((vowel) => [vowel, 0]));
  let speechS = 0;
  let blinkInS = BLINK_EVERY_S.least;

  function set(name: string, weight: number): void {
    const actual = names.get(name);
    if (actual !== undefined) manager?.setValue(actual, weight);
  }

  function followEmotion(deltaS: number): void {
    if (!weights.has(emotion)) weights.set(emotion, 0);
    for (const [name, weight] of weights) {
      const goal = name === emotion ? intensity : 0;
      const next = approach(weight, goal, EMOTION_RATE_PER_S, deltaS);
      set(name, next);
      if (name !== emotion && next === 0) weights.delete(name);
      else weights.set(name, next);
    }
  }

  function speak(deltaS: number): void {
    speechS = openness > 0 ? speechS + deltaS : 0;
    const step = VOWEL_CYCLE[Math.floor(speechS / VOWEL_S) % VOWEL_CYCLE.length] ?? 0;
    const vowel = vowels.includes(VOWELS[step]!) ? VOWELS[step] : vowels[0];
    const share = emotion === "neutral" ? 1 : VOWEL_WEIGHT_WITH_EMOTION;
    for (const [name, weight] of vowelWeights) {
      const next = approach(weight, name === vowel ? openness * share : 0, MOUTH_RATE_PER_S, deltaS);
      vowelWeights.set(name, next);
      set(name, next);
    }
  }

  function blink(deltaS: number): void {
    blinkInS -= deltaS;
    if (blinkInS < -BLINK_S) {
      const { least, most } = BLINK_EVERY_S;
      blinkInS = least + Math.random() * (most - least);
    }
    const closed = blinkInS >= 0 ? 0 : Math.sin(Math.PI * Math.min(1, -blinkInS / BLINK_S));
    const open = CLOSED_EYES.has(emotion) ? 1 - intensity : 1;
    for (const lid of lids) set(lid, closed * open);
  }

  return {
    express(tag, nextIntensity) {
      const words = candidates(tag.toLowerCase());
      emotion = words.find((word) => names.has(word) && !notEmotions.has(word)) ?? "neutral";
      intensity = Math.min(1, Math.max(0, nextIntensity));
      return emotion;
    },
    mouth(next) {
      openness = Math.min(1, Math.max(0, next));
    },
    update(deltaS) {
      followEmotion(deltaS);
      speak(deltaS);
      blink(deltaS);
    },
  };
}

/** Approaches a value exponentially, so that the speed does not depend on the frame rate. Ends at the value itself. */
function approach(from: number, to: number, ratePerS: number, deltaS: number): number {
  const next = from + (to - from) * (1 - Math.exp(-ratePerS * deltaS));
  return Math.abs(next - to) < 0.002 ? to : next;
}
