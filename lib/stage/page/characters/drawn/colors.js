// @ts-check
/** Colours and gradients of the drawn character. @module */

import { linear, radial, svg } from "./svg.js";

export const INK = "#4a2b2c";
export const SKIN = "#ffecdf";
export const SKIN_SHADE = "#f6c4ae";
export const HAIR_SHADE = "#b56f43";
export const HAIR_DEEP = "#7e4a36";
export const HAIR_LIGHT = "#ffeecb";
export const JACKET = "#25565c";
export const JACKET_SHADE = "#173a44";
export const JACKET_LIGHT = "#3f7f82";
export const CREAM = "#fff8ec";
export const CREAM_SHADE = "#e7d3bd";
export const CORAL = "#f4705a";
export const CORAL_SHADE = "#c9483a";
export const MINT = "#7fe0c6";

/**
 * Creates the gradients.
 *
 * @param {string} id Prefix of their ids, because a page may show several characters.
 */
export function gradients(id) {
  return svg("defs", {}, [
    linear(`${id}hair`, { x1: 400, y1: 100, x2: 400, y2: 520 }, [[0, "#f6cd92"], [0.45, "#e6ad6e"], [
      1,
      "#d5935a",
    ]]),
    linear(`${id}lock`, { x1: 400, y1: 260, x2: 400, y2: 690 }, [[0, "#e6ad6e"], [0.45, "#dc9c61"], [
      0.8,
      "#9fbf9b",
    ], [1, "#63cdb6"]]),
    linear(`${id}back`, { x1: 400, y1: 200, x2: 400, y2: 900 }, [[0, "#b06a41"], [0.4, "#c98650"], [
      0.68,
      "#86ac90",
    ], [1, "#4fbfab"]]),
    linear(`${id}skin`, { x1: 400, y1: 300, x2: 400, y2: 545 }, [[0, "#ffe3d2"], [0.3, SKIN], [
      1,
      "#ffe2d3",
    ]]),
    linear(`${id}iris`, { x1: 0, y1: -42, x2: 0, y2: 42 }, [[0, "#0d3d49"], [0.35, "#14707a"], [
      0.68,
      "#29b3a4",
    ], [1, "#a5f3d8"]]),
    linear(`${id}white`, { x1: 0, y1: -46, x2: 0, y2: 36 }, [[0, "#dfe2ea"], [0.4, "#ffffff"], [
      1,
      "#ffffff",
    ]]),
    linear(`${id}jacket`, { x1: 400, y1: 600, x2: 400, y2: 1000 }, [[0, "#2f6a6e"], [0.5, JACKET], [
      1,
      "#1b444d",
    ]]),
    linear(`${id}shirt`, { x1: 400, y1: 600, x2: 400, y2: 1000 }, [[0, CREAM], [1, "#f1e0cc"]]),
    linear(`${id}ribbon`, { x1: 400, y1: 630, x2: 400, y2: 760 }, [[0, "#ff8a70"], [1, "#e85a49"]]),
    linear(`${id}lid`, { x1: 400, y1: 830, x2: 400, y2: 1000 }, [[0, "#fffaf0"], [1, "#d9cbb8"]]),
    linear(`${id}gloom`, { x1: 400, y1: 220, x2: 400, y2: 440 }, [[0, "#41527d", 0.75], [
      0.55,
      "#5a6ba0",
      0.35,
    ], [1, "#5a6ba0", 0]]),
    radial(`${id}blush`, [[0, "#ff7d6e", 0.62], [0.55, "#ff8f7d", 0.34], [1, "#ff9c88", 0]]),
    radial(`${id}glow`, [[0, "#b8ffe9", 0.85], [0.5, "#7fe0c6", 0.3], [1, "#7fe0c6", 0]]),
    radial(`${id}orb`, [[0, "#ffffff"], [0.35, "#c9fff0"], [0.75, "#5fd3bd"], [1, "#2c9c92"]]),
  ]);
}
