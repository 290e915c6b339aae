/** What became of a turn: looked for in what watchers are told of it. @module */

import type { TurnEvent } from "../turn/event.ts";
import type { FailureCode } from "../turn/failure.ts";
import type { TurnObserver } from "../turn/run.ts";
import { isSilent as isSilentReply } from "../turn/silent.ts";
import type { TurnState } from "./memory.ts";
import { REPLY_CHARS } from "./print.ts";

/** How an agent refuses a prompt, such as for want of a log-in. */
const REFUSALS: ReadonlySet<FailureCode> = new Set<FailureCode>(["agent_error", "agent_auth_required"]);

/** What is told of a turn. */
export interface Outcome {
  /** The agent has the prompt. */
  begun(): void;
  /**
   * How far it came, with the beginning of what was said; `asked` if the agent may know nothing of it. `isSilent` if
   * the agent gave no sign of life for too long: it may be dying.
   */
  ended(state: TurnState, reply: string, isSilent: boolean): void;
}

/** An observer that tells the outcome, and everything to another observer. */
export function watchTurn(observer: TurnObserver | undefined, outcome: Outcome): TurnObserver {
  let reply = "";
  let isHeard = false;
  return {
    begun(turn) {
      outcome.begun();
      observer?.begun(turn);
    },
    heard(event, turn) {
      if (event.type === "text") {
        if (reply.length < REPLY_CHARS) reply += event.text;
      } else {
        const state = stateAfter(event, reply, isHeard);
        const isSilent = event.type === "failure" && event.failure.code === "agent_timeout";
        if (state) outcome.ended(state, reply, isSilent);
      }
      isHeard = true;
      observer?.heard(event, turn);
    },
  };
}

function stateAfter(event: TurnEvent, reply: string, isHeard: boolean): TurnState | undefined {
  if (event.type === "end") return event.reason === "cancelled" || isSilentReply(reply) ? "told" : "answered";
  if (event.type !== "failure") return undefined;
  const { code } = event.failure;
  // An agent that is gone, or refused before it began, may not have kept what it was given.
  return code === "agent_crashed" || !isHeard && REFUSALS.has(code) ? "asked" : "told";
}
