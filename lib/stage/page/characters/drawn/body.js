// @ts-check
/** The body of the drawn character: clothes, arms, hands, and the objects in them. @module */

import {
  CORAL,
  CORAL_SHADE,
  CREAM,
  CREAM_SHADE,
  INK,
  JACKET,
  JACKET_LIGHT,
  JACKET_SHADE,
  MINT,
  SKIN,
  SKIN_SHADE,
} from "./colors.js";
import { svg } from "./svg.js";

const LINE = { stroke: INK, "stroke-width": 3.4, "stroke-linejoin": "round", "stroke-linecap": "round" };
const THIN = { ...LINE, fill: "none", "stroke-width": 2.4 };

/** @param {string} d @param {import("./svg.js").Attributes} attributes */
const path = (d, attributes) => svg("path", { d, ...attributes });

/** Draws neck, shirt, ribbon and jacket. @param {string} id */
export function drawTorso(id) {
  const hood = path(
    "M268 640C262 596 300 566 340 560L460 560C500 566 538 596 532 640C500 676 450 690 400 690C350 690 300 676 268 640Z",
    { fill: JACKET_SHADE, ...LINE },
  );
  const neck = svg("g", {}, [
    path("M364 500L364 596C352 612 340 620 332 626L400 668L468 626C460 620 448 612 436 596L436 500Z", {
      fill: SKIN,
      ...LINE,
    }),
    path("M364 540C384 560 420 562 436 540L436 566C420 592 384 596 364 574Z", { fill: SKIN_SHADE }),
    path("M364 626C374 634 384 638 392 640M436 626C426 634 416 638 408 640", { ...THIN, stroke: "#d08f78" }),
  ]);
  const shirt = svg("g", {}, [
    path("M330 622L296 1010L504 1010L470 622L400 676Z", { fill: `url(#${id}shirt)` }),
    path("M400 690L400 1010M352 730C350 800 344 900 340 1010M448 730C450 800 456 900 460 1010", {
      ...THIN,
      stroke: CREAM_SHADE,
      "stroke-width": 3,
    }),
    path("M330 640C328 740 318 880 308 1010L342 1010C346 900 352 760 358 668Z", {
      fill: CREAM_SHADE,
      opacity: 0.7,
    }),
    path("M470 640C472 740 482 880 492 1010L474 1010C466 900 458 780 452 668Z", {
      fill: CREAM_SHADE,
      opacity: 0.5,
    }),
    svg("circle", { cx: 400, cy: 812, r: 6, fill: CORAL, stroke: CORAL_SHADE, "stroke-width": 2 }),
    svg("circle", { cx: 400, cy: 902, r: 6, fill: CORAL, stroke: CORAL_SHADE, "stroke-width": 2 }),
    // The collar.
    path("M334 612C330 640 338 672 352 700L400 664Z", { fill: CREAM, ...LINE, "stroke-width": 3 }),
    path("M466 612C470 640 462 672 448 700L400 664Z", { fill: CREAM, ...LINE, "stroke-width": 3 }),
  ]);
  const ribbon = svg("g", {}, [
    path("M396 684C378 716 366 744 352 780L376 772L390 792C396 756 400 722 402 690Z", {
      fill: `url(#${id}ribbon)`,
      ...LINE,
      "stroke-width": 3,
    }),
    path("M404 684C422 716 434 744 450 774L426 770L412 790C406 756 402 722 400 690Z", {
      fill: `url(#${id}ribbon)`,
      ...LINE,
      "stroke-width": 3,
    }),
    path("M396 680C366 648 334 646 322 660C318 684 324 708 336 720C358 716 380 704 396 692Z", {
      fill: `url(#${id}ribbon)`,
      ...LINE,
      "stroke-width": 3,
    }),
    path("M404 680C434 648 466 646 478 660C482 684 476 708 464 720C442 716 420 704 404 692Z", {
      fill: `url(#${id}ribbon)`,
      ...LINE,
      "stroke-width": 3,
    }),
    path("M390 686C370 680 352 684 340 698M410 686C430 680 448 684 460 698M340 664C352 662 366 666 376 674", {
      ...THIN,
      stroke: CORAL_SHADE,
    }),
    svg("rect", { x: 385, y: 670, width: 30, height: 31, rx: 11, fill: CORAL, ...LINE, "stroke-width": 3 }),
  ]);
  const side = (/** @type {boolean} */ mirrored) =>
    svg("g", mirrored ? { transform: "translate(800 0) scale(-1 1)" } : {}, [
      path(
        "M342 584C312 618 262 630 228 652C206 668 200 700 206 742C214 800 234 860 238 1010L330 1010" +
          "C334 900 342 800 338 730C336 690 334 650 342 584Z",
        { fill: `url(#${id}jacket)` },
      ),
      path("M342 584C312 618 262 630 228 652M330 1010C334 900 342 800 338 730C336 690 334 650 342 584", {
        ...LINE,
        fill: "none",
      }),
      // The light edge of the front.
      path(
        "M342 584C334 650 336 690 338 730C342 800 334 900 330 1010L310 1010C314 900 320 800 316 734C312 690 316 640 326 602Z",
        {
          fill: CREAM,
          ...LINE,
          "stroke-width": 2.6,
        },
      ),
      path("M300 1010C306 930 306 850 298 776C292 850 288 930 284 1010Z", {
        fill: JACKET_SHADE,
        opacity: 0.45,
      }),
      path("M248 654C268 646 290 638 306 626", {
        ...THIN,
        stroke: JACKET_LIGHT,
        "stroke-width": 5,
        opacity: 0.8,
      }),
    ]);
  return { hood, neck, front: svg("g", {}, [shirt, side(false), side(true), ribbon]) };
}

/** Draws an arm: `back` moves with the body, `front` is in front of everything. @param {string} id */
export function drawArm(id) {
  const part = () => ({
    fill: path("", { fill: `url(#${id}jacket)` }),
    shade: path("", { fill: JACKET_SHADE, opacity: 0.38 }),
    line: path("", { ...LINE, fill: "none" }),
  });
  const upper = part();
  const fore = part();
  const cuff = path("M-37 -2C-20 7 20 7 37 -2L35 -26C18 -19 -18 -19 -35 -26Z", {
    fill: CREAM,
    ...LINE,
    "stroke-width": 3,
  });
  const stripe = path("M-38 14C-20 23 20 23 38 14", { ...THIN, stroke: MINT, "stroke-width": 6 });
  const hands = drawHands();
  const hand = svg("g", {}, Object.values(hands));
  const end = svg("g", {}, [hand, stripe, cuff]);
  return {
    back: svg("g", {}, [upper.fill, upper.shade, upper.line]),
    front: svg("g", {}, [fore.fill, fore.shade, fore.line, end]),
    upper,
    fore,
    end,
    hand,
    hands,
  };
}

/** Draws the shapes of a hand, with the wrist at 0,0, the fingers up and the thumb on the right. */
function drawHands() {
  const hand = (/** @type {string} */ outline, /** @type {string} */ lines, /** @type {string} */ shade) =>
    svg("g", {}, [
      path(outline, { fill: SKIN, ...LINE, "stroke-width": 3.2 }),
      path(shade, { fill: SKIN_SHADE, opacity: 0.75 }),
      path(lines, { ...THIN, stroke: "#c98872" }),
    ]);
  return {
    open: hand(
      "M-23 -8C-27 -22 -31 -38 -33 -52C-38 -66 -46 -78 -48 -90C-49 -99 -40 -103 -35 -96C-29 -86 -24 -76 -19 -67" +
        "C-23 -84 -27 -102 -27 -114C-27 -124 -15 -125 -12 -116C-9 -104 -7 -88 -4 -72C-4 -90 -5 -108 -3 -120" +
        "C-1 -129 10 -129 11 -119C11 -104 10 -88 9 -71C13 -84 18 -100 22 -110C26 -118 36 -114 35 -105" +
        "C32 -90 28 -74 26 -58C34 -62 42 -68 50 -73C59 -77 64 -67 58 -60C48 -48 41 -34 33 -22C28 -14 25 -10 23 -6Z",
      "M-16 -44C-6 -36 6 -36 18 -44M14 -18C18 -26 24 -34 30 -40",
      "M-23 -8C-26 -18 -29 -28 -31 -40C-18 -22 4 -14 27 -16C25 -12 24 -9 23 -6Z",
    ),
    fist: hand(
      "M-22 -6C-31 -18 -36 -34 -32 -48C-28 -60 -14 -66 2 -65C22 -64 34 -52 34 -38C34 -24 28 -14 23 -6Z",
      "M-17 -62C-18 -52 -17 -44 -14 -36M-1 -65C-2 -54 -1 -46 1 -38M15 -62C15 -54 16 -46 17 -40M34 -40C22 -44 6 -40 0 -28C8 -22 20 -22 28 -18",
      "M-22 -6C-28 -14 -32 -24 -33 -34C-22 -18 4 -12 28 -15C26 -12 24 -9 23 -6Z",
    ),
    point: hand(
      "M-22 -6C-30 -16 -34 -30 -30 -44C-28 -52 -24 -58 -18 -62C-17 -76 -14 -92 -9 -101C-4 -108 6 -105 5 -96" +
        "C3 -86 2 -76 2 -65C20 -66 33 -54 33 -40C33 -24 28 -14 23 -6Z",
      "M2 -65C0 -56 1 -48 3 -40M17 -61C16 -54 17 -47 19 -41M33 -42C22 -44 10 -40 4 -30C10 -24 20 -24 27 -20M-18 -62C-18 -54 -16 -48 -12 -42",
      "M-22 -6C-28 -14 -31 -24 -31 -34C-22 -18 4 -12 28 -15C26 -12 24 -9 23 -6Z",
    ),
    cup: hand(
      "M-22 -6C-30 -20 -38 -34 -49 -46C-57 -55 -49 -65 -39 -58C-27 -49 -14 -43 0 -43C15 -43 28 -49 40 -59" +
        "C49 -66 57 -56 51 -47C41 -32 30 -18 23 -6Z",
      "M-30 -52C-24 -46 -20 -44 -16 -42M30 -52C24 -46 20 -44 14 -42",
      "M-22 -6C-26 -14 -31 -22 -36 -30C-20 -14 10 -10 28 -16Z",
    ),
  };
}

/** Draws the laptop, its glow, and the label above it. @param {string} id */
export function drawLaptop(id) {
  const glow = svg("ellipse", { cx: 400, cy: 800, rx: 250, ry: 200, fill: `url(#${id}glow)`, opacity: 0.55 });
  const lid = svg("g", {}, [
    path("M256 1016L276 846C278 832 286 826 300 826L500 826C514 826 522 832 524 846L544 1016Z", {
      fill: `url(#${id}lid)`,
      ...LINE,
    }),
    path("M292 838C288 838 287 842 286 848L268 1010", { ...THIN, stroke: "#fff", "stroke-width": 4 }),
    svg("circle", { cx: 400, cy: 922, r: 34, fill: JACKET, stroke: INK, "stroke-width": 2.6 }),
    path("M385 910L398 922L385 934M403 936L418 936", { ...THIN, stroke: MINT, "stroke-width": 5.5 }),
    path("M478 958L486 950L494 958L486 966Z", { fill: CORAL }),
    svg("circle", { cx: 466, cy: 974, r: 6, fill: MINT, stroke: JACKET, "stroke-width": 1.6 }),
  ]);
  const text = svg("text", {
    x: 0,
    y: 1,
    "text-anchor": "middle",
    "dominant-baseline": "middle",
    fill: "#d9fff3",
    "font-family": "ui-monospace, Menlo, Consolas, monospace",
    "font-size": 23,
    "font-weight": 600,
  });
  const plate = svg("rect", {
    y: -27,
    height: 54,
    rx: 14,
    fill: "#12343d",
    opacity: 0.92,
    stroke: MINT,
    "stroke-width": 2.6,
  });
  const beam = path("M0 27L-20 92L20 92Z", { fill: MINT, opacity: 0.22 });
  const sign = svg("g", {}, [beam, plate, text]);
  return { glow, lid, sign, plate, text };
}

/** Draws the sign with the exclamation mark. */
export function drawSign() {
  return svg("g", {}, [
    svg("rect", {
      x: -6,
      y: -30,
      width: 12,
      height: 150,
      rx: 5,
      fill: "#c99760",
      ...LINE,
      "stroke-width": 3,
    }),
    svg("rect", { x: -66, y: -150, width: 132, height: 132, rx: 24, fill: CREAM, ...LINE }),
    svg("rect", {
      x: -54,
      y: -138,
      width: 108,
      height: 108,
      rx: 16,
      fill: "none",
      stroke: CORAL,
      "stroke-width": 5,
    }),
    path("M-9 -122C-9 -128 9 -128 9 -122L6 -76C5 -71 -5 -71 -6 -76Z", { fill: CORAL }),
    svg("circle", { cy: -54, r: 10, fill: CORAL }),
  ]);
}
