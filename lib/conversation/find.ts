/** Which conversation a request belongs to: by its name, by the rule of the house, or by what it says. @module */

import type { Agent } from "../turn/agent.ts";
import type { Known, KnownOrigin, Memory } from "./known.ts";
import { type Continuation, NEW } from "./align.ts";
import { follow, match } from "./match.ts";
import type { Message } from "./message.ts";
import type { SessionMode } from "./policy.ts";
import type { Printer, TranscriptPrint } from "./print.ts";

/** Whose a request is, as far as its caller says. */
export interface Whose {
  /** The key that the caller used. Nobody meets another's conversations. */
  readonly owner: string;
  /** What the caller calls the conversation. */
  readonly name?: string | undefined;
}

/** What a request is to the conversations that are known. */
export interface Found {
  readonly decision: "continue" | "fork" | "new";
  /** For the log. */
  readonly why: string;
  /** The conversation that it goes on with. */
  readonly known: Known | undefined;
  /** What it begins otherwise. */
  readonly origin: KnownOrigin;
  readonly transcript: TranscriptPrint;
  readonly how: Continuation;
}

/** What is needed to find one. */
export interface Finder {
  readonly memory: Memory;
  readonly printer: Printer;
  readonly mode: SessionMode;
}

/** The name of the one conversation of a key and an agent, in mode `persistent`. */
const PERSISTENT = "persistent";

/** Finds the conversation of a request. @returns Nothing if the request is none's: each stands for itself. */
export function findConversation(
  { memory, printer, mode }: Finder,
  whose: Whose,
  agent: Agent,
  messages: readonly Message[],
): Found | undefined {
  const name = whose.name ?? (mode === "persistent" ? PERSISTENT : undefined);
  if (name === undefined && mode === "stateless") return undefined;
  const transcript = printer.transcript(messages);
  const owner = printer.lasting("owner", whose.owner);
  const origin = {
    id: name ?? `conv_${crypto.randomUUID().replaceAll("-", "")}`,
    owner,
    agent: agent.name,
    program: printer.lasting("program", agent.program),
    isNamed: name !== undefined,
  };
  const begins = { known: undefined, origin, transcript, how: allNew(transcript) };
  if (name !== undefined) {
    const why = whose.name === undefined ? "there is one for each key and agent" : "it is named";
    const known = memory.find(owner, agent.name, name);
    if (known === undefined) return { ...begins, decision: "new", why };
    return { ...begins, decision: "continue", why, known, how: follow(transcript, known) };
  }
  const found = match({ ...transcript, owner, agent: agent.name }, memory.all);
  const { type: decision, why } = found;
  if (found.type !== "continue") return { ...begins, decision, why };
  return { ...begins, decision, why, known: found.conversation, how: found.how };
}

function allNew({ turns }: TranscriptPrint): Continuation {
  return { places: turns.map(() => NEW), isAgain: false };
}
