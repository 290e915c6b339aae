// @ts-check
/** Voice and microphone of the page: what the person chose, what is possible here, and the parts that do it. @module */

import { fetchAbilities, fetchVoices, requestSpeech, transcribe } from "./api/audio.js";
import { loadVoiceChoice, saveVoiceChoice } from "./api/storage.js";
import { hasKeyboard } from "./views/dom.js";
import { createTalkButton } from "./views/talk.js";
import { createVoiceControls } from "./views/voice_dialog.js";
import { createAudio } from "./voice/audio.js";
import { createListening } from "./voice/listening.js";
import { hasRecognition } from "./voice/recognition.js";
import { AUTOMATIC, createVoices } from "./voice/voices.js";

/** Hints below the choice of the microphone, by the recognizer. */
const HINTS = {
  server: "The server transcribes what you say.",
  browser: "This browser transcribes what you say. Most browsers send the sound to their maker for that.",
};
/** How to talk, by the choice; hands-free by the recognizer too. @type {ReadonlyMap<string, string>} */
const HOW = new Map([
  [
    "push",
    `Hold the button with the microphone${
      hasKeyboard() ? ", or the space bar while you are not writing" : ""
    }.`,
  ],
  ["hands-free server", "The microphone stays open. Talking interrupts the character; headphones help."],
  ["hands-free browser", "The microphone stays open, but while the character speaks, it is not heard."],
]);

/**
 * Creates voice and microphone, both off unless the person has turned them on before.
 *
 * @param {object} options
 * @param {string | undefined} options.overlayVoice In the overlay: the chosen voice, or `undefined` for none. Nobody can
 *   click there, and nothing is remembered.
 * @param {boolean} options.isOverlay
 * @param {() => string} options.key
 * @param {() => string} options.voiceEngine The engine whose voice sounds at this moment, if any.
 * @param {() => void} options.onTalk Called when the person begins to talk.
 * @param {(text: string) => void} options.onText Gets what the person said.
 * @param {(problem: string) => void} options.onProblem
 */
export function createVoice({ overlayVoice, isOverlay, key, voiceEngine, onTalk, onText, onProblem }) {
  let choice = isOverlay
    ? { isOn: overlayVoice !== undefined, voice: overlayVoice ?? AUTOMATIC, microphone: "" }
    : loadVoiceChoice();
  let abilities = { speech: false, transcription: false };
  /** @type {readonly string[]} */
  let scopes = [];
  /** The key whose voices are listed; `undefined` if they have to be asked for. @type {string | undefined} */
  let listedFor;

  const audio = createAudio(show);
  const voices = createVoices({
    audio,
    requestSpeech: (text, voice, signal) => requestSpeech(key(), text, voice, signal),
    onChange: show,
  });
  const controls = createVoiceControls({
    onToggle: () => choose({ isOn: !choice.isOn }),
    onOpen() {
      listVoices();
      show();
    },
    onVoice: (value) => choose(value === "" ? { isOn: false } : { isOn: true, voice: value }),
    onMicrophone(microphone) {
      listening.setHandsFree(false);
      choose({ microphone });
      if (microphone === "push") listening.askForPermission();
      listening.setHandsFree(microphone === "hands-free");
    },
  });
  const listening = createListening({
    audio,
    recognizer: () => recognizer().by,
    transcribe: (recording) => transcribe(key(), recording),
    voiceEngine,
    onTalk,
    onText,
    onState: (state) => talk.show(state),
    onProblem,
  });
  const talk = createTalkButton({
    mode: () => choice.microphone,
    isListening: () => listening.isOn,
    onPress: listening.press,
    onRelease: listening.release,
    onCancel: listening.cancel,
    onClick() {
      if (choice.microphone === "") controls.openForMicrophone();
      else listening.setHandsFree(!listening.isOn);
    },
  });

  voices.choose(choice.isOn, choice.voice);
  if (isOverlay && choice.isOn) audio.open();
  else if (choice.isOn) audio.openLater();
  show();

  /** @param {Partial<typeof choice>} change Made by a click, so that the browser lets the page make sound. */
  function choose(change) {
    choice = { ...choice, ...change };
    saveVoiceChoice(choice);
    voices.choose(choice.isOn, choice.voice);
    if (choice.isOn) {
      audio.open();
      listVoices();
    } else {
      audio.stopWaiting();
    }
    show();
  }

  /** Asks for the voices of the server, once for each key. */
  async function listVoices() {
    if (!abilities.speech || !scopes.includes("audio") || listedFor === key()) return;
    const asked = listedFor = key();
    const found = await fetchVoices(asked);
    if (asked !== key()) return;
    if (found.length === 0) listedFor = undefined;
    voices.setServerVoices(found);
  }

  /** Returns the recognizer that hears the person, or why there is none. @returns {{ by: "server" | "browser" | "", why: string }} */
  function recognizer() {
    const refuse = (/** @type {string} */ why) => ({ by: /** @type {const} */ (""), why });
    if (!scopes.includes("chat")) return refuse("The key of this page lacks the scope “chat”.");
    if (!isSecureContext) {
      return refuse(
        "The microphone needs a secure page: open it on the server's own machine, or start the server with " +
          "--tls-cert and --tls-key.",
      );
    }
    const canAsk = abilities.transcription && scopes.includes("audio");
    if (canAsk && navigator.mediaDevices !== undefined) return { by: "server", why: "" };
    if (hasRecognition()) return { by: "browser", why: "" };
    if (abilities.transcription) return refuse("The key of this page lacks the scope “audio”.");
    return refuse(
      "Neither the server nor this browser transcribes speech: set [transcription] of the server.",
    );
  }

  /** @param {"server" | "browser" | ""} by */
  function hintOf(by) {
    if (by === "") return "";
    const { microphone } = choice;
    return [HOW.get(microphone) ?? HOW.get(`${microphone} ${by}`) ?? "", HINTS[by]].join(" ").trim();
  }

  function show() {
    controls.show(!choice.isOn ? "off" : audio.running ? "on" : "waiting");
    const lacksScope = abilities.speech && !scopes.includes("audio");
    const all = voices.all();
    controls.showVoices(
      all,
      choice.isOn ? choice.voice : "",
      lacksScope
        ? "The key of this page lacks the scope “audio”: only the browser's voices can speak."
        : all.length === 0
        ? "Neither the server nor this browser has a voice."
        : choice.isOn && choice.voice === AUTOMATIC
        ? "Each sentence gets a voice that speaks its language."
        : "",
    );
    const { by, why } = recognizer();
    controls.showMicrophone(choice.microphone, why || hintOf(by), by !== "");
    talk.offer(by !== "");
  }

  return {
    voices,

    /**
     * Finds out what is possible with the key, whenever the page has connected.
     *
     * @param {readonly string[]} allowed The scopes of the key.
     * @returns {Promise<boolean>} Whether the server's voice can be heard that was turned on, or there is none.
     */
    async connect(allowed) {
      scopes = allowed;
      abilities = await fetchAbilities();
      if (choice.isOn) await listVoices();
      show();
      return !choice.isOn || !abilities.speech || scopes.includes("audio");
    },
  };
}
