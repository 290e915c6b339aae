/** Several processes of one agent behind one name: they share its sessions. @module */

import type { Agent, AgentModel, AgentState, Session } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import { AppError } from "../core/errors.ts";
import type { AgentDescription } from "./agent.ts";
import { firstOf } from "./first.ts";
import { SLOW_MS } from "./agent.ts";

/** Sessions of which it is known in which process they were; beyond it the oldest is forgotten. */
const MAX_HOMES = 1_000;

/** The states of an agent, the best first. */
const BEST_FIRST: readonly AgentState[] = ["ready", "starting", "idle", "failing", "closed"];

/**
 * How members are, in the order in which they are asked. One that starts may hang, and so may one that is unsure, while
 * one that is idle may start at once. One that is making a session may yet prove to hang.
 */
const ASKED_FIRST = ["ready", "making", "idle", "starting", "failing", "closed"] as const;

/** One process of an agent. */
export interface PoolMember extends Agent {
  /** How many sessions are in use in it, or about to be. */
  readonly openSessions: number;
  /** It runs, but may not make a session, or not soon. */
  readonly isUnsure: boolean;
  /** It was asked for a session that is not there yet: for somebody, or ahead of need. */
  readonly isMaking: boolean;
  /** Ends it at once. */
  kill(): void;
  /** What it can do. @throws {AppError} as `open` does. */
  describe(signal?: AbortSignal): Promise<AgentDescription>;
}

/** An agent of several processes, each with sessions of its own: one that dies takes no other's with it. */
export class AgentPool implements Agent {
  readonly name: string;
  readonly program: string;
  readonly #members: readonly [PoolMember, ...PoolMember[]];
  readonly #slowMs: number;
  /** Where sessions were last; the map's order is the order of use. */
  readonly #homes = new Map<SessionId, PoolMember>();

  /**
   * @param members At least one, all of the same program.
   * @param slowMs How long one lets a new session wait until another is asked for it too, in milliseconds.
   */
  constructor(members: readonly PoolMember[], slowMs = SLOW_MS) {
    const [first, ...more] = members;
    if (first === undefined) throw new RangeError("A pool has at least one member.");
    this.#members = [first, ...more];
    this.#slowMs = slowMs;
    this.name = first.name;
    this.program = first.program;
  }

  /** That of the best of them: one that is ready is enough. */
  get state(): AgentState {
    return BEST_FIRST.find((state) => this.#members.some((member) => member.state === state)) ?? "closed";
  }

  get models(): readonly AgentModel[] {
    return this.#members.map(({ models }) => models).find(({ length }) => length > 0) ?? [];
  }

  /** Starts all of them ahead of need. */
  warm(): void {
    for (const member of this.#members) member.warm();
  }

  /** Opens it in the process that has the fewest, of those that are sure to make it soon if any is; else in another. */
  newSession(signal?: AbortSignal): Promise<Session> {
    return this.#ask((member, over) => member.newSession(over), { signal, patienceMs: this.#slowMs });
  }

  /** Brings it back in the process where it was: it may still be held there. No two are asked for it at once. */
  async resumeSession(id: SessionId, signal?: AbortSignal): Promise<Session | undefined> {
    const home = this.#homes.get(id);
    return await this.#ask((member, over) => member.resumeSession(id, over), { signal, home });
  }

  deleteSession(id: SessionId): void {
    this.#homes.delete(id);
    for (const member of this.#members) member.deleteSession(id);
  }

  /** What each of them can do: the first is asked. */
  describe(signal?: AbortSignal): Promise<AgentDescription> {
    return this.#members[0].describe(signal);
  }

  /** Ends all of them at once. */
  kill(): void {
    for (const member of this.#members) member.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#members.map((member) => member[Symbol.asyncDispose]()));
  }

  /** Asks one member after another, each once, until one is there: the first failure is what is told. */
  async #ask<S extends Session | undefined>(
    what: (member: PoolMember, over: AbortSignal) => Promise<S>,
    { signal, home, patienceMs }: { signal: AbortSignal | undefined; home?: PoolMember; patienceMs?: number },
  ): Promise<S> {
    const first = home && !isOut(home) ? home : best(this.#members);
    this.#warmAllBut(first);
    return await firstOf({
      members: this.#from(first),
      ask: async (member, over) => {
        const session = await what(member, signal ? AbortSignal.any([signal, over]) : over);
        if (session) this.#remember(session.id, member);
        return session;
      },
      mayPass: (error) => !signal?.aborted && isUnavailable(error),
      discard: (session) => session?.close(),
      patienceMs,
    });
  }

  /** The first, and then the best of those that are left, as they are at that time. */
  *#from(first: PoolMember): Generator<PoolMember, undefined> {
    yield first;
    const left = new Set(this.#members);
    left.delete(first);
    while (left.size > 0) {
      const next = best(left);
      left.delete(next);
      yield next;
    }
  }

  /** Those that are down are let try again, beside the one that is asked. */
  #warmAllBut(asked: PoolMember): void {
    for (const member of this.#members) {
      if (member !== asked && (member.state === "idle" || member.state === "failing")) member.warm();
    }
  }

  #remember(id: SessionId, member: PoolMember): void {
    this.#homes.delete(id);
    this.#homes.set(id, member);
    for (const oldest of this.#homes.keys()) {
      if (this.#homes.size <= MAX_HOMES) break;
      this.#homes.delete(oldest);
    }
  }
}

/** By how they are, and then by how many sessions each has. */
function best(members: Iterable<PoolMember>): PoolMember {
  return [...members].reduce((best, member) => {
    const better = rank(member) - rank(best) || member.openSessions - best.openSessions;
    return better < 0 ? member : best;
  });
}

function rank({ state, isUnsure, isMaking }: PoolMember): number {
  if (state !== "ready") return ASKED_FIRST.indexOf(state);
  return ASKED_FIRST.indexOf(isUnsure ? "starting" : isMaking ? "making" : "ready");
}

/** One that runs is not, whatever becomes of new sessions in it: those of before may still be held there. */
function isOut({ state, isUnsure }: PoolMember): boolean {
  return state === "closed" || state === "failing" && !isUnsure;
}

/** Another member may be there; whatever else goes wrong would go wrong in each. */
function isUnavailable(error: unknown): boolean {
  return error instanceof AppError && error.code === "agent_unavailable" && !error.prompted;
}
