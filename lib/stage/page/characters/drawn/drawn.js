// @ts-check
/** The built-in character: drawn in SVG, moved by springs. @module */

import { blend, expressionOf, faceOf } from "./faces.js";
import { drawFigure } from "./figure.js";
import { motionOf, poseOf } from "./pose.js";
import { Spring } from "./spring.js";

/** Rates at which face and mouth change: 11 means 90 % of the way in about 200 ms. */
const FACE_RATE_PER_S = 11;
const MOUTH_RATE_PER_S = 26;
/** Shortest time between frames while much moves, and while the character only breathes. */
const BUSY_FRAME_MS = 15;
const CALM_FRAME_MS = 30;
/** Longest step of the animation, for example after the tab was hidden. */
const MAX_FRAME_S = 0.1;
const BLINK_S = 0.17;
/** Characters drawn so far. Their ids have to differ. */
let count = 0;

/**
 * Draws the character into a container.
 *
 * @type {import("../character.js").CreateCharacter}
 */
export function createCharacter(container) {
  const figure = drawFigure(`c${++count}`);
  const { root } = figure;
  root.dataset.mouth = "0";
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  container.append(root);

  let expression = "neutral";
  let intensity = 1;
  let state = "idle";
  /** @type {import("../character.js").StateDetail} */
  let detail = {};
  let pose = poseOf(state);
  /** Wanted and present openness of the mouth, from 0 to 1. */
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
  const allSprings = [
    ...Object.values(spring),
    ...[arms.left, arms.right].flatMap((arm) => Object.values(arm)),
  ];

  /** Directions of the pointer and of a random glance, from -1 to 1, and the time of the next glance. */
  const look = { pointerX: 0, pointerY: 0, glanceX: 0, glanceY: 0, nextS: 2 };
  const blink = { atS: 3, isDouble: false };
  let timeS = Math.random() * 20;
  blink.atS += timeS;
  look.nextS += timeS;
  let lastMs = 0;
  let frame = 0;

  /** Sets the goals of the face and of the objects in hand. */
  function updateTargets() {
    const name = expression === "neutral" ? expressionOf(pose.face) : expression;
    target = faceOf(name, expression === "neutral" ? 1 : intensity);
    spring.laptop.target = pose.laptop ?? 0;
    spring.orbs.target = pose.orbs ?? 0;
    spring.sign.target = pose.sign ?? 0;
    spring.bubble.target = pose.bubble ?? 0;
  }

  /** Sets the goals of gaze, head, hair and arms. Returns the movement of the pose. */
  function updateMotion() {
    if (timeS > look.nextS) {
      const away = Math.random() < 0.55;
      look.glanceX = away ? Math.random() * 1.6 - 0.8 : 0;
      look.glanceY = away ? Math.random() * 0.7 - 0.35 : 0;
      look.nextS = timeS + (away ? 0.7 + Math.random() * 1.3 : 2.5 + Math.random() * 4);
    }
    const glance = pose.looksAtViewer || reducedMotion.matches || state === "working" || openness > 0 ? 0 : 1;
    const pointer = state === "working" || state === "thinking" ? 0.25 : 0.8;
    const [poseX, poseY] = pose.gaze ?? [0, 0];
    const x = look.pointerX * pointer + look.glanceX * glance;
    const y = look.pointerY * pointer + look.glanceY * glance;
    spring.gazeX.target = target.gazeX + poseX + x * 0.7;
    spring.gazeY.target = target.gazeY + poseY + y * 0.7;
    const move = motionOf(state, reducedMotion.matches ? 0 : timeS);
    const drift = reducedMotion.matches ? 0 : 1;
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

  /** Returns how far blinking closes the lids, from 0 to 1. */
  function blinkNow() {
    if (reducedMotion.matches) return 0;
    const since = timeS - blink.atS;
    if (since < 0) return 0;
    if (since > BLINK_S) {
      blink.isDouble = !blink.isDouble && Math.random() < 0.18;
      blink.atS = timeS + (blink.isDouble ? 0.09 : 2 + Math.random() * 4);
      return 0;
    }
    const part = since / BLINK_S;
    return part < 0.38 ? part / 0.38 : 1 - (part - 0.38) / 0.62;
  }

  /** @param {number} deltaS */
  function update(deltaS) {
    timeS += deltaS;
    blend(face, target, reducedMotion.matches ? 1 : 1 - Math.exp(-FACE_RATE_PER_S * deltaS));
    const before = mouthNow;
    mouthNow += (openness - mouthNow) * (1 - Math.exp(-MOUTH_RATE_PER_S * deltaS));
    if (openness === 0 && mouthNow < 0.01) mouthNow = 0;
    // Tests read the openness of the mouth, in tenths.
    if (Math.round(before * 10) !== Math.round(mouthNow * 10)) {
      root.dataset.mouth = String(Math.round(mouthNow * 10) / 10);
    }
    const move = updateMotion();
    for (const each of allSprings) {
      if (reducedMotion.matches) each.settle();
      else each.step(deltaS);
    }
    figure.update({
      face,
      timeS: reducedMotion.matches ? 0.6 : timeS,
      mouth: mouthNow,
      blink: blinkNow(),
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
        left: armAt(arms.left, pose.left.hand, move.left, state === "thinking" ? move.twist : 0),
        right: armAt(arms.right, pose.right.hand, move.right, state === "thinking" ? 0 : move.twist),
      },
    });
  }

  /** @param {number} nowMs */
  function draw(nowMs) {
    frame = requestAnimationFrame(draw);
    const busy = mouthNow > 0.02 || state !== "idle" ||
      allSprings.some((each) => !each.isStill && Math.abs(each.velocity) > 12);
    if (nowMs - lastMs < (busy ? BUSY_FRAME_MS : CALM_FRAME_MS)) return;
    const deltaS = Math.min(MAX_FRAME_S, (nowMs - lastMs) / 1000);
    lastMs = nowMs;
    update(deltaS);
  }

  /** @param {PointerEvent} event */
  function followPointer(event) {
    const box = root.getBoundingClientRect();
    if (box.width === 0) return;
    const clamp = (/** @type {number} */ value) => Math.max(-1, Math.min(1, value));
    look.pointerX = clamp((event.clientX - box.x - box.width / 2) / box.width);
    look.pointerY = clamp((event.clientY - box.y - box.height * 0.4) / box.height);
  }
  const forgetPointer = () => {
    look.pointerX = 0;
    look.pointerY = 0;
  };

  addEventListener("pointermove", followPointer, { passive: true });
  document.documentElement.addEventListener("pointerleave", forgetPointer);
  container.dataset.expression = expression;
  container.dataset.state = state;
  updateTargets();
  update(0.001);
  frame = requestAnimationFrame(draw);

  return {
    express(tag, strength = 1) {
      const next = expressionOf(tag);
      if (next !== expression && next !== "neutral") spring.hop.velocity = -90;
      expression = next;
      intensity = strength;
      container.dataset.expression = expression;
      updateTargets();
    },
    act(next, more = {}) {
      if (next !== state) spring.hop.velocity = next === "error" ? -340 : next === "idle" ? 0 : -170;
      state = next;
      detail = more;
      pose = poseOf(state);
      container.dataset.state = state;
      figure.setLabel(more.tool_name ?? "");
      updateTargets();
    },
    mouth(value) {
      openness = Math.min(1, Math.max(0, value));
    },
    dispose() {
      cancelAnimationFrame(frame);
      removeEventListener("pointermove", followPointer);
      document.documentElement.removeEventListener("pointerleave", forgetPointer);
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
 * @param {number} extraTwist
 * @returns {import("./figure.js").ArmPosition}
 */
function armAt({ elbowX, elbowY, wristX, wristY, twist }, hand, [dx = 0, dy = 0], extraTwist) {
  return {
    elbow: [elbowX.value, elbowY.value],
    wrist: [wristX.value + dx, wristY.value + dy],
    hand,
    twist: twist.value + extraTwist,
  };
}
