import type { PromptBlock } from "../../../lib/turn/agent.ts";
import type { AgentTimeouts } from "../../../lib/acp/handshake.ts";
import { AcpAgent, type AcpAgentOptions } from "../../../lib/acp/agent.ts";
import { JsonRpcPeer } from "../../../lib/acp/json_rpc.ts";
import type { AgentProcess } from "../../../lib/acp/process.ts";
import { RPC, RpcError } from "../../../lib/acp/json_rpc.ts";
import { untilAborted } from "../../../lib/core/abortable.ts";
import { soon } from "../harness/turn_recorder.ts";
import { LogRecorder, memoryProcess, streamPair } from "../harness/json_rpc_harness.ts";
import { NO_BROKER } from "../harness/no_broker.ts";

/** What an agent in memory does with a request. */
export type Handler = (params: RequestParams, running: MemoryAcpAgent) => unknown;

/** The parameters of a request, as far as tests look at them. */
export interface RequestParams {
  readonly sessionId: string;
  readonly prompt: readonly { readonly type: string; readonly text?: string }[];
  readonly cwd: string;
  readonly mcpServers: readonly unknown[];
  readonly configId: string;
  readonly value: string;
  readonly modelId: string;
  readonly modeId: string;
}

/** What it does with everything, unless a test says otherwise: it opens sessions and ends every turn at once. */
const HANDLERS: Readonly<Record<string, Handler>> = {
  "initialize": () => ({ protocolVersion: 1, agentCapabilities: { sessionCapabilities: { close: {} } } }),
  "session/new": (_params, running) => ({ sessionId: `session-${running.nextSession++}` }),
  "session/close": () => ({}),
  "session/prompt": () => ({ stopReason: "end_turn" }),
};

/** What is asked. */
export const PROMPT: readonly PromptBlock[] = [{ type: "text", text: "Go" }];

/** Says that it works, and waits to be cancelled. */
export const worksUntilCancelled: Handler = async ({ sessionId }, running) => {
  running.sendText(sessionId, "working");
  await running.cancelled(sessionId);
  return { stopReason: "cancelled" };
};
/** What it says of itself, with these capabilities. */
export function withCapabilities(agentCapabilities: Readonly<Record<string, unknown>>): Handler {
  return () => ({ protocolVersion: 1, agentCapabilities });
}
/** Never answers. */
export const neverAnswers: Handler = () => new Promise(() => {});
/** Says that it works, and ends when the test says so. */
export function answersAfter(promise: Promise<unknown>): Handler {
  return async ({ sessionId }, running) => {
    running.sendText(sessionId, "working");
    await promise;
    return { stopReason: "end_turn" };
  };
}

/** One start of an agent in memory. */
export class MemoryAcpAgent {
  readonly peer: JsonRpcPeer;
  readonly process: AgentProcess & { stops: number };
  /** What came in, in order: requests and notifications. */
  readonly received: { readonly method: string; readonly params: RequestParams }[] = [];
  nextSession = 1;
  readonly #cancels = new Map<string, PromiseWithResolvers<void>>();
  #wake = Promise.withResolvers<void>();

  constructor(handlers: Readonly<Record<string, Handler>>) {
    const [mine, theirs] = streamPair();
    const all = { ...HANDLERS, ...handlers };
    const take = (method: string, params: unknown) => {
      this.received.push({ method, params: params as RequestParams });
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    };
    this.peer = new JsonRpcPeer(theirs, {
      onInvalidLine() {},
      onNotification: (method, params) => {
        take(method, params);
        if (method === "session/cancel") this.#cancel((params as RequestParams).sessionId).resolve();
      },
      onRequest: async (method, params) => {
        take(method, params);
        if (method === "session/prompt") this.#cancels.delete((params as RequestParams).sessionId);
        const handler = all[method];
        if (handler === undefined) throw new RpcError(RPC.methodNotFound, `Method not found: ${method}`);
        return await handler(params as RequestParams, this);
      },
    });
    this.process = memoryProcess(mine, () => this.exit());
  }

  /** What came of these methods, each with the parameters that matter: `session/set_mode plan`. */
  summary(...methods: string[]): string[] {
    return this.received.filter(({ method }) => methods.includes(method)).map(({ method, params }) =>
      [method, params.configId, params.value ?? params.modelId ?? params.modeId ?? params.sessionId]
        .filter((part) => part !== undefined).join(" ")
    );
  }

  /** How often something of this method came. */
  count(method: string): number {
    return this.received.filter((one) => one.method === method).length;
  }

  /** Resolves when this many of a method have come. */
  async waitFor(method: string, count = 1): Promise<void> {
    while (this.count(method) < count) await soon(this.#wake.promise, `${count} of ${method}`);
  }

  /** Says something in a session. */
  sendText(sessionId: string, text: string): void {
    this.update(sessionId, { sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
  }

  /** Says something that cannot be read. */
  sendInvalid(text = ""): void {
    this.peer.notify(7 as unknown as string, text);
  }

  update(sessionId: string, update: Readonly<Record<string, unknown>>): void {
    this.peer.notify("session/update", { sessionId, update });
  }

  /** Resolves when the session's prompt that runs is cancelled. */
  cancelled(sessionId: string): Promise<void> {
    return this.#cancel(sessionId).promise;
  }

  #cancel(sessionId: string): PromiseWithResolvers<void> {
    const known = this.#cancels.get(sessionId) ?? Promise.withResolvers<void>();
    this.#cancels.set(sessionId, known);
    return known;
  }

  /** It is gone, in whatever it was doing. */
  exit(): void {
    this.peer.close();
  }
}

/** An {@linkcode AcpAgent} whose agent is in memory; the time stands still unless the test moves it. */
export class AcpHarness implements AsyncDisposable {
  readonly recorder = new LogRecorder();
  readonly starts: MemoryAcpAgent[] = [];
  readonly agent: AcpAgent;
  /** What the agent does from its next start on. */
  handlers: Readonly<Record<string, Handler>>;
  /** Called before each start; what it throws is why it cannot start. */
  beforeStart: () => void = () => {};
  nowMs = 0;

  constructor(handlers: Readonly<Record<string, Handler>> = {}, options: Partial<AcpAgentOptions> = {}) {
    this.handlers = handlers;
    this.agent = new AcpAgent({
      name: "memory",
      program: "agent",
      launch: () => {
        this.beforeStart();
        const running = new MemoryAcpAgent(this.handlers);
        this.starts.push(running);
        return running.process;
      },
      cwd: "/",
      permissions: "allow",
      broker: NO_BROKER,
      version: "1",
      variables: new Set(),
      log: this.recorder.log,
      timeouts: { setupMs: 60_000, resumeMs: 60_000, cancelMs: 60_000 },
      now: () => this.nowMs,
      ...options,
    });
  }

  /** The agent that was started last. */
  get running(): MemoryAcpAgent {
    const running = this.starts.at(-1);
    if (running === undefined) throw new Error("No agent was started");
    return running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await soon(this.agent[Symbol.asyncDispose](), "the agent's end");
    for (const { peer } of this.starts) {
      await soon(untilAborted(peer.closed), "the connection's end");
      await peer.close();
    }
  }
}

/** What brings back sessions, and deletes them. */
export const RESUMES_AND_DELETES: Readonly<Record<string, Handler>> = {
  "initialize": withCapabilities({ sessionCapabilities: { close: {}, resume: {}, delete: {} } }),
  "session/resume": () => ({}),
  "session/delete": () => ({}),
};

/** Longer than an early death, and than a process that is well lets a session wait. */
const LONG_MS = 30_000;

/** Makes an agent in memory fall silent when the test says so: `session/new` is not answered, and late at once. */
export class Silence {
  isSilent = false;
  readonly timeouts: AgentTimeouts;
  #isReady = false;

  constructor() {
    const setupMs = () => this.isSilent && this.#isReady ? 1 : 60_000;
    this.timeouts = {
      get setupMs() {
        return setupMs();
      },
      resumeMs: 60_000,
      cancelMs: 60_000,
    };
  }

  /** @param house One that was not started yet, with these times. */
  applyTo(house: AcpHarness): void {
    const makes: Handler = (_params, running) => ({ sessionId: `session-${running.nextSession++}` });
    const { "initialize": initialize = RESUMES_AND_DELETES.initialize!, "session/new": make = makes } =
      house.handlers;
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
        return neverAnswers(params, running);
      },
    };
  }
}
