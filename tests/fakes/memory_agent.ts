/** An agent in memory: it says what a test tells it to say, when the test tells it. @module */

import type { Accepts, Agent, AgentState, PromptBlock, Prompting, Session } from "../../lib/turn/agent.ts";
import type {
  PlanEntry,
  SessionId,
  StopReason,
  ToolCall,
  ToolCallId,
  TurnEvent,
  TurnReader,
  Usage,
} from "../../lib/turn/event.ts";
import type { Failure } from "../../lib/turn/failure.ts";

/** What an agent does with a prompt; it runs right after the prompt was taken, before anything reads the turn. */
export type Script = (prompt: MemoryPrompt) => void;

/** A script that says these pieces and is done. */
export function saying(...pieces: string[]): Script {
  return (prompt) => {
    for (const piece of pieces) prompt.say(piece);
    prompt.end();
  };
}

/** A script that runs one of these for each prompt, in order; for those beyond the last nothing. */
export function oneByOne(...scripts: Script[]): Script {
  return (prompt) => scripts.shift()?.(prompt);
}

/** How long a test waits for what has to come, in milliseconds: only a broken program lets it pass. */
const PATIENCE_MS = 20_000;

/** What the promise resolves to, or a failure that says what did not happen. */
async function awaited<T>(promise: Promise<T>, what: string): Promise<T> {
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
  fail(failure: Failure): void {
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

/** A session of a {@linkcode MemoryAgent}. */
export class MemorySession implements Session {
  readonly id: SessionId;
  readonly agent: MemoryAgent;
  readonly #closing = new AbortController();
  #queue: Promise<void> = Promise.resolve();

  constructor(id: string, agent: MemoryAgent) {
    this.id = id as SessionId;
    this.agent = agent;
  }

  get accepts(): Accepts {
    return this.agent.accepts;
  }

  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  async prompt(blocks: readonly PromptBlock[], reader: TurnReader): Promise<Prompting> {
    const before = this.#queue;
    const { promise, resolve: done } = Promise.withResolvers<void>();
    this.#queue = promise;
    await before;
    await this.agent.canTake();
    const refusal = this.agent.promptFailure;
    if (refusal) {
      done();
      throw refusal;
    }
    const prompt = new MemoryPrompt(this, blocks, reader, done);
    this.agent.took(prompt);
    return { cancel: () => prompt.cancel() };
  }

  close(): void {
    this.#closing.abort();
  }
}

/** The agent. What a test does not set works: it opens sessions and takes every prompt. */
export class MemoryAgent implements Agent {
  readonly name = "openab";
  state: AgentState = "ready";
  accepts: Accepts = { image: true, audio: true };
  /** What it does with each prompt by itself. */
  script: Script | undefined;
  /** Whether it ends a turn when it is asked to; if not, the test ends it. */
  answersCancels = true;
  /** Why no session can be opened. */
  openFailure: Failure | undefined;
  /** Why no prompt is taken. */
  promptFailure: Failure | undefined;
  /** What opening a session waits for. */
  opens: Promise<void> = Promise.resolve();
  /** What taking a prompt waits for. */
  takes: Promise<void> = Promise.resolve();
  /** Every session that was opened. */
  readonly sessions: MemorySession[] = [];
  /** Every prompt that was taken. */
  readonly prompts: MemoryPrompt[] = [];
  readonly #finished = Promise.withResolvers<void>();
  #seen = 0;
  #wake = Promise.withResolvers<void>();

  async open(signal?: AbortSignal): Promise<MemorySession> {
    signal?.throwIfAborted();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = () => reject(signal?.reason);
    signal?.addEventListener("abort", abort);
    await Promise.race([this.opens, this.#finished.promise, aborted]);
    signal?.removeEventListener("abort", abort);
    if (this.openFailure) throw this.openFailure;
    const session = new MemorySession(`session-${this.sessions.length + 1}`, this);
    this.sessions.push(session);
    return session;
  }

  /** The next prompt that no test has seen yet, as soon as it is there. */
  async nextPrompt(): Promise<MemoryPrompt> {
    const at = this.#seen++;
    while (this.prompts.length <= at) await awaited(this.#wake.promise, "the agent was not prompted");
    return this.prompts[at]!;
  }

  /** Not for tests: a session took a prompt. */
  took(prompt: MemoryPrompt): void {
    this.prompts.push(prompt);
    const { script } = this;
    if (script) queueMicrotask(() => script(prompt));
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }

  /** Not for tests: what a session waits for before it takes a prompt. */
  canTake(): Promise<void> {
    return Promise.race([this.takes, this.#finished.promise]);
  }

  /** Ends everything that runs, or is yet to come. */
  finish(): void {
    this.script = (prompt) => prompt.end("cancelled");
    this.#finished.resolve();
    for (const prompt of this.prompts) prompt.end("cancelled");
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.finish();
    return Promise.resolve();
  }
}
