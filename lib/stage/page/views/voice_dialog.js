// @ts-check
/** The controls of the voice in the bar, and the dialog in which voice and microphone are chosen. @module */

import { valueOf } from "../voice/language.js";
import { AUTOMATIC } from "../voice/voices.js";
import { byId, createElement } from "./dom.js";

/** @typedef {import("../voice/language.js").Voice} Voice */

/** Titles of the button by the state of the voice. */
const TITLES = { off: "Voice: off", on: "Voice: on", waiting: "Voice: on, after a click on the page" };
const GROUPS =
  /** @type {const} */ ([["server", "Voices of the server"], ["browser", "Voices of this browser"]]);

/**
 * Creates the controls.
 *
 * @param {object} actions
 * @param {() => void} actions.onToggle
 * @param {() => void} actions.onOpen
 * @param {(value: string) => void} actions.onVoice Gets the value of a voice, `auto`, or empty for no voice.
 * @param {(value: string) => void} actions.onMicrophone Gets `push`, `hands-free`, or empty for no microphone.
 */
export function createVoiceControls({ onToggle, onOpen, onVoice, onMicrophone }) {
  const button = byId("voice");
  const dialog = /** @type {HTMLDialogElement} */ (byId("voice-dialog"));
  const voicePicker = /** @type {HTMLSelectElement} */ (byId("voice-pick"));
  const microphonePicker = /** @type {HTMLSelectElement} */ (byId("microphone-pick"));

  /** @param {HTMLSelectElement} [field] The field that gets the focus. */
  function open(field = voicePicker) {
    onOpen();
    if (!dialog.open) dialog.showModal();
    if (!field.disabled) field.focus();
  }

  button.addEventListener("click", onToggle);
  byId("voice-settings").addEventListener("click", () => open());
  byId("voice-close").addEventListener("click", () => dialog.close());
  voicePicker.addEventListener("change", () => onVoice(voicePicker.value));
  microphonePicker.addEventListener("change", () => onMicrophone(microphonePicker.value));

  return {
    openForMicrophone: () => open(microphonePicker),

    /** Shows whether replies are spoken. @param {keyof typeof TITLES} state */
    show(state) {
      button.setAttribute("aria-pressed", String(state !== "off"));
      button.dataset.state = state;
      button.title = TITLES[state];
    },

    /** Lists the voices, and shows the chosen one. @param {readonly Voice[]} voices @param {string} value @param {string} hint */
    showVoices(voices, value, hint) {
      const options = [
        new Option("Off", ""),
        new Option("Automatic", AUTOMATIC),
        ...GROUPS.flatMap(([engine, label]) => {
          const group = createElement("optgroup");
          group.label = label;
          group.append(
            ...voices.filter((voice) => voice.engine === engine).map((voice) => {
              const language = voice.language === "" ? "" : ` (${voice.language})`;
              return new Option(`${voice.name}${language}`, valueOf(voice));
            }),
          );
          return group.children.length > 0 ? [group] : [];
        }),
      ];
      voicePicker.replaceChildren(...options);
      // A voice that is gone is chosen automatically.
      voicePicker.value = value;
      if (voicePicker.value !== value) voicePicker.value = AUTOMATIC;
      byId("voice-hint").textContent = hint;
    },

    /** Shows the chosen microphone. @param {string} value @param {string} hint @param {boolean} isPossible */
    showMicrophone(value, hint, isPossible) {
      microphonePicker.value = isPossible ? value : "";
      microphonePicker.disabled = !isPossible;
      byId("microphone-hint").textContent = hint;
    },
  };
}
