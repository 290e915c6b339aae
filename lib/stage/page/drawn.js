// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The character that the program brings along: drawn in SVG, moved by springs. @module */

import { drawArm, drawLaptop, drawSign, drawTorso } from "./drawn_body.js";
import { gradients } from "./drawn_colors.js";
import { blend, expressionOf, faceOf } from "./drawn_faces.js";
import { drawOrbs, drawSigns, show } from "./drawn_fx.js";
import {
  drawBackHair,
  drawCheeks,
  drawEye,
  drawFace,
  drawFrontHair,
  drawGloom,
  drawMouth,
} from "./drawn_head.js";
import { browLine, eyeLines, limb, mix, mouthLines } from "./drawn_lines.js";
import { motionOf, poseOf, SHOULDERS } from "./drawn_pose.js";
import { Spring } from "./spring.js";
import { set, svg } from "./svg.js";

/** How fast a face becomes another: nine tenths of the way in about 200 ms. */
const FACE_RATE = 11;
const MOUTH_RATE = 26;
/** Time between frames: when much moves, and when she only breathes. */
const BUSY_FRAME_MS = 15;
const CALM_FRAME_MS = 30;
/** A gap after which time goes on as if there had been none. */
const MAX_FRAME_S = 0.1;
const BLINK_S = 0.17;
/** Her eyes' middles. */
const EYES = Object.freeze([{ side: /** @type {const} */ (-1), x: 328 }, {
  side: /** @type {const} */ (1),
  x: 472,
}]);
const EYE_Y = 414;
const MAX_SIGN_CHARS = 20;

let drawn = 0;

/**
 * Draws the character into `container`.
 *
 * @type {import("./character.js").CreateCharacter}
 */
export function createCharacter(container) {
  const figure = drawFigure(`c${++drawn}`);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  container.append(figure.root);

  let expression = "neutral";
  let intensity = 1;
  let state = "idle";
  /** @type {import("./character.js").StateDetail} */
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
    mouthNow += (openness - mouthNow) * (1 - Math.exp(-MOUTH_RATE * deltaS));
    const move = updateLook();
    for (const one of all) {
      if (still.matches) one.settle();
      else one.step(deltaS);
    }
    figure.update({
      face,
      timeS: still.matches ? 0.6 : timeS,
      mouth: mouthNow < 0.01 ? 0 : mouthNow,
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
    const box = figure.root.getBoundingClientRect();
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
      figure.root.remove();
    },
  };
}

/** @param {import("./drawn_pose.js").Arm} arm */
function armSprings({ elbow, wrist, twist = 0 }) {
  return {
    elbowX: new Spring(elbow[0], 70, 0.72),
    elbowY: new Spring(elbow[1], 70, 0.72),
    wristX: new Spring(wrist[0], 85, 0.66),
    wristY: new Spring(wrist[1], 85, 0.66),
    twist: new Spring(twist, 90, 0.7),
  };
}

/** @typedef {{ elbow: [number, number], wrist: [number, number], hand: import("./drawn_body.js").HandName, twist: number }} ArmNow */

/**
 * @param {ReturnType<typeof armSprings>} springs
 * @param {import("./drawn_body.js").HandName} hand
 * @param {readonly number[]} move
 * @param {number} twist
 * @returns {ArmNow}
 */
function armNow({ elbowX, elbowY, wristX, wristY, twist: own }, hand, [dx = 0, dy = 0], twist) {
  return {
    elbow: [elbowX.value, elbowY.value],
    wrist: [wristX.value + dx, wristY.value + dy],
    hand,
    twist: own.value + twist,
  };
}

/** Half the widths of a sleeve. */
const SLEEVE = Object.freeze({ shoulder: 45, elbow: 42, wrist: 36 });

/**
 * The whole figure, and how it is moved.
 *
 * @param {string} id
 */
function drawFigure(id) {
  const back = drawBackHair(id);
  const torso = drawTorso(id);
  const faceGroup = drawFace(id);
  const hair = drawFrontHair(id);
  const gloom = drawGloom(id);
  const cheeks = drawCheeks(id);
  const mouth = drawMouth(id);
  const eyes = EYES.map(({ side, x }) => ({
    side,
    x,
    ...drawEye(id, side),
    brow: svg("path", { fill: "#6b3f33" }),
  }));
  const signs = drawSigns();
  const orbs = drawOrbs(id);
  const laptop = drawLaptop(id);
  const board = drawSign();
  const arms = { left: drawArm(id), right: drawArm(id) };

  const bangs = svg("g", {}, [hair.bangs, hair.clip]);
  const features = svg("g", {}, [cheeks.blush, cheeks.nose, mouth.root, ...eyes.map(({ root }) => root)]);
  const brows = svg("g", { opacity: 0.92 }, eyes.flatMap(({ lashes, brow }) => [lashes, brow]));
  const backHair = svg("g", {}, [back.root]);
  const head = svg("g", {}, [
    faceGroup,
    features,
    gloom,
    hair.left,
    hair.right,
    hair.tuft,
    bangs,
    brows,
    signs.head,
  ]);
  const body = svg("g", {}, [torso.hood, torso.neck, torso.front, arms.left.back, arms.right.back]);
  const whole = svg("g", {}, [
    backHair,
    body,
    head,
    laptop.glow,
    board,
    arms.left.front,
    arms.right.front,
    laptop.lid,
    laptop.sign,
    orbs.root,
    signs.air,
  ]);
  const root = svg("svg", {
    viewBox: "40 0 720 1000",
    preserveAspectRatio: "xMidYMax meet",
    class: "drawn",
    "aria-hidden": "true",
    focusable: "false",
  }, [gradients(id), whole]);
  let label = "";

  /** @param {"left" | "right"} side @param {ArmNow} now @param {number} breath */
  function moveArm(side, { elbow, wrist, hand, twist }, breath) {
    const arm = arms[side];
    const [x = 0, y = 0] = SHOULDERS[side];
    const upper = limb(
      [x, y - breath],
      elbow,
      SLEEVE.shoulder,
      SLEEVE.elbow,
      true,
      side === "left" ? [0, 0.36] : [0.36, 0],
    );
    const fore = limb(elbow, wrist, SLEEVE.elbow, SLEEVE.wrist, false, [0, 0]);
    set(arm.upper.fill, { d: upper.fill });
    set(arm.upper.shade, { d: upper.shade });
    set(arm.upper.line, { d: upper.line });
    set(arm.fore.fill, { d: fore.fill });
    set(arm.fore.shade, { d: fore.shade });
    set(arm.fore.line, { d: fore.line });
    const angle = Math.atan2(wrist[0] - elbow[0], elbow[1] - wrist[1]) * 180 / Math.PI;
    set(arm.end, {
      transform: `translate(${wrist[0].toFixed(1)} ${wrist[1].toFixed(1)}) rotate(${angle.toFixed(1)})`,
    });
    set(arm.hand, { transform: `rotate(${twist.toFixed(1)}) scale(${side === "left" ? 1 : -1} 1)` });
    for (const [name, shape] of Object.entries(arm.hands)) show(shape, name === hand ? 1 : 0);
    // Hands that hang out of the picture cost nothing.
    show(arm.end, wrist[1] < 1080 ? 1 : 0);
  }

  return {
    root,
    /** Puts a tool's name on the sign at her laptop. @param {string} text */
    say(text) {
      const chars = [...text.replace(/\s+/g, " ").trim()];
      label = chars.length > MAX_SIGN_CHARS
        ? chars.slice(0, MAX_SIGN_CHARS - 1).join("") + "…"
        : chars.join("");
      if (label === "") return;
      laptop.text.textContent = label;
      const width = 44 + 14.4 * [...label].length;
      set(laptop.plate, { x: -width / 2, width });
    },
    /**
     * @param {{ face: import("./drawn_faces.js").Face, timeS: number, mouth: number, blink: number, tilt: number,
     *   yaw: number, pitch: number, gazeX: number, gazeY: number, lock: number, hair: number, tuft: number, hop: number,
     *   laptop: number, orbs: number, sign: number, bubble: number, count: number | undefined,
     *   arms: { left: ArmNow, right: ArmNow } }} now
     */
    update(now) {
      const { face, timeS, yaw, pitch, tilt } = now;
      const breath = 3 * Math.sin(timeS * 1.75);
      const move = (/** @type {number} */ x, /** @type {number} */ y) =>
        `translate(${(yaw * x).toFixed(2)} ${(pitch * y).toFixed(2)})`;
      const turn = (/** @type {number} */ degrees, /** @type {string} */ around) =>
        `rotate(${degrees.toFixed(2)} ${around})`;
      set(whole, { transform: `translate(0 ${(now.hop * 0.35).toFixed(2)})` });
      set(body, { transform: `translate(0 ${(-breath).toFixed(2)}) ${turn(tilt * 0.12, "400 1000")}` });
      set(head, {
        transform: `translate(${(yaw * 6).toFixed(2)} ${(pitch * 7 - breath * 1.2).toFixed(2)}) ${
          turn(tilt, "400 590")
        }`,
      });
      set(backHair, {
        transform: `translate(${(-yaw * 5).toFixed(2)} ${(-breath).toFixed(2)}) ${
          turn(tilt * 0.85, "400 590")
        }`,
      });
      set(back.left, { transform: turn(now.hair * 1.3 - 0.4 * yaw, "300 240") });
      set(back.right, { transform: turn(now.hair * 1.3 - 0.4 * yaw, "500 240") });
      set(faceGroup, { transform: move(5, 3) });
      set(features, { transform: move(17, 13) });
      set(gloom, { transform: move(8, 4) });
      set(brows, { transform: move(17, 13) });
      set(bangs, { transform: `${move(11, 8)} ${turn(now.lock * 0.12, "400 120")}` });
      set(hair.left, { transform: `${move(8, 4)} ${turn(now.lock, "290 260")}` });
      set(hair.right, { transform: `${move(8, 4)} ${turn(now.lock, "510 260")}` });
      set(hair.tuft, { transform: `${move(5, 4)} ${turn(now.tuft, "404 112")}` });
      show(gloom, face.gloom);
      show(cheeks.blush, face.blush);
      show(cheeks.hatch, (face.blush - 0.55) * 2.2);
      for (const eye of eyes) moveEye(eye, now);
      moveMouth(mouth, face, now.mouth, timeS);
      signs.update(face, now.bubble, timeS);
      orbs.update(now.orbs, now.count, timeS);
      moveArm("left", now.arms.left, breath);
      moveArm("right", now.arms.right, breath);
      const [handX, handY] = now.arms.right.wrist;
      show(board, now.sign * 1.4);
      set(board, {
        transform: `translate(${(handX + 14).toFixed(1)} ${
          (handY - 130 + (1 - now.sign) * 260).toFixed(1)
        }) rotate(${(5 + now.arms.right.twist).toFixed(1)} 0 100)`,
      });
      const sunk = (1 - now.laptop) * 230;
      show(laptop.lid, now.laptop * 5);
      set(laptop.lid, { transform: `translate(0 ${sunk.toFixed(1)})` });
      show(laptop.glow, now.laptop * (0.5 + 0.06 * Math.sin(timeS * 9)));
      const named = label === "" ? 0 : (now.laptop - 0.5) * 2;
      show(laptop.sign, named);
      set(laptop.sign, {
        transform: `translate(400 ${(762 + 5 * Math.sin(timeS * 2) + (1 - now.laptop) * 60).toFixed(1)})`,
      });
    },
  };
}

/**
 * @param {ReturnType<typeof drawEye> & { side: 1 | -1, x: number, brow: SVGElement }} eye
 * @param {{ face: import("./drawn_faces.js").Face, blink: number, gazeX: number, gazeY: number, timeS: number }} now
 */
function moveEye(eye, { face, blink, gazeX, gazeY, timeS }) {
  const open = face.open * (1 - blink) * (eye.side > 0 ? 1 - face.wink : 1);
  // A lid that follows the gaze down.
  const lines = eyeLines(eye.side, { ...face, open: open * (1 - 0.1 * Math.max(0, gazeY)) });
  set(eye.root, { transform: `translate(${eye.x} ${EYE_Y})` });
  set(eye.lashes, { transform: `translate(${eye.x} ${EYE_Y})` });
  set(eye.hole, { d: lines.opening });
  set(eye.white, { d: lines.opening });
  set(eye.shade, { d: lines.shade });
  set(eye.lash, { d: lines.lash });
  set(eye.lower, { d: lines.lower, opacity: Math.min(1, Math.max(0, open * 3)).toFixed(2) });
  set(eye.crease, { d: lines.crease, opacity: (0.25 + 0.6 * Math.min(1, open)).toFixed(2) });
  const x = Math.max(-1.2, Math.min(1.2, gazeX)) * 10 - eye.side * 2.5;
  const y = Math.max(-1, Math.min(1, gazeY)) * 9 - 2;
  set(eye.iris, { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${face.iris.toFixed(3)})` });
  const size = face.iris * (1 + 0.06 * face.starEyes * Math.sin(timeS * 8));
  set(eye.lights, {
    transform: `translate(${(x * 0.8).toFixed(1)} ${(y * 0.8).toFixed(1)}) scale(${size.toFixed(3)})`,
  });
  show(eye.heart, face.heartEyes);
  show(eye.star, face.starEyes);
  show(eye.pupil, 1 - Math.max(face.heartEyes, face.starEyes));
  show(eye.lids, open < 0.08 ? 0 : 1 - face.squeeze * 1.6);
  show(eye.lashes, 1 - face.squeeze * 1.6);
  show(eye.squeeze, face.squeeze * 1.6 - 0.6);
  const skew = eye.side * face.browSkew * 8;
  set(eye.brow, {
    d: browLine(eye.side, face.browTilt),
    transform: `translate(${eye.x + eye.side * 2} ${
      (346 + face.browY * 13 - skew - (face.open - 1) * 4).toFixed(1)
    })`,
  });
}

/**
 * @param {ReturnType<typeof drawMouth>} mouth
 * @param {import("./drawn_faces.js").Face} face
 * @param {number} openness
 * @param {number} timeS
 */
function moveMouth(mouth, face, openness, timeS) {
  const speaks = Math.min(1, openness * 2.5);
  // Vowels differ: some are wide, some are round.
  const vowel = 0.5 + 0.5 * Math.sin(timeS * 9.3) * Math.sin(timeS * 4.1);
  const shape = {
    width: face.width * (1 + speaks * (0.12 * vowel - 0.1)),
    curve: face.curve * (1 - 0.3 * speaks),
    gape: mix(face.gape, face.gape * 0.25 + openness * 0.62, speaks),
    round: mix(face.round, 0.25 + 0.5 * (1 - vowel), speaks * 0.7),
    wave: face.wave * (1 - speaks * 0.7),
    cat: face.cat * (1 - speaks * 0.8),
    skew: face.skew,
  };
  const lines = mouthLines(shape);
  const open = shape.gape > 0.03;
  set(mouth.root, { transform: "translate(400 504)" });
  show(mouth.inner, open ? 1 : 0);
  set(mouth.hole, { d: lines.opening });
  set(mouth.inside, { d: lines.opening });
  set(mouth.teeth, { d: lines.teeth });
  show(mouth.teeth, (shape.gape - 0.2) * 6 * (1 - shape.round * 0.8));
  set(mouth.tongue, {
    cy: lines.tongueY.toFixed(1),
    rx: (lines.half * 0.62).toFixed(1),
    ry: (5 + shape.gape * 15).toFixed(1),
  });
  set(mouth.line, { d: open ? lines.opening : lines.line });
  const lipY = Math.max(0, shape.gape * 42) + 12 + shape.cat * 5;
  set(mouth.lip, { transform: `translate(0 ${lipY.toFixed(1)})`, opacity: 0.8 });
}
