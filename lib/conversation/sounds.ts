/** Replaces the sounds of messages by their words, for agents that take no sounds. @module */

import { AppError } from "../core/errors.ts";
import type { PromptCapabilities } from "../turn/agent.ts";
import { type Caller, requireScopes } from "../turn/caller.ts";
import type { Message, Part } from "./message.ts";

/** Sounds of a prompt that are written down: the newest. Earlier ones are left out. */
const MAX_SOUNDS = 8;

/** A sound of a message. */
export type Sound = Extract<Part, { type: "audio" }>;

/** Writes down a sound. @throws {AppError} if it cannot be read, or the recognizer fails. */
export type TranscribeSound = (sound: Sound, signal: AbortSignal) => Promise<string>;

/** Dependencies of {@linkcode writeDownSounds}. */
export interface SoundOptions {
  readonly accepts: Pick<PromptCapabilities, "audio">;
  readonly transcribe: TranscribeSound | undefined;
  /** The caller, which needs the scope `audio`; none if the program itself asks. */
  readonly caller: Caller | undefined;
  /** The words that were found already, which are added to. */
  readonly known: WeakMap<Sound, string>;
}

/**
 * Replaces sounds by their words. A sound of an earlier message that cannot be written down stays, and the prompt has a
 * note in its place.
 *
 * @throws {AppError} if a sound of the newest message cannot be written down, or if that message is nothing but sounds
 *   and there is no recognizer.
 */
export async function writeDownSounds(
  messages: readonly Message[],
  { accepts, transcribe, caller, known }: SoundOptions,
  signal: AbortSignal,
): Promise<readonly Message[]> {
  if (accepts.audio || !messages.some(({ parts }) => parts.some(isSound))) return messages;
  const newest = messages.findLast(({ role }) => role === "user");
  if (transcribe === undefined) {
    if (newest?.parts.every(isSound)) throw noRecognizer();
    return messages;
  }
  if (caller && newest?.parts.some(isSound)) requireScopes(caller, ["audio"], "A sound in a message");
  const sounds = messages.flatMap(({ parts }) => parts.filter(isSound)).slice(-MAX_SOUNDS);
  for (const sound of sounds) {
    if (known.has(sound)) continue;
    try {
      known.set(sound, await transcribe(sound, signal));
    } catch (error) {
      signal.throwIfAborted();
      if (newest?.parts.includes(sound)) throw error;
    }
  }
  const toText = (part: Part): Part => {
    const text = isSound(part) ? known.get(part) : undefined;
    return text === undefined ? part : { type: "text", text };
  };
  return messages.map((message) => ({ ...message, parts: message.parts.map(toText) }));
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
