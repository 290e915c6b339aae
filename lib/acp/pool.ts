/** Several processes of one agent behind one name: they share its sessions. @module */

import type { Agent, AgentModel, AgentState, Session } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import type { AgentDescription } from "./describe.ts";

/** Sessions of which it is known in which process they were; beyond it the oldest is forgotten. */
const MAX_HOMES = 1_000;

/** The states of an agent, the best first. */
const BEST_FIRST: readonly AgentState[] = ["ready", "starting", "idle", "failing", "closed"];

/** One process of an agent. */
export interface PoolMember extends Agent {
  /** How many sessions are in use in it, or about to be. */
  readonly openSessions: number;
  /** Starts it ahead of need. */
  warm(): void;
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

  /** Opens it in the process that has the fewest. */
  async open(signal?: AbortSignal): Promise<Session> {
    const member = this.#leastBusy();
    const session = await member.open(signal);
    this.#remember(session.id, member);
    return session;
  }

  /** Brings it back in the process where it was: it may still be held there. */
  async resume(id: SessionId, signal?: AbortSignal): Promise<Session | undefined> {
    const home = this.#homes.get(id);
    const member = home === undefined || isOut(home) ? this.#leastBusy() : home;
    const session = await member.resume(id, signal);
    if (session) this.#remember(id, member);
    return session;
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

  /** One that fails has no sessions, and would get every request: it is let try again beside the others. */
  #leastBusy(): PoolMember {
    const able = this.#members.filter((member) => !isOut(member));
    if (able.length === 0) return this.#members[0];
    for (const member of this.#members) if (member.state === "failing") member.warm();
    return able.reduce((least, member) => member.openSessions < least.openSessions ? member : least);
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

function isOut({ state }: PoolMember): boolean {
  return state === "failing" || state === "closed";
}
