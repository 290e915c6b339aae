/** An agent in memory: it says what a test tells it to say, when the test tells it. @module */

import type {
  Agent,
  AgentModel,
  AgentState,
  PromptBlock,
  PromptCapabilities,
  RunningPrompt,
  Session,
} from "../../../lib/turn/agent.ts";
import type { SessionId, TurnReader } from "../../../lib/turn/event.ts";
import { AppError } from "../../../lib/core/errors.ts";
import { awaited, MemoryPrompt } from "./memory_prompt.ts";

export type { MemoryPrompt };

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

/** What waits for nothing. A race with what never comes would be remembered by that for ever. */
const AT_ONCE: Promise<void> = Promise.resolve();

/** A session of a {@linkcode MemoryAgent}. */
export class MemorySession implements Session {
  readonly id: SessionId;
  readonly agent: MemoryAgent;
  readonly #closing = new AbortController();
  #queue: Promise<void> = Promise.resolve();
  model: string | undefined;

  constructor(id: string, agent: MemoryAgent) {
    this.id = id as SessionId;
    this.agent = agent;
    this.model = agent.models[0]?.id;
  }

  get promptCapabilities(): PromptCapabilities {
    return this.agent.accepts;
  }

  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  async prompt(blocks: readonly PromptBlock[], reader: TurnReader): Promise<RunningPrompt> {
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

  setModel(model: string | undefined): Promise<void> {
    const { models } = this.agent;
    if (model !== undefined && !models.some(({ id }) => id === model)) {
      return Promise.reject(new AppError("model_not_found", `There is no ${model}.`));
    }
    this.model = model ?? models[0]?.id;
    return Promise.resolve();
  }

  close(): void {
    this.#closing.abort();
  }
}

/** The agent. What a test does not set works: it opens sessions and takes every prompt. */
export class MemoryAgent implements Agent {
  readonly name: string;
  state: AgentState = "ready";
  program = "memory";
  models: AgentModel[] = [];
  /** Whether it brings back the sessions that it had. */
  resumes = false;
  /** The sessions that it was asked to bring back. */
  readonly resumed: SessionId[] = [];
  /** The sessions that it was asked to forget. */
  readonly forgotten: SessionId[] = [];
  accepts: PromptCapabilities = { image: true, audio: true };
  /** What it does with each prompt by itself. */
  script: Script | undefined;
  /** Whether it ends a turn when it is asked to; if not, the test ends it. */
  answersCancels = true;
  /** Why no session can be opened. */
  openFailure: AppError | undefined;
  /** Why no prompt is taken. */
  promptFailure: AppError | undefined;
  /** What opening a session waits for. */
  opens: Promise<void> = AT_ONCE;
  /** What taking a prompt waits for. */
  takes: Promise<void> = AT_ONCE;
  /** Every session that was opened or brought back. */
  readonly sessions: MemorySession[] = [];
  /** Every prompt that was taken. */
  readonly prompts: MemoryPrompt[] = [];
  readonly #finished = Promise.withResolvers<void>();
  #opened = 0;
  #seen = 0;
  #wake = Promise.withResolvers<void>();

  constructor(name = "openab") {
    this.name = name;
  }

  /** How often it was to be started ahead of need. */
  warmed = 0;

  warm(): void {
    this.warmed++;
  }

  async newSession(signal?: AbortSignal): Promise<MemorySession> {
    await this.#opening(signal);
    return this.#add(`${this.#prefix}session-${++this.#opened}`);
  }

  /** Brings back any session but a forgotten one, if it does so at all: as a new one of the same id. */
  async resumeSession(id: SessionId, signal?: AbortSignal): Promise<MemorySession | undefined> {
    this.resumed.push(id);
    await this.#opening(signal);
    return this.resumes && !this.forgotten.includes(id) ? this.#add(id) : undefined;
  }

  /** What each session waits for that is opened or brought back. */
  async #opening(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.opens === AT_ONCE) await AT_ONCE;
    else await this.#gate(signal);
    if (this.openFailure) throw this.openFailure;
  }

  async #gate(signal: AbortSignal | undefined): Promise<void> {
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = () => reject(signal?.reason);
    signal?.addEventListener("abort", abort);
    try {
      await Promise.race([this.opens, this.#finished.promise, aborted]);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  #add(id: string): MemorySession {
    const session = new MemorySession(id, this);
    this.sessions.push(session);
    return session;
  }

  get #prefix(): string {
    return this.name === "openab" ? "" : `${this.name}-`;
  }

  deleteSession(id: SessionId): void {
    this.forgotten.push(id);
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
    return this.takes === AT_ONCE ? AT_ONCE : Promise.race([this.takes, this.#finished.promise]);
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
