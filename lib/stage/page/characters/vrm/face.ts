/** The face of a VRM: one emotion at a time, blinking, and a mouth that moves. @module */

import type { VRM } from "@pixiv/three-vrm";
import { candidates } from "../pictures/pictures.js";

const VOWELS = ["aa", "ih", "ou", "ee", "oh"] as const;
/** The order in which vowels come while it speaks: open ones more often. */
const BABBLE = [0, 4, 1, 0, 2, 0, 3, 4] as const;
const VOWEL_S = 0.11;
/** How much of the mouth is left to speech while an emotion shapes it too. */
const MOUTH_WITH_EMOTION = 0.7;
const BLINK_S = 0.16;
const BLINK_EVERY_S = { least: 2, most: 6 };
/** Emotions that close the eyes by themselves. */
const CLOSED_EYES: ReadonlySet<string> = new Set(["happy", "relaxed", "sleepy", "sleep"]);
/** How fast weights follow, in parts a second. */
const EMOTION_RATE = 9;
const MOUTH_RATE = 22;

/** What a face can be told. */
export interface Face {
  /** Shows an emotion; returns the name of the model's expression that stands for it, or `neutral`. */
  express(tag: string, intensity: number): string;
  /** Opens the mouth, from 0 to 1. */
  mouth(openness: number): void;
  /** Sets the weights of the expressions for this frame. */
  update(deltaS: number): void;
}

/** Makes the face of a model; one without expressions has a face that does nothing. */
export function createFace(vrm: VRM): Face {
  const manager = vrm.expressionManager;
  const names = new Map(Object.keys(manager?.expressionMap ?? {}).map((name) => [name.toLowerCase(), name]));
  const mouths = VOWELS.filter((vowel) => names.has(vowel));
  const lids = names.has("blink") ? ["blink"] : ["blinkleft", "blinkright"].filter((name) => names.has(name));
  const others = new Set<string>([...VOWELS, "blink", "blinkleft", "blinkright"]);

  /** Weights of emotions that are above nothing. */
  const weights = new Map<string, number>();
  let emotion = "neutral";
  let strength = 1;
  let openness = 0;
  const opened = new Map<string, number>(mouths.map((vowel) => [vowel, 0]));
  let spokenS = 0;
  let blinkInS = BLINK_EVERY_S.least;

  function set(name: string, weight: number): void {
    const actual = names.get(name);
    if (actual !== undefined) manager?.setValue(actual, weight);
  }

  function followEmotion(deltaS: number): void {
    if (!weights.has(emotion)) weights.set(emotion, 0);
    for (const [name, weight] of weights) {
      const wanted = name === emotion ? strength : 0;
      const next = approach(weight, wanted, EMOTION_RATE, deltaS);
      set(name, next);
      if (name !== emotion && next === 0) weights.delete(name);
      else weights.set(name, next);
    }
  }

  function speak(deltaS: number): void {
    spokenS = openness > 0 ? spokenS + deltaS : 0;
    const step = BABBLE[Math.floor(spokenS / VOWEL_S) % BABBLE.length] ?? 0;
    const vowel = mouths.includes(VOWELS[step]!) ? VOWELS[step] : mouths[0];
    const share = emotion === "neutral" ? 1 : MOUTH_WITH_EMOTION;
    for (const [name, weight] of opened) {
      const next = approach(weight, name === vowel ? openness * share : 0, MOUTH_RATE, deltaS);
      opened.set(name, next);
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
    const open = CLOSED_EYES.has(emotion) ? 1 - strength : 1;
    for (const lid of lids) set(lid, closed * open);
  }

  return {
    express(tag, intensity) {
      const words = candidates(tag.toLowerCase());
      emotion = words.find((word) => names.has(word) && !others.has(word)) ?? "neutral";
      strength = Math.min(1, Math.max(0, intensity));
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

/** Goes towards a value, the same however long the frames are, and arrives. */
function approach(from: number, to: number, rate: number, deltaS: number): number {
  const next = from + (to - from) * (1 - Math.exp(-rate * deltaS));
  return Math.abs(next - to) < 0.002 ? to : next;
}
