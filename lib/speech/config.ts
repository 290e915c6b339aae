/** The configuration of speech and transcription: their providers, and the options of each. @module */

import type { UpstreamConfig } from "../core/upstream.ts";

/** The values of `provider` of `[speech]` and of `[transcription]`. */
export const SPEECH_PROVIDERS = ["builtin", "command", "upstream", "off"] as const;
export const TRANSCRIPTION_PROVIDERS = ["command", "upstream", "off"] as const;

/** A local program, and its arguments. */
export interface CommandConfig {
  readonly provider: "command";
  /** The program, then its arguments. */
  readonly command: readonly string[];
}

/** An OpenAI-compatible server. */
export interface AudioUpstreamConfig extends UpstreamConfig {
  readonly provider: "upstream";
  /** The model of every request; `undefined` lets clients choose. */
  readonly model: string | undefined;
}

/** The names of voices that requests can choose; the first speaks if a request chooses none. */
interface Voices {
  readonly voices: readonly string[];
}

/** The provider that speaks. */
export type SpeechConfig =
  | { readonly provider: "builtin" }
  | { readonly provider: "off" }
  | CommandConfig & Voices
  | AudioUpstreamConfig & Voices;

/** OpenAI's usual models. Used if neither the configuration nor the request names a model. */
export const USUAL_SPEECH_MODEL = "tts-1";
export const USUAL_TRANSCRIPTION_MODEL = "whisper-1";

/** The provider that transcribes recordings. */
export type TranscriptionConfig = CommandConfig | AudioUpstreamConfig;
