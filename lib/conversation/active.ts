/** The conversations in use: each with its queue and the session that serves it. @module */

import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";
import type { Agent, Session } from "../turn/agent.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import type { Conversation, ConversationIndex } from "./conversation.ts";
import type { Fingerprinter } from "./fingerprint.ts";
import { cancelled, TurnQueue } from "./turn_queue.ts";
import { UndeliveredMessages } from "./undelivered.ts";

/** The dependencies and limits of {@linkcode ActiveConversations}. */
export interface ActiveConversationsOptions {
  readonly agents: ModelRouter;
  readonly index: ConversationIndex;
  readonly fingerprinter: Fingerprinter;
  readonly log: { debug(message: string, fields: Readonly<Record<string, unknown>>): void };
  /** Sessions that stay open. Beyond that the one that was not used for the longest time is closed. */
  readonly maxSessions: number;
  /** How long a session stays open after its last turn, in milliseconds. */
  readonly idleMs: number;
}

/**
 * What happens to the session when no turn is left. `keep`: the session stays open for a while if the client may come
 * back. `hold`: the session stays open. `close`: the session is closed. `delete`: the agent deletes the session too.
 */
type WhenIdle = "keep" | "hold" | "close" | "delete";

/** A conversation in use. */
export class ActiveConversation {
  readonly agent: Agent;
  readonly queue: TurnQueue = new TurnQueue();
  readonly undelivered: UndeliveredMessages = new UndeliveredMessages();
  /** The remembered conversation; undefined if no later request can continue this one. */
  conversation: Conversation | undefined;
  session: Session | undefined;
  /** The session may not have received the earlier messages. */
  needsFullTranscript = true;
  whenIdle: WhenIdle;
  idleTimer: IdleTimer | undefined;

  constructor(agent: Agent, whenIdle: WhenIdle) {
    this.agent = agent;
    this.whenIdle = whenIdle;
  }

  /** Whether a turn is running or waiting, the session is open, or neither. */
  get state(): "busy" | "open" | "closed" {
    if (this.queue.isBusy) return "busy";
    return this.session && !this.session.closed.aborted ? "open" : "closed";
  }
}

/** A conversation that is not remembered. Its session stays open until it is disposed. */
export interface PrivateConversation extends Disposable {
  readonly active: ActiveConversation;
}

/** The remembered conversations that have a session or a turn. */
export class ActiveConversations {
  readonly #options: ActiveConversationsOptions;
  /** In the order of use. */
  readonly #all = new Map<Conversation, ActiveConversation>();

  constructor(options: ActiveConversationsOptions) {
    this.#options = options;
  }

  get(conversation: Conversation): ActiveConversation | undefined {
    return this.#all.get(conversation);
  }

  /** Whether a conversation has a session or a turn. */
  readonly has = (conversation: Conversation): boolean => this.#all.has(conversation);

  /** Makes a conversation the last used one. */
  touch(conversation: Conversation, active: ActiveConversation, now: number): void {
    active.conversation = conversation;
    this.#all.delete(conversation);
    this.#all.set(conversation, active);
    this.#options.index.touch(conversation, now, this.has);
  }

  /**
   * Finds the session of a conversation: the open one, the earlier one, which is resumed, or a new one.
   *
   * @throws As `Agent.newSession` does.
   */
  async sessionFor(active: ActiveConversation, signal: AbortSignal): Promise<Session> {
    if (active.session && !active.session.closed.aborted) return active.session;
    const { conversation, agent } = active;
    const { fingerprinter, log } = this.#options;
    const isSameProgram = conversation?.program === fingerprinter.cached("program", agent.program);
    if (conversation?.sessionId !== undefined && isSameProgram) {
      const session = await agent.resumeSession(conversation.sessionId, signal);
      log.debug(session ? "resumed a session" : "could not resume a session", {
        conversation: conversation.id,
        session: conversation.sessionId,
      });
      active.needsFullTranscript = session === undefined;
      if (session) return active.session = session;
    }
    active.needsFullTranscript = true;
    return active.session = await agent.newSession(signal);
  }

  /** Closes the session if no turn is left, at once or after a while. */
  onIdle(active: ActiveConversation): void {
    const { conversation, queue, session, whenIdle } = active;
    if (queue.isBusy) return;
    active.undelivered.prune();
    if (whenIdle === "hold") return;
    // A session without a delivered message is of no use, unless the client has a name for the conversation.
    const isWorthKeeping = whenIdle === "keep" && session !== undefined && conversation?.isResumable;
    if (!isWorthKeeping) this.#close(active);
    else {
      const idleMs = Math.max(1, this.#options.idleMs);
      active.idleTimer = startIdleTimer(idleMs, () => this.#closeLater(active, "close"));
    }
    this.#closeOldest();
  }

  /** Forgets a conversation, and has the agent delete the session. Returns false if the store could not remove it. */
  forget(conversation: Conversation): boolean {
    const { index, agents, log } = this.#options;
    const isRemoved = index.forget(conversation);
    const active = this.#all.get(conversation);
    this.#all.delete(conversation);
    log.debug("forgot a conversation", { conversation: conversation.id });
    if (active) {
      active.queue.cancelAll(cancelled("The conversation was forgotten."));
      this.#closeLater(active, "delete");
    } else if (conversation.sessionId !== undefined) {
      agents.byName(conversation.agent)?.deleteSession(conversation.sessionId);
    }
    return isRemoved;
  }

  /** Closes every session, a busy one after its turn. */
  close(): void {
    for (const active of this.#all.values()) this.#closeLater(active, "close");
  }

  /** Busy conversations stay, so that there can be more than the limit for a while. */
  #closeOldest(): void {
    for (const active of this.#all.values()) {
      if (this.#all.size <= this.#options.maxSessions) return;
      if (!active.queue.isBusy) this.#closeLater(active, "close");
    }
  }

  /** Closes the session now, or when its turn has ended. */
  #closeLater(active: ActiveConversation, whenIdle: "close" | "delete"): void {
    active.whenIdle = whenIdle;
    if (!active.queue.isBusy) this.#close(active);
  }

  #close(active: ActiveConversation): void {
    const { conversation, session, agent, whenIdle } = active;
    active.idleTimer?.[Symbol.dispose]();
    if (conversation && this.#all.get(conversation) === active) this.#all.delete(conversation);
    session?.close();
    if (whenIdle === "delete" && conversation?.sessionId !== undefined) {
      agent.deleteSession(conversation.sessionId);
      conversation.sessionId = undefined;
    }
    if (session) {
      this.#options.log.debug("closed a session", { conversation: conversation?.id, session: session.id });
    }
  }
}
