/** Which conversation a request belongs to: by its name, by the rule of the house, or by what it says. @module */

import type { Agent } from "../turn/agent.ts";
import type { Conversation, ConversationIdentity, ConversationIndex } from "./conversation.ts";
import { type Continuation, UNMATCHED } from "./align.ts";
import { alignNamed, match } from "./match.ts";
import type { Message } from "./message.ts";
import type { Fingerprinter, TranscriptFingerprint } from "./fingerprint.ts";

/**
 * Which requests belong to one conversation (`VTUBER_SESSIONS`): `auto` those whose transcript goes on with it,
 * `persistent` all of one key and agent, `stateless` none. One that names its conversation always belongs to that.
 */
export const SESSION_MODES = ["auto", "persistent", "stateless"] as const;
/** One of {@linkcode SESSION_MODES}. */
export type SessionMode = (typeof SESSION_MODES)[number];

/** Whose a request is, as far as its caller says. */
export interface ConversationKey {
  /** The key that the caller used. Nobody meets another's conversations. */
  readonly owner: string;
  /** What the caller calls the conversation. */
  readonly name?: string | undefined;
}

/** What a request is to the conversations that are known. */
export interface Resolution {
  readonly decision: "continue" | "fork" | "new";
  /** For the log. */
  readonly reason: string;
  /** The conversation that it goes on with. */
  readonly conversation: Conversation | undefined;
  /** What it begins otherwise. */
  readonly identity: ConversationIdentity;
  readonly transcript: TranscriptFingerprint;
  readonly alignment: Continuation;
}

/** What is needed to find one. */
export interface ResolverDeps {
  readonly index: ConversationIndex;
  readonly fingerprinter: Fingerprinter;
  readonly mode: SessionMode;
}

/** The name of the one conversation of a key and an agent, in mode `persistent`. */
const PERSISTENT = "persistent";

/** Finds the conversation of a request. @returns Nothing if the request is none's: each stands for itself. */
export function resolveConversation(
  { index, fingerprinter, mode }: ResolverDeps,
  whose: ConversationKey,
  agent: Agent,
  messages: readonly Message[],
): Resolution | undefined {
  const name = whose.name ?? (mode === "persistent" ? PERSISTENT : undefined);
  if (name === undefined && mode === "stateless") return undefined;
  const transcript = fingerprinter.transcript(messages);
  const owner = fingerprinter.cached("owner", whose.owner);
  const origin = {
    id: name ?? `conv_${crypto.randomUUID().replaceAll("-", "")}`,
    owner,
    agent: agent.name,
    program: fingerprinter.cached("program", agent.program),
    isNamed: name !== undefined,
  };
  const begins = { conversation: undefined, identity: origin, transcript, alignment: allNew(transcript) };
  if (name !== undefined) {
    const why = whose.name === undefined ? "there is one for each key and agent" : "it is named";
    const known = index.find(owner, agent.name, name);
    if (known === undefined) return { ...begins, decision: "new", reason: why };
    return {
      ...begins,
      decision: "continue",
      reason: why,
      conversation: known,
      alignment: alignNamed(transcript, known),
    };
  }
  const found = match({ ...transcript, owner, agent: agent.name }, index.all);
  const { type: decision, why } = found;
  if (found.type !== "continue") return { ...begins, decision, reason: why };
  return { ...begins, decision, reason: why, conversation: found.conversation, alignment: found.how };
}

function allNew({ turns }: TranscriptFingerprint): Continuation {
  return { positions: turns.map(() => UNMATCHED), isRetry: false };
}
