// @ts-check
/** Shows a character that is made of pictures, one for each expression. @module */

/**
 * What stands for a word that there is nothing for, best first.
 *
 * @type {Readonly<Record<string, string>>}
 */
const STAND_INS = {
  neutral: "normal default idle relaxed",
  happy: "joy smile fun laugh",
  joy: "happy fun laugh smile",
  fun: "laugh happy joy smile",
  laugh: "fun happy joy smile",
  smile: "happy joy fun",
  sad: "sorrow sadness crying",
  sorrow: "sad sadness crying",
  sadness: "sad sorrow crying",
  crying: "sad sorrow sadness",
  pain: "crying sad sorrow",
  angry: "anger mad",
  anger: "angry mad",
  mad: "angry anger",
  disgust: "disgusted angry anger",
  disgusted: "disgust angry anger",
  surprised: "surprise shocked",
  surprise: "surprised shocked",
  shocked: "surprised surprise",
  fear: "scared surprised surprise sad",
  scared: "fear surprised surprise sad",
  relaxed: "calm fun smile",
  calm: "relaxed",
  sleepy: "sleep tired relaxed",
  sleep: "sleepy tired relaxed",
  tired: "sleepy sleep sad sorrow",
  bored: "tired sleepy sleep relaxed",
  shy: "blush embarrassed love relaxed",
  blush: "shy embarrassed love relaxed",
  embarrassed: "shy blush awkward relaxed",
  awkward: "embarrassed shy blush sad",
  love: "heart shy blush happy joy",
  excited: "happy joy fun surprised",
  victory: "proud excited happy joy",
  proud: "smug smirk happy joy",
  smug: "smirk proud relaxed",
  smirk: "smug proud relaxed",
  curious: "question think thinking surprised surprise",
  question: "curious think thinking surprised surprise",
  think: "thinking curious question",
  thinking: "think",
  suspicious: "doubt serious think angry",
  serious: "focused suspicious",
  jealous: "pout angry anger",
  working: "work typing",
  juggling: "working work typing",
  attention: "wave question",
  notification: "notify attention wave",
  error: "failed",
};

/**
 * The words to look for when a character is to show one, best first, without those that mean nothing in particular.
 *
 * @param {string} word
 * @returns {string[]}
 */
export function candidates(word) {
  return [word, ...Object.hasOwn(STAND_INS, word) ? STAND_INS[word]?.split(" ") ?? [] : []];
}

/** Words whose pictures are remembered, and the longest of a word that is looked for. */
const MAX_WORDS = 200;
const WORD = /^[\p{L}\p{N}_. -]{1,60}$/u;
/** The mouth counts as open from here on. */
const OPEN_FROM = 0.25;
const FADE_MS = 180;
const BREATH_MS = 4200;
const GESTURE_MS = 550;

/** Moves that go with a state, once. */
const HOP = [{ translate: "0 0" }, { translate: "0 -4%" }, { translate: "0 0" }, { translate: "0 -2%" }, {
  translate: "0 0",
}];
const SHAKE = [0, -2, 2, -1.5, 1, 0].map((percent) => ({ translate: `${percent}% 0` }));
/** @type {Readonly<Record<string, { translate: string }[]>>} */
const GESTURES = { attention: HOP, notification: HOP, error: SHAKE };

/**
 * Where pictures come from: those that are listed, or an address where they are tried.
 *
 * @typedef {{ pictures?: Readonly<Record<string, string>>, base?: string, extensions?: readonly string[] }} Manifest
 */

/** Finds and keeps the pictures. */
class Pictures {
  /** @type {Map<string, Promise<HTMLImageElement | undefined>>} */
  #known = new Map();
  #manifest;

  /** @param {Manifest} manifest */
  constructor(manifest) {
    this.#manifest = manifest;
  }

  /**
   * The picture of exactly this word.
   *
   * @param {string} word
   * @returns {Promise<HTMLImageElement | undefined>}
   */
  of(word) {
    const known = this.#known.get(word);
    if (known !== undefined) return known;
    if (!WORD.test(word) || this.#known.size >= MAX_WORDS) return Promise.resolve(undefined);
    const found = this.#find(word);
    this.#known.set(word, found);
    return found;
  }

  /**
   * The best picture for a word.
   *
   * @param {string} word
   * @returns {Promise<{ word: string, picture: HTMLImageElement } | undefined>}
   */
  async best(word) {
    for (const candidate of candidates(word)) {
      const picture = await this.of(candidate);
      if (picture !== undefined) return { word: candidate, picture };
    }
    return undefined;
  }

  /** Loads all that are listed, one after the other, so that none is waited for later. */
  async preload() {
    for (const word of Object.keys(this.#manifest.pictures ?? {})) await this.of(word);
  }

  /** What is shown when nothing fits. */
  async first() {
    const words = Object.keys(this.#manifest.pictures ?? {});
    for (const word of words.filter((word) => !word.endsWith("-open"))) {
      const picture = await this.of(word);
      if (picture !== undefined) return { word, picture };
    }
    return await this.best("happy");
  }

  /** @param {string} word */
  async #find(word) {
    const { pictures, base = "", extensions = [] } = this.#manifest;
    const addresses = pictures === undefined
      ? extensions.map((extension) => `${base}${encodeURIComponent(word)}.${extension}`)
      : Object.hasOwn(pictures, word)
      ? [pictures[word] ?? ""]
      : [];
    for (const address of addresses) {
      const image = new Image();
      image.src = address;
      // Decoded now, so that it is there at once when it is shown.
      if (await image.decode().then(() => true, () => false)) return image;
    }
    return undefined;
  }
}

/** One of the two pictures that fade into each other: with its mouth closed, and open where there is such a one. */
class Layer {
  box = document.createElement("div");
  #closed = document.createElement("img");
  #open = document.createElement("img");
  #hasOpen = false;

  constructor() {
    Object.assign(this.box.style, { position: "absolute", inset: "0", opacity: "0" });
    for (const image of [this.#closed, this.#open]) {
      Object.assign(image.style, {
        position: "absolute",
        inset: "0",
        width: "100%",
        height: "100%",
        objectFit: "contain",
        objectPosition: "center bottom",
      });
      image.alt = "";
      image.draggable = false;
    }
    this.#open.style.visibility = "hidden";
    this.box.append(this.#closed, this.#open);
  }

  /**
   * @param {HTMLImageElement} closed
   * @param {HTMLImageElement | undefined} open
   * @param {string} text
   */
  show(closed, open, text) {
    this.#closed.src = closed.src;
    this.#closed.alt = text;
    this.#hasOpen = open !== undefined;
    if (open) this.#open.src = open.src;
    else this.#open.removeAttribute("src");
    this.speak(false);
  }

  /** @param {boolean} open Whether the mouth is open. */
  speak(open) {
    const shown = open && this.#hasOpen;
    this.#open.style.visibility = shown ? "visible" : "hidden";
    this.#closed.style.visibility = shown ? "hidden" : "visible";
  }

  /** @param {boolean} front Whether this is the one that is seen. */
  face(front) {
    this.box.style.opacity = front ? "1" : "0";
    this.box.ariaHidden = String(!front);
  }
}

/**
 * Shows a character of pictures.
 *
 * @param {HTMLElement} container
 * @param {Manifest} manifest
 * @throws {Error} when not one of its pictures can be loaded.
 */
export async function createCharacter(container, manifest) {
  const pictures = new Pictures(manifest);
  const found = await pictures.best("neutral") ?? await pictures.first();
  if (found === undefined) {
    throw new Error(
      "Not one picture of the character could be loaded: is there a neutral.png or neutral.webp?",
    );
  }
  const neutral = found;

  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const figure = document.createElement("div");
  Object.assign(figure.style, {
    position: "relative",
    width: "100%",
    height: "100%",
    transformOrigin: "50% 100%",
  });
  let front = new Layer();
  let back = new Layer();
  figure.append(back.box, front.box);
  container.append(figure);

  let expression = "neutral";
  let state = "idle";
  // The later of the two is shown, for a state may last long.
  let stateCounts = false;
  let shown = "";
  let asked = 0;
  let disposed = false;

  async function refresh() {
    const ask = ++asked;
    const ofState = stateCounts ? await pictures.best(state) : undefined;
    const { word, picture } = ofState ?? await pictures.best(expression) ?? neutral;
    const open = await pictures.of(`${word}-open`);
    // Something else was asked for while this was loading.
    if (ask !== asked || disposed) return;
    container.dataset.expression = word;
    if (word === shown) return;
    shown = word;
    back.show(picture, open, `The character: ${word}`);
    [front, back] = [back, front];
    for (const { box } of [front, back]) box.style.transition = still.matches ? "" : `opacity ${FADE_MS}ms`;
    front.face(true);
    back.face(false);
  }

  /** @type {Animation | undefined} */
  let breath;
  function breathe() {
    breath?.cancel();
    breath = still.matches ? undefined : figure.animate(
      [{ scale: "1 1" }, { scale: "1.004 1.012" }, { scale: "1 1" }],
      { duration: BREATH_MS, iterations: Infinity, easing: "ease-in-out" },
    );
  }
  still.addEventListener("change", breathe);
  breathe();

  container.dataset.state = state;
  await refresh();
  pictures.preload();

  return {
    /**
     * @param {string} tag
     * @param {number} [_intensity] Pictures have none.
     */
    express(tag, _intensity) {
      expression = tag.toLowerCase();
      stateCounts = false;
      return refresh();
    },

    /**
     * @param {string} next
     * @param {unknown} [_detail]
     */
    act(next, _detail) {
      container.dataset.state = next;
      if (next === state) return;
      state = next;
      stateCounts = state !== "idle";
      const gesture = Object.hasOwn(GESTURES, state) ? GESTURES[state] : undefined;
      if (gesture && !still.matches) figure.animate(gesture, { duration: GESTURE_MS, easing: "ease-out" });
      return refresh();
    },

    /** @param {number} openness From 0 to 1. */
    mouth(openness) {
      front.speak(openness >= OPEN_FROM);
      if (still.matches) return;
      figure.style.transform = openness > 0
        ? `translateY(${(-1.5 * Math.min(1, openness)).toFixed(2)}%)`
        : "";
    },

    dispose() {
      disposed = true;
      still.removeEventListener("change", breathe);
      breath?.cancel();
      figure.remove();
    },
  };
}
