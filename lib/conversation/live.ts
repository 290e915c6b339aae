/** The conversations in use: each with the session that serves it, as long as it is worth keeping open. @module */

import type { Agent, Session } from "../turn/agent.ts";
import type { Agents } from "../turn/agents.ts";
import type { Brought, Known, Memory } from "./known.ts";
import { Hold } from "./hold.ts";
import { Line } from "./line.ts";
import type { Printer } from "./print.ts";
import { Unsaid } from "./unsaid.ts";

/** What they are made of. */
export interface LiveOptions {
  readonly agents: Agents;
  readonly memory: Memory;
  readonly printer: Printer;
  readonly log: { debug(message: string, fields: Readonly<Record<string, unknown>>): void };
  /** Sessions that are kept open; beyond it the one that was idle longest is closed. */
  readonly maxSessions: number;
  /** How long a session is kept open after its last turn, in milliseconds. */
  readonly idleMs: number;
}

/** A conversation in use. */
export interface Live {
  readonly agent: Agent;
  readonly line: Line;
  /** What is remembered of it; nothing of one that nobody can come back to. */
  known: Known | undefined;
  session: Session | undefined;
  /** The session may not have heard all that was said before. */
  isFresh: boolean;
  readonly unsaid: Unsaid;
  /** Whoever needs it beyond its turns. */
  holders: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** To be closed when nothing runs: for good, if it is `forgotten`. */
  state: "kept" | "closed" | "forgotten";
}

/** Makes one that has no session yet. */
export function newLive(agent: Agent): Live {
  return {
    agent,
    line: new Line(),
    known: undefined,
    session: undefined,
    isFresh: true,
    unsaid: new Unsaid(),
    holders: 0,
    timer: undefined,
    state: "kept",
  };
}

/** The remembered conversations that have a session or a turn. */
export class LiveConversations {
  readonly #options: LiveOptions;
  /** In the order of use. */
  readonly #all = new Map<Known, Live>();

  constructor(options: LiveOptions) {
    this.#options = options;
  }

  /** The one that is remembered so. */
  get(known: Known): Live | undefined {
    return this.#all.get(known);
  }

  /** It is used now, as what is remembered so. */
  use(known: Known, live: Live, now: number): void {
    live.known = known;
    this.#all.delete(known);
    this.#all.set(known, live);
    this.#options.memory.use(known, now, (known) => this.#all.has(known));
  }

  /**
   * The session that serves a conversation: the one that is open, or the one that it had, or a fresh one.
   *
   * @throws As `Agent.open` does.
   */
  async sessionOf(live: Live, signal: AbortSignal): Promise<Session> {
    if (live.session && !live.session.closed.aborted) return live.session;
    const { known, agent } = live;
    const { printer, log } = this.#options;
    const isSameProgram = known?.program === printer.lasting("program", agent.program);
    if (known?.sessionId !== undefined && isSameProgram) {
      const session = await agent.resume(known.sessionId, signal);
      log.debug(session ? "brought a session back" : "a session could not be brought back", {
        conversation: known.id,
        session: known.sessionId,
      });
      if (session) {
        live.isFresh = false;
        return live.session = session;
      }
    }
    live.isFresh = true;
    return live.session = await agent.open(signal);
  }

  /** Nothing of it runs any more: it is kept for a while, if anybody may come back to it. */
  rest(live: Live): void {
    const { known, line, state, holders, session } = live;
    if (line.isBusy) return;
    live.unsaid.prune();
    clearTimeout(live.timer);
    if (state !== "kept") return this.#close(live, state);
    if (holders > 0) return;
    if (known === undefined) this.#close(live, "closed");
    // A session that was told nothing is of no use to whoever may come back, unless they have a name for it.
    else if (session === undefined || !known.isHeardOf) this.#close(live, "closed");
    else live.timer = setTimeout(() => this.#close(live, "closed"), this.#options.idleMs);
    this.#closeIdlest();
  }

  /** Lets somebody hold a conversation. */
  hold(): Hold {
    return new Hold((live) => live && this.rest(live));
  }

  /** It is held from now on, unless the holder has another one; `brought` is what its first turn brings to it. */
  holdWith(hold: Hold, live: Live, brought?: Brought): void {
    const { known } = live;
    if (known === undefined || brought === undefined) return hold.begin(live);
    const { reply: before } = known;
    hold.begin(live, (reply) => {
      if (reply === undefined) known.unanswered(brought);
      known.reply = reply === undefined ? before : this.#options.printer.reply(reply);
      this.save(known);
    });
  }

  /** Keeps what is remembered of one. What another server forgot is forgotten here when nothing runs in it. */
  save(known: Known): void {
    if (this.#options.memory.save(known)) return;
    const live = this.#all.get(known);
    this.#all.delete(known);
    if (live) this.#close(live, "forgotten");
  }

  /**
   * Forgets a conversation, in use or not, and lets the agent do so.
   *
   * @returns False if it will be there again at the next start.
   */
  forget(known: Known): boolean {
    const { memory, agents, log } = this.#options;
    const isGone = memory.forget(known);
    const live = this.#all.get(known);
    this.#all.delete(known);
    log.debug("forgot a conversation", { conversation: known.id });
    if (live) {
      live.line.giveUp("The conversation was forgotten.");
      this.#close(live, "forgotten");
    } else if (known.sessionId !== undefined) {
      agents.named(known.agent)?.forget(known.sessionId);
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
      if (!live.line.isBusy && live.holders === 0) this.#close(live, "closed");
    }
  }

  /** Closes the session, at once or when its turn has ended. */
  #close(live: Live, state: "closed" | "forgotten"): void {
    clearTimeout(live.timer);
    live.state = state;
    if (live.line.isBusy) return;
    const { known, session, agent } = live;
    if (known && this.#all.get(known) === live) this.#all.delete(known);
    session?.close();
    if (state === "forgotten" && known?.sessionId !== undefined) {
      agent.forget(known.sessionId);
      known.sessionId = undefined;
    }
    if (session) {
      this.#options.log.debug("closed a session", { conversation: known?.id, session: session.id });
    }
  }
}
