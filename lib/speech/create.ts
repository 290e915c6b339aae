/** Creates the voice and the recognizer that the owner has configured. @module */

import { createBuiltinVoice } from "./builtin.ts";
import type { SpeechConfig, TranscriptionConfig } from "./config.ts";
import type { SpeechToText } from "./speech_to_text.ts";
import type { TextToSpeech } from "./text_to_speech.ts";
import { upstreamSpeech, upstreamTranscription } from "./upstream.ts";

/** The name that most apps send. */
const DEFAULT_MODEL = "tts-1";

/** Creates the voice; `undefined` if it is turned off. */
export function createTextToSpeech(config: SpeechConfig): TextToSpeech | undefined {
  switch (config.provider) {
    case "upstream":
      return upstreamSpeech(config);
    case "builtin":
      return createBuiltinVoice();
    case "command":
    case "off":
      return undefined;
    default:
      return config satisfies never;
  }
}

/** Creates the recognizer; `undefined` without one. */
export function createSpeechToText(config: TranscriptionConfig | undefined): SpeechToText | undefined {
  switch (config?.provider) {
    case "upstream":
      return upstreamTranscription(config);
    case "command":
    case undefined:
      return undefined;
    default:
      return config satisfies never;
  }
}

/** Returns the name of a model that apps can send. Only a server whose model is not set cares which it is. */
export function speechModel(config: SpeechConfig): string {
  return config.provider === "upstream" && config.model || DEFAULT_MODEL;
}
