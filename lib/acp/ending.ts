/** How a prompt ended, as the last events of its turn: pure. @module */

import type { TurnEvent } from "../turn/event.ts";
import { Failure } from "../turn/failure.ts";
import { explain } from "./ask.ts";
import { ClosedError, RPC, RpcError } from "./rpc.ts";
import type { UpdateTranslator } from "./update.ts";
import { parsePromptResult } from "./wire.ts";

/** What is known of a prompt at its end. */
export interface Ended {
  readonly translator: UpdateTranslator;
  /** It was cancelled from here. */
  readonly cancelled: boolean;
  /** A permission was refused in it. */
  readonly refused: boolean;
}

/** The end of a prompt that was answered. @throws {TypeError} if the answer cannot be read. */
export function answeredEnding(result: unknown, { translator, cancelled, refused }: Ended): TurnEvent[] {
  const { stopReason, usage } = parsePromptResult(result);
  const events = translator.close(stopReason === "end_turn" ? "completed" : "failed");
  if (usage) events.push({ type: "usage", usage });
  if (stopReason === "cancelled" && refused && !cancelled) {
    events.push(failed("agent_cancelled", "The agent stopped, because it was refused a permission."));
  } else {
    events.push({ type: "end", reason: stopReason });
  }
  return events;
}

/** The end of a prompt that failed; `loginNeeded` makes the failure that tells how to log in. */
export function failedEnding(
  error: unknown,
  { translator, cancelled }: Ended,
  loginNeeded: (why: string) => Failure,
): TurnEvent[] {
  const tools = translator.close("failed");
  if (error instanceof ClosedError) {
    return [...tools, failed("agent_crashed", "The agent's process ended in the middle of the turn.")];
  }
  // Some agents answer a prompt that is cancelled early with an error.
  if (cancelled) return [...tools, { type: "end", reason: "cancelled" }];
  const message = explain(error);
  if (error instanceof RpcError && error.code === RPC.authRequired) {
    return [...tools, { type: "failure", failure: loginNeeded(message).afterPrompt() }];
  }
  return [...tools, failed("agent_error", `The agent answered with an error: ${message}`)];
}

/** The failure of whoever asks something of a session that is closed. */
export function sessionGone(): Failure {
  return new Failure("agent_unavailable", "The agent's session is gone.", { retryAfterSecs: 1 });
}

function failed(code: "agent_crashed" | "agent_error" | "agent_cancelled", message: string): TurnEvent {
  return { type: "failure", failure: new Failure(code, message, { prompted: true }) };
}
