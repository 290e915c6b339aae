// @ts-check
/** The browser's own recognition of speech, which most browsers send to their maker. @module */

/**
 * The part of `SpeechRecognition` that the page uses. Not every browser has it.
 *
 * @typedef {object} Recognition
 * @property {string} lang
 * @property {boolean} continuous
 * @property {boolean} interimResults
 * @property {() => void} start
 * @property {() => void} stop
 * @property {() => void} abort
 * @property {(() => void) | null} onspeechstart
 * @property {((event: { resultIndex: number, results: ArrayLike<{ isFinal: boolean, [index: number]: { transcript: string } }> }) => void) | null} onresult
 * @property {((event: { error: string }) => void) | null} onerror
 * @property {(() => void) | null} onend
 */

/** @returns {(new () => Recognition) | undefined} */
function findRecognition() {
  const scope = /** @type {any} */ (globalThis);
  return scope.SpeechRecognition ?? scope.webkitSpeechRecognition;
}

/** Whether the browser has recognition. */
export function hasRecognition() {
  return findRecognition() !== undefined;
}

/**
 * Starts the recognition.
 *
 * @param {object} options
 * @param {() => void} options.onSpeech Called when somebody begins to talk.
 * @param {(text: string) => void} options.onText Gets each part that is final.
 * @param {(problem: string) => void} options.onEnd Called once; the problem is empty if there is none.
 * @returns {{ stop: () => void, abort: () => void }} `stop` waits for the last words; after `abort`, nothing is called.
 */
export function startRecognition({ onSpeech, onText, onEnd }) {
  const Recognition = findRecognition();
  if (Recognition === undefined) throw new Error("This browser has no recognition.");
  const recognition = new Recognition();
  recognition.lang = navigator.language;
  recognition.continuous = true;
  recognition.interimResults = false;
  let problem = "";
  recognition.onspeechstart = onSpeech;
  recognition.onresult = ({ resultIndex, results }) => {
    for (const result of Array.from(results).slice(resultIndex)) {
      if (result.isFinal) onText(result[0]?.transcript.trim() ?? "");
    }
  };
  recognition.onerror = ({ error }) => {
    problem = problemOf(error);
  };
  recognition.onend = () => onEnd(problem);
  recognition.start();
  return {
    stop: () => recognition.stop(),
    abort() {
      recognition.onspeechstart = recognition.onresult = recognition.onend = null;
      recognition.abort();
    },
  };
}

/** @param {string} error */
function problemOf(error) {
  switch (error) {
    case "no-speech":
    case "aborted":
      return "";
    case "not-allowed":
    case "service-not-allowed":
      return "The browser does not allow its recognition of speech on this page.";
    case "audio-capture":
      return "There is no microphone.";
    default:
      return `The browser's recognition of speech failed (${error}). The server can do it: set [transcription].`;
  }
}
