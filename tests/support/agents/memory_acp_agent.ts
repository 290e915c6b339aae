import type { PromptBlock } from "../../../lib/turn/agent.ts";
import { AcpAgent, type AcpAgentOptions } from "../../../lib/acp/agent.ts";
import { JsonRpcPeer } from "../../../lib/acp/json_rpc.ts";
import type { AgentProcess } from "../../../lib/acp/process.ts";
import { RPC, RpcError } from "../../../lib/acp/json_rpc.ts";
import { untilAborted } from "../../../lib/core/abortable.ts";
import { soon } from "../harness/turn_recorder.ts";
import { LogRecorder, memoryProcess, streamPair } from "../harness/json_rpc_harness.ts";
import { NOBODY } from "../harness/no_broker.ts";

/** What an agent in memory does with a request. */
export type Handler = (params: Params, running: RunningAcp) => unknown;

/** The parameters of a request, as far as tests look at them. */
export interface Params {
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
export const GO: readonly PromptBlock[] = [{ type: "text", text: "Go" }];

/** Says that it works, and waits to be cancelled. */
export const untilCancelled: Handler = async ({ sessionId }, running) => {
  running.say(sessionId, "working");
  await running.cancelled(sessionId);
  return { stopReason: "cancelled" };
};
/** What it says of itself, with these capabilities. */
export function able(agentCapabilities: Readonly<Record<string, unknown>>): Handler {
  return () => ({ protocolVersion: 1, agentCapabilities });
}
/** Never answers. */
export const never: Handler = () => new Promise(() => {});
/** Says that it works, and ends when the test says so. */
export function when(promise: Promise<unknown>): Handler {
  return async ({ sessionId }, running) => {
    running.say(sessionId, "working");
    await promise;
    return { stopReason: "end_turn" };
  };
}

/** One start of an agent in memory. */
export class RunningAcp {
  readonly peer: JsonRpcPeer;
  readonly link: AgentProcess & { stops: number };
  /** What came in, in order: requests and notifications. */
  readonly came: { readonly method: string; readonly params: Params }[] = [];
  nextSession = 1;
  readonly #cancels = new Map<string, PromiseWithResolvers<void>>();
  #wake = Promise.withResolvers<void>();

  constructor(handlers: Readonly<Record<string, Handler>>) {
    const [mine, theirs] = streamPair();
    const all = { ...HANDLERS, ...handlers };
    const take = (method: string, params: unknown) => {
      this.came.push({ method, params: params as Params });
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    };
    this.peer = new JsonRpcPeer(theirs, {
      onInvalidLine() {},
      onNotification: (method, params) => {
        take(method, params);
        if (method === "session/cancel") this.#cancel((params as Params).sessionId).resolve();
      },
      onRequest: async (method, params) => {
        take(method, params);
        if (method === "session/prompt") this.#cancels.delete((params as Params).sessionId);
        const handler = all[method];
        if (handler === undefined) throw new RpcError(RPC.methodNotFound, `Method not found: ${method}`);
        return await handler(params as Params, this);
      },
    });
    this.link = memoryProcess(mine, () => this.die());
  }

  /** What came of these methods, each with the parameters that matter: `session/set_mode plan`. */
  said(...methods: string[]): string[] {
    return this.came.filter(({ method }) => methods.includes(method)).map(({ method, params }) =>
      [method, params.configId, params.value ?? params.modelId ?? params.modeId ?? params.sessionId]
        .filter((part) => part !== undefined).join(" ")
    );
  }

  /** How often something of this method came. */
  count(method: string): number {
    return this.came.filter((one) => one.method === method).length;
  }

  /** Resolves when this many of a method have come. */
  async until(method: string, count = 1): Promise<void> {
    while (this.count(method) < count) await soon(this.#wake.promise, `${count} of ${method}`);
  }

  /** Says something in a session. */
  say(sessionId: string, text: string): void {
    this.update(sessionId, { sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
  }

  /** Says something that cannot be read. */
  babble(text = ""): void {
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
  die(): void {
    this.peer.close();
  }
}

/** An {@linkcode AcpAgent} whose agent is in memory; the time stands still unless the test moves it. */
export class AcpHouse implements AsyncDisposable {
  readonly recorder = new LogRecorder();
  readonly starts: RunningAcp[] = [];
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
        const running = new RunningAcp(this.handlers);
        this.starts.push(running);
        return running.link;
      },
      cwd: "/",
      permissions: "allow",
      broker: NOBODY,
      version: "1",
      variables: new Set(),
      log: this.recorder.log,
      times: { setupMs: 60_000, resumeMs: 60_000, cancelMs: 60_000 },
      now: () => this.nowMs,
      ...options,
    });
  }

  /** The agent that was started last. */
  get running(): RunningAcp {
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
