// @ts-check
/** Effects around the drawn character: tears, hearts, thought bubbles, the orbs that it juggles. @module */

import { CORAL, CORAL_SHADE, CREAM, INK, JACKET } from "./colors.js";
import { heartAt, sparkleAt } from "./head.js";
import { set, svg } from "./svg.js";

const LINE = { stroke: INK, "stroke-width": 3, "stroke-linejoin": "round", "stroke-linecap": "round" };
const WATER = { fill: "#bfeaff", stroke: "#4f9dc4", "stroke-width": 2.4, "stroke-linejoin": "round" };

/** @param {string} d @param {import("./svg.js").Attributes} attributes */
const path = (d, attributes) => svg("path", { d, ...attributes });

/** Positions of hearts and sparkles around the head. The phase, from 0 to 1, is the start of each in its cycle. */
const SPOTS = Object.freeze([
  { x: 178, y: 300, size: 21, phase: 0 },
  { x: 628, y: 250, size: 25, phase: 0.22 },
  { x: 214, y: 168, size: 17, phase: 0.45 },
  { x: 604, y: 392, size: 16, phase: 0.6 },
  { x: 164, y: 430, size: 15, phase: 0.8 },
  { x: 560, y: 122, size: 19, phase: 0.92 },
]);
const CYCLE_S = 2.6;

/** @param {string} text @param {number} size */
const letter = (text, size) => {
  const element = svg("text", {
    "text-anchor": "middle",
    "dominant-baseline": "middle",
    "font-family": "ui-rounded, system-ui, sans-serif",
    "font-size": size,
    "font-weight": 800,
    fill: JACKET,
    stroke: CREAM,
    "stroke-width": size / 6,
    "stroke-linejoin": "round",
    "paint-order": "stroke",
  });
  element.textContent = text;
  return element;
};

/** Shows an element with an opacity, or hides it near 0. @param {SVGElement} element @param {number} strength From 0 to 1. */
export function show(element, strength) {
  const opacity = Math.round(Math.min(1, Math.max(0, strength)) * 100) / 100;
  set(element, opacity < 0.02 ? { display: "none" } : { display: "inline", opacity });
}

/** Draws all effects of feelings. `update` shows those of the present face. */
export function drawEffects() {
  const sweat = svg("g", {}, [
    path("M0 -24C12 -4 17 6 17 14C17 24 9 31 0 31C-9 31 -17 24 -17 14C-17 6 -12 -4 0 -24Z", WATER),
    path("M-8 14C-8 20 -4 24 1 25", { ...WATER, fill: "none", stroke: "#fff", "stroke-width": 3.4 }),
  ]);
  const tear = (/** @type {number} */ side) =>
    svg("g", {}, [
      path(
        `M${-12 * side} -2C0 6 ${14 * side} 4 ${22 * side} -3C${22 * side} 6 ${12 * side} 12 0 11C${
          -8 * side
        } 10 ${-12 * side} 4 ${-12 * side} -2Z`,
        {
          fill: "#d5f1ff",
          opacity: 0.9,
        },
      ),
    ]);
  const drop = () =>
    path("M0 -13C7 -2 10 4 10 9C10 15 5 19 0 19C-5 19 -10 15 -10 9C-10 4 -7 -2 0 -13Z", WATER);
  const tears = [-1, 1].map((side) => {
    const pool = tear(side);
    const fall = drop();
    return { side, fall, root: svg("g", {}, [pool, fall]) };
  });
  const vein = path(
    "M-22 -8C-8 -8 -8 -8 -8 -22M8 -22C8 -8 8 -8 22 -8M22 8C8 8 8 8 8 22M-8 22C-8 8 -8 8 -22 8",
    {
      ...LINE,
      fill: "none",
      stroke: CORAL_SHADE,
      "stroke-width": 6.5,
    },
  );
  const hearts = SPOTS.map((spot) =>
    path(heartAt(0, 0, spot.size), {
      fill: CORAL,
      stroke: CREAM,
      "stroke-width": 3.5,
      "paint-order": "stroke",
    })
  );
  const sparkles = SPOTS.map((spot) =>
    path(sparkleAt(0, 0, spot.size * 1.25), {
      fill: "#ffd873",
      stroke: CREAM,
      "stroke-width": 3.5,
      "paint-order": "stroke",
    })
  );
  const zs = [30, 42, 56].map((size) => letter("z", size));
  const question = letter("?", 78);
  const shock = path("M0 0L14 -46M34 16L70 -18M46 50L92 42", {
    ...LINE,
    fill: "none",
    stroke: CORAL,
    "stroke-width": 9,
  });
  const sigh = svg("g", {}, [
    path("M0 0C18 -14 42 -10 44 8C62 8 64 32 44 34C28 42 4 38 2 24C-10 20 -10 4 0 0Z", {
      fill: "#fff",
      opacity: 0.88,
      stroke: "#b8c6c9",
      "stroke-width": 2.6,
    }),
  ]);
  const dots = [0, 1, 2].map((i) => svg("circle", { cx: 620 + i * 32, cy: 176, r: 9, fill: JACKET }));
  const bubble = svg("g", {}, [
    path(
      "M584 130L720 130C738 130 750 142 750 160L750 192C750 210 738 222 720 222L622 222L584 222C566 222 556 210 556 192L556 160C556 142 566 130 584 130Z",
      { fill: CREAM, ...LINE },
    ),
    svg("circle", { cx: 574, cy: 246, r: 11, fill: CREAM, ...LINE }),
    svg("circle", { cx: 556, cy: 270, r: 6.5, fill: CREAM, ...LINE }),
    ...dots,
  ]);
  const head = svg("g", {}, [...tears.map(({ root }) => root), sweat, vein]);
  const air = svg("g", {}, [...hearts, ...sparkles, ...zs, question, shock, sigh, bubble]);

  /**
   * @param {import("./faces.js").Face} face
   * @param {number} thinking Strength of the thought bubble, from 0 to 1.
   * @param {number} timeS
   */
  function update(face, thinking, timeS) {
    show(sweat, face.sweat);
    set(sweat, {
      transform: `translate(562 ${330 + 8 * Math.sin(timeS * 1.7)}) rotate(-14) scale(${
        0.7 + 0.3 * face.sweat
      })`,
    });
    for (const { side, fall, root } of tears) {
      show(root, face.tears * 1.6);
      set(root, { transform: `translate(${400 + side * 74} 444)` });
      const way = (timeS / 1.9 + (side > 0 ? 0.45 : 0)) % 1;
      set(fall, {
        transform: `translate(${12 * side} ${8 + way * way * 62}) scale(${
          0.55 + 0.45 * Math.min(1, way * 4)
        })`,
        opacity: way > 0.8 ? ((1 - way) * 5).toFixed(2) : 1,
      });
    }
    show(vein, face.vein);
    set(vein, {
      transform: `translate(286 210) rotate(-12) scale(${(1 + 0.12 * Math.sin(timeS * 7)).toFixed(2)})`,
    });
    rise(hearts, face.hearts, timeS, 60);
    rise(sparkles, face.sparkles, timeS, 14);
    zs.forEach((z, i) => {
      const way = (timeS / 3.4 + i / 3) % 1;
      show(z, face.zzz * Math.sin(way * Math.PI));
      set(z, {
        transform: `translate(${(560 + way * 110 + 8 * Math.sin(timeS * 2 + i)).toFixed(1)} ${
          (230 - way * 150).toFixed(1)
        }) rotate(-8) scale(${(0.6 + way * 0.6).toFixed(2)})`,
      });
    });
    show(question, face.question);
    set(question, {
      transform: `translate(606 ${(196 + 6 * Math.sin(timeS * 2.4)).toFixed(1)}) rotate(${
        (12 + 4 * Math.sin(timeS * 1.8)).toFixed(1)
      }) scale(${0.5 + 0.5 * face.question})`,
    });
    show(shock, face.shock);
    set(shock, { transform: `translate(556 168) scale(${(0.6 + 0.4 * face.shock).toFixed(2)})` });
    const puff = (timeS / 3) % 1;
    show(sigh, face.sigh * Math.sin(puff * Math.PI));
    set(sigh, {
      transform: `translate(${(436 + puff * 46).toFixed(1)} ${(512 + puff * 18).toFixed(1)}) scale(${
        (0.5 + puff * 0.5).toFixed(2)
      })`,
    });
    show(bubble, thinking);
    set(bubble, { transform: `translate(0 ${(4 * Math.sin(timeS * 1.6)).toFixed(1)})` });
    dots.forEach((dot, i) =>
      set(dot, {
        cy: (176 - 9 * Math.max(0, Math.sin(timeS * 5 - i * 0.8))).toFixed(1),
        fill: i === Math.floor(timeS * 2) % 3 ? CORAL : JACKET,
      })
    );
  }
  return { head, air, update };
}

/** Lets elements rise at their spots. @param {SVGElement[]} elements @param {number} strength @param {number} timeS @param {number} height */
function rise(elements, strength, timeS, height) {
  elements.forEach((element, i) => {
    const { x = 0, y = 0, phase = 0 } = SPOTS[i] ?? {};
    const way = (timeS / CYCLE_S + phase) % 1;
    const swell = Math.sin(way * Math.PI);
    show(element, strength * Math.min(1, swell * 1.5));
    if (strength < 0.02) return;
    const sway = 9 * Math.sin(timeS * 2 + i * 2);
    set(element, {
      transform: `translate(${(x + sway).toFixed(1)} ${(y - way * height).toFixed(1)}) scale(${
        (0.55 + 0.45 * swell).toFixed(2)
      })`,
    });
  });
}

const MAX_ORBS = 9;
const DEFAULT_ORBS = 3;

/** Draws the orbs. @param {string} id */
export function drawOrbs(id) {
  const orbs = Array.from({ length: MAX_ORBS }, () =>
    svg("g", {}, [
      svg("circle", { r: 46, fill: `url(#${id}glow)`, opacity: 0.8 }),
      svg("circle", { r: 23, fill: `url(#${id}orb)`, stroke: "#1e7a76", "stroke-width": 2.6 }),
      svg("ellipse", { cx: -7, cy: -9, rx: 7, ry: 4.5, fill: "#fff", transform: "rotate(-30 -7 -9)" }),
    ]));
  return {
    root: svg("g", {}, orbs),
    /** @param {number} strength @param {number | undefined} count @param {number} timeS */
    update(strength, count, timeS) {
      const shown = Math.min(MAX_ORBS, Math.max(1, count ?? DEFAULT_ORBS));
      orbs.forEach((orb, i) => {
        show(orb, i < shown ? strength : 0);
        if (i >= shown || strength < 0.02) return;
        const [x, y] = orbPosition((timeS / 2.8 + i / shown) % 1);
        set(orb, { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });
      });
    },
  };
}

/**
 * Returns the position of an orb: from hand to hand over the head, and back in front of the body.
 *
 * @param {number} part Part of the round, from 0 to 1.
 * @returns {[x: number, y: number]}
 */
function orbPosition(part) {
  const over = 0.68;
  if (part < over) {
    const u = part / over;
    return [172 + 456 * u, 690 - 4 * 640 * u * (1 - u)];
  }
  const u = (part - over) / (1 - over);
  return [628 - 456 * u, 690 - 4 * 40 * u * (1 - u)];
}
