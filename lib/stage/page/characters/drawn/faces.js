// @ts-check
/** Expressions of the drawn character, as numbers that can be blended. @module */

/**
 * The neutral face. Numbers are from 0 to 1, or from -1 to 1 where two directions are named.
 *
 * - eyes: `open` lids; `smile` of closed lids, as in ^ ^; raised `lower` lid; `flat` upper lid; `slant` of anger (+)
 *   or sorrow (-); `wink`; `squeeze` as in > <; size of the `iris`; `gazeX`, `gazeY`
 * - brows: `browY` up (-) or down; `browTilt` of anger (+) or sorrow (-); `browSkew` one higher than the other
 * - mouth: `width`, `curve` up or down, `gape`, `round`, `wave`, `cat`, `skew`
 * - effects: `blush`, `tears`, `sweat`, `vein`, `hearts`, `sparkles`, `zzz`, `question`, `gloom`, `shock`,
 *   `sigh`, `heartEyes`, `starEyes`
 * - head: `tilt` in degrees, `yaw`, `pitch`
 */
export const NEUTRAL = {
  open: 1,
  smile: 0,
  lower: 0,
  flat: 0,
  slant: 0,
  wink: 0,
  squeeze: 0,
  iris: 1,
  gazeX: 0,
  gazeY: 0,
  browY: 0,
  browTilt: 0,
  browSkew: 0,
  width: 0.8,
  curve: 0.55,
  gape: 0,
  round: 0,
  wave: 0,
  cat: 0,
  skew: 0,
  blush: 0.35,
  tears: 0,
  sweat: 0,
  vein: 0,
  hearts: 0,
  sparkles: 0,
  zzz: 0,
  question: 0,
  gloom: 0,
  shock: 0,
  sigh: 0,
  heartEyes: 0,
  starEyes: 0,
  tilt: 0,
  yaw: 0,
  pitch: 0,
};

/** @typedef {typeof NEUTRAL} Face */

/** @type {Readonly<Record<string, Readonly<Partial<Face>>>>} */
const FACES = {
  neutral: {},
  happy: { open: 0.94, lower: 0.6, browY: -0.4, width: 1.1, curve: 0.9, gape: 0.34, blush: 0.75, tilt: 3 },
  sad: {
    open: 0.78,
    slant: -0.7,
    gazeY: 0.45,
    browY: -0.1,
    browTilt: -0.9,
    width: 0.7,
    curve: -0.8,
    tears: 0.9,
    tilt: -4,
    pitch: 0.5,
  },
  angry: {
    open: 0.86,
    slant: 0.9,
    flat: 0.3,
    iris: 0.94,
    browY: 0.5,
    browTilt: 1,
    width: 0.95,
    curve: -0.9,
    blush: 0.5,
    vein: 1,
    pitch: 0.25,
  },
  surprised: {
    open: 1.16,
    iris: 0.8,
    browY: -1,
    width: 0.62,
    curve: 0,
    gape: 0.5,
    round: 1,
    shock: 1,
    pitch: -0.3,
  },
  curious: {
    open: 1.08,
    iris: 1.05,
    browY: -0.5,
    browSkew: 0.6,
    width: 0.5,
    curve: 0.2,
    gape: 0.16,
    round: 0.9,
    question: 1,
    tilt: 9,
    yaw: 0.25,
  },
  excited: {
    open: 1.1,
    lower: 0.3,
    iris: 1.08,
    browY: -0.8,
    width: 1.15,
    curve: 0.9,
    gape: 0.72,
    blush: 0.9,
    sparkles: 1,
    starEyes: 1,
    pitch: -0.25,
  },
  shy: {
    open: 0.74,
    lower: 0.2,
    gazeX: -0.8,
    gazeY: 0.5,
    browTilt: -0.6,
    width: 0.6,
    curve: 0.2,
    wave: 0.65,
    blush: 1.3,
    sweat: 0.6,
    tilt: -7,
    yaw: -0.3,
    pitch: 0.35,
  },
  love: {
    open: 0.98,
    lower: 0.4,
    iris: 1.06,
    browY: -0.5,
    browTilt: -0.35,
    width: 1,
    curve: 0.9,
    gape: 0.4,
    blush: 1.25,
    hearts: 1,
    heartEyes: 1,
    tilt: 5,
  },
  smirk: {
    open: 0.74,
    flat: 0.6,
    lower: 0.4,
    gazeX: 0.45,
    browY: 0.1,
    browTilt: 0.4,
    browSkew: 0.8,
    width: 0.95,
    curve: 0.45,
    skew: 0.75,
    tilt: 4,
    yaw: 0.2,
  },
  sleepy: {
    open: 0.3,
    flat: 0.45,
    slant: -0.3,
    gazeY: 0.3,
    browY: -0.2,
    browTilt: -0.3,
    width: 0.5,
    curve: 0,
    gape: 0.14,
    round: 0.8,
    zzz: 1,
    tilt: -9,
    pitch: 0.7,
  },
  proud: {
    open: 0,
    smile: 0.25,
    browY: -0.7,
    width: 1,
    curve: 0.7,
    cat: 1,
    blush: 0.6,
    sparkles: 0.7,
    pitch: -0.9,
    tilt: 3,
  },
  disgusted: {
    open: 0.58,
    flat: 0.6,
    lower: 0.6,
    gazeX: -0.6,
    browY: 0.3,
    browTilt: 0.55,
    browSkew: -0.5,
    width: 0.9,
    curve: -0.7,
    wave: 0.8,
    gloom: 0.75,
    blush: 0,
    yaw: -0.35,
    tilt: -4,
  },
  pain: {
    squeeze: 1,
    open: 0.05,
    browY: 0.3,
    browTilt: -0.6,
    width: 0.9,
    curve: -0.3,
    wave: 1,
    tears: 0.5,
    sweat: 0.8,
    blush: 0.7,
    tilt: -5,
    pitch: 0.3,
  },
  laugh: {
    open: 0,
    smile: 1,
    browY: -0.7,
    width: 1.2,
    curve: 0.9,
    gape: 0.68,
    blush: 0.9,
    tilt: 5,
    pitch: -0.4,
  },
  bored: {
    open: 0.52,
    flat: 0.95,
    gazeX: 0.7,
    gazeY: 0.15,
    browY: 0.25,
    width: 0.7,
    curve: -0.35,
    sigh: 1,
    blush: 0.1,
    tilt: 6,
    pitch: 0.2,
  },
  relaxed: {
    open: 0,
    smile: 0.1,
    browY: -0.3,
    browTilt: -0.3,
    width: 0.85,
    curve: 0.85,
    blush: 0.6,
    tilt: 4,
  },
  fear: {
    open: 1.12,
    iris: 0.68,
    browY: -0.7,
    browTilt: -1,
    width: 0.85,
    curve: -0.4,
    wave: 1,
    sweat: 1,
    gloom: 1,
    blush: 0,
    pitch: 0.1,
  },
  think: {
    open: 0.92,
    gazeX: 0.55,
    gazeY: -0.75,
    browY: -0.2,
    browTilt: 0.2,
    browSkew: 0.6,
    width: 0.5,
    curve: -0.15,
    skew: 0.4,
    tilt: 5,
    pitch: -0.2,
  },
  serious: {
    open: 0.88,
    flat: 0.35,
    slant: 0.25,
    browY: 0.35,
    browTilt: 0.6,
    width: 0.65,
    curve: -0.1,
    blush: 0.2,
  },
  jealous: {
    open: 0.66,
    flat: 0.8,
    gazeX: -0.75,
    browY: 0.3,
    browTilt: 0.5,
    width: 0.45,
    curve: -0.8,
    blush: 1,
    vein: 0.7,
    yaw: -0.3,
    tilt: -4,
  },
  suspicious: {
    open: 0.5,
    flat: 0.85,
    lower: 0.5,
    gazeX: 0.5,
    browY: 0.3,
    browTilt: 0.3,
    browSkew: 0.9,
    width: 0.6,
    curve: -0.3,
    blush: 0.2,
    tilt: 5,
  },
  focused: {
    open: 0.8,
    flat: 0.25,
    gazeY: 0.7,
    browY: 0.1,
    browTilt: 0.2,
    width: 0.6,
    curve: 0.3,
    pitch: 0.5,
  },
  startled: {
    open: 1.12,
    iris: 0.76,
    browY: -0.8,
    browTilt: -0.7,
    width: 0.8,
    curve: -0.5,
    wave: 0.8,
    sweat: 1,
    shock: 0.9,
    gloom: 0.35,
    pitch: -0.25,
  },
};

/** @type {Readonly<Record<string, string>>} */
const SYNONYMS = {
  joy: "happy",
  smile: "happy",
  fun: "laugh",
  sorrow: "sad",
  sadness: "sad",
  crying: "sad",
  anger: "angry",
  mad: "angry",
  surprise: "surprised",
  shocked: "surprised",
  disgust: "disgusted",
  victory: "proud",
  smug: "proud",
  sleep: "sleepy",
  tired: "sleepy",
  awkward: "shy",
  blush: "shy",
  embarrassed: "shy",
  question: "curious",
  thinking: "think",
  calm: "relaxed",
  scared: "fear",
};

/**
 * Returns the expression for a word; `neutral` for an unknown one.
 *
 * @param {string} tag
 */
export function expressionOf(tag) {
  const word = tag.trim().toLowerCase();
  const name = Object.hasOwn(SYNONYMS, word) ? SYNONYMS[word] ?? word : word;
  return Object.hasOwn(FACES, name) ? name : "neutral";
}

export const EXPRESSIONS = Object.freeze(Object.keys(FACES));

/**
 * Returns the face of an expression.
 *
 * @param {string} expression
 * @param {number} intensity From 0 to 1.
 * @returns {Face}
 */
export function faceOf(expression, intensity) {
  const face = { ...NEUTRAL };
  // The weakest emotion can still be seen.
  const strength = 0.35 + 0.65 * Math.min(1, Math.max(0, intensity));
  for (const [key, value] of Object.entries(FACES[expression] ?? {})) {
    const name = /** @type {keyof Face} */ (key);
    face[name] += (value - face[name]) * strength;
  }
  return face;
}

/**
 * Moves a face towards another one, in place.
 *
 * @param {Face} face
 * @param {Face} target
 * @param {number} part From 0 to 1.
 */
export function blend(face, target, part) {
  for (const key of Object.keys(face)) {
    const name = /** @type {keyof Face} */ (key);
    face[name] += (target[name] - face[name]) * part;
  }
}
