/** Creates the voice and the recognizer that the owner has configured. @module */

import { createBuiltinVoice } from "./builtin.ts";
import { speakBySentences } from "./by_sentence.ts";
import { commandTranscription, commandVoice } from "./command.ts";
import { type SpeechConfig, type TranscriptionConfig, USUAL_SPEECH_MODEL } from "./config.ts";
import { type Ffmpeg, withFfmpeg } from "./ffmpeg.ts";
import type { ProgramDeps } from "./program.ts";
import type { SpeechToText } from "./speech_to_text.ts";
import type { TextToSpeech } from "./text_to_speech.ts";
import { upstreamSpeech, upstreamTranscription } from "./upstream.ts";

/** The programs of this machine. */
export interface MachinePrograms {
  readonly programs: ProgramDeps;
  /** Without it, only WAV is made and read here. */
  readonly ffmpeg: Ffmpeg | undefined;
}

/** Creates the voice; `undefined` if it is turned off. */
export function createTextToSpeech(
  config: SpeechConfig,
  machine: MachinePrograms,
): TextToSpeech | undefined {
  const speech = createProvider(config, machine);
  return speech && machine.ffmpeg ? withFfmpeg(speech, machine.ffmpeg) : speech;
}

function createProvider(config: SpeechConfig, { programs }: MachinePrograms): TextToSpeech | undefined {
  switch (config.provider) {
    case "upstream":
      return upstreamSpeech(config);
    case "builtin":
      return createBuiltinVoice();
    case "command":
      return speakBySentences(commandVoice(config, programs));
    case "off":
      return undefined;
    default:
      return config satisfies never;
  }
}

/** Creates the recognizer; `undefined` without one. */
export function createSpeechToText(
  config: TranscriptionConfig | undefined,
  { programs, ffmpeg }: MachinePrograms,
): SpeechToText | undefined {
  switch (config?.provider) {
    case "upstream":
      return upstreamTranscription(config);
    case "command":
      return commandTranscription(config, programs, ffmpeg);
    case undefined:
      return undefined;
    default:
      return config satisfies never;
  }
}

/** Returns the name of a model that apps can send. Only a server whose model is not set cares which it is. */
export function speechModel(config: SpeechConfig): string {
  return config.provider === "upstream" && config.model || USUAL_SPEECH_MODEL;
}
