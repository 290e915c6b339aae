import type { PromptBlock } from "../../../lib/turn/agent.ts";
import type {
  PermissionId,
  PermissionOutcome,
  PermissionRequest,
  ToolCallId,
  TurnEvent,
} from "../../../lib/turn/event.ts";
import {
  runTurn,
  Turn,
  type TurnLimits,
  type TurnObserver,
  type TurnOptions,
} from "../../../lib/turn/turn.ts";
import { MemoryAgent, type MemoryPrompt } from "../agents/memory_agent.ts";
import { nextTask, summarize, TurnRecorder } from "./turn_recorder.ts";

export const BLOCKS: readonly PromptBlock[] = [{ type: "text", text: "Hello" }];
/** Without limits a turn has no timer. */
export const NO_LIMITS: TurnLimits = { replyTimeoutMs: 0, turnTimeoutMs: 0 };

/** Creates an agent that ends no turn by itself. */
export function manualAgent(): MemoryAgent {
  const agent = new MemoryAgent();
  agent.answersCancels = false;
  return agent;
}

/** Runs a turn. @returns The turn, and the prompt with which the test answers. */
export async function beginTurn(
  options: Partial<TurnOptions> = {},
): Promise<{ turn: Turn; prompt: MemoryPrompt }> {
  const agent = manualAgent();
  const session = await agent.newSession();
  const turn = await runTurn({
    session,
    resolvedModel: "openab",
    blocks: BLOCKS,
    limits: NO_LIMITS,
    ...options,
  });
  return { turn, prompt: await agent.nextPrompt() };
}

/** Reads a turn with a recorder; `leave` stops reading. */
export function recordTurn(turn: Turn): TurnRecorder & { leave: () => void } {
  const recorder = new TurnRecorder();
  return Object.assign(recorder, { leave: turn.read(recorder.reader) });
}

/** Whether the agent has ended the turn by now. */
export async function hasEnded(turn: Turn): Promise<boolean> {
  let ended = false;
  turn.ended.then(() => ended = true);
  await nextTask();
  return ended;
}

/** An observer that records summaries, and can want speech. */
export function observer(
  wantsSpeech = false,
): TurnObserver & { wantsSpeech: boolean; readonly summaries: string[] } {
  const summaries: string[] = [];
  return {
    summaries,
    wantsSpeech,
    onStart: () => void summaries.push("start"),
    onEvent: (event) => void summaries.push(summarize(event)),
  };
}

/** The request that `rm -r` may run, by a tool of the same id. */
export function permissionRequest(id: string, detail = ""): PermissionRequest {
  const tool = { id: id as ToolCallId, title: "rm -r", kind: "execute", status: "pending" } as const;
  return { id: id as PermissionId, tool, detail, options: [], expiresAt: 0 };
}

/** The event that the agent asks. */
export function permission(id: string): TurnEvent {
  return { type: "permission", request: permissionRequest(id) };
}

/** The event that a request has ended: by default, that a person has allowed it. */
export function resolved(id: string, outcome: PermissionOutcome = "allowed"): TurnEvent {
  return { type: "permission_resolved", resolution: { id: id as PermissionId, outcome, by: "me" } };
}
