/** The app as a test meets it: a function of requests, with an agent in memory behind it and no port in front. @module */

import { type App, createApp } from "../../../lib/app.ts";
import { ConversationIndex } from "../../../lib/conversation/conversation.ts";
import type { Store } from "../../../lib/conversation/record.ts";
import type { SessionMode } from "../../../lib/conversation/resolve.ts";
import type { BusyMode } from "../../../lib/conversation/turn_queue.ts";
import { Fingerprinter } from "../../../lib/conversation/fingerprint.ts";
import { ConversationRegistry } from "../../../lib/conversation/registry.ts";
import { Notifier } from "../../../lib/events/notifier.ts";
import { EventHub } from "../../../lib/events/hub.ts";
import type { AccessOptions } from "../../../lib/http/access.ts";
import type { StreamOptions } from "../../../lib/openai/response.ts";
import { type Log, NO_LOG } from "../../../lib/core/log.ts";
import { ModelRouter } from "../../../lib/turn/model_router.ts";
import { emotionWords } from "../../../lib/turn/emotion.ts";
import { PermissionBroker } from "../../../lib/turn/permission.ts";
import { CannedReplies } from "../../../lib/turn/canned_replies.ts";
import type { TurnLimits } from "../../../lib/turn/turn.ts";
import { TurnLimiter } from "../../../lib/turn/turn_limiter.ts";
import { MemoryAgent, type Script } from "../agents/memory_agent.ts";

/** The address that the app is reached at. */
export const ORIGIN = "http://127.0.0.1:8080";

/** What a test changes; the rest is as the program's defaults, but without limits of time and heartbeats. */
export interface TestAppOptions {
  script?: Script;
  guard?: Partial<AccessOptions>;
  stream?: Partial<StreamOptions>;
  limits?: Partial<TurnLimits>;
  maxInFlight?: number;
  chatPath?: string;
  model?: string;
  log?: Log;
  /** Which requests are one conversation; each stands for itself if nothing is said. */
  sessions?: SessionMode;
  onBusy?: BusyMode;
  maxSessions?: number;
  /** Where conversations are kept. */
  store?: Store;
  /** More agents than the default one. */
  agents?: readonly MemoryAgent[];
  strictModels?: boolean;
}

/** What a request is sent with. */
export interface SendOptions {
  headers?: HeadersInit;
  signal?: AbortSignal;
  /** The address of the caller; this machine's if nothing is said. */
  from?: string;
}

/** The app and what stands behind it. */
export class TestApp implements AsyncDisposable {
  readonly agent: MemoryAgent;
  readonly conversations: ConversationRegistry;
  readonly index: ConversationIndex;
  readonly hub: EventHub;
  readonly desk: PermissionBroker;
  /** What the program knows of itself. */
  readonly program: { draining: boolean };
  readonly #app: App;

  constructor(
    parts: Pick<TestApp, "agent" | "conversations" | "index" | "hub" | "desk" | "program"> & { app: App },
  ) {
    this.agent = parts.agent;
    this.hub = parts.hub;
    this.desk = parts.desk;
    this.conversations = parts.conversations;
    this.index = parts.index;
    this.program = parts.program;
    this.#app = parts.app;
  }

  /** Sends any request. */
  send(path: string, init: RequestInit = {}, from = "127.0.0.1"): Promise<Response> {
    return this.#app(new Request(ORIGIN + path, init), from);
  }

  /** Hands on a request that came by a real port. */
  serve(request: Request): Promise<Response> {
    return this.#app(request, "127.0.0.1");
  }

  /** Gets a path. */
  get(path: string, { from, ...init }: SendOptions = {}): Promise<Response> {
    return this.send(path, init, from);
  }

  /** Posts a body, as JSON unless it is text already. */
  post(path: string, body: unknown, { headers, signal, from }: SendOptions = {}): Promise<Response> {
    return this.send(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...Object.fromEntries(new Headers(headers)) },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...(signal ? { signal } : {}),
    }, from);
  }

  /** Posts a chat request; `body` is what differs from the shortest one. */
  chat(body: Record<string, unknown> = {}, options: SendOptions = {}): Promise<Response> {
    return this.post(
      "/v1/chat/completions",
      { messages: [{ role: "user", content: "Hi" }], ...body },
      options,
    );
  }

  /** Posts a chat request that asks for a stream. */
  stream(body: Record<string, unknown> = {}, options: SendOptions = {}): Promise<Response> {
    return this.chat({ stream: true, ...body }, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.agent.finish();
    await this.conversations.drain();
    this.conversations.close();
    await this.hub.close();
  }
}

/** Makes an app. */
export function startApp(options: TestAppOptions = {}): TestApp {
  const agent = new MemoryAgent(options.model);
  agent.script = options.script;
  const log = options.log ?? NO_LOG;
  const emotions = emotionWords();
  const hub = new EventHub({ holdMs: 0 });
  const desk = new PermissionBroker({ timeoutMs: 60_000, canAnyoneAnswer: () => hub.canAnswerPermissions });
  const agents = new ModelRouter([agent, ...options.agents ?? []], options.strictModels);
  const memory = new ConversationIndex(options.store);
  const conversations = new ConversationRegistry({
    agents,
    index: memory,
    fingerprinter: new Fingerprinter(options.store?.key ?? new Uint8Array(32)),
    mode: options.sessions ?? "stateless",
    onBusy: options.onBusy ?? "supersede",
    observer: hub,
    emotions,
    turnLimiter: new TurnLimiter(options.maxInFlight ?? 32),
    limits: { replyTimeoutMs: 0, turnTimeoutMs: 0, ...options.limits },
    log,
    maxSessions: options.maxSessions ?? 10,
    idleMs: 3_600_000,
  });
  const program = { draining: false };
  const prepared = new CannedReplies();
  const app = createApp({
    agents,
    conversations,
    hub,
    permissions: desk,
    notifier: new Notifier({ hub, cannedReplies: prepared, emotions, conversations }),
    cannedReplies: prepared,
    stage: {
      page: () => new Response("<!doctype html>", { headers: { "content-type": "text/html" } }),
      files: () => new Response("", { headers: { "content-type": "text/javascript" } }),
    },
    access: { authKey: undefined, allowedOrigins: [], insecure: false, ...options.guard },
    chatPath: options.chatPath ?? "/v1/chat/completions",
    stream: { heartbeat: "chunk", heartbeatMs: 0, errors: "speak", ...options.stream },
    version: "1.2.3",
    log,
    draining: () => program.draining,
  });
  return new TestApp({ index: memory, agent, conversations, hub, desk, program, app });
}

/** Every write of a stream, to its end. */
export async function readWrites(response: Response): Promise<Uint8Array[]> {
  const writes: Uint8Array[] = [];
  for await (const write of response.body ?? []) writes.push(write);
  return writes;
}

/** A stream that is read write by write, so that a test can look at what came before it goes on. */
export class Writes implements AsyncDisposable {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();

  constructor(response: Response) {
    this.#reader = response.body!.getReader();
  }

  /** The text of the next write; `undefined` at the end. */
  async next(): Promise<string | undefined> {
    const { done, value } = await this.#reader.read();
    return done ? undefined : this.#decoder.decode(value);
  }

  /** All that is left. */
  async rest(): Promise<string> {
    let text = "";
    for (let write = await this.next(); write !== undefined; write = await this.next()) text += write;
    return text;
  }

  /** Hangs up. */
  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel();
  }
}

/** The body of an error response. */
export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string };
}

/** The error of a response, with its status. */
export async function errorOf(response: Response): Promise<ErrorBody["error"] & { status: number }> {
  const { error }: ErrorBody = await response.json();
  return { status: response.status, ...error };
}
