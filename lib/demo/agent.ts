/**
 * The demo agent: an ACP agent over stdin and stdout that needs no key, no network and no model. It starts as a process of
 * its own, from source or from the executable, and therefore imports nothing of this program and nothing from npm.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type DemoTurn, type Pace, type PermissionResult, playTurn, type PromptBlock } from "./script.ts";

/** Default pace: about as fast as a model. */
const DEFAULT_PACE: Pace = { tokenMs: 25, stepMs: 400 };

/** Sessions that are kept. Beyond it the oldest is deleted. */
const MAX_SESSIONS = 1_000;
/** Longest line that is read, in characters. */
const MAX_LINE_CHARS = 64 * 1024 * 1024;

/** Error codes of JSON-RPC and ACP (ACP schema v1, `ErrorCode`). */
const METHOD_NOT_FOUND = -32601;
const INVALID_PARAMS = -32602;
const INTERNAL_ERROR = -32603;
const RESOURCE_NOT_FOUND = -32002;

const INITIALIZE_RESULT = {
  protocolVersion: 1,
  agentInfo: { name: "oab-vtuber-demo", title: "Demo agent", version: "1" },
  agentCapabilities: {
    promptCapabilities: { image: true, audio: false, embeddedContext: false },
    sessionCapabilities: { close: {}, resume: {}, delete: {} },
  },
  authMethods: [],
};

interface DemoSession {
  turns: number;
  /** Cancels the running prompt. */
  cancel?: AbortController | undefined;
}

/** A message of JSON-RPC, as far as it is read: a request, a notification (no id) or an answer (no method). */
interface Message {
  readonly id?: unknown;
  readonly method?: unknown;
  readonly params?: { readonly sessionId?: string; readonly prompt?: readonly PromptBlock[] };
  readonly result?: PermissionResult;
}

/** Creates the error answer to a request. */
function rpcError(code: number, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/** The sessions of one connection, and the methods of ACP on them. */
class DemoAgent {
  readonly #send: (message: Record<string, unknown>) => Promise<void>;
  readonly #pace: Pace;
  readonly #sessions = new Map<string, DemoSession>();
  /** The requests to the client that wait for their result. */
  readonly #waiting = new Map<unknown, (result: PermissionResult) => void>();

  /** @param writer Takes the lines for the client. */
  constructor(writer: WritableStreamDefaultWriter<Uint8Array>, pace: Pace) {
    const encoder = new TextEncoder();
    this.#send = (message) =>
      writer.write(encoder.encode(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n"));
    this.#pace = pace;
  }

  /** Handles a message of the client. */
  async receive({ id, method, params = {}, result }: Message): Promise<void> {
    if (typeof method !== "string") {
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
      return;
    }
    const answer = await this.#handle(method, params).then(
      (result) => ({ result }),
      ({ code = INTERNAL_ERROR, message }) => ({ error: { code, message: String(message) } }),
    );
    if (id !== undefined) await this.#send({ id, ...answer }).catch(() => {});
  }

  /** Cancels every running prompt. */
  close(): void {
    for (const session of this.#sessions.values()) session.cancel?.abort();
  }

  /** Returns the result of a request. Throws the error answer. */
  async #handle(
    method: string,
    { sessionId = "", prompt = [] }: Required<Message>["params"],
  ): Promise<unknown> {
    switch (method) {
      case "initialize":
        return INITIALIZE_RESULT;
      case "session/new":
        return { sessionId: this.#create() };
      case "session/resume":
        this.#find(sessionId);
        return {};
      case "session/cancel":
      case "session/close":
        this.#find(sessionId).cancel?.abort();
        return {};
      case "session/delete":
        this.#find(sessionId).cancel?.abort();
        this.#sessions.delete(sessionId);
        return {};
      case "session/prompt":
        return { stopReason: await this.#prompt(sessionId, prompt) };
      default:
        throw rpcError(METHOD_NOT_FOUND, `Method not found: ${method}`);
    }
  }

  #create(): string {
    const id = `demo-${crypto.randomUUID()}`;
    this.#sessions.set(id, { turns: 0 });
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size > MAX_SESSIONS) this.#sessions.delete(oldest!);
    return id;
  }

  #find(sessionId: string): DemoSession {
    const session = this.#sessions.get(sessionId);
    if (session === undefined) throw rpcError(RESOURCE_NOT_FOUND, `There is no session ${sessionId}.`);
    return session;
  }

  async #prompt(sessionId: string, blocks: readonly PromptBlock[]): Promise<"end_turn" | "cancelled"> {
    const session = this.#find(sessionId);
    if (session.cancel) throw rpcError(INVALID_PARAMS, "A prompt is running in this session.");
    const { signal } = session.cancel = new AbortController();
    const text = blocks.map((block) => block.text ?? "").join("\n");
    const images = blocks.filter(({ type }) => type === "image");
    const turn: DemoTurn = {
      pace: this.#pace,
      signal,
      update: async (update) => {
        signal.throwIfAborted();
        await this.#send({ method: "session/update", params: { sessionId, update } });
      },
      requestPermission: async (params) => {
        const { promise, resolve } = Promise.withResolvers<PermissionResult>();
        const id = crypto.randomUUID();
        this.#waiting.set(id, resolve);
        await this.#send({ id, method: "session/request_permission", params: { sessionId, ...params } });
        return await promise;
      },
    };
    try {
      await playTurn(turn, text, images, ++session.turns);
      return "end_turn";
    } catch (error) {
      if (!signal.aborted) throw error;
      return "cancelled";
    } finally {
      session.cancel = undefined;
    }
  }
}

/** Serves ACP (JSON-RPC, one message a line) over two byte streams until the client closes them. */
export async function serveDemo(
  streams: { readonly readable: ReadableStream<Uint8Array>; readonly writable: WritableStream<Uint8Array> },
  pace: Pace = DEFAULT_PACE,
): Promise<void> {
  const writer = streams.writable.getWriter();
  const agent = new DemoAgent(writer, pace);
  try {
    let rest = "";
    for await (const text of streams.readable.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > MAX_LINE_CHARS) break;
      for (const line of lines) agent.receive(parseMessage(line));
    }
  } catch {
    // The client broke the connection.
  }
  agent.close();
  await writer.close().catch(() => {});
}

/** Parses a message. A line that is not a JSON object counts as an empty message. */
function parseMessage(line: string): Message {
  try {
    return Object(JSON.parse(line));
  } catch {
    return {};
  }
}

/** Runs the demo agent as a program: `demo-agent [--token-ms N] [--step-ms N]`. */
export async function runDemo(args: readonly string[]): Promise<void> {
  const number = { type: "string" } as const;
  const { values } = parseArgs({ args: [...args], options: { "token-ms": number, "step-ms": number } });
  await serveDemo({ readable: Deno.stdin.readable, writable: Deno.stdout.writable }, {
    tokenMs: Number(values["token-ms"] ?? DEFAULT_PACE.tokenMs),
    stepMs: Number(values["step-ms"] ?? DEFAULT_PACE.stepMs),
  });
}

if (import.meta.main) await runDemo(Deno.args);
