// @ts-check
/** Poses and movements of the drawn character in each state of the agent. @module */

/** @typedef {"open" | "fist" | "point" | "cup"} HandName */
/** @typedef {{ elbow: readonly [number, number], wrist: readonly [number, number], hand: HandName, twist?: number }} Arm */
/**
 * A pose. The strengths of its objects are from 0 to 1.
 *
 * @typedef {object} Pose
 * @property {Arm} left The arm on the left of the picture.
 * @property {Arm} right
 * @property {string} face Expression that is shown while the emotion is neutral.
 * @property {number} [laptop]
 * @property {number} [orbs]
 * @property {number} [sign]
 * @property {number} [bubble]
 * @property {readonly [x: number, y: number]} [gaze]
 * @property {number} [yaw]
 * @property {boolean} [looksAtViewer] Whether random glances stop.
 */

/** Positions of the shoulders. */
export const SHOULDERS = Object.freeze({ left: [250, 706], right: [550, 706] });

/** @type {Arm} */
const LEFT_DOWN = { elbow: [214, 884], wrist: [236, 1090], hand: "fist" };
/** @type {Arm} */
const RIGHT_DOWN = { elbow: [586, 884], wrist: [564, 1090], hand: "fist" };

/** @type {Readonly<Record<string, Pose>>} */
const POSES = {
  idle: { left: LEFT_DOWN, right: RIGHT_DOWN, face: "neutral" },
  thinking: {
    left: { elbow: [232, 896], wrist: [350, 656], hand: "point", twist: 4 },
    right: RIGHT_DOWN,
    face: "think",
    bubble: 1,
    yaw: 0.3,
  },
  working: {
    left: { elbow: [190, 880], wrist: [330, 968], hand: "fist" },
    right: { elbow: [610, 880], wrist: [470, 968], hand: "fist" },
    face: "focused",
    laptop: 1,
  },
  juggling: {
    left: { elbow: [206, 890], wrist: [172, 768], hand: "cup", twist: 14 },
    right: { elbow: [594, 890], wrist: [628, 768], hand: "cup", twist: -14 },
    face: "excited",
    orbs: 1,
    gaze: [0, -0.6],
  },
  attention: {
    left: LEFT_DOWN,
    right: { elbow: [628, 850], wrist: [652, 690], hand: "open" },
    face: "happy",
    looksAtViewer: true,
  },
  notification: {
    left: LEFT_DOWN,
    right: { elbow: [600, 884], wrist: [640, 744], hand: "fist" },
    face: "curious",
    sign: 1,
    looksAtViewer: true,
  },
  error: {
    left: { elbow: [198, 884], wrist: [238, 752], hand: "open", twist: -8 },
    right: { elbow: [602, 884], wrist: [562, 752], hand: "open", twist: 8 },
    face: "startled",
    looksAtViewer: true,
  },
};

/** Returns the pose of a state. An unknown state has the one of `idle`. @param {string} state @returns {Pose} */
export function poseOf(state) {
  const pose = Object.hasOwn(POSES, state) ? POSES[state] : undefined;
  return pose ?? /** @type {Pose} */ (POSES.idle);
}

/**
 * Returns the movement of a pose at a time: offsets in the units of the drawing, and angles in degrees.
 *
 * @param {string} state
 * @param {number} timeS
 */
export function motionOf(state, timeS) {
  const still = { left: [0, 0], right: [0, 0], twist: 0, headY: 0, headTilt: 0 };
  switch (state) {
    case "working": {
      // The hands type in bursts.
      const burst = Math.sin(timeS * 0.9) > -0.7 ? 1 : 0.1;
      return {
        ...still,
        left: [0, 7 * burst * Math.sin(timeS * 17)],
        right: [0, 7 * burst * Math.sin(timeS * 19 + 1.3)],
        headY: 1.5 * burst * Math.sin(timeS * 8.5),
      };
    }
    case "attention":
      return {
        ...still,
        right: [20 * Math.sin(timeS * 7.5), 4 * Math.cos(timeS * 15)],
        twist: 15 * Math.sin(timeS * 7.5 - 0.5),
        headTilt: 2.5 * Math.sin(timeS * 3.75),
      };
    case "juggling":
      return {
        ...still,
        left: [0, 12 * Math.sin(timeS * 6.7)],
        right: [0, 12 * Math.sin(timeS * 6.7 + Math.PI)],
        headTilt: 3 * Math.sin(timeS * 2.2),
      };
    case "notification":
      return {
        ...still,
        right: [0, 7 * Math.sin(timeS * 4.2)],
        twist: 3 * Math.sin(timeS * 4.2),
        headTilt: 1.5,
      };
    case "thinking":
      return { ...still, left: [0, 2 * Math.sin(timeS * 1.4)], twist: 3 * Math.sin(timeS * 2.8) };
    case "error":
      return {
        ...still,
        left: [2 * Math.sin(timeS * 31), 0],
        right: [2 * Math.sin(timeS * 29), 0],
        headTilt: 0.7 * Math.sin(timeS * 27),
      };
    default:
      return still;
  }
}
