/** Transcripts in few words, and a house without agents that requests are put to, one after the other. @module */

import {
  type ConversationKey,
  type Resolution,
  resolveConversation,
} from "../../../lib/conversation/resolve.ts";
import { type Conversation, ConversationIndex } from "../../../lib/conversation/conversation.ts";
import type { Store } from "../../../lib/conversation/record.ts";
import { isTurn, type Message, type Role, textOf } from "../../../lib/conversation/message.ts";
import { watchTurn } from "../../../lib/conversation/start_turn.ts";
import type { SessionMode } from "../../../lib/conversation/resolve.ts";
import { Fingerprinter } from "../../../lib/conversation/fingerprint.ts";
import { unseenMessages } from "../../../lib/conversation/prompt.ts";
import type { SessionId, TurnEvent } from "../../../lib/turn/event.ts";
import { AppError } from "../../../lib/core/errors.ts";
import type { Turn } from "../../../lib/turn/turn.ts";
import { MemoryAgent } from "../agents/memory_agent.ts";

/** Messages: `s: You are Mao. / u: Hi / a: Hello / u Ann: Hi / t clock: 12:00`; or one that has more to it. */
export type Line = string | Message;

const ROLES: Readonly<Record<string, Role>> = { s: "system", u: "user", a: "assistant", t: "tool" };

/** A transcript. */
export function talk(...lines: Line[]): Message[] {
  return lines.flatMap((line): Message[] =>
    typeof line === "string" ? line.split(" / ").map(messageOf) : [line]
  );
}

function messageOf(line: string): Message {
  const [, letter = "", name, text = ""] = /^([suat])(?: (\w+))?: (.*)$/s.exec(line) ?? [];
  const role = ROLES[letter];
  if (role === undefined) throw new Error(`Nobody says ${line}`);
  return { role, ...(name ? { name } : {}), parts: [{ type: "text", text }] };
}

/** An answer that is long enough to tell conversations apart. */
export const long = (what: number | string) => `[happy] Well, let me tell you all about ${what}.`;

/** How a turn ends: with this answer, or without one. */
export type Ending = string | typeof CANCELLED | typeof CRASHED | typeof RUNNING;
/** The user stopped it. */
export const CANCELLED = Symbol("cancelled");
/** The agent died. */
export const CRASHED = Symbol("crashed");
/** It has not ended. */
export const RUNNING = Symbol("running");

/** What became of a request. */
export interface Asked {
  readonly decision: Resolution["decision"];
  /** Which conversation it is now, counted in the order in which they began. */
  readonly of: number;
  /** The words of the turns that are put to a session that heard the others. */
  readonly news: readonly string[];
  readonly isAgain: boolean;
}

/** The key of the prints. */
export const PRINTER = new Fingerprinter(new Uint8Array(32));

/** A house without agents: it remembers, as the real one does. */
export class Room {
  readonly index: ConversationIndex;
  readonly mode: SessionMode;
  readonly fingerprinter: Fingerprinter;
  /** Unix milliseconds; each request takes one. */
  now = 0;
  readonly #began: Conversation[] = [];

  constructor({ mode = "auto", store, printer = PRINTER }: {
    readonly mode?: SessionMode;
    readonly store?: Store;
    readonly printer?: Fingerprinter;
  } = {}) {
    this.index = new ConversationIndex(store);
    this.mode = mode;
    this.fingerprinter = printer;
  }

  /** Looks for the conversation of a request. */
  find(
    messages: readonly Message[],
    { agent = "openab", owner = "", name }: Asking = {},
  ): Resolution | undefined {
    return resolveConversation(this, { owner, name }, new MemoryAgent(agent), messages);
  }

  /** Puts a request, whose turn ends so. */
  ask(messages: readonly Message[], ending: Ending, asking?: Asking): Asked {
    const found = this.find(messages, asking);
    if (found === undefined) throw new Error("It is nobody's");
    const now = ++this.now;
    const known = found.conversation ?? this.index.create(found.identity, found.transcript, now);
    if (!this.#began.includes(known)) this.#began.push(known);
    this.index.touch(known, now, () => false);
    const brought = known.merge(found.transcript, found.alignment);
    const put = unseenMessages(messages, known.pendingTurns(brought), known.personaChanged(brought));
    let takeBack = () => {};
    const watched = watchTurn(undefined, {
      begun: () => takeBack = known.markDelivered(brought, "session" as SessionId, found.identity.program),
      ended: (state, reply) => {
        if (state === "pending") takeBack();
        else known.setLastState(brought, state);
        if (state === "answered") known.reply = this.fingerprinter.reply(reply);
      },
    });
    watched.onStart(NO_TURN);
    for (const event of eventsOf(ending)) watched.onEvent(event, NO_TURN);
    return {
      decision: found.decision,
      of: this.#began.indexOf(known),
      news: put.filter(isTurn).map(textOf),
      isAgain: brought.isRetry,
    };
  }
}

/** Who asks. */
export interface Asking extends Partial<ConversationKey> {
  readonly agent?: string;
}

/** What happens in a turn tells nothing about it here. */
const NO_TURN = {} as Turn;

function eventsOf(ending: Ending): TurnEvent[] {
  if (ending === RUNNING) return [];
  if (ending === CANCELLED) return [{ type: "text", text: "Half an" }, { type: "end", reason: "cancelled" }];
  if (ending === CRASHED) return [{ type: "failure", failure: new AppError("agent_crashed", "Gone.") }];
  return [{ type: "text", text: ending as string }, { type: "end", reason: "end_turn" }];
}
