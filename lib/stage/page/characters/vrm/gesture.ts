/** The pose of a VRM character in each state, as numbers. @module */

/** A vector for either arm: x points away from the body, y up, z to the front. */
export type Vector = readonly [x: number, y: number, z: number];

/** The pose of an arm. */
export interface Arm {
  /** Position of the wrist relative to the shoulder, in arm lengths. */
  readonly hand: Vector;
  /** Direction of the elbow. */
  readonly elbow: Vector;
  /** Direction in which the palm faces. */
  readonly palm: Vector;
  /** Angles by which the wrist and the fingers bend towards the palm, in radians. */
  readonly bend: readonly [wrist: number, fingers: number];
}

/** The pose of the upper body. Head and chest are angles in radians: nod, turn to the left, lean to the left. */
export interface Pose {
  readonly head: Vector;
  readonly chest: Vector;
  readonly left: Arm;
  readonly right: Arm;
}

/** Measures of a model that poses depend on. */
export interface Build {
  /** Position of the chin relative to the shoulder, in arm lengths. */
  readonly chin: Vector;
}

const REST: Arm = { hand: [0.17, -0.95, 0.06], elbow: [0.4, 0, -1], palm: [-1, 0, 0.1], bend: [0.05, 0.3] };
const FLINCH_S = 0.8;
const WAVE_S = 2.6;
const WAVE_PAUSE_S = 4;

/** Returns the pose of a state at a time after its start. With `motion` 0 the pose holds still; 1 is normal. */
export function poseOf(state: string, stateS: number, motion: number, { chin }: Build): Pose {
  const swing = (perSecond: number, phase = 0) =>
    motion * Math.sin(2 * Math.PI * (stateS * perSecond + phase));
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
      // The state may last long, so the arm rests between waves.
      const waving = stateS % (WAVE_S + WAVE_PAUSE_S) < WAVE_S;
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
      if (stateS < FLINCH_S) {
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

/** Returns the angles that an expression adds to the head. */
export function headTilt(expression: string): Vector {
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

/** Interpolates two poses: `share` 0 is the first one, 1 the second. */
export function interpolate(from: Pose, to: Pose, share: number): Pose {
  const between = (a: number, b: number) => a + (b - a) * share;
  const mix = (
    a: Vector,
    b: Vector,
  ): Vector => [between(a[0], b[0]), between(a[1], b[1]), between(a[2], b[2])];
  const arm = (a: Arm, b: Arm): Arm => ({
    hand: mix(a.hand, b.hand),
    elbow: mix(a.elbow, b.elbow),
    palm: mix(a.palm, b.palm),
    bend: [between(a.bend[0], b.bend[0]), between(a.bend[1], b.bend[1])],
  });
  return {
    head: mix(from.head, to.head),
    chest: mix(from.chest, to.chest),
    left: arm(from.left, to.left),
    right: arm(from.right, to.right),
  };
}
