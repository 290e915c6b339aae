import type { AcpAgentOptions } from "../../../lib/acp/agent.ts";
import { AgentPool } from "../../../lib/acp/pool.ts";
import type { AgentTimes } from "../../../lib/acp/handshake.ts";
import type { Session } from "../../../lib/turn/agent.ts";
import { able, AcpHouse, type Handler, never } from "./memory_acp_agent.ts";

/** What brings back sessions, and deletes them. */
export const KNOWS: Readonly<Record<string, Handler>> = {
  "initialize": able({ sessionCapabilities: { close: {}, resume: {}, delete: {} } }),
  "session/resume": () => ({}),
  "session/delete": () => ({}),
};

/** The ids of sessions. */
export function ids(sessions: readonly (Session | undefined)[]): unknown[] {
  return sessions.map((session) => session?.id);
}

/** Longer than an early death, and than a process that is well lets a session wait. */
const LONG_MS = 30_000;

/** Makes an agent in memory fall silent when the test says so: `session/new` is not answered, and late at once. */
export class Silence {
  isSilent = false;
  readonly times: AgentTimes;
  #isReady = false;

  constructor() {
    const setupMs = () => this.isSilent && this.#isReady ? 1 : 60_000;
    this.times = {
      get setupMs() {
        return setupMs();
      },
      resumeMs: 60_000,
      cancelMs: 60_000,
    };
  }

  /** @param house One that was not started yet, with these times. */
  comesOver(house: AcpHouse): void {
    const makes: Handler = (_params, running) => ({ sessionId: `session-${running.nextSession++}` });
    const { "initialize": initialize = KNOWS.initialize!, "session/new": make = makes } = house.handlers;
    house.beforeStart = () => this.#isReady = false;
    house.handlers = {
      ...house.handlers,
      "initialize": (params, running) => {
        this.#isReady = true;
        return initialize(params, running);
      },
      "session/new": (params, running) => {
        if (!this.isSilent) return make(params, running);
        house.nowMs += LONG_MS;
        return never(params, running);
      },
    };
  }
}

/** Several agents in memory behind one name; the sessions of each are called after it. */
export class Houses implements AsyncDisposable {
  readonly houses: readonly AcpHouse[];
  readonly pool: AgentPool;

  constructor(
    size: number,
    handlers: Readonly<Record<string, Handler>> = {},
    options: (index: number) => Partial<AcpAgentOptions> = () => ({}),
    slowMs = LONG_MS,
  ) {
    this.houses = Array.from({ length: size }, (_, index) =>
      new AcpHouse({
        ...KNOWS,
        "session/new": (_params, running) => ({ sessionId: `${"abc"[index]}${running.nextSession++}` }),
        ...handlers,
      }, options(index)));
    this.pool = new AgentPool(this.houses.map(({ agent }) => agent), slowMs);
  }

  /** What came to each of them of a method. */
  said(method: string): string[][] {
    return this.houses.map(({ starts }) => starts.flatMap((start) => start.said(method)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool[Symbol.asyncDispose]();
    await Promise.all(this.houses.map((house) => house[Symbol.asyncDispose]()));
  }
}
