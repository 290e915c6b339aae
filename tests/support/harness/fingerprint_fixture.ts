/** Transcripts in short form, and conversations without agents that requests are sent to, one after the other. @module */

import {
  ConversationIndex,
  markDelivered,
  mergeTranscript,
  unseenParts,
} from "../../../lib/conversation/conversation.ts";
import { Fingerprinter } from "../../../lib/conversation/fingerprint.ts";
import {
  continuedReply,
  isSilentReply,
  isTurn,
  type Message,
  type Role,
  textOf,
} from "../../../lib/conversation/message.ts";
import { CONTINUE, promptMessages } from "../../../lib/conversation/prompt.ts";
import {
  type ConversationKey,
  type Resolution,
  resolveConversation,
  type SessionMode,
} from "../../../lib/conversation/resolve.ts";
import type { ConversationRecord } from "../../../lib/conversation/record.ts";
import type { SessionId } from "../../../lib/turn/event.ts";
import { MemoryAgent } from "../agents/memory_agent.ts";

/** Messages: `s: You are Mao. / u: Hi / a: Hello / u Ann: Hi / t clock: 12:00`; or a message that has more to it. */
export type TranscriptLine = string | Message;

const ROLES: Readonly<Record<string, Role>> = { s: "system", u: "user", a: "assistant", t: "tool" };

/** Makes the messages of a transcript. */
export function messagesOf(...lines: TranscriptLine[]): Message[] {
  return lines.flatMap((line) => typeof line === "string" ? line.split(" / ").map(parseMessage) : [line]);
}

function parseMessage(line: string): Message {
  const [, letter = "", name, text = ""] = /^([suat])(?: (\w+))?: (.*)$/s.exec(line) ?? [];
  const role = ROLES[letter];
  if (role === undefined) throw new Error(`no role in ${line}`);
  return { role, ...(name ? { name } : {}), parts: [{ type: "text", text }] };
}

/** Makes a distinctive reply. */
export const longReply = (topic: number | string) => `[happy] Well, let me tell you all about ${topic}.`;

/** How a turn ends: with this reply, or without one. */
export type TurnEnd = string | typeof CANCELLED | typeof CRASHED | typeof RUNNING;
/** The user stopped it. */
export const CANCELLED = Symbol("cancelled");
/** The agent exited. */
export const CRASHED = Symbol("crashed");
/** It has not ended. */
export const RUNNING = Symbol("running");

/** The result of a request. */
export interface RequestResult {
  readonly decision: Resolution["decision"];
  /** The number of its conversation, in the order of their starts. */
  readonly conversation: number;
  /** The words of the turns that a session gets that has the others. */
  readonly sent: readonly string[];
  readonly isRetry: boolean;
}

/** The sender of a request. */
export interface Caller extends Partial<ConversationKey> {
  readonly agent?: string;
}

export const FINGERPRINTER = new Fingerprinter(new Uint8Array(32));

/** Creates the conversation of these lines, without their turns, in an index of its own or in this one. */
export function newConversation(
  line = "",
  index = new ConversationIndex(undefined),
  id = "a",
  isNamed = false,
) {
  const identity = {
    id,
    owner: FINGERPRINTER.fingerprint("owner", ""),
    agent: "openab",
    program: FINGERPRINTER.fingerprint("program", ""),
    isNamed,
  };
  return index.create(identity, FINGERPRINTER.transcript(line === "" ? [] : messagesOf(line)), 0);
}

/** Conversations without agents: remembered as the registry does. */
export class MatchHarness {
  readonly index = new ConversationIndex(undefined);
  readonly fingerprinter = FINGERPRINTER;
  readonly mode: SessionMode;
  /** Unix milliseconds; each request takes one. */
  now = 0;
  /** The messages that the session got last. */
  sent: readonly Message[] = [];
  readonly #conversations: ConversationRecord[] = [];

  constructor(mode: SessionMode = "auto") {
    this.mode = mode;
  }

  resolve(
    messages: readonly Message[],
    { agent = "openab", owner = "", name }: Caller = {},
  ): Resolution | undefined {
    return resolveConversation(this, { owner, name }, new MemoryAgent(agent), messages);
  }

  /** Sends a request whose turn ends like this. */
  send(messages: readonly Message[], end: TurnEnd, caller?: Caller): RequestResult {
    const resolution = this.resolve(messages, caller);
    if (resolution === undefined) throw new Error("The request has no conversation");
    const { identity, transcript, alignment, decision } = resolution;
    const now = ++this.now;
    const conversation = resolution.conversation ?? this.index.create(identity, transcript, now);
    if (!this.#conversations.includes(conversation)) this.#conversations.push(conversation);
    this.index.touch(conversation, now, () => false);
    const delta = mergeTranscript(conversation, transcript, alignment);
    this.sent = promptMessages(messages, unseenParts(conversation, delta));
    const session = { sessionId: "session" as SessionId, program: identity.program };
    const undo = markDelivered(conversation, delta, session);
    if (end === CRASHED) undo();
    const last = delta.turns.at(-1);
    if (typeof end === "string" && !isSilentReply(end)) {
      if (last) last.turn.state = "answered";
      conversation.reply = this.fingerprinter.reply(end, continuedReply(messages));
    }
    return {
      decision,
      conversation: this.#conversations.indexOf(conversation),
      sent: this.sent.filter((message) => isTurn(message) && message !== CONTINUE).map(textOf),
      isRetry: delta.isRetry,
    };
  }
}
