// @ts-check
/** The page's way to the loudspeaker and the microphone. Browsers open it only after a click or a key. @module */

/** Events after which a browser lets a page make sound. */
const GESTURES = /** @type {const} */ (["click", "keydown", "touchend"]);

/**
 * Creates the way to the loudspeaker, which is closed at first.
 *
 * @param {() => void} onChange Called when it opens or closes.
 */
export function createAudio(onChange) {
  /** @type {AudioContext | undefined} */
  let context;
  let isWaiting = false;

  function open() {
    if (context === undefined) {
      context = new AudioContext();
      context.addEventListener("statechange", onChange);
    }
    if (context.state !== "running") context.resume().catch(() => {});
    return context;
  }

  function openAtGesture() {
    // The browser may not have taken this one: Safari refuses the first touch.
    if (open().state === "running") stopWaiting();
  }

  function stopWaiting() {
    isWaiting = false;
    for (const type of GESTURES) removeEventListener(type, openAtGesture, true);
  }

  return {
    /** Opens it at once, and returns the context: after a click on a control of the page, or in a program that needs no click. */
    open,

    /** Opens it at the person's next click or key. */
    openLater() {
      if (isWaiting || context?.state === "running") return;
      isWaiting = true;
      for (const type of GESTURES) addEventListener(type, openAtGesture, true);
    },

    /** Does not open it at a click any more. */
    stopWaiting,

    /** The context, if it runs. */
    get running() {
      return context?.state === "running" ? context : undefined;
    },
  };
}
