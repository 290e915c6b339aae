// @ts-check
/** Listens to the person: while a button is held, or all the time. Makes text of what was said. @module */

import { VoiceActivity } from "./activity.js";
import { openMicrophone } from "./microphone.js";
import { startRecognition } from "./recognition.js";
import { encodeWav, LISTENING_RATE, resample } from "./sound.js";

/** Longest recording while the button is held, and the shortest one that is not taken for a slip, in frames of 20 ms. */
const MAX_FRAMES = 3_000;
const MIN_FRAMES = 15;
/** Recordings that wait for the server. Further ones are dropped. */
const MAX_WAITING = 3;
/** Time after which the browser's recognition, which ends by itself, is started again. */
const RESTART_MS = 300;

/**
 * The microphone is off, is being opened, is on while nobody talks (hands-free), records, or was heard and the text
 * is awaited.
 *
 * @typedef {"off" | "opening" | "waiting" | "recording" | "writing"} ListeningState
 */

/**
 * Creates the listener.
 *
 * @param {object} options
 * @param {ReturnType<typeof import("./audio.js").createAudio>} options.audio
 * @param {() => "server" | "browser" | ""} options.recognizer Who makes text of speech; empty if nobody does.
 * @param {(recording: Blob) => Promise<string>} options.transcribe
 * @param {() => string} options.voiceEngine The engine whose voice sounds at this moment, if any.
 * @param {() => void} options.onTalk Called when the person begins to talk.
 * @param {(text: string) => void} options.onText
 * @param {(state: ListeningState) => void} options.onState
 * @param {(problem: string) => void} options.onProblem
 */
export function createListening(
  { audio, recognizer, transcribe, voiceEngine, onTalk, onText, onState, onProblem },
) {
  /** Ends what listens at this moment: with `isWanted`, what was said counts. @type {((isWanted: boolean) => void) | undefined} */
  let end;
  let isHandsFree = false;
  /** Recordings of which the text is awaited. */
  let waiting = 0;
  /** The end of the text before, so that texts come in the order in which they were said. */
  let written = Promise.resolve();

  /** @param {ListeningState} state */
  function show(state) {
    onState(state === "off" && waiting > 0 ? "writing" : state);
  }

  /** @param {string} problem */
  function fail(problem) {
    end?.(false);
    onProblem(problem);
  }

  /** @param {readonly Float32Array[]} frames @param {number} rate @param {boolean} isAsked Whether a person waits for words. */
  function write(frames, rate, isAsked) {
    if (waiting >= MAX_WAITING) return onProblem("The server is too slow: this was not heard.");
    waiting++;
    const samples = new Float32Array(frames.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const frame of frames) {
      samples.set(frame, at);
      at += frame.length;
    }
    const wav = encodeWav(resample(samples, rate, LISTENING_RATE), LISTENING_RATE);
    const text = transcribe(new Blob([wav], { type: "audio/wav" }));
    written = written.then(async () => {
      try {
        const said = await text;
        if (said !== "") onText(said);
        else if (isAsked) onProblem("Nothing was understood.");
      } catch (error) {
        onProblem(error instanceof Error ? error.message : String(error));
      }
      waiting--;
      if (end === undefined) show("off");
    });
    // The one before may fail first.
    text.catch(() => {});
  }

  /**
   * Opens the microphone, and records until the end.
   *
   * @param {{ onFrame: (frame: Float32Array, rate: number) => void, onEnd: (isWanted: boolean, rate: number) => void,
   *   onOpen: () => void }} recorder
   */
  function record({ onFrame, onEnd, onOpen }) {
    /** @type {import("./microphone.js").Microphone | undefined} */
    let microphone;
    let isOver = false;
    const finish = (/** @type {boolean} */ isWanted) => {
      isOver = true;
      if (end === finish) end = undefined;
      microphone?.close();
      onEnd(isWanted && microphone !== undefined, context.sampleRate);
      show("off");
    };
    const context = audio.open();
    end = finish;
    show("opening");
    const lost = () => fail("The microphone is gone.");
    openMicrophone(context, (frame) => isOver || onFrame(frame, context.sampleRate), lost).then((opened) => {
      microphone = opened;
      if (isOver) microphone.close();
      else onOpen();
    }, (error) => {
      if (!isOver) fail(error.message);
    });
  }

  function holdServer() {
    /** @type {Float32Array[]} */
    const frames = [];
    record({
      onOpen: () => show("recording"),
      onFrame(frame) {
        frames.push(frame);
        if (frames.length >= MAX_FRAMES) end?.(true);
      },
      onEnd(isWanted, rate) {
        if (!isWanted) return;
        if (frames.length < MIN_FRAMES) onProblem("Hold the button while you talk, and release it then.");
        else write(frames, rate, true);
      },
    });
  }

  function handsFreeServer() {
    const activity = new VoiceActivity();
    /** @type {Float32Array[]} */
    let frames = [];
    let isTalking = false;
    record({
      onOpen: () => show("waiting"),
      onFrame(frame, rate) {
        const engine = voiceEngine();
        // The voice of the operating system does not pass through the page: no browser can remove it from the sound.
        if (engine === "browser") {
          activity.reset();
          frames = [];
          if (isTalking) show("waiting");
          isTalking = false;
          return;
        }
        frames.push(frame);
        if (!isTalking && frames.length > VoiceActivity.preRollFrames) frames.shift();
        const change = activity.push(frame, engine !== "");
        if (change === "start") {
          isTalking = true;
          show("recording");
          onTalk();
        } else if (change === "end") {
          isTalking = false;
          show("waiting");
          write(frames, rate, false);
          frames = [];
        }
      },
      onEnd() {},
    });
  }

  function holdBrowser() {
    const texts = /** @type {string[]} */ ([]);
    let isWanted = false;
    const finish = () => {
      if (end === release) end = undefined;
      waiting = 0;
      show("off");
    };
    const recognition = startRecognition({
      onSpeech() {},
      onText: (text) => void texts.push(text),
      onEnd(problem) {
        finish();
        const text = texts.join(" ").trim();
        if (problem !== "") onProblem(problem);
        else if (text !== "") onText(text);
        else if (isWanted) onProblem("Nothing was understood.");
      },
    });
    /** @param {boolean} wanted */
    function release(wanted) {
      if (!wanted) {
        recognition.abort();
        return finish();
      }
      isWanted = true;
      end = undefined;
      waiting = 1;
      recognition.stop();
      show("off");
    }
    end = release;
    show("recording");
  }

  function handsFreeBrowser() {
    /** @type {ReturnType<typeof startRecognition> | undefined} */
    let recognition;
    /** Starts it again when it has ended, and holds it while the character speaks, whose voice it would write down. */
    const timer = setInterval(() => {
      if (voiceEngine() !== "") {
        recognition?.abort();
        recognition = undefined;
        return;
      }
      recognition ??= startRecognition({
        onSpeech: onTalk,
        onText(text) {
          if (text !== "") onText(text);
        },
        onEnd(problem) {
          recognition = undefined;
          if (problem !== "") fail(problem);
        },
      });
    }, RESTART_MS);
    end = () => {
      end = undefined;
      clearInterval(timer);
      recognition?.abort();
      show("off");
    };
    show("waiting");
  }

  return {
    /** Whether it listens. */
    get isOn() {
      return end !== undefined;
    },

    /** Whether it listens all the time. */
    get isHandsFree() {
      return end !== undefined && isHandsFree;
    },

    /** Begins to listen while a button is held; the character is interrupted. */
    press() {
      if (end !== undefined || recognizer() === "") return;
      isHandsFree = false;
      onTalk();
      if (recognizer() === "server") holdServer();
      else holdBrowser();
    },

    /** Asks for the permission to use the microphone, so that the first press does not have to. */
    async askForPermission() {
      if (recognizer() !== "server") return;
      try {
        (await openMicrophone(audio.open(), () => {}, () => {})).close();
      } catch (error) {
        onProblem(error instanceof Error ? error.message : String(error));
      }
    },

    /** Ends to listen: the button was released. */
    release() {
      if (!isHandsFree) end?.(true);
    },

    /** Listens all the time, or ends it. @param {boolean} isWanted */
    setHandsFree(isWanted) {
      if (isWanted === (end !== undefined && isHandsFree)) return;
      end?.(false);
      if (!isWanted || recognizer() === "") return;
      isHandsFree = true;
      if (recognizer() === "server") handsFreeServer();
      else handsFreeBrowser();
    },

    /** Forgets what is being said, and closes the microphone. */
    cancel() {
      end?.(false);
    },
  };
}
