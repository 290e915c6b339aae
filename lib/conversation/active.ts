/** The conversations in use: each with the session that serves it, as long as it is worth keeping open. @module */

import type { Agent, Session } from "../turn/agent.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import type { Conversation, ConversationIndex, TranscriptDelta } from "./conversation.ts";
import { PrivateConversation } from "./private_conversation.ts";
import { TurnQueue } from "./turn_queue.ts";
import type { Fingerprinter } from "./fingerprint.ts";
import { UndeliveredMessages } from "./undelivered.ts";

/** What they are made of. */
export interface ActiveConversationsOptions {
  readonly agents: ModelRouter;
  readonly index: ConversationIndex;
  readonly fingerprinter: Fingerprinter;
  readonly log: { debug(message: string, fields: Readonly<Record<string, unknown>>): void };
  /** Sessions that are kept open; beyond it the one that was idle longest is closed. */
  readonly maxSessions: number;
  /** How long a session is kept open after its last turn, in milliseconds. */
  readonly idleMs: number;
}

/** A conversation in use. */
export interface ActiveConversation {
  readonly agent: Agent;
  readonly queue: TurnQueue;
  /** What is remembered of it; nothing of one that nobody can come back to. */
  conversation: Conversation | undefined;
  session: Session | undefined;
  /** The session may not have heard all that was said before. */
  needsFullTranscript: boolean;
  readonly undelivered: UndeliveredMessages;
  /** Whoever needs it beyond its turns. */
  holders: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** To be closed when nothing runs: for good, if it is `forgotten`. */
  state: "kept" | "closed" | "forgotten";
}

/** Makes one that has no session yet. */
export function newActiveConversation(agent: Agent): ActiveConversation {
  return {
    agent,
    queue: new TurnQueue(),
    conversation: undefined,
    session: undefined,
    needsFullTranscript: true,
    undelivered: new UndeliveredMessages(),
    holders: 0,
    timer: undefined,
    state: "kept",
  };
}

/** The remembered conversations that have a session or a turn. */
export class ActiveConversations {
  readonly #options: ActiveConversationsOptions;
  /** In the order of use. */
  readonly #all = new Map<Conversation, ActiveConversation>();

  constructor(options: ActiveConversationsOptions) {
    this.#options = options;
  }

  /** The one that is remembered so. */
  get(known: Conversation): ActiveConversation | undefined {
    return this.#all.get(known);
  }

  /** It is used now, as what is remembered so. */
  touch(known: Conversation, live: ActiveConversation, now: number): void {
    live.conversation = known;
    this.#all.delete(known);
    this.#all.set(known, live);
    this.#options.index.touch(known, now, (known) => this.#all.has(known));
  }

  /**
   * The session that serves a conversation: the one that is open, or the one that it had, or a fresh one.
   *
   * @throws As `Agent.open` does.
   */
  async sessionFor(live: ActiveConversation, signal: AbortSignal): Promise<Session> {
    if (live.session && !live.session.closed.aborted) return live.session;
    const { conversation, agent } = live;
    const { fingerprinter, log } = this.#options;
    const isSameProgram = conversation?.program === fingerprinter.cached("program", agent.program);
    if (conversation?.sessionId !== undefined && isSameProgram) {
      const session = await agent.resumeSession(conversation.sessionId, signal);
      log.debug(session ? "brought a session back" : "a session could not be brought back", {
        conversation: conversation.id,
        session: conversation.sessionId,
      });
      if (session) {
        live.needsFullTranscript = false;
        return live.session = session;
      }
    }
    live.needsFullTranscript = true;
    return live.session = await agent.newSession(signal);
  }

  /** Nothing of it runs any more: it is kept for a while, if anybody may come back to it. */
  onIdle(live: ActiveConversation): void {
    const { conversation, queue, state, holders, session } = live;
    if (queue.isBusy) return;
    live.undelivered.prune();
    clearTimeout(live.timer);
    if (state !== "kept") return this.#close(live, state);
    if (holders > 0) return;
    if (conversation === undefined) this.#close(live, "closed");
    // A session that was told nothing is of no use to whoever may come back, unless they have a name for it.
    else if (session === undefined || !conversation.isResumable) this.#close(live, "closed");
    else live.timer = setTimeout(() => this.#close(live, "closed"), this.#options.idleMs);
    this.#closeIdlest();
  }

  /** Lets somebody hold a conversation. */
  hold(): PrivateConversation {
    return new PrivateConversation((live) => live && this.onIdle(live));
  }

  /** It is held from now on, unless the holder has another one; `brought` is what its first turn brings to it. */
  holdWith(hold: PrivateConversation, live: ActiveConversation, brought?: TranscriptDelta): void {
    const { conversation } = live;
    if (conversation === undefined || brought === undefined) return hold.begin(live);
    const { reply: before } = conversation;
    hold.begin(live, (reply) => {
      if (reply === undefined) conversation.markUnanswered(brought);
      conversation.reply = reply === undefined ? before : this.#options.fingerprinter.reply(reply);
      this.save(conversation);
    });
  }

  /** Keeps what is remembered of one. What another server forgot is forgotten here when nothing runs in it. */
  save(known: Conversation): void {
    if (this.#options.index.save(known)) return;
    const live = this.#all.get(known);
    this.#all.delete(known);
    if (live) this.#close(live, "forgotten");
  }

  /**
   * Forgets a conversation, in use or not, and lets the agent do so.
   *
   * @returns False if it will be there again at the next start.
   */
  forget(known: Conversation): boolean {
    const { index, agents, log } = this.#options;
    const isGone = index.forget(known);
    const live = this.#all.get(known);
    this.#all.delete(known);
    log.debug("forgot a conversation", { conversation: known.id });
    if (live) {
      live.queue.giveUp("The conversation was forgotten.");
      this.#close(live, "forgotten");
    } else if (known.sessionId !== undefined) {
      agents.byName(known.agent)?.deleteSession(known.sessionId);
    }
    return isGone;
  }

  /** Closes every session, those that are busy when their turn has ended. What is remembered is kept. */
  close(): void {
    for (const live of this.#all.values()) this.#close(live, "closed");
  }

  /** A busy one is never closed, so that there can be more for a while: as many as turns can run. */
  #closeIdlest(): void {
    for (const live of this.#all.values()) {
      if (this.#all.size <= this.#options.maxSessions) return;
      if (!live.queue.isBusy && live.holders === 0) this.#close(live, "closed");
    }
  }

  /** Closes the session, at once or when its turn has ended. */
  #close(live: ActiveConversation, state: "closed" | "forgotten"): void {
    clearTimeout(live.timer);
    live.state = state;
    if (live.queue.isBusy) return;
    const { conversation, session, agent } = live;
    if (conversation && this.#all.get(conversation) === live) this.#all.delete(conversation);
    session?.close();
    if (state === "forgotten" && conversation?.sessionId !== undefined) {
      agent.deleteSession(conversation.sessionId);
      conversation.sessionId = undefined;
    }
    if (session) {
      this.#options.log.debug("closed a session", { conversation: conversation?.id, session: session.id });
    }
  }
}
