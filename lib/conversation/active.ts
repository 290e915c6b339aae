/** The conversations in use: each with its queue and the session that serves it. @module */

import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";
import type { Log } from "../core/log.ts";
import type { Agent, Session } from "../turn/agent.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import type { TurnLimits, TurnMeter, TurnObserver } from "../turn/turn.ts";
import { type ConversationIndex, isResumable, roomMakers } from "./conversation.ts";
import type { Fingerprinter } from "./fingerprint.ts";
import type { ConversationRecord } from "./record.ts";
import type { SessionMode } from "./resolve.ts";
import { type BusyMode, cancelled, TurnQueue } from "./turn_queue.ts";
import type { TurnBudget } from "./turn_budget.ts";
import type { TranscribeSound } from "./sounds.ts";
import { UndeliveredMessages } from "./undelivered.ts";

/** The dependencies and settings of all conversations. */
export interface ConversationOptions {
  readonly agents: ModelRouter;
  readonly index: ConversationIndex;
  readonly fingerprinter: Fingerprinter;
  readonly log: Pick<Log, "debug" | "info" | "warn">;
  readonly mode: SessionMode;
  readonly onBusy: BusyMode;
  /** Turns that can run at once. */
  readonly maxTurns: number;
  readonly budget: Pick<TurnBudget, "reserve">;
  readonly limits: TurnLimits;
  /** Observes every turn. */
  readonly observer?: TurnObserver;
  /** Measures a request for a turn of this agent, side jobs too. Called once for each request, within it. */
  readonly measure?: ((agent: string) => TurnMeter) | undefined;
  /** Called when the agent has lost its memory of a conversation, and the request brings no history. */
  readonly onMemoryLost?: (conversation: string) => void;
  /** Writes down a sound for an agent that takes none. Without it such a sound is left out. */
  readonly transcribe?: TranscribeSound | undefined;
  /** The emotion words to find in replies. */
  readonly emotions?: EmotionWords;
  /** Sessions that stay open. Beyond that the one that was not used for the longest time is closed. */
  readonly maxSessions: number;
  /** How long a session stays open after its last turn, in milliseconds. */
  readonly idleMs: number;
}

/** Prompts in a row that may end in an error or refusal without text before the session is replaced. */
export const MAX_FAULTS = 2;

/** Replaced sessions of a conversation that are remembered, to be deleted when the conversation is forgotten. */
const MAX_REPLACED = 10;

/** A conversation in use. */
export class ActiveConversation {
  readonly agent: Agent;
  readonly queue: TurnQueue = new TurnQueue();
  readonly undelivered: UndeliveredMessages = new UndeliveredMessages();
  /** The remembered conversation; undefined if no later request can continue this one. */
  conversation: ConversationRecord | undefined;
  session: Session | undefined;
  /** The session may not have received the earlier messages. */
  needsFullTranscript = true;
  /** The faults after which the session is replaced. */
  faultsLeft = MAX_FAULTS;
  idleTimer: IdleTimer | undefined;

  constructor(agent: Agent) {
    this.agent = agent;
  }

  /** Whether a turn is running or waiting, the session is open, or neither. */
  get state(): "busy" | "open" | "closed" {
    if (this.queue.isBusy) return "busy";
    return this.session && !this.session.closed.aborted ? "open" : "closed";
  }
}

/** The remembered conversations that have a session or a turn. */
export class ActiveConversations {
  readonly #options: ConversationOptions;
  /** In the order of use. */
  readonly #all = new Map<ConversationRecord, ActiveConversation>();

  constructor(options: ConversationOptions) {
    this.#options = options;
  }

  get(conversation: ConversationRecord): ActiveConversation | undefined {
    return this.#all.get(conversation);
  }

  /** How many conversations have an open session. */
  get sessionCount(): number {
    return this.#all.values().reduce(
      (count, { session }) => count + (session?.closed.aborted === false ? 1 : 0),
      0,
    );
  }

  /** Whether a conversation has a session or a turn. */
  readonly has = (conversation: ConversationRecord): boolean => this.#all.has(conversation);

  /** Adds a conversation, or makes it the last used one. */
  add(conversation: ConversationRecord, active: ActiveConversation): void {
    active.conversation = conversation;
    this.#all.delete(conversation);
    this.#all.set(conversation, active);
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
    const { sessionId } = conversation ?? {};
    if (conversation && sessionId !== undefined && isSameProgram) {
      const session = await agent.resumeSession(sessionId, signal);
      log.debug(session ? "resumed a session" : "could not resume a session", {
        conversation: conversation.id,
        session: sessionId,
      });
      active.needsFullTranscript = session === undefined;
      // A session that cannot serve after a resume never will.
      active.faultsLeft = 1;
      if (session) return active.session = session;
    }
    active.needsFullTranscript = true;
    active.faultsLeft = MAX_FAULTS;
    return active.session = await agent.newSession(signal);
  }

  /** Gives the session of a conversation up, because it cannot serve. The next prompt opens a new one. */
  replaceSession(active: ActiveConversation, reason: string): void {
    const { conversation, session } = active;
    this.#options.log.warn("a session cannot serve: its conversation continues in a new one", {
      conversation: conversation?.id,
      session: session?.id,
      reason,
    });
    session?.close();
    active.session = undefined;
    if (conversation === undefined || session === undefined) return;
    const { replacedSessions = [] } = conversation;
    conversation.replacedSessions = [...replacedSessions, session.id].slice(-MAX_REPLACED);
    conversation.sessionId = undefined;
  }

  /** Closes the session if no turn is left: after a while if the client may come back, else at once. */
  onIdle(active: ActiveConversation): void {
    const { conversation, queue, session } = active;
    if (queue.isBusy) return;
    const isRemembered = conversation !== undefined && this.#all.get(conversation) === active;
    // A session without a delivered message is of no use, unless the client has a name for the conversation.
    if (isRemembered && session && isResumable(conversation)) {
      active.idleTimer = startIdleTimer(this.#options.idleMs, () => this.#close(active));
    } else {
      this.#close(active);
    }
    this.#closeExcess();
  }

  /** Closes sessions beyond the limit, the oldest first. */
  #closeExcess(): void {
    const { maxSessions } = this.#options;
    if (this.#all.size <= maxSessions) return;
    const newest = [...this.#all.keys()].at(-1);
    const passes = roomMakers(this.#all.keys());
    for (const isCandidate of passes) {
      for (const [conversation, active] of this.#all) {
        if (this.#all.size <= maxSessions) return;
        // Busy conversations stay, so that there can be more than the limit for a while.
        const stays = active.queue.isBusy || conversation === newest && isCandidate !== passes.at(-1);
        if (!stays && isCandidate(conversation)) this.#close(active);
      }
    }
  }

  /** Forgets a conversation, and has the agent delete the session. Returns false if the store could not remove it. */
  forget(conversation: ConversationRecord): boolean {
    const { index, agents, log } = this.#options;
    const isRemoved = index.forget(conversation);
    const active = this.#all.get(conversation);
    this.#all.delete(conversation);
    log.debug("forgot a conversation", { conversation: conversation.id });
    if (active) {
      active.queue.cancelAll(cancelled("The conversation was forgotten."));
      this.onIdle(active);
    } else {
      deleteSessions(conversation, agents.byName(conversation.agent));
    }
    return isRemoved;
  }

  /** Closes every session, a busy one after its turn. */
  close(): void {
    const all = [...this.#all.values()];
    this.#all.clear();
    for (const active of all) this.onIdle(active);
  }

  #close(active: ActiveConversation): void {
    const { conversation, session, agent } = active;
    const { index, log } = this.#options;
    active.idleTimer?.[Symbol.dispose]();
    if (conversation && this.#all.get(conversation) === active) this.#all.delete(conversation);
    session?.close();
    if (session) log.debug("closed a session", { conversation: conversation?.id, session: session.id });
    if (conversation && !index.all.has(conversation)) deleteSessions(conversation, agent);
  }
}

/** Has the agent delete the sessions of a forgotten conversation. */
function deleteSessions(
  { replacedSessions = [], sessionId }: ConversationRecord,
  agent: Agent | undefined,
): void {
  for (const id of [...replacedSessions, sessionId]) if (id !== undefined) agent?.deleteSession(id);
}
