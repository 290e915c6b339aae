/** Several processes of one agent behind one name: they share its sessions. @module */

import type { Agent, AgentModel, AgentState, Session } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import { Failure } from "../turn/failure.ts";
import type { AgentDescription } from "./describe.ts";

/** Sessions of which it is known in which process they were; beyond it the oldest is forgotten. */
const MAX_HOMES = 1_000;

/** The states of an agent, the best first. */
const BEST_FIRST: readonly AgentState[] = ["ready", "starting", "idle", "failing", "closed"];

/**
 * The states, in the order in which members are asked. One that starts may hang, and so may one that is unsure, while
 * one that is idle may start at once.
 */
const ASKED_FIRST: readonly AgentState[] = ["ready", "idle", "starting", "failing", "closed"];

/** One process of an agent. */
export interface PoolMember extends Agent {
  /** How many sessions are in use in it, or about to be. */
  readonly openSessions: number;
  /** It runs, but may not make a session, or not soon. */
  readonly isUnsure: boolean;
  /** Ends it at once. */
  kill(): void;
  /** What it can do. @throws {Failure} as `open` does. */
  describe(signal?: AbortSignal): Promise<AgentDescription>;
}

/** An agent of several processes, each with sessions of its own: one that dies takes no other's with it. */
export class AgentPool implements Agent {
  readonly name: string;
  readonly program: string;
  readonly #members: readonly [PoolMember, ...PoolMember[]];
  /** Where sessions were last; the map's order is the order of use. */
  readonly #homes = new Map<SessionId, PoolMember>();

  /** @param members At least one, all of the same program. */
  constructor(members: readonly PoolMember[]) {
    const [first, ...more] = members;
    if (first === undefined) throw new RangeError("A pool has at least one member.");
    this.#members = [first, ...more];
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

  /** Opens it in the process that has the fewest, of those that are sure to make it if any is. */
  open(signal?: AbortSignal): Promise<Session> {
    return this.#ask((member) => member.open(signal), signal);
  }

  /** Brings it back in the process where it was: it may still be held there. */
  async resume(id: SessionId, signal?: AbortSignal): Promise<Session | undefined> {
    const home = this.#homes.get(id);
    return await this.#ask((member) => member.resume(id, signal), signal, home);
  }

  forget(id: SessionId): void {
    this.#homes.delete(id);
    for (const member of this.#members) member.forget(id);
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

  /** Asks one member after another, each once, until one is there: the failure of the first is what is told. */
  async #ask<S extends Session | undefined>(
    what: (member: PoolMember) => Promise<S>,
    signal: AbortSignal | undefined,
    home?: PoolMember,
  ): Promise<S> {
    const left = new Set(this.#members);
    let next = home && !isOut(home) ? home : this.#best(left);
    this.#warmAllBut(next);
    let first: unknown;
    for (;;) {
      left.delete(next);
      try {
        const session = await what(next);
        if (session) this.#remember(session.id, next);
        return session;
      } catch (error) {
        if (signal?.aborted || !isUnavailable(error)) throw error;
        first ??= error;
        if (left.size === 0) throw first;
      }
      next = this.#best(left);
    }
  }

  /** By state, and then by how many sessions each has. */
  #best(members: Iterable<PoolMember>): PoolMember {
    const rank = ({ state, isUnsure }: PoolMember) =>
      ASKED_FIRST.indexOf(state === "ready" && isUnsure ? "starting" : state);
    return [...members].reduce((best, member) => {
      const better = rank(member) - rank(best) || member.openSessions - best.openSessions;
      return better < 0 ? member : best;
    });
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

/** One that runs is not, whatever becomes of new sessions in it: those of before may still be held there. */
function isOut({ state, isUnsure }: PoolMember): boolean {
  return state === "closed" || state === "failing" && !isUnsure;
}

/** Another member may be there; whatever else goes wrong would go wrong in each. */
function isUnavailable(error: unknown): boolean {
  return error instanceof Failure && error.code === "agent_unavailable" && !error.prompted;
}
