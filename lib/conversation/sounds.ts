/** Replaces the sounds of messages by their transcripts, for agents that take no sounds. @module */

import { AppError } from "../core/errors.ts";
import { type Caller, requireScopes } from "../turn/caller.ts";
import type { Message, Part } from "./message.ts";

/** Sounds of a prompt that are transcribed: the newest. Earlier sounds are left out. */
const MAX_SOUNDS = 8;

/** A sound of a message. */
export type Sound = Extract<Part, { type: "audio" }>;

/** Transcribes a sound. @throws {AppError} if it cannot be read, or the recognizer fails. */
export type TranscribeSound = (sound: Sound, signal: AbortSignal) => Promise<string>;

/** The transcripts of sounds. */
export type SoundTranscripts = WeakMap<Sound, string>;

/** Whether there are sounds in messages. */
export function hasSounds(messages: readonly Message[]): boolean {
  return messages.some(({ parts }) => parts.some(isSound));
}

/** Replaces the sounds whose transcripts are known. */
export function withTranscripts(
  messages: readonly Message[],
  transcripts: SoundTranscripts,
): readonly Message[] {
  const toText = (part: Part): Part => {
    const text = isSound(part) ? transcripts.get(part) : undefined;
    return text === undefined ? part : { type: "text", text };
  };
  return messages.map((message) => ({ ...message, parts: message.parts.map(toText) }));
}

/**
 * Transcribes the sounds of messages. A sound of an earlier message that cannot be transcribed is left out.
 *
 * @param caller The caller. Without the scope `audio`, a sound in the newest user message is refused, and earlier sounds are
 *   not transcribed. `undefined` if the program itself asks.
 * @param transcripts The transcripts so far; new transcripts are added.
 * @throws {AppError} if a sound of the newest message cannot be transcribed, or if that message is nothing but sounds
 *   and there is no recognizer.
 */
export async function transcribeSounds(
  messages: readonly Message[],
  transcribe: TranscribeSound | undefined,
  caller: Caller | undefined,
  transcripts: SoundTranscripts,
  signal: AbortSignal,
): Promise<void> {
  const newest = messages.findLast(({ role }) => role === "user");
  if (transcribe === undefined) {
    if (newest?.parts.every(isSound)) throw noRecognizerError();
    return;
  }
  if (caller && newest?.parts.some(isSound)) requireScopes(caller, ["audio"], "A sound in a message");
  if (caller?.scopes.has("audio") === false) return;
  for (const sound of messages.flatMap(({ parts }) => parts.filter(isSound)).slice(-MAX_SOUNDS)) {
    if (transcripts.has(sound)) continue;
    try {
      transcripts.set(sound, await transcribe(sound, signal));
    } catch (error) {
      signal.throwIfAborted();
      if (newest?.parts.includes(sound)) throw error;
    }
  }
}

function isSound(part: Part): part is Sound {
  return part.type === "audio";
}

function noRecognizerError(): AppError {
  return new AppError(
    "not_configured",
    "This agent takes no sounds, and no program transcribes them: set command or base_url of [transcription] in " +
      "config.toml, or send text.",
  );
}
