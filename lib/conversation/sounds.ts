/** Replaces the sounds of messages by their words, for agents that take no sounds. @module */

import { AppError } from "../core/errors.ts";
import { type Caller, requireScopes } from "../turn/caller.ts";
import type { Message, Part } from "./message.ts";

/** Sounds of a prompt that are written down: the newest. Earlier ones are left out. */
const MAX_SOUNDS = 8;

/** A sound of a message. */
export type Sound = Extract<Part, { type: "audio" }>;

/** Writes down a sound. @throws {AppError} if it cannot be read, or the recognizer fails. */
export type TranscribeSound = (sound: Sound, signal: AbortSignal) => Promise<string>;

/** The words of sounds. */
export type SoundWords = WeakMap<Sound, string>;

/** Whether there are sounds in messages. */
export function hasSounds(messages: readonly Message[]): boolean {
  return messages.some(({ parts }) => parts.some(isSound));
}

/** Replaces the sounds whose words are known. */
export function withSoundWords(messages: readonly Message[], words: SoundWords): readonly Message[] {
  const toText = (part: Part): Part => {
    const text = isSound(part) ? words.get(part) : undefined;
    return text === undefined ? part : { type: "text", text };
  };
  return messages.map((message) => ({ ...message, parts: message.parts.map(toText) }));
}

/**
 * Writes down the sounds of messages. A sound of an earlier message that cannot be written down is left out.
 *
 * @param caller The caller, which needs the scope `audio`: without it, earlier sounds are left out, and one in the newest
 *   message is refused. None if the program itself asks.
 * @param words The words that were found already, which are added to.
 * @throws {AppError} if a sound of the newest message cannot be written down, or if that message is nothing but sounds
 *   and there is no recognizer.
 */
export async function writeDownSounds(
  messages: readonly Message[],
  transcribe: TranscribeSound | undefined,
  caller: Caller | undefined,
  words: SoundWords,
  signal: AbortSignal,
): Promise<void> {
  const newest = messages.findLast(({ role }) => role === "user");
  if (transcribe === undefined) {
    if (newest?.parts.every(isSound)) throw noRecognizer();
    return;
  }
  if (caller && newest?.parts.some(isSound)) requireScopes(caller, ["audio"], "A sound in a message");
  if (caller?.scopes.has("audio") === false) return;
  for (const sound of messages.flatMap(({ parts }) => parts.filter(isSound)).slice(-MAX_SOUNDS)) {
    if (words.has(sound)) continue;
    try {
      words.set(sound, await transcribe(sound, signal));
    } catch (error) {
      signal.throwIfAborted();
      if (newest?.parts.includes(sound)) throw error;
    }
  }
}

function isSound(part: Part): part is Sound {
  return part.type === "audio";
}

function noRecognizer(): AppError {
  return new AppError(
    "not_configured",
    "This agent takes no sounds, and no program writes them down: set command or base_url of [transcription] in " +
      "config.toml, or send text.",
  );
}
