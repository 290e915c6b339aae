/** A conversation as its owner may know of it. @module */

import type { Known } from "./known.ts";
import type { Live } from "./live.ts";

/** What is told of a conversation. */
export interface ConversationSummary {
  readonly id: string;
  readonly agent: string;
  /** `busy` has a turn that runs or waits, `open` a session, `closed` none; then it is opened again when needed. */
  readonly state: "busy" | "open" | "closed";
  readonly turns: number;
  /** Unix seconds. */
  readonly created_at: number;
  /** Unix seconds. */
  readonly last_used_at: number;
}

/** Makes it; `live` is there if it is in use. */
export function summaryOf(known: Known, live: Live | undefined): ConversationSummary {
  return {
    id: known.id,
    agent: known.agent,
    state: stateOf(live),
    turns: known.turnsBefore + known.turns.length,
    created_at: Math.floor(known.createdAt / 1000),
    last_used_at: Math.floor(known.usedAt / 1000),
  };
}

function stateOf(live: Live | undefined): ConversationSummary["state"] {
  if (live?.line.isBusy) return "busy";
  return live?.session && !live.session.closed.aborted ? "open" : "closed";
}
