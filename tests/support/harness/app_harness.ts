/** The server as a test meets it: wired as in the program, with agents in memory and without a port. @module */

import { type Config, loadConfig } from "../../../lib/config/load.ts";
import type { ConversationIndex } from "../../../lib/conversation/conversation.ts";
import type { Store } from "../../../lib/conversation/record.ts";
import type { ConversationRegistry } from "../../../lib/conversation/registry.ts";
import { type Log, NO_LOG } from "../../../lib/core/log.ts";
import { EventHub } from "../../../lib/events/hub.ts";
import type { AccessOptions } from "../../../lib/http/access.ts";
import type { Route } from "../../../lib/http/router.ts";
import type { Transcripts } from "../../../lib/openai/responses/transcripts.ts";
import { createServer, type Server } from "../../../lib/server.ts";
import type { SpeechToText } from "../../../lib/speech/speech_to_text.ts";
import type { TextToSpeech } from "../../../lib/speech/text_to_speech.ts";
import type { Character } from "../../../lib/stage/character.ts";
import { Metrics } from "../../../lib/telemetry/metrics.ts";
import type { Agent } from "../../../lib/turn/agent.ts";
import { PermissionBroker } from "../../../lib/turn/permission.ts";
import { QuestionBroker } from "../../../lib/turn/question.ts";
import { MemoryAgent, type Script } from "../agents/memory_agent.ts";

/** The address of the server. */
export const ORIGIN = "http://127.0.0.1:8080";

/** The program's defaults, but without time limits and heartbeats, and each request is a conversation of its own. */
const CONFIG: Config = {
  ...loadConfig({ env: {} }).config,
  sessions: "stateless",
  shutdownGraceMs: 60_000,
  replyTimeoutMs: 0,
  turnTimeoutMs: 0,
  heartbeatMs: 0,
};

/** What a test changes. */
export interface TestAppOptions extends Partial<Omit<Config, "agents" | "log">> {
  script?: Script;
  access?: Partial<Pick<Config, keyof AccessOptions>>;
  /** Longest wait of a stream's head for its turn, in milliseconds. */
  headMs?: number;
  log?: Log;
  store?: Store;
  transcripts?: Transcripts;
  textToSpeech?: TextToSpeech;
  speechToText?: SpeechToText;
  /** Agents beside the default one. */
  agents?: readonly Agent[];
}

/** Options of a request. */
export interface SendOptions {
  headers?: HeadersInit;
  signal?: AbortSignal;
  /** Address of the caller; default: this machine. */
  from?: string;
}

/** A server, and the parts that tests look at. */
export class TestApp implements AsyncDisposable {
  readonly #server: Server;

  constructor(
    readonly agent: MemoryAgent,
    readonly hub: EventHub,
    readonly permissions: PermissionBroker,
    server: Server,
  ) {
    this.#server = server;
  }

  get conversations(): ConversationRegistry {
    return this.#server.conversations;
  }

  get routes(): readonly Route[] {
    return this.#server.routes;
  }

  get responses(): Server["responses"] {
    return this.#server.responses;
  }

  get index(): ConversationIndex {
    return this.#server.index;
  }

  /** Whether the server says that it is shutting down. */
  set isDraining(isDraining: boolean) {
    this.#server.isDraining = isDraining;
  }

  /** Starts what the program starts with its port: the warm session, and the remarks at each interval. */
  start(): void {
    this.#server.start();
  }

  /** Sends any request. */
  send(path: string, init: RequestInit = {}, from = "127.0.0.1"): Promise<Response> {
    return this.#server.app(new Request(ORIGIN + path, init), from);
  }

  /** Hands on a request that came through a real port. */
  serve(request: Request): Promise<Response> {
    return this.#server.app(request, "127.0.0.1");
  }

  /** Gets a path. */
  get(path: string, { from, ...init }: SendOptions = {}): Promise<Response> {
    return this.send(path, init, from);
  }

  /** Posts a body: a string as it is, anything else as JSON. */
  post(path: string, body: unknown, { headers, signal, from }: SendOptions = {}): Promise<Response> {
    return this.send(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...Object.fromEntries(new Headers(headers)) },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...(signal ? { signal } : {}),
    }, from);
  }

  /** Posts a chat request; `body` overrides fields of the shortest one. */
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
    await this.end();
  }

  /** Ends the server as a signal does, whatever its agent does. */
  async end(): Promise<void> {
    await this.#server.drain();
    await this.#server[Symbol.asyncDispose]();
  }
}

/** A character without files. */
const CHARACTER: Character = {
  origins: { img: [], connect: [] },
  manifest: () => Response.json({ kind: "drawn" }),
  file: () => Promise.reject(new Error("The character of a test has no files.")),
};

/** Starts a server with an agent in memory. */
export function startApp(options: TestAppOptions = {}): TestApp {
  const { script, access, log = NO_LOG, store, transcripts, agents = [], ...rest } = options;
  const { textToSpeech, speechToText, ...settings } = rest;
  const agent = new MemoryAgent(options.model);
  agent.script = script;
  const hub = new EventHub({ holdMs: 0 });
  const permissions = new PermissionBroker(60_000, () => hub.canAnswerPermissions);
  const server = createServer({ ...CONFIG, ...settings, ...access }, {
    agents: [agent, ...agents],
    hub,
    permissions,
    questions: new QuestionBroker(60_000, () => hub.canAnswerQuestions),
    store,
    transcripts,
    textToSpeech,
    speechToText,
    character: CHARACTER,
    metrics: new Metrics([agent, ...agents].map(({ name }) => name), "1.2.3"),
    version: "1.2.3",
    log,
  });
  return new TestApp(agent, hub, permissions, server);
}

/** Reads every write of a stream to its end. */
export async function readWrites(response: Response): Promise<Uint8Array[]> {
  const writes: Uint8Array[] = [];
  for await (const write of response.body ?? []) writes.push(write);
  return writes;
}

/** A stream that is read one write at a time. */
export class WriteReader implements AsyncDisposable {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();

  constructor(response: Response) {
    this.#reader = response.body!.getReader();
  }

  /** Returns the text of the next write, or `undefined` at the end. */
  async next(): Promise<string | undefined> {
    const { done, value } = await this.#reader.read();
    return done ? undefined : this.#decoder.decode(value);
  }

  /** Returns all remaining text. */
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

/** Reads the error and the status of a response. */
export async function errorOf(
  response: Response,
): Promise<{ status: number; message: string; type: string; param: string | null; code: string }> {
  return { status: response.status, ...(await response.json()).error };
}
