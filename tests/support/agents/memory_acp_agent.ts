/** An ACP agent in memory, and an `AcpAgent` over it: no process, no real time. @module */

import { AcpAgent, type AcpAgentOptions } from "../../../lib/acp/agent.ts";
import type { AgentTimeouts } from "../../../lib/acp/handshake.ts";
import { JsonRpcPeer, RPC, RpcError } from "../../../lib/acp/json_rpc.ts";
import type { AgentProcess } from "../../../lib/acp/process.ts";
import { untilAborted } from "../../../lib/core/abortable.ts";
import type { PromptBlock, RunningPrompt, Session } from "../../../lib/turn/agent.ts";
import {
  agentOptions,
  LogRecorder,
  memoryProcess,
  streamPair,
  TEST_TIMEOUTS,
} from "../harness/json_rpc_harness.ts";
import { TurnRecorder, waitFor } from "../harness/turn_recorder.ts";

/** Parameters of a request, as far as tests read them. */
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

/** Answers a request of one method: its return value is the result. */
export type Handler = (params: RequestParams, running: MemoryAcpAgent) => unknown;

/** The prompt of most tests. */
export const PROMPT: readonly PromptBlock[] = [{ type: "text", text: "Go" }];

/** Opens `session-1`, `session-2` and so on. */
export const opensSession: Handler = (_params, running) => ({
  sessionId: `session-${running.nextSession++}`,
});

export const neverAnswers: Handler = () => new Promise(() => {});

/** Ends its process instead of answering. */
export const exits: Handler = (params, running) => {
  running.exit();
  return neverAnswers(params, running);
};

/** Answers with an error. */
export function refuses(code: number, message = "No."): Handler {
  return () => Promise.reject(new RpcError(code, message));
}

/** Answers `initialize` with these capabilities. */
export function withCapabilities(agentCapabilities: Readonly<Record<string, unknown>>): Handler {
  return () => ({ protocolVersion: 1, agentCapabilities });
}

/** Sends the text `working`, and ends the turn when it is cancelled. */
export const worksUntilCancelled: Handler = async ({ sessionId }, running) => {
  running.sendText(sessionId, "working");
  await running.cancelled(sessionId);
  return { stopReason: "cancelled" };
};

/** Sends the text `working`, and ends the turn when the promise has resolved. */
export function answersAfter(promise: Promise<unknown>): Handler {
  return async ({ sessionId }, running) => {
    running.sendText(sessionId, "working");
    await promise;
    return { stopReason: "end_turn" };
  };
}

/** Handlers of an agent that resumes and deletes sessions. */
export const RESUMES_AND_DELETES = {
  "initialize": withCapabilities({ sessionCapabilities: { close: {}, resume: {}, delete: {} } }),
  "session/resume": () => ({}),
  "session/delete": () => ({}),
} as const satisfies Readonly<Record<string, Handler>>;

const DEFAULT_HANDLERS: Readonly<Record<string, Handler>> = {
  "initialize": withCapabilities({ sessionCapabilities: { close: {} } }),
  "session/new": opensSession,
  "session/close": () => ({}),
  "session/prompt": () => ({ stopReason: "end_turn" }),
};

/** One process of an agent in memory. */
export class MemoryAcpAgent {
  readonly peer: JsonRpcPeer;
  readonly process: AgentProcess & { stops: number };
  /** Received requests and notifications, in order. */
  readonly received: { readonly method: string; readonly params: RequestParams }[] = [];
  nextSession = 1;
  readonly #cancels = new Map<string, PromiseWithResolvers<void>>();
  #changed = Promise.withResolvers<void>();

  constructor(handlers: Readonly<Record<string, Handler>>) {
    const [mine, theirs] = streamPair();
    const all = { ...DEFAULT_HANDLERS, ...handlers };
    const record = (method: string, params: unknown) => {
      this.received.push({ method, params: params as RequestParams });
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    };
    this.peer = new JsonRpcPeer(theirs, {
      onInvalidLine() {},
      onNotification: (method, params) => {
        record(method, params);
        if (method === "session/cancel") this.#cancelOf((params as RequestParams).sessionId).resolve();
      },
      onRequest: async (method, params) => {
        record(method, params);
        if (method === "session/prompt") this.#cancels.delete((params as RequestParams).sessionId);
        const handler = all[method];
        if (handler === undefined) throw new RpcError(RPC.methodNotFound, `Method not found: ${method}`);
        return await handler(params as RequestParams, this);
      },
    });
    this.process = memoryProcess(mine, () => this.exit());
  }

  /** Received messages of these methods, each with its main parameter: `session/set_mode plan`. */
  summary(...methods: string[]): string[] {
    return this.received.filter(({ method }) => methods.includes(method)).map(({ method, params }) =>
      [method, params.configId, params.value ?? params.modelId ?? params.modeId ?? params.sessionId]
        .filter((part) => part !== undefined).join(" ")
    );
  }

  /** Number of received messages of a method. */
  count(method: string): number {
    return this.received.filter((message) => message.method === method).length;
  }

  /** Resolves once so many messages of a method were received. */
  async waitFor(method: string, count = 1): Promise<void> {
    while (this.count(method) < count) await waitFor(this.#changed.promise, `${count} of ${method}`);
  }

  sendText(sessionId: string, text: string): void {
    this.update(sessionId, { sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
  }

  /** Sends a line that is not a JSON-RPC message. */
  sendInvalid(text = ""): void {
    this.peer.notify(7 as unknown as string, text);
  }

  update(sessionId: string, update: Readonly<Record<string, unknown>>): void {
    this.peer.notify("session/update", { sessionId, update });
  }

  /** Resolves when the running prompt of a session is cancelled. */
  cancelled(sessionId: string): Promise<void> {
    return this.#cancelOf(sessionId).promise;
  }

  #cancelOf(sessionId: string): PromiseWithResolvers<void> {
    const cancel = this.#cancels.get(sessionId) ?? Promise.withResolvers<void>();
    this.#cancels.set(sessionId, cancel);
    return cancel;
  }

  /** Ends the process at once. */
  exit(): void {
    this.peer.close();
  }
}

/** A turn that a test started. */
interface RunningTurn {
  readonly session: Session;
  readonly heard: TurnRecorder;
  readonly prompt: RunningPrompt;
}

/** An {@linkcode AcpAgent} over agents in memory. The time stands still unless the test moves it. */
export class AcpHarness implements AsyncDisposable {
  readonly recorder = new LogRecorder();
  readonly starts: MemoryAcpAgent[] = [];
  readonly agent: AcpAgent;
  /** Handlers from the next start on. */
  handlers: Readonly<Record<string, Handler>>;
  /** Called before each start. An error that it throws is the failure of the start. */
  beforeStart: () => void = () => {};
  nowMs = 0;

  constructor(handlers: Readonly<Record<string, Handler>> = {}, options: Partial<AcpAgentOptions> = {}) {
    this.handlers = handlers;
    const launch = () => {
      this.beforeStart();
      const running = new MemoryAcpAgent(this.handlers);
      running.nextSession = this.starts.at(-1)?.nextSession ?? 1;
      this.starts.push(running);
      return running.process;
    };
    this.agent = new AcpAgent({ ...agentOptions(this.recorder, launch), now: () => this.nowMs, ...options });
  }

  /** The agent that was started last. */
  get running(): MemoryAcpAgent {
    const running = this.starts.at(-1);
    if (running === undefined) throw new Error("No agent was started");
    return running;
  }

  /** Runs a whole turn, in a new session by default. */
  async runTurn(session?: Session): Promise<TurnRecorder> {
    const { heard } = await this.#prompt(session);
    await heard.lastSummary();
    return heard;
  }

  /** Starts a turn, in a new session by default, of an agent that begins with the text `working`. */
  async startTurn(session?: Session): Promise<RunningTurn> {
    const turn = await this.#prompt(session);
    await turn.heard.untilText("working");
    return turn;
  }

  async #prompt(open?: Session): Promise<RunningTurn> {
    const session = open ?? await this.agent.newSession();
    const heard = new TurnRecorder();
    return { session, heard, prompt: await session.prompt(PROMPT, heard.reader) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await waitFor(this.agent[Symbol.asyncDispose](), "the agent's end");
    for (const { peer } of this.starts) {
      await waitFor(untilAborted(peer.closed), "the connection's end");
      await peer.close();
    }
  }
}

/** Longer than the delay of a restart, and than a session may take from an agent that is ready. */
const LONG_MS = 30_000;

/** Makes an agent in memory stop answering `session/new` while `isSilent`: the request then times out at once. */
export class Silence {
  isSilent = false;
  readonly timeouts: AgentTimeouts;
  #isReady = false;

  constructor() {
    const setupMs = () => this.isSilent && this.#isReady ? 1 : 60_000;
    this.timeouts = {
      ...TEST_TIMEOUTS,
      get setupMs() {
        return setupMs();
      },
    };
  }

  /** @param harness An agent that was not started yet, with these timeouts. */
  applyTo(harness: AcpHarness): void {
    const { initialize = RESUMES_AND_DELETES.initialize, "session/new": opens = opensSession } =
      harness.handlers;
    harness.beforeStart = () => this.#isReady = false;
    harness.handlers = {
      ...harness.handlers,
      "initialize": (params, running) => {
        this.#isReady = true;
        return initialize(params, running);
      },
      "session/new": (params, running) => {
        if (!this.isSilent) return opens(params, running);
        harness.nowMs += LONG_MS;
        return neverAnswers(params, running);
      },
    };
  }
}

/** Runs a whole turn in which the agent handles `session/prompt` like this. */
export async function runTurn(
  handler: Handler,
  options?: ConstructorParameters<typeof AcpHarness>[1],
): Promise<TurnRecorder> {
  await using harness = new AcpHarness({ "session/prompt": handler }, options);
  return await harness.runTurn();
}
