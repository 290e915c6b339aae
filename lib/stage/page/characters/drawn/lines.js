// @ts-check
/** Paths of the parts that change their shape: eyes, brows, mouth and sleeves. @module */

/** @typedef {readonly [x: number, y: number]} Point */
/** @typedef {readonly [Point, Point, Point, Point]} Curve */

/** Formats a number of a path. @param {number} value */
const n = (value) => String(Math.round(value * 10) / 10);
/** Formats a point of a path. @param {Point} point */
const p = ([x, y]) => `${n(x)} ${n(y)}`;
/** Interpolates two numbers. @param {number} from @param {number} to @param {number} part From 0 to 1. */
export const mix = (from, to, part) => from + (to - from) * part;
/** Interpolates two points. @param {Point} from @param {Point} to @param {number} part @returns {Point} */
const mixPoints = (from, to, part) => [mix(from[0], to[0], part), mix(from[1], to[1], part)];

/**
 * Cuts a part out of a Bézier curve.
 *
 * @param {Curve} curve
 * @param {number} from From 0 to 1, like `to`.
 * @param {number} to
 * @returns {Curve}
 */
function cut([a, b, c, d], from, to) {
  /** @param {number} t @param {number} u @param {number} v @returns {Point} */
  const at = (t, u, v) => {
    const [ab, bc, cd] = [mixPoints(a, b, t), mixPoints(b, c, t), mixPoints(c, d, t)];
    return mixPoints(mixPoints(ab, bc, u), mixPoints(bc, cd, u), v);
  };
  return [at(from, from, from), at(from, from, to), at(from, to, to), at(to, to, to)];
}

/** @param {Curve} curve */
const draw = ([a, b, c, d]) => `M${p(a)}C${p(b)} ${p(c)} ${p(d)}`;

/**
 * Returns the paths of an eye around 0,0.
 *
 * @param {1 | -1} side 1 for the eye on the right of the picture.
 * @param {{ open: number, smile: number, lower: number, flat: number, slant: number }} lids
 */
export function eyeLines(side, { open, smile, lower, flat, slant }) {
  const closed = 1 - Math.min(1, Math.max(0, open));
  const meet = mix(-20, 20, smile);
  const top = mix(meet, 50, open);
  const bottom = mix(-38 * (1 - 0.42 * lower), meet, closed);
  // Closed eyes slant less.
  const lean = slant * (1 - 0.7 * closed);
  /** @type {Point} */
  const inner = [-38 * side, 6 + lean * 9];
  /** @type {Point} */
  const outer = [40 * side, 1 - lean * 7];
  const roof = 1.22 - 0.2 * flat * (1 - closed);
  /** @type {Point} */
  const upA = [mix(-33, -26, flat) * side, -top * roof + lean * 19 * (1 + flat)];
  /** @type {Point} */
  const upB = [mix(26, 38, flat) * side, -top * (roof + 0.1) - lean * 4];
  /** @type {Point} */
  const downA = [37 * side, -bottom * 1.06 + 2];
  /** @type {Point} */
  const downB = [-20 * side, -bottom * 1.2 + 3];
  /** @type {Curve} */
  const upper = [inner, upA, upB, outer];
  /** @type {Curve} */
  const lowerLid = [outer, downA, downB, inner];
  /** @type {Point} */
  const wingRoot = [43 * side, outer[1] - mix(13, 4 - 8 * smile, closed)];
  /** @type {Point} */
  const wing = [54 * side, outer[1] - mix(15, 2 - 10 * smile, closed)];
  const lash = `M${p([inner[0] - 2 * side, inner[1] + 2])}` +
    `C${p([upA[0] - 2 * side, upA[1] - 9])} ${p([upB[0] + 1 * side, upB[1] - 11])} ${p(wingRoot)}` +
    `Q${p([wingRoot[0] + 4 * side, wingRoot[1] + 3])} ${p(wing)}` +
    `Q${p([outer[0] + 6 * side, outer[1] + 1])} ${p([outer[0] - 1 * side, outer[1] + 4])}` +
    `C${p([upB[0] - 3 * side, upB[1] + 3])} ${p([upA[0] + 5 * side, upA[1] + 3])} ${
      p([inner[0] - 2 * side, inner[1] + 2])
    }Z`;
  const [a, b, c, d] = cut(upper, 0.28, 0.86);
  /** @param {Point} point @returns {Point} */
  const lift = ([x, y]) => [x + 2 * side, y - 16 - 3 * closed];
  return {
    opening: `${draw(upper)}C${p(downA)} ${p(downB)} ${p(inner)}Z`,
    lash,
    /** The shadow of the lashes on the eye. */
    shade: `${draw(upper)}L${p([outer[0], outer[1] + 13])}` +
      `C${p([upB[0], upB[1] + 15])} ${p([upA[0], upA[1] + 13])} ${p([inner[0], inner[1] + 9])}Z`,
    lower: draw(cut(lowerLid, 0.02, 0.6)),
    crease: draw([lift(a), lift(b), lift(c), lift(d)]),
  };
}

/**
 * Returns the path of a brow around 0,0.
 *
 * @param {1 | -1} side
 * @param {number} tilt
 */
export function browLine(side, tilt) {
  const [inner, outer] = [tilt * 13, -tilt * 5];
  const bend = 9 - Math.abs(tilt) * 5;
  return `M${p([-33 * side, 5 + inner])}` +
    `C${p([-16 * side, -bend + inner * 0.7])} ${p([14 * side, -bend - 2 + outer])} ${
      p([36 * side, 4 + outer])
    }` +
    `C${p([14 * side, -bend + 5 + outer])} ${p([-14 * side, -bend + 9 + inner * 0.7])} ${
      p([-33 * side, 5 + inner])
    }Z`;
}

/** Line segments of each lip. */
const MOUTH_STEPS = 20;

/**
 * Returns the paths of the mouth around 0,0.
 *
 * @param {{ width: number, curve: number, gape: number, round: number, wave: number, cat: number, skew: number }} mouth
 */
export function mouthLines({ width, curve, gape, round, wave, cat, skew }) {
  const half = 27 * width * (1 - 0.22 * round * Math.min(1, gape * 3));
  /** @type {Point[]} */
  const upper = [];
  /** @type {Point[]} */
  const lower = [];
  for (let i = 0; i <= MOUTH_STEPS; i++) {
    const u = 2 * i / MOUTH_STEPS - 1;
    const arch = 1 - u * u;
    const line = curve * 11 * (arch - 0.55) * (1 - 0.7 * round * Math.min(1, gape * 2)) -
      skew * 6 * (u + 0.25 * arch) +
      wave * 3.2 * Math.sin(u * Math.PI * 2.5) + cat * 7 * Math.abs(Math.sin(u * Math.PI)) * arch ** 0.4;
    const bulge = Math.sqrt(arch);
    upper.push([u * half, line - gape * 20 * round * bulge - gape * 4 * (1 - round) * arch]);
    // A smiling mouth is widest at its top; a mouth that says "oh" is round.
    lower.push([
      u * half * (1 - 0.12 * arch),
      line + gape * mix(50, 34, round) * mix(arch ** 0.72, bulge, round),
    ]);
  }
  const top = upper.map(p).join("L");
  const low = [...lower].reverse().map(p).join("L");
  return {
    line: `M${top}`,
    opening: `M${top}L${low}Z`,
    /** The upper teeth. */
    teeth: `M${top}L${
      [...upper].reverse().map(([x, y]) => p([x, y + 9 * (1 - (x / (half || 1)) ** 2) + 1])).join("L")
    }Z`,
    tongueY: gape * mix(50, 34, round) * 0.98,
    half,
  };
}

/**
 * Returns the paths of a part of a sleeve, from a round end at `a` to an end at `b`.
 *
 * @param {Point} a
 * @param {Point} b
 * @param {number} ra Half the width at `a`.
 * @param {number} rb Half the width at `b`.
 * @param {boolean} roundEnd Whether the end at `b` is round too.
 * @param {readonly [number, number]} from Where the line of each side begins, from 0 to 1.
 */
export function limb(a, b, ra, rb, roundEnd, from) {
  const length = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
  const [nx, ny] = [-(b[1] - a[1]) / length, (b[0] - a[0]) / length];
  /** @param {Point} at @param {number} by @returns {Point} */
  const off = ([x, y], by) => [x + nx * by, y + ny * by];
  const end = roundEnd ? `A${n(rb)} ${n(rb)} 0 0 0 ${p(off(b, -rb))}` : `L${p(off(b, -rb))}`;
  /** @param {number} part @param {number} side */
  const along = (part, side) => off(mixPoints(a, b, part), side * mix(ra, rb, part));
  const start = mixPoints(off(a, ra), off(b, rb), from[0]);
  const last = mixPoints(off(a, -ra), off(b, -rb), from[1]);
  return {
    fill: `M${p(off(a, ra))}L${p(off(b, rb))}${end}L${p(off(a, -ra))}A${n(ra)} ${n(ra)} 0 0 0 ${
      p(off(a, ra))
    }Z`,
    /** The outline of the two sides. */
    line: `M${p(start)}L${p(off(b, rb))}${end}L${p(last)}`,
    /** The side in the shade. */
    shade: `M${p(along(0.1, -1))}Q${p(along(0.55, -0.1))} ${p(along(1, -0.55))}L${p(along(1, -1))}Z`,
  };
}
