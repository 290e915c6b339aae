import { assertEquals } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { Session } from "../../lib/turn/agent.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { Random } from "../support/harness/random.ts";
import { settled, soon } from "../support/harness/turn_recorder.ts";
import {
  AcpHarness,
  type Handler,
  type MemoryAcpAgent,
  withCapabilities,
} from "../support/agents/memory_acp_agent.ts";

const RUNS = 200;
const STEPS = 40;

/** Callers who open, close, bring back and forget sessions, and an agent that is strict about it. */
class World {
  readonly house: AcpHarness;
  /** What the agent was asked that makes no sense, and sessions that two callers had at once. */
  readonly faults: string[] = [];
  readonly happened = new Map<string, number>();
  readonly #canClose: boolean;
  readonly #random: Random;
  /** What the agent keeps, whichever of its processes runs. */
  readonly #kept = new Set<string>();
  readonly #open = new Map<MemoryAcpAgent, Set<string>>();
  readonly #held = new Map<SessionId, Session>();
  readonly #known: SessionId[] = [];
  readonly #calls: Promise<void>[] = [];
  #made = 0;

  constructor(seed: number, canClose: boolean) {
    this.#canClose = canClose;
    this.#random = new Random(seed);
    this.house = new AcpHarness({
      "initialize": withCapabilities({
        loadSession: true,
        sessionCapabilities: canClose ? { close: {}, delete: {} } : {},
      }),
      "session/new": this.#slowly((open) => {
        const sessionId = `s${this.#made++}`;
        open.add(sessionId);
        this.#kept.add(sessionId);
        return { sessionId };
      }),
      "session/load": this.#slowly((open, id) => {
        if (open.has(id)) this.#fault(`loads ${id}, which is open`);
        if (!this.#kept.has(id)) throw new RpcError(RPC.resourceNotFound, "No such session");
        open.add(id);
        return {};
      }),
      "session/close": this.#slowly((open, id) => {
        if (!open.delete(id)) this.#fault(`closes ${id}, which is not open`);
        return {};
      }),
      "session/delete": this.#slowly((open, id) => {
        if (open.has(id)) this.#fault(`deletes ${id}, which is open`);
        this.#kept.delete(id);
        return {};
      }),
    });
  }

  async step(): Promise<void> {
    // No death is an early one.
    this.house.nowMs += 60_000;
    const random = this.#random;
    const { agent, starts } = this.house;
    const id = this.#known[random.below(this.#known.length)];
    switch (random.below(9)) {
      case 0:
        this.#take("open", agent.newSession(this.#perhapsLeaving()));
        break;
      case 1:
      case 2:
      case 3:
        if (id) this.#take("resume", agent.resumeSession(id, this.#perhapsLeaving()));
        break;
      case 4:
      case 5:
      case 6:
        if (id) this.#close(id);
        break;
      case 7:
        if (id && random.below(4) === 0) {
          this.#held.delete(id);
          agent.deleteSession(id);
          // One that an agent cannot delete is not asked for again: it may be open in there for ever.
          if (!this.#canClose) this.#known.splice(this.#known.indexOf(id), 1);
        }
        break;
      case 8:
        if (random.below(6) === 0) starts.at(-1)?.exit();
    }
    await this.#ticks(20);
  }

  /** All that was handed out is closed, and the agent has closed it. */
  async end(): Promise<void> {
    await soon(Promise.all(this.#calls), "every call");
    for (const id of [...this.#held.keys()]) this.#close(id);
    for (let round = 0; round < 4; round++) await settled();
    const { starts } = this.house;
    const last = starts.at(-1);
    const open = last && !last.peer.closed.aborted ? [...this.#open.get(last) ?? []] : [];
    this.faults.push(
      ...open.filter((id) => this.#known.includes(id as SessionId)).map((id) => `${id} stays open`),
    );
    await this.house[Symbol.asyncDispose]();
  }

  #take(what: string, coming: Promise<Session | undefined>): void {
    this.#calls.push(coming.then((session) => {
      this.#count(session ? what : `no ${what}`);
      if (!session || session.closed.aborted) return;
      const { id, closed } = session;
      if (this.#held.has(id)) this.#fault(`${id} was given to two`);
      this.#held.set(id, session);
      closed.addEventListener("abort", () => {
        if (this.#held.get(id) === session) this.#held.delete(id);
      });
      if (!this.#known.includes(id)) this.#known.push(id);
    }, () => this.#count(`${what} failed`)));
  }

  #close(id: SessionId): void {
    const session = this.#held.get(id);
    this.#held.delete(id);
    session?.close();
  }

  #slowly(answer: (open: Set<string>, id: string) => unknown): Handler {
    return async ({ sessionId }, running) => {
      const open = this.#open.get(running) ?? new Set();
      this.#open.set(running, open);
      await this.#ticks(15);
      const result = answer(open, sessionId);
      await this.#ticks(15);
      return result;
    };
  }

  #perhapsLeaving(): AbortSignal | undefined {
    if (this.#random.below(3) > 0) return undefined;
    const controller = new AbortController();
    this.#ticks(60).then(() => controller.abort(new Error("hung up")));
    return controller.signal;
  }

  async #ticks(most: number): Promise<void> {
    for (let ticks = this.#random.below(most); ticks > 0; ticks--) await Promise.resolve();
  }

  #fault(what: string): void {
    this.faults.push(what);
  }

  #count(what: string): void {
    this.happened.set(what, (this.happened.get(what) ?? 0) + 1);
  }
}

for (const canClose of [true, false]) {
  const name = canClose ? "closes sessions" : "closes none";
  Deno.test(`AcpAgent: ${RUNS} runs of sessions brought back at random, by an agent that ${name}`, async () => {
    const happened = new Map<string, number>();
    for (let seed = 1; seed <= RUNS; seed++) {
      const world = new World(seed, canClose);
      try {
        for (let step = 0; step < STEPS; step++) await world.step();
        await world.end();
        assertEquals(
          canClose ? world.faults : world.faults.filter((fault) => !fault.endsWith("stays open")),
          [],
        );
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
      for (const [what, count] of world.happened) happened.set(what, (happened.get(what) ?? 0) + count);
    }
    // The runs are worth something only if all of this happened often.
    for (const what of ["open", "resume", "no resume", "resume failed"]) {
      assertEquals((happened.get(what) ?? 0) > RUNS / 3, true, `${what}: ${happened.get(what)}`);
    }
  });
}
