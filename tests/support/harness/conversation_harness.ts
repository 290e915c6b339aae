import type { Message } from "../../../lib/conversation/message.ts";
import type { PrivateConversation } from "../../../lib/conversation/private_conversation.ts";
import { ConversationIndex } from "../../../lib/conversation/conversation.ts";
import type { Store } from "../../../lib/conversation/record.ts";
import { Fingerprinter } from "../../../lib/conversation/fingerprint.ts";
import {
  type ConversationOptions,
  ConversationRegistry,
  type TurnRequest,
} from "../../../lib/conversation/registry.ts";
import { ModelRouter } from "../../../lib/turn/model_router.ts";
import { AppError } from "../../../lib/core/errors.ts";
import type { Turn } from "../../../lib/turn/turn.ts";
import { TurnLimiter } from "../../../lib/turn/turn_limiter.ts";
import { MemoryAgent, type MemoryPrompt, type MemorySession } from "../agents/memory_agent.ts";
import { settled } from "./turn_recorder.ts";

const NEVER_IDLE_MS = 3_600_000;

/** What a test changes. */
export interface HouseOptions extends Partial<ConversationOptions> {
  /** How many turns run at once. */
  readonly limit?: number;
  /** Where conversations are kept. */
  readonly store?: Store;
  readonly agent?: MemoryAgent;
}

/** A registry over an agent in memory that ends no turn by itself. */
export class House implements Disposable {
  readonly agent: MemoryAgent;
  readonly slots: TurnLimiter;
  readonly conversations: ConversationRegistry;

  constructor(options: HouseOptions = {}) {
    const { limit = 32, store, agent = new MemoryAgent(), ...rest } = options;
    this.agent = agent;
    this.agent.answersCancels = false;
    this.slots = new TurnLimiter(limit);
    this.conversations = new ConversationRegistry({
      agents: new ModelRouter([this.agent]),
      index: new ConversationIndex(store),
      fingerprinter: new Fingerprinter(store?.key ?? new Uint8Array(32)),
      mode: "stateless",
      onBusy: "supersede",
      turnLimiter: this.slots,
      limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 },
      log: { debug() {} },
      maxSessions: 100,
      idleMs: NEVER_IDLE_MS,
      ...rest,
    });
  }

  /** Begins a turn of the conversation of this name; without one as the mode says. */
  begin(name: string | undefined, messages: readonly Message[], signal?: AbortSignal): Promise<Turn> {
    return this.beginAs({ owner: "", name }, messages, signal);
  }

  beginAs(
    conversation: TurnRequest["conversation"],
    messages: readonly Message[],
    signal?: AbortSignal,
  ): Promise<Turn> {
    return this.conversations.startTurn({ conversation, messages, record: false }, signal);
  }

  /** Begins a turn of a holder, of the conversation of this name or of the one that it holds. */
  beginHeld(
    hold: PrivateConversation,
    conversation: string | PrivateConversation,
    ...messages: Message[]
  ): Promise<Turn> {
    const whose = typeof conversation === "string" ? { owner: "", name: conversation } : conversation;
    return this.conversations.startTurn({ conversation: whose, hold, messages, record: false });
  }

  /** Begins a turn and hands out its prompt. */
  async prompted(conversation: string | undefined, ...messages: Message[]): Promise<MemoryPrompt> {
    await this.begin(conversation, messages);
    return await this.agent.nextPrompt();
  }

  /** Runs a whole turn. */
  async told(conversation: string | undefined, ...messages: Message[]): Promise<MemoryPrompt> {
    const prompt = await this.prompted(conversation, ...messages);
    prompt.end();
    await settled();
    return prompt;
  }

  session(index: number): MemorySession {
    const session = this.agent.sessions[index];
    if (session === undefined) throw new Error(`Session ${index} was not opened`);
    return session;
  }

  /** Which of the sessions are closed by now, in the order in which they were opened. */
  get closed(): boolean[] {
    return this.agent.sessions.map((session) => session.closed.aborted);
  }

  /** No timer outlives a test. */
  [Symbol.dispose](): void {
    this.conversations.close();
  }
}

/** The agent of a session dies, in whatever it was doing. */
export function crash(session: MemorySession): void {
  session.close();
  for (const prompt of session.agent.prompts) {
    if (prompt.session === session) prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  }
}

/** Holds whoever waits for `promise` until it is opened, or broken. */
export function gate(): { promise: Promise<void>; open: () => void; fail: (error: unknown) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { promise, open: resolve, fail: reject };
}
