// @ts-check
/** The head of the drawn character: face and hair. @module */

import {
  CORAL,
  CORAL_SHADE,
  CREAM,
  HAIR_DEEP,
  HAIR_LIGHT,
  HAIR_SHADE,
  INK,
  JACKET_SHADE,
  MINT,
  SKIN_SHADE,
} from "./colors.js";
import { svg } from "./svg.js";

const LINE = { stroke: INK, "stroke-width": 3.4, "stroke-linejoin": "round", "stroke-linecap": "round" };
const THIN = { ...LINE, fill: "none", "stroke-width": 2.2 };

/** @param {string} d @param {import("./svg.js").Attributes} attributes */
const path = (d, attributes) => svg("path", { d, ...attributes });

/** Draws the hair behind the body: the part at the neck, and two long halves that sway. @param {string} id */
export function drawBackHair(id) {
  const half = (/** @type {boolean} */ mirrored) =>
    svg("g", mirrored ? { transform: "translate(800 0) scale(-1 1)" } : {}, [
      path(
        "M312 200C232 226 208 312 204 410C200 520 182 590 152 676C140 712 132 748 134 790C152 772 168 760 184 738" +
          "C178 786 182 826 204 872C214 838 230 812 246 786C250 812 258 832 274 850C286 792 318 730 338 650" +
          "C346 600 348 560 346 500Z",
        { fill: `url(#${id}back)`, ...LINE },
      ),
      path(
        "M232 420C232 540 214 640 186 734M268 470C270 580 258 690 244 784M216 560C208 620 186 690 164 736",
        {
          ...THIN,
          stroke: HAIR_DEEP,
          opacity: 0.55,
        },
      ),
      path("M222 440C224 530 210 610 186 676C198 604 206 520 222 440Z", { fill: HAIR_LIGHT, opacity: 0.28 }),
    ]);
  const left = svg("g", {}, [half(false)]);
  const right = svg("g", {}, [half(true)]);
  const cover = path(
    "M226 330C222 440 250 560 300 640L500 640C550 560 578 440 574 330C572 230 500 180 400 180C300 180 228 230 226 330Z",
    { fill: HAIR_DEEP },
  );
  return { root: svg("g", {}, [left, right, cover]), left, right };
}

/** Draws the face without its features. @param {string} id */
export function drawFace(id) {
  const shape =
    "M261 372C258 424 268 462 292 490C320 520 362 545 400 547C438 545 480 520 508 490C532 462 542 424 539 372" +
    "C536 262 480 215 400 215C320 215 264 262 261 372Z";
  return svg("g", {}, [
    path(shape, { fill: `url(#${id}skin)`, ...LINE }),
    // The shade of the fringe.
    path(
      "M263 360C268 262 322 216 400 216C478 216 532 262 537 360C536 376 534 392 530 408C518 384 506 356 494 328" +
        "C490 352 480 374 466 390C458 362 446 338 428 316C416 346 396 374 366 396C364 378 362 360 356 344" +
        "C346 370 328 394 298 414C298 396 294 378 288 362C278 374 270 390 266 408C264 392 263 376 263 360Z",
      { fill: SKIN_SHADE, opacity: 0.6 },
    ),
  ]);
}

/** Draws the hair in front of the face. @param {string} id */
export function drawFrontHair(id) {
  const hair = `url(#${id}hair)`;
  const lock = `url(#${id}lock)`;
  const strand = { ...THIN, stroke: HAIR_SHADE };

  const left = svg("g", {}, [
    path(
      "M268 236C236 300 226 392 236 470C244 540 240 596 214 664C246 648 268 620 280 586C282 606 282 618 278 636" +
        "C298 606 300 556 290 506C280 456 272 420 276 376C280 340 292 312 312 286Z",
      { fill: lock, ...LINE },
    ),
    path("M262 330C250 410 258 480 266 540C268 570 262 600 250 626M266 420C266 470 282 520 284 572", strand),
    path("M256 350C246 400 248 452 256 500C262 446 258 398 268 352Z", { fill: HAIR_LIGHT, opacity: 0.5 }),
  ]);
  const right = svg("g", {}, [
    path(
      "M532 236C564 300 574 392 564 470C557 536 566 592 592 650C562 640 538 616 524 582C522 604 524 622 530 644" +
        "C508 610 500 560 510 508C520 456 528 420 524 376C520 340 508 312 488 286Z",
      { fill: lock, ...LINE },
    ),
    path("M538 330C550 410 542 480 534 540C534 572 542 596 556 620M534 420C534 470 518 520 516 566", strand),
    path("M544 350C554 400 552 452 544 500C538 446 542 398 532 352Z", { fill: HAIR_LIGHT, opacity: 0.5 }),
  ]);

  const bangs = svg("g", {}, [
    path(
      "M240 410C204 246 262 100 400 100C538 100 596 246 560 410C557 386 551 362 541 342" +
        "C541 360 535 376 522 392C520 362 508 332 490 304C489 330 480 352 462 370C460 340 446 314 426 292" +
        "C416 326 396 354 360 376C364 356 362 338 355 320C345 348 324 372 292 394C297 372 294 356 287 338" +
        "C268 358 250 382 240 410Z",
      { fill: hair, ...LINE },
    ),
    // Shade between the strands.
    path(
      "M426 292C420 256 414 216 411 176C404 230 394 284 380 330C398 318 414 308 426 292Z" +
        "M490 304C480 262 464 216 442 178C458 230 468 284 470 336C480 330 488 320 490 304Z" +
        "M355 320C358 276 370 226 388 184C358 228 338 278 326 334C338 334 350 330 355 320Z" +
        "M287 338C290 288 312 232 348 194C304 232 274 284 264 344C272 346 282 344 287 338Z" +
        "M541 342C537 294 512 238 474 198C518 232 546 284 552 342C549 344 544 344 541 342Z",
      { fill: HAIR_SHADE, opacity: 0.5 },
    ),
    // The ring of light on the hair.
    path(
      "M254 268C262 246 276 226 294 212C292 224 292 234 294 244C304 228 318 214 336 205C334 218 335 230 340 240" +
        "C348 224 360 211 378 203C380 214 384 226 392 236C398 222 408 210 422 202C430 212 440 224 452 232" +
        "C453 222 456 214 462 208C476 218 488 230 498 244C499 236 500 230 503 224C522 236 536 252 546 272" +
        "C536 262 524 256 512 254C513 262 514 268 517 275C502 260 486 250 466 246C465 254 463 260 460 266" +
        "C446 250 430 242 410 240C404 246 398 254 394 264C388 252 378 244 364 242C352 248 342 258 336 270" +
        "C332 260 326 252 318 248C304 254 294 264 288 276C286 268 282 262 276 258C268 260 260 262 254 268Z",
      { fill: HAIR_LIGHT, opacity: 0.8 },
    ),
    path("M399 102C378 120 348 142 324 182M403 102C424 120 454 142 480 182M401 100C399 126 402 148 405 166", {
      ...strand,
      opacity: 0.6,
    }),
  ]);
  const tuft = svg("g", {}, [
    path("M390 112C366 76 380 36 436 26C464 22 486 34 494 56C474 42 446 44 430 62C420 76 418 94 422 112Z", {
      fill: hair,
      ...LINE,
    }),
    path("M402 102C396 76 408 52 438 40", strand),
  ]);
  return { left, right, bangs, tuft, clip: drawClip() };
}

/** Draws the hair clip: a shell prompt, and a bar below it. */
function drawClip() {
  return svg("g", { transform: "rotate(24 510 296)" }, [
    svg("rect", { x: 488, y: 318, width: 46, height: 11, rx: 5.5, fill: MINT, ...LINE, "stroke-width": 2.8 }),
    svg("rect", { x: 484, y: 274, width: 54, height: 36, rx: 10, fill: CORAL, ...LINE, "stroke-width": 2.8 }),
    path(
      "M487 300C500 308 522 308 535 300L535 302C535 306 532 308 528 308L494 308C490 308 487 306 487 302Z",
      {
        fill: CORAL_SHADE,
        opacity: 0.7,
      },
    ),
    path("M497 284L506 292L497 300M512 300L524 300", { ...THIN, stroke: CREAM, "stroke-width": 4 }),
  ]);
}

/** Draws an eye. @param {string} id @param {1 | -1} side */
export function drawEye(id, side) {
  const clipId = `${id}eye${side}`;
  const hole = path("", {});
  const white = path("", { fill: `url(#${id}white)` });
  const shade = path("", { fill: "#6a4a5c", opacity: 0.34 });
  const lash = path("", { fill: "#3b2026" });
  const lower = path("", { ...THIN, stroke: "#7a4440", "stroke-width": 2.6 });
  const crease = path("", { ...THIN, stroke: "#a8685a", "stroke-width": 2.2 });

  const pupil = svg("ellipse", { cx: 0, cy: 2, rx: 11.5, ry: 17, fill: "#082a35" });
  const heart = path(heartAt(0, 4, 21), { fill: "#ff6a7c", stroke: "#ffd0d3", "stroke-width": 2 });
  const star = path(sparkleAt(0, 4, 24), { fill: "#fff3b8" });
  const iris = svg("g", {}, [
    svg("ellipse", { rx: 31, ry: 42, fill: "#0b3641" }),
    svg("ellipse", { rx: 28.4, ry: 39.4, fill: `url(#${id}iris)` }),
    path("M-22 -4C-20 24 -10 38 0 38C10 38 20 24 22 -4C18 16 10 26 0 26C-10 26 -18 16 -22 -4Z", {
      fill: "#c9ffe9",
      opacity: 0.5,
    }),
    pupil,
    heart,
    star,
    path("M-29 -14C-22 -36 22 -36 29 -14C18 -22 -18 -22 -29 -14Z", { fill: "#062833", opacity: 0.45 }),
  ]);
  // The reflections are not mirrored, because both eyes have the same light.
  const lights = svg("g", { fill: "#fff" }, [
    svg("ellipse", { cx: -11, cy: -19, rx: 9.5, ry: 12.5, transform: "rotate(-14 -11 -19)" }),
    svg("circle", { cx: 12, cy: 17, r: 5.5, opacity: 0.92 }),
    svg("circle", { cx: 15, cy: -5, r: 2.8, opacity: 0.8 }),
  ]);
  const ball = svg("g", { "clip-path": `url(#${clipId})` }, [white, iris, lights, shade]);
  const lids = svg("g", {}, [ball, lower]);
  // The lashes are drawn over the hair.
  const lashes = svg("g", {}, [crease, lash]);
  const squeeze = path(side < 0 ? "M-30 -20L28 2L-30 24" : "M30 -20L-28 2L30 24", {
    ...LINE,
    fill: "none",
    stroke: "#3b2026",
    "stroke-width": 8,
  });
  const root = svg("g", {}, [svg("clipPath", { id: clipId }, [hole]), lids, squeeze]);
  return {
    root,
    hole,
    white,
    shade,
    lash,
    lashes,
    lower,
    crease,
    iris,
    lights,
    pupil,
    heart,
    star,
    lids,
    squeeze,
  };
}

/** Draws the mouth. @param {string} id */
export function drawMouth(id) {
  const hole = path("", {});
  const inside = path("", { fill: "#8e2f37" });
  const teeth = path("", { fill: "#fffaf4" });
  const tongue = svg("ellipse", { rx: 19, ry: 13, fill: "#f2807c" });
  const line = path("", { ...LINE, fill: "none", stroke: "#7d3838", "stroke-width": 3.4 });
  const lip = path("M-9 0C-4 3 4 3 9 0", { ...THIN, stroke: SKIN_SHADE, "stroke-width": 3 });
  const inner = svg("g", { "clip-path": `url(#${id}mouth)` }, [inside, tongue, teeth]);
  const root = svg("g", {}, [svg("clipPath", { id: `${id}mouth` }, [hole]), inner, line, lip]);
  return { root, hole, inside, teeth, tongue, line, lip, inner };
}

/** Draws the cheeks and the nose. @param {string} id */
export function drawCheeks(id) {
  const cheek = (/** @type {number} */ x) =>
    svg("g", {}, [
      svg("ellipse", { cx: x, cy: 466, rx: 42, ry: 21, fill: `url(#${id}blush)` }),
    ]);
  const hatch = path(
    "M294 468L300 456M310 470L316 458M326 470L332 458M468 470L474 458M484 470L490 458M500 468L506 456",
    {
      ...THIN,
      stroke: "#f0705f",
      "stroke-width": 2.6,
    },
  );
  const blush = svg("g", {}, [cheek(310), cheek(490), hatch]);
  const nose = svg("g", {}, [
    path("M399 462C403 466 403 470 398 471", { ...THIN, stroke: "#cf8772", "stroke-width": 2.6 }),
    svg("ellipse", { cx: 396, cy: 456, rx: 2.6, ry: 4, fill: "#fff", opacity: 0.9 }),
  ]);
  return { blush, hatch, nose };
}

/** Returns the path of a heart. @param {number} x @param {number} y @param {number} size */
export function heartAt(x, y, size) {
  const s = size / 20;
  return `M${x} ${y + 15 * s}C${x - 30 * s} ${y - 6 * s} ${x - 14 * s} ${y - 26 * s} ${x} ${y - 9 * s}` +
    `C${x + 14 * s} ${y - 26 * s} ${x + 30 * s} ${y - 6 * s} ${x} ${y + 15 * s}Z`;
}

/** Returns the path of a star with four points. @param {number} x @param {number} y @param {number} size */
export function sparkleAt(x, y, size) {
  const k = size * 0.16;
  return `M${x} ${y - size}Q${x + k} ${y - k} ${x + size * 0.72} ${y}Q${x + k} ${y + k} ${x} ${y + size}` +
    `Q${x - k} ${y + k} ${x - size * 0.72} ${y}Q${x - k} ${y - k} ${x} ${y - size}Z`;
}

/** Draws the dark forehead of fear and disgust. @param {string} id */
export function drawGloom(id) {
  return svg("g", {}, [
    path(
      "M263 372C264 262 320 216 400 216C480 216 536 262 537 372C538 400 536 420 532 436L268 436C264 420 262 400 263 372Z",
      {
        fill: `url(#${id}gloom)`,
      },
    ),
    path("M470 300L470 352M486 306L486 366M502 314L502 352M298 330L298 372M314 322L314 360", {
      ...THIN,
      stroke: JACKET_SHADE,
      opacity: 0.5,
    }),
  ]);
}
