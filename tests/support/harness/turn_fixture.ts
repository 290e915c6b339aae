import type { PromptBlock } from "../../../lib/turn/agent.ts";
import { runTurn, Turn, type TurnLimits, type TurnOptions } from "../../../lib/turn/turn.ts";
import { MemoryAgent, type MemoryPrompt } from "../agents/memory_agent.ts";
import { nextTask, TurnRecorder } from "./turn_recorder.ts";

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
