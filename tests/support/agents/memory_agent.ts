/** An agent in memory behind the `Agent` port: a test decides what it answers, and when. @module */

import type {
  Agent,
  AgentModel,
  AgentState,
  PromptBlock,
  PromptCapabilities,
  RunningPrompt,
  Session,
} from "../../../lib/turn/agent.ts";
import type {
  PlanEntry,
  SessionId,
  StopReason,
  ToolCall,
  ToolCallId,
  TurnEvent,
  TurnReader,
  Usage,
} from "../../../lib/turn/event.ts";
import type { PermissionPolicy } from "../../../lib/turn/permission.ts";
import { AppError } from "../../../lib/core/errors.ts";
import { waitFor } from "../harness/turn_recorder.ts";

/** Answers a prompt. Runs right after the prompt was taken, before anything reads the turn. */
export type Script = (prompt: MemoryPrompt) => void;

/** Creates a script that says these pieces and ends the turn. */
export function saying(...pieces: string[]): Script {
  return (prompt) => {
    for (const piece of pieces) prompt.say(piece);
    prompt.end();
  };
}

/** Creates a script that runs one of these scripts for each prompt, in order, and nothing for later prompts. */
export function oneByOne(...scripts: Script[]): Script {
  return (prompt) => scripts.shift()?.(prompt);
}

/** A prompt that the agent took. It runs until the test or a script ends it. */
export class MemoryPrompt {
  readonly blocks: readonly PromptBlock[];
  readonly session: MemorySession;
  /** The permission policy; `undefined` is the agent's. */
  readonly permissions: PermissionPolicy | undefined;
  readonly #cancelled = Promise.withResolvers<void>();
  readonly #reader: TurnReader;
  readonly #release: () => void;
  #cancelCount = 0;
  #isOver = false;

  constructor(
    session: MemorySession,
    blocks: readonly PromptBlock[],
    reader: TurnReader,
    release: () => void,
    permissions: PermissionPolicy | undefined,
  ) {
    this.session = session;
    this.permissions = permissions;
    this.blocks = blocks;
    this.#reader = reader;
    this.#release = release;
  }

  /** The text blocks, one a line. */
  get text(): string {
    return this.blocks.flatMap((block) => block.type === "text" ? [block.text] : []).join("\n");
  }

  /** Resolves at the first cancel. */
  get cancelled(): Promise<void> {
    return waitFor(this.#cancelled.promise, "a cancel");
  }

  /** Number of cancels. */
  get cancelCount(): number {
    return this.#cancelCount;
  }

  /** Whether the last event was sent. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Sends an event of the turn. Does nothing after the last event, as the port promises. */
  emit(event: TurnEvent): void {
    if (this.#isOver) return;
    this.#isOver = event.type === "end" || event.type === "failure";
    this.#reader(event);
    if (this.#isOver) this.#release();
  }

  say(text: string): void {
    this.emit({ type: "text", text });
  }

  think(text: string): void {
    this.emit({ type: "thought", text });
  }

  /** Announces or changes a tool call. */
  tool({ id = "t1", ...fields }: Partial<Omit<ToolCall, "id">> & { id?: string } = {}): void {
    const tool = { title: "Read file", kind: "read", status: "in_progress", ...fields } as const;
    this.emit({ type: "tool", tool: { id: id as ToolCallId, ...tool } });
  }

  plan(...entries: PlanEntry[]): void {
    this.emit({ type: "plan", entries });
  }

  usage(usage: Partial<Usage>): void {
    const none = { inputTokens: 0, outputTokens: 0, thoughtTokens: 0, cachedTokens: 0 };
    this.emit({ type: "usage", usage: { ...none, ...usage } });
  }

  end(reason: StopReason = "end_turn"): void {
    this.emit({ type: "end", reason });
  }

  fail(failure: AppError): void {
    this.emit({ type: "failure", failure });
  }

  /** Implements {@linkcode RunningPrompt}. */
  cancel(): void {
    if (this.#isOver) return;
    this.#cancelCount++;
    this.#cancelled.resolve();
    if (this.session.agent.answersCancels) queueMicrotask(() => this.end("cancelled"));
  }
}

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
    return this.agent.promptCapabilities;
  }

  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  async prompt(
    blocks: readonly PromptBlock[],
    reader: TurnReader,
    permissions?: PermissionPolicy,
  ): Promise<RunningPrompt> {
    const previous = this.#queue;
    const { promise, resolve: release } = Promise.withResolvers<void>();
    this.#queue = promise;
    await previous;
    await this.agent.waitUntilAllowed();
    const refusal = this.agent.promptError;
    if (refusal) {
      release();
      throw refusal;
    }
    const prompt = new MemoryPrompt(this, blocks, reader, release, permissions);
    this.agent.addPrompt(prompt);
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

/** Waits for nothing. A race with a promise that never settles would be remembered by that promise. */
const AT_ONCE: Promise<void> = Promise.resolve();

/** The agent. By default it opens sessions and takes every prompt. */
export class MemoryAgent implements Agent {
  readonly name: string;
  state: AgentState = "ready";
  program = "memory";
  models: AgentModel[] = [];
  promptCapabilities: PromptCapabilities = { image: true, audio: true };
  /** Answers each prompt. */
  script: Script | undefined;
  /** Whether sessions can be resumed. */
  resumes = false;
  /** Whether a cancel ends the turn. Otherwise the test ends it. */
  answersCancels = true;
  /** Rejects new and resumed sessions. */
  openError: AppError | undefined;
  /** Rejects prompts. */
  promptError: AppError | undefined;
  /** Delays new and resumed sessions. */
  openGate: Promise<void> = AT_ONCE;
  /** Delays prompts before they are taken. */
  promptGate: Promise<void> = AT_ONCE;
  /** The sessions that were opened or resumed. */
  readonly sessions: MemorySession[] = [];
  /** The prompts that were taken. */
  readonly prompts: MemoryPrompt[] = [];
  /** The ids that were to be resumed, and deleted. */
  readonly resumed: SessionId[] = [];
  readonly deleted: SessionId[] = [];
  /** Number of calls of `warm`. */
  warmCalls = 0;
  readonly #finished = Promise.withResolvers<void>();
  #opened = 0;
  #awaited = 0;
  #prompted = Promise.withResolvers<void>();

  constructor(name = "openab") {
    this.name = name;
  }

  warm(): void {
    this.warmCalls++;
  }

  async newSession(signal?: AbortSignal): Promise<MemorySession> {
    await this.#canOpen(signal);
    const prefix = this.name === "openab" ? "" : `${this.name}-`;
    return this.#open(`${prefix}session-${++this.#opened}`);
  }

  async resumeSession(id: SessionId, signal?: AbortSignal): Promise<MemorySession | undefined> {
    this.resumed.push(id);
    await this.#canOpen(signal);
    return this.resumes && !this.deleted.includes(id) ? this.#open(id) : undefined;
  }

  deleteSession(id: SessionId): void {
    this.deleted.push(id);
  }

  /** Resolves to the next prompt that no earlier call returned. */
  async nextPrompt(): Promise<MemoryPrompt> {
    const index = this.#awaited++;
    while (this.prompts.length <= index) await waitFor(this.#prompted.promise, "a prompt to the agent");
    return this.prompts[index]!;
  }

  /** Ends every running and later prompt as cancelled. */
  finish(): void {
    this.script = (prompt) => prompt.end("cancelled");
    this.#finished.resolve();
    for (const prompt of this.prompts) prompt.end("cancelled");
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.finish();
    return Promise.resolve();
  }

  /** Takes a prompt of a session. For sessions, not for tests. */
  addPrompt(prompt: MemoryPrompt): void {
    this.prompts.push(prompt);
    const { script } = this;
    if (script) queueMicrotask(() => script(prompt));
    this.#prompted.resolve();
    this.#prompted = Promise.withResolvers<void>();
  }

  /** Resolves when a prompt may be taken. For sessions, not for tests. */
  waitUntilAllowed(): Promise<void> {
    return this.promptGate === AT_ONCE ? AT_ONCE : Promise.race([this.promptGate, this.#finished.promise]);
  }

  async #canOpen(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.openGate === AT_ONCE) await AT_ONCE;
    else {
      const { promise: aborted, reject } = Promise.withResolvers<never>();
      const abort = () => reject(signal?.reason);
      signal?.addEventListener("abort", abort);
      try {
        await Promise.race([this.openGate, this.#finished.promise, aborted]);
      } finally {
        signal?.removeEventListener("abort", abort);
      }
    }
    if (this.openError) throw this.openError;
  }

  #open(id: string): MemorySession {
    const session = new MemorySession(id, this);
    this.sessions.push(session);
    return session;
  }
}

/** Finds the marks of messages in random tests: of questions (`q12q`), system texts (`s1s`) and notes (`n7n`). */
export function marksIn(text: string): string[] {
  return text.match(/([qsn])\d+\1/g) ?? [];
}

/** A memory agent that detects overlapping prompts, and remembers per session the marks that it received. */
export class StrictAgent extends MemoryAgent {
  /** Sessions that got a prompt while another one was running. */
  readonly overlaps: string[] = [];
  /** How often each session received each mark. A resumed session keeps its marks. */
  readonly receivedMarks = new Map<SessionId, Map<string, number>>();
  readonly #sending = new Set<SessionId>();
  readonly #running = new Set<MemoryPrompt>();

  /** The prompts that have not ended. */
  get running(): MemoryPrompt[] {
    for (const prompt of this.#running) if (prompt.isOver) this.#running.delete(prompt);
    return [...this.#running];
  }

  override async newSession(signal?: AbortSignal): Promise<MemorySession> {
    return this.#watch(await super.newSession(signal));
  }

  override async resumeSession(id: SessionId, signal?: AbortSignal): Promise<MemorySession | undefined> {
    const session = await super.resumeSession(id, signal);
    return session && this.#watch(session);
  }

  override addPrompt(prompt: MemoryPrompt): void {
    this.#running.add(prompt);
    const { id } = prompt.session;
    const counts = this.receivedMarks.get(id) ?? new Map<string, number>();
    this.receivedMarks.set(id, counts);
    for (const mark of new Set(marksIn(prompt.text))) counts.set(mark, (counts.get(mark) ?? 0) + 1);
    super.addPrompt(prompt);
  }

  /** Closes a session, and fails its running prompts. */
  crash(session: MemorySession): void {
    session.close();
    for (const prompt of this.running) {
      if (prompt.session === session) prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
    }
  }

  #watch(session: MemorySession): MemorySession {
    const { id } = session;
    const prompt = session.prompt.bind(session);
    session.prompt = async (blocks, reader) => {
      if (session.closed.aborted) throw new AppError("agent_unavailable", "The session is closed.");
      if (this.#sending.has(id) || this.running.some((prompt) => prompt.session.id === id)) {
        this.overlaps.push(id);
      }
      this.#sending.add(id);
      try {
        return await prompt(blocks, reader);
      } finally {
        this.#sending.delete(id);
        if (session.closed.aborted) this.crash(session);
      }
    };
    return session;
  }
}
