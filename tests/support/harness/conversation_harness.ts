import { ConversationIndex } from "../../../lib/conversation/conversation.ts";
import { Fingerprinter } from "../../../lib/conversation/fingerprint.ts";
import type { Message } from "../../../lib/conversation/message.ts";
import type { Store } from "../../../lib/conversation/record.ts";
import type { ConversationOptions } from "../../../lib/conversation/active.ts";
import { ConversationRegistry, type TurnRequest } from "../../../lib/conversation/registry.ts";
import { TurnBudget } from "../../../lib/conversation/turn_budget.ts";
import { AppError } from "../../../lib/core/errors.ts";
import { NO_LOG } from "../../../lib/core/log.ts";
import { ModelRouter } from "../../../lib/turn/model_router.ts";
import type { Turn } from "../../../lib/turn/turn.ts";
import { MemoryAgent, type MemoryPrompt, type MemorySession } from "../agents/memory_agent.ts";
import { nextTask } from "./turn_recorder.ts";

const NEVER_IDLE_MS = 3_600_000;

/** The options that a test changes. */
export interface HarnessOptions extends Partial<ConversationOptions> {
  readonly store?: Store;
  readonly agent?: MemoryAgent;
}

/** A registry over an agent in memory that ends no turn by itself. */
export class ConversationHarness implements Disposable {
  readonly agent: MemoryAgent;
  readonly registry: ConversationRegistry;

  constructor(options: HarnessOptions = {}) {
    const { store, agent = new MemoryAgent(), ...rest } = options;
    this.agent = agent;
    this.agent.answersCancels = false;
    this.registry = new ConversationRegistry({
      agents: new ModelRouter([this.agent]),
      index: new ConversationIndex(store),
      fingerprinter: new Fingerprinter(store?.key ?? new Uint8Array(32)),
      mode: "stateless",
      onBusy: "supersede",
      maxTurns: 32,
      budget: new TurnBudget({ counts: store?.turnCounts, log: NO_LOG }),
      limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 },
      log: NO_LOG,
      maxSessions: 100,
      idleMs: NEVER_IDLE_MS,
      ...rest,
    });
  }

  /** Starts a turn in the conversation of this name; without one as the mode says. */
  start(name: string | undefined, messages: readonly Message[], signal?: AbortSignal): Promise<Turn> {
    return this.startAs({ owner: "", name }, messages, signal);
  }

  startAs(
    conversation: TurnRequest["conversation"],
    messages: readonly Message[],
    signal?: AbortSignal,
  ): Promise<Turn> {
    return this.registry.startTurn({ conversation, messages, record: false }, signal);
  }

  /** Starts a turn and returns its prompt. */
  async prompt(name: string | undefined, ...messages: Message[]): Promise<MemoryPrompt> {
    await this.start(name, messages);
    return await this.agent.nextPrompt();
  }

  /** Runs a whole turn, with a reply or without one. */
  async run(name: string | undefined, messages: readonly Message[], reply?: string): Promise<MemoryPrompt> {
    const prompt = await this.prompt(name, ...messages);
    if (reply !== undefined) prompt.say(reply);
    prompt.end();
    await nextTask();
    return prompt;
  }

  /** Blocks new and resumed sessions until the returned function is called. */
  blockOpening(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.agent.openGate = promise;
    return resolve;
  }

  /** Blocks prompts before they are taken until the returned function is called. */
  blockPrompts(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.agent.promptGate = promise;
    return resolve;
  }

  /** Starts a turn whose agent exits. */
  async runUntilCrash(name: string | undefined, messages: readonly Message[]): Promise<void> {
    crash((await this.prompt(name, ...messages)).session);
    await nextTask();
  }

  session(index: number): MemorySession {
    const session = this.agent.sessions[index];
    if (session === undefined) throw new Error(`Session ${index} was not opened`);
    return session;
  }

  /** Which sessions are closed by now, in the order in which they were opened. */
  get closed(): boolean[] {
    return this.agent.sessions.map((session) => session.closed.aborted);
  }

  get running(): number {
    return this.registry.runningCount;
  }

  /** The turns of each listed conversation. */
  get turnCounts(): number[] {
    return this.registry.list("").map(({ turns }) => turns);
  }

  /** Closes all sessions, so that no timer outlives a test. */
  [Symbol.dispose](): void {
    this.registry.close();
  }
}

/** Ends the agent of a session, whatever it is doing. */
export function crash(session: MemorySession): void {
  session.close();
  for (const prompt of session.agent.prompts) {
    if (prompt.session === session) prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  }
}
