import type { PromptBlock } from "../../../lib/turn/agent.ts";
import { runTurn, Turn, type TurnLimits, type TurnOptions } from "../../../lib/turn/turn.ts";
import { MemoryAgent, type MemoryPrompt } from "../agents/memory_agent.ts";
import { Heard, settled } from "./turn_recorder.ts";

/** What is asked. */
export const BLOCKS: readonly PromptBlock[] = [{ type: "text", text: "Hello" }];
/** A turn without limits sets no timer. */
export const NO_LIMITS: TurnLimits = { replyTimeoutMs: 0, turnTimeoutMs: 0 };

/** An agent that ends no turn by itself. */
export function quietAgent(): MemoryAgent {
  const agent = new MemoryAgent();
  agent.answersCancels = false;
  return agent;
}

/** A turn, and the prompt that the test answers it with. */
export async function begin(
  options: Partial<TurnOptions> = {},
): Promise<{ turn: Turn; prompt: MemoryPrompt }> {
  const agent = quietAgent();
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

/** A reader of the turn, and its way to leave. */
export function heardOf(turn: Turn): Heard & { leave: () => void } {
  const heard = new Heard();
  return Object.assign(heard, { leave: turn.read(heard.reader) });
}

/** Whether the turn has really ended by now. */
export async function hasEnded(turn: Turn): Promise<boolean> {
  let ended = false;
  turn.ended.then(() => ended = true);
  await settled();
  return ended;
}
