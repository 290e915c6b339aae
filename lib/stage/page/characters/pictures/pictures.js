// @ts-check
/** A character made of pictures, one for each expression. @module */

/** Words that can replace a word that has no picture, best first. @type {Readonly<Record<string, string>>} */
const ALTERNATIVES = {
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
 * Returns the words to look for, best first: the word itself and its alternatives.
 *
 * @param {string} word
 * @returns {string[]}
 */
export function candidates(word) {
  return [word, ...Object.hasOwn(ALTERNATIVES, word) ? ALTERNATIVES[word]?.split(" ") ?? [] : []];
}

/** Words whose pictures are kept. */
const MAX_WORDS = 200;
const WORD = /^[\p{L}\p{N}_. -]{1,60}$/u;
/** Openness from which the picture with an open mouth is shown. */
const OPEN_FROM = 0.25;
const FADE_MS = 180;
const BREATH_MS = 4200;
const GESTURE_MS = 550;

const HOP = ["0", "-4%", "0", "-2%", "0"].map((y) => ({ translate: `0 ${y}` }));
const SHAKE = ["0", "-2%", "2%", "-1.5%", "1%", "0"].map((x) => ({ translate: `${x} 0` }));
/** Movements at the start of a state. @type {Readonly<Record<string, { translate: string }[]>>} */
const GESTURES = { attention: HOP, notification: HOP, error: SHAKE };

/**
 * Addresses of the pictures by word, or else a base address and the extensions to try there.
 *
 * @typedef {{ pictures?: Readonly<Record<string, string>>, base?: string, extensions?: readonly string[] }} Manifest
 */
/** @typedef {{ word: string, picture: HTMLImageElement }} FoundPicture */

/** Loads pictures and keeps them. */
class PictureLoader {
  /** @type {Map<string, Promise<HTMLImageElement | undefined>>} */
  #loaded = new Map();
  #manifest;

  /** @param {Manifest} manifest */
  constructor(manifest) {
    this.#manifest = manifest;
  }

  /**
   * Loads the picture of exactly this word.
   *
   * @param {string} word
   * @returns {Promise<HTMLImageElement | undefined>}
   */
  load(word) {
    const loaded = this.#loaded.get(word);
    if (loaded !== undefined) return loaded;
    if (!WORD.test(word) || this.#loaded.size >= MAX_WORDS) return Promise.resolve(undefined);
    const loading = this.#fetch(word);
    this.#loaded.set(word, loading);
    return loading;
  }

  /**
   * Loads the picture of a word or of its best alternative.
   *
   * @param {string} word
   * @returns {Promise<FoundPicture | undefined>}
   */
  async loadBest(word) {
    for (const candidate of candidates(word)) {
      const picture = await this.load(candidate);
      if (picture !== undefined) return { word: candidate, picture };
    }
    return undefined;
  }

  /**
   * Loads the picture that is shown if nothing else fits.
   *
   * @returns {Promise<FoundPicture>}
   * @throws {Error} if no picture can be loaded.
   */
  async loadDefault() {
    const neutral = await this.loadBest("neutral");
    if (neutral !== undefined) return neutral;
    for (const word of this.#listed()) {
      const picture = word.endsWith("-open") ? undefined : await this.load(word);
      if (picture !== undefined) return { word, picture };
    }
    const happy = await this.loadBest("happy");
    if (happy !== undefined) return happy;
    throw new Error("No picture of the character could be loaded. Add a neutral.png or neutral.webp.");
  }

  /** Loads all listed pictures, one after the other, so that none is waited for later. */
  async preload() {
    for (const word of this.#listed()) await this.load(word);
  }

  #listed() {
    return Object.keys(this.#manifest.pictures ?? {});
  }

  /** @param {string} word */
  async #fetch(word) {
    const { pictures, base = "", extensions = [] } = this.#manifest;
    const addresses = pictures === undefined
      ? extensions.map((extension) => `${base}${encodeURIComponent(word)}.${extension}`)
      : Object.hasOwn(pictures, word)
      ? [pictures[word] ?? ""]
      : [];
    for (const address of addresses) {
      const image = new Image();
      image.src = address;
      // Decode now, so that the picture appears at once when it is shown.
      if (await image.decode().then(() => true, () => false)) return image;
    }
    return undefined;
  }
}

/** One of the two layers that fade into each other: a picture, and the same with an open mouth if there is one. */
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
   * @param {string} description
   */
  setPicture(closed, open, description) {
    this.#closed.src = closed.src;
    this.#closed.alt = description;
    this.#hasOpen = open !== undefined;
    if (open) this.#open.src = open.src;
    else this.#open.removeAttribute("src");
    this.setMouth(false);
  }

  /** @param {boolean} isOpen */
  setMouth(isOpen) {
    const showsOpen = isOpen && this.#hasOpen;
    this.#open.style.visibility = showsOpen ? "visible" : "hidden";
    this.#closed.style.visibility = showsOpen ? "hidden" : "visible";
  }

  /** @param {boolean} isVisible */
  setVisible(isVisible) {
    this.box.style.opacity = isVisible ? "1" : "0";
    this.box.ariaHidden = String(!isVisible);
  }
}

/**
 * Shows a character made of pictures.
 *
 * @param {HTMLElement} container
 * @param {Manifest} manifest
 * @throws {Error} if none of its pictures can be loaded.
 */
export async function createCharacter(container, manifest) {
  const pictures = new PictureLoader(manifest);
  const fallback = await pictures.loadDefault();

  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
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
  /** Whether the state changed after the expression. The later one is shown, because a state may last long. */
  let stateIsNewer = false;
  let shownWord = "";
  let refreshes = 0;
  let isDisposed = false;

  async function refresh() {
    const refreshNumber = ++refreshes;
    const ofState = stateIsNewer ? await pictures.loadBest(state) : undefined;
    const { word, picture } = ofState ?? await pictures.loadBest(expression) ?? fallback;
    const open = await pictures.load(`${word}-open`);
    // A newer refresh may have started while the pictures were loading.
    if (refreshNumber !== refreshes || isDisposed) return;
    container.dataset.expression = word;
    if (word === shownWord) return;
    shownWord = word;
    back.setPicture(picture, open, `The character: ${word}`);
    [front, back] = [back, front];
    const transition = reducedMotion.matches ? "" : `opacity ${FADE_MS}ms`;
    for (const { box } of [front, back]) box.style.transition = transition;
    front.setVisible(true);
    back.setVisible(false);
  }

  /** @type {Animation | undefined} */
  let breath;
  function breathe() {
    breath?.cancel();
    breath = reducedMotion.matches ? undefined : figure.animate(
      [{ scale: "1 1" }, { scale: "1.004 1.012" }, { scale: "1 1" }],
      { duration: BREATH_MS, iterations: Infinity, easing: "ease-in-out" },
    );
  }
  reducedMotion.addEventListener("change", breathe);
  breathe();

  container.dataset.state = state;
  await refresh();
  pictures.preload();

  return {
    /** Ignores the intensity. @param {string} tag @param {number} [_intensity] */
    express(tag, _intensity) {
      expression = tag.toLowerCase();
      stateIsNewer = false;
      return refresh();
    },

    /** @param {string} next @param {unknown} [_detail] */
    act(next, _detail) {
      container.dataset.state = next;
      if (next === state) return;
      state = next;
      stateIsNewer = state !== "idle";
      const gesture = Object.hasOwn(GESTURES, state) ? GESTURES[state] : undefined;
      if (gesture && !reducedMotion.matches) {
        figure.animate(gesture, { duration: GESTURE_MS, easing: "ease-out" });
      }
      return refresh();
    },

    /** @param {number} openness From 0 to 1. */
    mouth(openness) {
      front.setMouth(openness >= OPEN_FROM);
      if (reducedMotion.matches) return;
      const percent = -1.5 * Math.min(1, openness);
      figure.style.transform = openness > 0 ? `translateY(${percent.toFixed(2)}%)` : "";
    },

    dispose() {
      isDisposed = true;
      reducedMotion.removeEventListener("change", breathe);
      breath?.cancel();
      figure.remove();
    },
  };
}
