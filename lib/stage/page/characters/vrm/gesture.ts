/** How the character holds itself in each state: numbers only, no bones. @module */

/** The same for both arms: x leads away from the body, y up, z to the front. */
export type Vector = readonly [x: number, y: number, z: number];

/** One arm. */
export interface Arm {
  /** Where the wrist is, seen from the shoulder; the length of the arm is 1. */
  readonly hand: Vector;
  /** Where the elbow points. */
  readonly elbow: Vector;
  /** Where the palm looks. */
  readonly palm: Vector;
  /** How far the wrist and the fingers are bent towards the palm, in radians. */
  readonly bend: readonly [wrist: number, fingers: number];
}

/** The whole of it. Angles are radians: nodding, turning to its left, leaning to its left. */
export interface Pose {
  readonly head: Vector;
  readonly chest: Vector;
  readonly left: Arm;
  readonly right: Arm;
}

/** What a gesture has to know of the model. */
export interface Build {
  /** Where the chin is, seen from a shoulder, as {@linkcode Arm.hand} is. */
  readonly chin: Vector;
}

const REST: Arm = { hand: [0.17, -0.95, 0.06], elbow: [0.4, 0, -1], palm: [-1, 0, 0.1], bend: [0.05, 0.3] };
/** How long a flinch, a wave and the pause after it last, in seconds. */
const FLINCH_S = 0.8;
const WAVE_S = 2.6;
const WAVE_PAUSE_S = 4;

/** The pose in a state, so many seconds after it began; `motion` 0 holds it still, 1 moves as it does. */
export function poseOf(state: string, sinceS: number, motion: number, { chin }: Build): Pose {
  const swing = (perSecond: number, phase = 0) =>
    motion * Math.sin(2 * Math.PI * (sinceS * perSecond + phase));
  switch (state) {
    case "thinking":
      return {
        head: [-0.06 + 0.03 * swing(0.13), -0.12 + 0.08 * swing(0.09), -0.13],
        chest: [0.02, -0.04, 0.02],
        right: {
          hand: [chin[0] + 0.1, chin[1] - 0.25 + 0.01 * swing(0.5), chin[2] + 0.12],
          elbow: [0.25, -1, 0.2],
          palm: [-0.5, 0.1, -1],
          bend: [0.25, 0.8],
        },
        left: { hand: [-0.42, -0.55, 0.42], elbow: [0.8, -0.5, -0.5], palm: [0, 0.3, -1], bend: [0, 0.3] },
      };
    case "working": {
      const typing = (phase: number): Arm => ({
        hand: [-0.05 + 0.02 * swing(0.7, phase), -0.5 + 0.045 * swing(2.7, phase), 0.58],
        elbow: [0.6, -0.6, -0.6],
        palm: [-0.1, -1, 0.1],
        bend: [0.1 + 0.15 * swing(2.7, phase + 0.2), 0.45],
      });
      return {
        head: [0.16, 0.06 * swing(0.21), 0.02 * swing(0.13)],
        chest: [0.05, 0, 0],
        left: typing(0),
        right: typing(0.45),
      };
    }
    case "juggling": {
      const tossing = (phase: number): Arm => ({
        hand: [0.02, -0.56 + 0.07 * swing(0.8, phase), 0.52],
        elbow: [0.6, -0.7, -0.5],
        palm: [0, 1, 0.2],
        bend: [0.1, 0.25],
      });
      return {
        head: [-0.05, 0.14 * swing(0.8), 0.03 * swing(0.8, 0.25)],
        chest: [0, 0.03 * swing(0.8), 0],
        left: tossing(0),
        right: tossing(0.5),
      };
    }
    case "attention": {
      // It goes on for as long as nobody answers: it rests in between.
      const waving = sinceS % (WAVE_S + WAVE_PAUSE_S) < WAVE_S;
      return {
        head: [-0.03, 0, waving ? -0.07 : 0],
        chest: [0, 0, waving ? -0.03 : 0],
        left: REST,
        right: waving
          ? {
            hand: [0.44 + 0.14 * swing(1.5), 0.16, 0.3],
            elbow: [0.3, -1, -0.2],
            palm: [0, 0.1, 1],
            bend: [0, 0.05],
          }
          : REST,
      };
    }
    case "notification":
      return {
        head: [-0.04, 0, -0.05],
        chest: [0, 0, 0],
        left: REST,
        right: {
          hand: [0.16, 0.42 + 0.02 * swing(0.9), 0.4],
          elbow: [0.45, -0.8, 0.6],
          palm: [-0.2, 0.1, 1],
          bend: [0, 0.1],
        },
      };
    case "error": {
      if (sinceS < FLINCH_S) {
        const warding: Arm = {
          hand: [0, 0.06, 0.5],
          elbow: [0.9, -0.8, 0],
          palm: [0, 0.1, 1],
          bend: [-0.3, 0.2],
        };
        return { head: [0.12, 0.25, 0.12], chest: [-0.14, 0.05, 0], left: warding, right: warding };
      }
      const hanging: Arm = { ...REST, hand: [0.1, -0.96, 0.14], bend: [0.15, 0.45] };
      return { head: [0.26, 0.05 * swing(0.2), 0.04], chest: [0.09, 0, 0], left: hanging, right: hanging };
    }
    default:
      return {
        head: [0.02 * swing(0.07), 0.05 * swing(0.05, 0.3), 0.03 * swing(0.06)],
        chest: [0, 0.02 * swing(0.045), 0.012 * swing(0.11)],
        left: REST,
        right: { ...REST, hand: [0.17 + 0.01 * swing(0.11), -0.95, 0.06] },
      };
  }
}

/** What an emotion adds to the head. */
export function headOf(expression: string): Vector {
  switch (expression) {
    case "sad":
      return [0.14, 0, 0.03];
    case "angry":
      return [0.06, 0, 0];
    case "surprised":
      return [-0.09, 0, 0];
    case "shy":
      return [0.1, 0.08, 0.1];
    case "happy":
    case "relaxed":
      return [-0.03, 0, 0.05];
    default:
      return [0, 0, 0];
  }
}

/** A pose on the way from one to another; `share` 1 has arrived. */
export function between(from: Pose, to: Pose, share: number): Pose {
  const mix = <T extends readonly number[]>(a: T, b: T) =>
    a.map((value, i) => value + (b[i]! - value) * share) as unknown as T;
  const arm = (a: Arm, b: Arm): Arm => ({
    hand: mix(a.hand, b.hand),
    elbow: mix(a.elbow, b.elbow),
    palm: mix(a.palm, b.palm),
    bend: mix(a.bend, b.bend),
  });
  return {
    head: mix(from.head, to.head),
    chest: mix(from.chest, to.chest),
    left: arm(from.left, to.left),
    right: arm(from.right, to.right),
  };
}
