/** A prompt of an agent in memory: it runs until a test ends it. @module */

import type { PromptBlock } from "../../../lib/turn/agent.ts";
import type {
  PlanEntry,
  StopReason,
  ToolCall,
  ToolCallId,
  TurnEvent,
  TurnReader,
  Usage,
} from "../../../lib/turn/event.ts";
import type { AppError } from "../../../lib/core/errors.ts";
import type { MemorySession } from "./memory_agent.ts";

/** How long a test waits for what has to come, in milliseconds: only a broken program lets it pass. */
const PATIENCE_MS = 60_000;

/** What the promise resolves to, or a failure that says what did not happen. */
export async function awaited<T>(promise: Promise<T>, what: string): Promise<T> {
  const { promise: never, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what}, in ${PATIENCE_MS / 1000} seconds`)), PATIENCE_MS);
  try {
    return await Promise.race([promise, never]);
  } finally {
    clearTimeout(timer);
  }
}

/** A prompt that the agent took. It runs until it is ended. */
export class MemoryPrompt {
  readonly blocks: readonly PromptBlock[];
  readonly session: MemorySession;
  readonly #cancelled: Promise<void>;
  readonly #reader: TurnReader;
  readonly #done: () => void;
  readonly #wasCancelled: () => void;
  #cancels = 0;
  #over = false;

  constructor(session: MemorySession, blocks: readonly PromptBlock[], reader: TurnReader, done: () => void) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.session = session;
    this.blocks = blocks;
    this.#cancelled = promise;
    this.#wasCancelled = resolve;
    this.#reader = reader;
    this.#done = done;
  }

  /** The text of the prompt. */
  get text(): string {
    return this.blocks.flatMap((block) => block.type === "text" ? [block.text] : []).join("\n");
  }

  /** Resolves when the agent is asked to stop. */
  get cancelled(): Promise<void> {
    return awaited(this.#cancelled, "the agent was not asked to stop");
  }

  /** How often the agent was asked to stop. */
  get cancels(): number {
    return this.#cancels;
  }

  /** Whether the last event was told. */
  get over(): boolean {
    return this.#over;
  }

  /** Tells an event of the turn; nothing once the turn is over, as the port promises. */
  emit(event: TurnEvent): void {
    if (this.#over) return;
    this.#over = event.type === "end" || event.type === "failure";
    this.#reader(event);
    if (this.#over) this.#done();
  }

  /** Says a piece of the reply. */
  say(text: string): void {
    this.emit({ type: "text", text });
  }

  /** Thinks aloud. */
  think(text: string): void {
    this.emit({ type: "thought", text });
  }

  /** Announces or changes a tool call. */
  tool(tool: Partial<Omit<ToolCall, "id">> & { id?: string } = {}): void {
    const { id = "t1", ...rest } = tool;
    this.emit({
      type: "tool",
      tool: { id: id as ToolCallId, title: "Read file", kind: "read", status: "in_progress", ...rest },
    });
  }

  /** Shows its plan. */
  plan(...entries: PlanEntry[]): void {
    this.emit({ type: "plan", entries });
  }

  /** Tells what the turn cost. */
  usage(usage: Partial<Usage>): void {
    this.emit({
      type: "usage",
      usage: { inputTokens: 0, outputTokens: 0, thoughtTokens: 0, cachedTokens: 0, ...usage },
    });
  }

  /** Answers the prompt. */
  end(reason: StopReason = "end_turn"): void {
    this.emit({ type: "end", reason });
  }

  /** Ends without an answer. */
  fail(failure: AppError): void {
    this.emit({ type: "failure", failure });
  }

  /** Not for tests: what the centre does to stop the turn. */
  cancel(): void {
    if (this.#over) return;
    this.#cancels++;
    this.#wasCancelled();
    if (this.session.agent.answersCancels) queueMicrotask(() => this.end("cancelled"));
  }
}
