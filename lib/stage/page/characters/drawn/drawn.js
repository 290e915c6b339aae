// @ts-check
/** The character that the program brings along: drawn in SVG, moved by springs. @module */

import { blend, expressionOf, faceOf } from "./faces.js";
import { drawFigure } from "./figure.js";
import { motionOf, poseOf } from "./pose.js";
import { Spring } from "../spring.js";

/** How fast a face becomes another: nine tenths of the way in about 200 ms. */
const FACE_RATE = 11;
const MOUTH_RATE = 26;
/** Time between frames: when much moves, and when she only breathes. */
const BUSY_FRAME_MS = 15;
const CALM_FRAME_MS = 30;
/** A gap after which time goes on as if there had been none. */
const MAX_FRAME_S = 0.1;
const BLINK_S = 0.17;
let drawn = 0;

/**
 * Draws the character into `container`.
 *
 * @type {import("../character.js").CreateCharacter}
 */
export function createCharacter(container) {
  const figure = drawFigure(`c${++drawn}`);
  const { root } = figure;
  root.dataset.mouth = "0";
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  container.append(root);

  let expression = "neutral";
  let intensity = 1;
  let state = "idle";
  /** @type {import("../character.js").StateDetail} */
  let detail = {};
  let pose = poseOf(state);
  let openness = 0;
  let mouthNow = 0;
  const face = faceOf("neutral", 1);
  let target = face;

  const spring = {
    tilt: new Spring(0, 60, 0.75),
    yaw: new Spring(0, 55, 0.9),
    pitch: new Spring(0, 55, 0.9),
    gazeX: new Spring(0, 260, 0.9),
    gazeY: new Spring(0, 260, 0.9),
    lock: new Spring(0, 34, 0.24),
    hair: new Spring(0, 18, 0.22),
    tuft: new Spring(0, 90, 0.14),
    hop: new Spring(0, 190, 0.42),
    laptop: new Spring(0, 90, 0.8),
    orbs: new Spring(0, 110, 1),
    sign: new Spring(0, 110, 0.62),
    bubble: new Spring(0, 110, 0.9),
  };
  const arms = { left: armSprings(pose.left), right: armSprings(pose.right) };
  const all = [...Object.values(spring), ...[arms.left, arms.right].flatMap((arm) => Object.values(arm))];

  const look = { pointerX: 0, pointerY: 0, aboutX: 0, aboutY: 0, nextS: 2 };
  const blink = { atS: 3, again: false };
  let timeS = Math.random() * 20;
  blink.atS += timeS;
  look.nextS += timeS;
  let lastMs = 0;
  let frame = 0;

  function retarget() {
    const name = expression === "neutral" ? expressionOf(pose.face) : expression;
    target = faceOf(name, expression === "neutral" ? 1 : intensity);
    spring.laptop.target = pose.laptop ?? 0;
    spring.orbs.target = pose.orbs ?? 0;
    spring.sign.target = pose.sign ?? 0;
    spring.bubble.target = pose.bubble ?? 0;
  }

  /** Where she looks: at the pointer a little, sometimes about. */
  function updateLook() {
    if (timeS > look.nextS) {
      const away = Math.random() < 0.55;
      look.aboutX = away ? Math.random() * 1.6 - 0.8 : 0;
      look.aboutY = away ? Math.random() * 0.7 - 0.35 : 0;
      look.nextS = timeS + (away ? 0.7 + Math.random() * 1.3 : 2.5 + Math.random() * 4);
    }
    const about = pose.meets || still.matches || state === "working" || openness > 0 ? 0 : 1;
    const pointer = state === "working" || state === "thinking" ? 0.25 : 0.8;
    const [poseX, poseY] = pose.gaze ?? [0, 0];
    const x = look.pointerX * pointer + look.aboutX * about;
    const y = look.pointerY * pointer + look.aboutY * about;
    spring.gazeX.target = target.gazeX + poseX + x * 0.7;
    spring.gazeY.target = target.gazeY + poseY + y * 0.7;
    const move = motionOf(state, still.matches ? 0 : timeS);
    const drift = still.matches ? 0 : 1;
    spring.yaw.target = target.yaw + (pose.yaw ?? 0) + x * 0.42 + drift * 0.1 * Math.sin(timeS * 0.53);
    spring.pitch.target = target.pitch + y * 0.32 + drift * 0.07 * Math.sin(timeS * 0.71 + 1);
    spring.tilt.target = target.tilt + x * 1.6 + move.headTilt +
      drift * (1.1 * Math.sin(timeS * 0.62) + (openness > 0 ? 1.4 * Math.sin(timeS * 3.1) : 0));
    spring.lock.target = -spring.tilt.value * 0.75 - spring.yaw.velocity * 3 +
      drift * 0.8 * Math.sin(timeS * 1.1);
    spring.hair.target = -spring.tilt.value * 0.35 - spring.yaw.velocity * 3 +
      drift * 0.9 * Math.sin(timeS * 0.9 + 1);
    spring.tuft.target = -spring.tilt.velocity * 0.5 + drift * 3 * Math.sin(timeS * 1.3);
    for (const side of /** @type {const} */ (["left", "right"])) {
      const springs = arms[side];
      const arm = pose[side];
      const [, dy = 0] = move[side];
      springs.elbowX.target = arm.elbow[0];
      springs.elbowY.target = arm.elbow[1] + dy * 0.25;
      springs.wristX.target = arm.wrist[0];
      springs.wristY.target = arm.wrist[1];
      springs.twist.target = arm.twist ?? 0;
    }
    return move;
  }

  /** How far the lids are shut by blinking, from 0 to 1. */
  function blinked() {
    if (still.matches) return 0;
    const since = timeS - blink.atS;
    if (since < 0) return 0;
    if (since > BLINK_S) {
      blink.again = !blink.again && Math.random() < 0.18;
      blink.atS = timeS + (blink.again ? 0.09 : 2 + Math.random() * 4);
      return 0;
    }
    const part = since / BLINK_S;
    return part < 0.38 ? part / 0.38 : 1 - (part - 0.38) / 0.62;
  }

  /** @param {number} deltaS */
  function update(deltaS) {
    timeS += deltaS;
    blend(face, target, still.matches ? 1 : 1 - Math.exp(-FACE_RATE * deltaS));
    const before = mouthNow;
    mouthNow += (openness - mouthNow) * (1 - Math.exp(-MOUTH_RATE * deltaS));
    if (openness === 0 && mouthNow < 0.01) mouthNow = 0;
    // How far the mouth is open can be read from outside, in tenths.
    if (Math.round(before * 10) !== Math.round(mouthNow * 10)) {
      root.dataset.mouth = String(Math.round(mouthNow * 10) / 10);
    }
    const move = updateLook();
    for (const one of all) {
      if (still.matches) one.settle();
      else one.step(deltaS);
    }
    figure.update({
      face,
      timeS: still.matches ? 0.6 : timeS,
      mouth: mouthNow,
      blink: blinked(),
      tilt: spring.tilt.value,
      yaw: spring.yaw.value,
      pitch: spring.pitch.value,
      gazeX: spring.gazeX.value,
      gazeY: spring.gazeY.value,
      lock: spring.lock.value,
      hair: spring.hair.value,
      tuft: spring.tuft.value,
      hop: spring.hop.value + move.headY,
      laptop: spring.laptop.value,
      orbs: spring.orbs.value,
      sign: spring.sign.value,
      bubble: spring.bubble.value,
      count: detail.subagent_count,
      arms: {
        left: armNow(arms.left, pose.left.hand, move.left, state === "thinking" ? move.twist : 0),
        right: armNow(arms.right, pose.right.hand, move.right, state === "thinking" ? 0 : move.twist),
      },
    });
  }

  /** @param {number} nowMs */
  function tick(nowMs) {
    frame = requestAnimationFrame(tick);
    const busy = mouthNow > 0.02 || state !== "idle" ||
      all.some((one) => !one.rests && Math.abs(one.velocity) > 12);
    if (nowMs - lastMs < (busy ? BUSY_FRAME_MS : CALM_FRAME_MS)) return;
    const deltaS = Math.min(MAX_FRAME_S, (nowMs - lastMs) / 1000);
    lastMs = nowMs;
    update(deltaS);
  }

  /** @param {PointerEvent} event */
  function follow(event) {
    const box = root.getBoundingClientRect();
    if (box.width === 0) return;
    const clamp = (/** @type {number} */ value) => Math.max(-1, Math.min(1, value));
    look.pointerX = clamp((event.clientX - box.x - box.width / 2) / box.width);
    look.pointerY = clamp((event.clientY - box.y - box.height * 0.4) / box.height);
  }
  const leave = () => {
    look.pointerX = 0;
    look.pointerY = 0;
  };

  addEventListener("pointermove", follow, { passive: true });
  document.documentElement.addEventListener("pointerleave", leave);
  container.dataset.expression = expression;
  container.dataset.state = state;
  retarget();
  update(0.001);
  frame = requestAnimationFrame(tick);

  return {
    express(tag, strength = 1) {
      const next = expressionOf(tag);
      if (next !== expression && next !== "neutral") spring.hop.velocity = -90;
      expression = next;
      intensity = strength;
      container.dataset.expression = expression;
      retarget();
    },
    act(next, more = {}) {
      if (next !== state) spring.hop.velocity = next === "error" ? -340 : next === "idle" ? 0 : -170;
      state = next;
      detail = more;
      pose = poseOf(state);
      container.dataset.state = state;
      figure.say(more.tool_name ?? "");
      retarget();
    },
    mouth(value) {
      openness = Math.min(1, Math.max(0, value));
    },
    dispose() {
      cancelAnimationFrame(frame);
      removeEventListener("pointermove", follow);
      document.documentElement.removeEventListener("pointerleave", leave);
      root.remove();
    },
  };
}

/** @param {import("./pose.js").Arm} arm */
function armSprings({ elbow, wrist, twist = 0 }) {
  return {
    elbowX: new Spring(elbow[0], 70, 0.72),
    elbowY: new Spring(elbow[1], 70, 0.72),
    wristX: new Spring(wrist[0], 85, 0.66),
    wristY: new Spring(wrist[1], 85, 0.66),
    twist: new Spring(twist, 90, 0.7),
  };
}

/**
 * @param {ReturnType<typeof armSprings>} springs
 * @param {import("./pose.js").HandName} hand
 * @param {readonly number[]} move
 * @param {number} twist
 * @returns {import("./figure.js").ArmNow}
 */
function armNow({ elbowX, elbowY, wristX, wristY, twist: own }, hand, [dx = 0, dy = 0], twist) {
  return {
    elbow: [elbowX.value, elbowY.value],
    wrist: [wristX.value + dx, wristY.value + dy],
    hand,
    twist: own.value + twist,
  };
}
