// @ts-check
/** The whole drawn character: its parts from back to front, and their movements. @module */

import { drawArm, drawLaptop, drawSign, drawTorso } from "./body.js";
import { gradients } from "./colors.js";
import { drawEffects, drawOrbs, show } from "./effects.js";
import { drawBackHair, drawCheeks, drawEye, drawFace, drawFrontHair, drawGloom, drawMouth } from "./head.js";
import { browLine, eyeLines, limb, mix, mouthLines } from "./lines.js";
import { SHOULDERS } from "./pose.js";
import { set, svg } from "./svg.js";

const EYES = Object.freeze([{ side: /** @type {const} */ (-1), x: 328 }, {
  side: /** @type {const} */ (1),
  x: 472,
}]);
const EYE_Y = 414;
const MAX_SIGN_CHARS = 20;

/** @typedef {{ elbow: [number, number], wrist: [number, number], hand: import("./pose.js").HandName, twist: number }} ArmPosition */

/** Half the width of a sleeve. */
const SLEEVE = Object.freeze({ shoulder: 45, elbow: 42, wrist: 36 });

/**
 * Draws the figure.
 *
 * @param {string} id Prefix of the ids in the drawing.
 */
export function drawFigure(id) {
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
  const effects = drawEffects();
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
    effects.head,
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
    effects.air,
  ]);
  const root = svg("svg", {
    viewBox: "40 0 720 1000",
    preserveAspectRatio: "xMidYMax meet",
    class: "drawn",
    "aria-hidden": "true",
    focusable: "false",
  }, [gradients(id), whole]);
  let label = "";

  /** @param {"left" | "right"} side @param {ArmPosition} now @param {number} breath */
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
    // Do not draw a hand below the picture.
    show(arm.end, wrist[1] < 1080 ? 1 : 0);
  }

  return {
    root,
    /** Sets the text above the laptop, such as the name of a tool. @param {string} text */
    setLabel(text) {
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
     * Draws a frame.
     *
     * @param {{ face: import("./faces.js").Face, timeS: number, mouth: number, blink: number, tilt: number,
     *   yaw: number, pitch: number, gazeX: number, gazeY: number, lock: number, hair: number, tuft: number, hop: number,
     *   laptop: number, orbs: number, sign: number, bubble: number, count: number | undefined,
     *   arms: { left: ArmPosition, right: ArmPosition } }} now
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
      effects.update(face, now.bubble, timeS);
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
      const lowered = (1 - now.laptop) * 230;
      show(laptop.lid, now.laptop * 5);
      set(laptop.lid, { transform: `translate(0 ${lowered.toFixed(1)})` });
      show(laptop.glow, now.laptop * (0.5 + 0.06 * Math.sin(timeS * 9)));
      const labelStrength = label === "" ? 0 : (now.laptop - 0.5) * 2;
      show(laptop.sign, labelStrength);
      set(laptop.sign, {
        transform: `translate(400 ${(762 + 5 * Math.sin(timeS * 2) + (1 - now.laptop) * 60).toFixed(1)})`,
      });
    },
  };
}

/**
 * @param {ReturnType<typeof drawEye> & { side: 1 | -1, x: number, brow: SVGElement }} eye
 * @param {{ face: import("./faces.js").Face, blink: number, gazeX: number, gazeY: number, timeS: number }} now
 */
function moveEye(eye, { face, blink, gazeX, gazeY, timeS }) {
  const open = face.open * (1 - blink) * (eye.side > 0 ? 1 - face.wink : 1);
  // The lid follows a gaze down.
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
 * @param {import("./faces.js").Face} face
 * @param {number} openness
 * @param {number} timeS
 */
function moveMouth(mouth, face, openness, timeS) {
  const speech = Math.min(1, openness * 2.5);
  // Vary the mouth between wide and round vowels.
  const vowel = 0.5 + 0.5 * Math.sin(timeS * 9.3) * Math.sin(timeS * 4.1);
  const shape = {
    width: face.width * (1 + speech * (0.12 * vowel - 0.1)),
    curve: face.curve * (1 - 0.3 * speech),
    gape: mix(face.gape, face.gape * 0.25 + openness * 0.62, speech),
    round: mix(face.round, 0.25 + 0.5 * (1 - vowel), speech * 0.7),
    wave: face.wave * (1 - speech * 0.7),
    cat: face.cat * (1 - speech * 0.8),
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
