/** Resolves the conversation of a request: by its name, by the mode, or by its messages. @module */

import type { Agent } from "../turn/agent.ts";
import type { ConversationIdentity, ConversationIndex } from "./conversation.ts";
import type { Fingerprinter, TranscriptFingerprint } from "./fingerprint.ts";
import { alignNamed, type Continuation, match, UNMATCHED } from "./match.ts";
import type { Message } from "./message.ts";
import type { ConversationRecord } from "./record.ts";
import { adoptsSideJob, isSideJobOf, knownTaskOf } from "./side_job.ts";

/**
 * Which requests belong to one conversation (`VTUBER_SESSIONS`). `auto`: those whose messages continue it.
 * `persistent`: all of one key and agent. `stateless`: none. A request that names its conversation always belongs to
 * it.
 */
export const SESSION_MODES = ["auto", "persistent", "stateless"] as const;
/** One of {@linkcode SESSION_MODES}. */
export type SessionMode = (typeof SESSION_MODES)[number];

/** The caller of a request, and the conversation that it names. */
export interface ConversationKey {
  /** The caller's API key, or a name for it. Keys never share conversations. */
  readonly owner: string;
  readonly name?: string | undefined;
}

/** The conversation of a request. */
export interface Resolution {
  /** A side job belongs to no conversation: it gets a session of its own. */
  readonly decision: "continue" | "fork" | "new" | "side_job";
  /** For the log. */
  readonly reason: string;
  /** The conversation that the request continues, or that a side job names. */
  readonly conversation: ConversationRecord | undefined;
  /** The identity of the conversation that it starts otherwise. */
  readonly identity: ConversationIdentity;
  readonly transcript: TranscriptFingerprint;
  readonly alignment: Continuation;
}

/** The name of the only conversation of a key and an agent, in mode `persistent`. */
const PERSISTENT = "persistent";

/** Resolves the conversation of a request; undefined if the request stands for itself. */
export function resolveConversation(
  { index, fingerprinter, mode }: {
    index: ConversationIndex;
    fingerprinter: Fingerprinter;
    mode: SessionMode;
  },
  key: ConversationKey,
  agent: Agent,
  messages: readonly Message[],
): Resolution | undefined {
  const name = key.name ?? (mode === "persistent" ? PERSISTENT : undefined);
  const task = knownTaskOf(messages);
  if (name === undefined && mode === "stateless" && task === undefined) return undefined;
  const transcript = fingerprinter.transcript(messages);
  const owner = fingerprinter.cached("owner", key.owner);
  const fresh = {
    conversation: undefined,
    identity: {
      id: name ?? `conv_${crypto.randomUUID().replaceAll("-", "")}`,
      owner,
      agent: agent.name,
      program: fingerprinter.cached("program", agent.program),
      isNamed: name !== undefined,
    },
    transcript,
    alignment: { positions: transcript.turns.map(() => UNMATCHED), isRetry: false },
  };
  if (task !== undefined) return { ...fresh, decision: "side_job", reason: task };
  if (name === undefined) {
    const { type: decision, ...found } = match({ ...transcript, owner, agent: agent.name }, index.all);
    return { ...fresh, decision, ...found };
  }
  const conversation = index.all.values().find((each) =>
    each.id === name && each.owner === owner && each.agent === agent.name
  );
  const reason = key.name === undefined ? "one conversation for each key and agent" : "the request names it";
  if (conversation === undefined) return { ...fresh, decision: "new", reason };
  if (adoptsSideJob(transcript, conversation)) {
    // The session has no turn of the side job.
    return { ...fresh, decision: "continue", reason: "it has a new persona", conversation };
  }
  if (key.name !== undefined && isSideJobOf(transcript, conversation)) {
    const reason = "it has another first system message and none of the replies";
    return { ...fresh, decision: "side_job", reason, conversation };
  }
  return {
    ...fresh,
    decision: "continue",
    reason,
    conversation,
    alignment: alignNamed(transcript, conversation),
  };
}
