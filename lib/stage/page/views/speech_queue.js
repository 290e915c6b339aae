// @ts-check
/** What is said on the stage: the character's mouth, the caption, and the sentences for screen readers. @module */

import { byId } from "./dom.js";
import { captionOf, sentencesOf, speakable, Speaker } from "./speech.js";
import { withoutTags } from "./tags.js";

const STEP_MS = 33;
/** How long a caption stays after its last word: a while, and longer for more words. */
/** Characters of notifications that wait to be said. */
const MAX_QUEUE_CHARS = 600;
const STAY_MS = 3_500;
const STAY_MS_PER_CHAR = 45;

/**
 * Speaks one text at a time.
 *
 * @param {{ mouth: (openness: number) => void, quiet: () => void }} body `quiet` is told some time after the last word.
 */
export function createVoice({ mouth, quiet }) {
  const caption = byId("caption");
  const captionText = byId("caption-text");
  const spokenRegion = byId("spoken");
  const speaker = new Speaker();
  let raw = "";
  let whole = true;
  let announced = 0;
  /** Something was said since the last step: however fast it comes, it is looked at once a step. */
  let isNews = false;
  let lastMs = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let leaving;

  function show() {
    const text = captionOf(speaker.spoken);
    if (text === "") return;
    if (captionText.textContent !== text) captionText.textContent = text;
    caption.hidden = false;
  }

  /** Whole sentences, once each: half ones would only be noise. */
  function announce() {
    const sentences = sentencesOf(speakable(withoutTags(raw, whole)));
    const ready = whole ? sentences.length : sentences.length - 1;
    if (ready <= announced) return;
    spokenRegion.textContent = sentences.slice(announced, ready).join(" ");
    announced = ready;
  }

  function step() {
    const nowMs = performance.now();
    const seconds = Math.min(0.5, (nowMs - lastMs) / 1000);
    lastMs = nowMs;
    if (isNews) {
      isNews = false;
      speaker.say(speakable(withoutTags(raw, whole)).trimEnd());
      announce();
    }
    mouth(speaker.step(seconds));
    show();
    if (!speaker.silent) return;
    mouth(0);
    if (!whole) return;
    rest();
  }

  /** Nothing is left to say. */
  function rest() {
    clearInterval(timer);
    timer = undefined;
    clearTimeout(leaving);
    leaving = setTimeout(() => {
      caption.hidden = true;
      quiet();
    }, STAY_MS + STAY_MS_PER_CHAR * (captionText.textContent ?? "").length);
  }

  function run() {
    clearTimeout(leaving);
    if (timer !== undefined) return;
    lastMs = performance.now();
    timer = setInterval(step, STEP_MS);
  }

  return {
    /** Another reply begins. */
    begin() {
      raw = "";
      isNews = false;
      whole = false;
      announced = 0;
      speaker.say("");
      speaker.stop();
      captionText.textContent = "";
      caption.hidden = true;
      run();
    },
    /** Words that stand elsewhere on the page too, and so are not announced; after what is being said. @param {string} text */
    sayAll(text) {
      // Of a flood the newest is said.
      if (speaker.silent || raw.length > MAX_QUEUE_CHARS) this.begin();
      isNews = false;
      raw += raw === "" ? text : `\n${text}`;
      whole = true;
      announced = Infinity;
      speaker.say(speakable(withoutTags(raw, true)).trimEnd());
      run();
    },
    /** The next piece of the reply, with its tags. @param {string} piece */
    push(piece) {
      raw += piece;
      isNews = true;
      run();
    },
    /** The reply is over. @param {boolean} cut Whether the rest of it is not said any more. */
    end(cut) {
      whole = true;
      isNews = false;
      speaker.say(speakable(withoutTags(raw, true)).trimEnd());
      announce();
      if (cut) speaker.stop();
      run();
    },
  };
}
