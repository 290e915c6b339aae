/**
 * The demo agent: an ACP agent over stdin and stdout that needs no key, no network and no model. It starts as a process of
 * its own, from source or from the executable, and therefore imports nothing of this program and nothing from npm.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type Client, DemoScript, type Pace, type PromptBlock } from "./script.ts";

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
  readonly id: string;
  turns: number;
  /** Cancels the running prompt. */
  cancel: AbortController | undefined;
}

/** The parameters of a request, as far as they are read. */
interface Params {
  readonly sessionId?: string;
  readonly prompt?: readonly PromptBlock[];
}

/** The sessions, and the methods of ACP on them. */
class DemoAgent {
  readonly #client: Client;
  readonly #pace: Pace;
  readonly #sessions = new Map<string, DemoSession>();

  constructor(client: Client, pace: Pace) {
    this.#client = client;
    this.#pace = pace;
  }

  /** Handles a request. @throws {RpcError} as the error answer. */
  async request(method: string, params: Params): Promise<unknown> {
    switch (method) {
      case "initialize":
        return INITIALIZE_RESULT;
      case "session/new":
        return { sessionId: this.#create() };
      case "session/resume":
        this.#find(params);
        return {};
      case "session/close":
        this.#find(params).cancel?.abort();
        return {};
      case "session/delete": {
        const session = this.#find(params);
        session.cancel?.abort();
        this.#sessions.delete(session.id);
        return {};
      }
      case "session/prompt":
        return { stopReason: await this.#prompt(this.#find(params), params.prompt ?? []) };
      default:
        throw new RpcError(METHOD_NOT_FOUND, `Method not found: ${method}`);
    }
  }

  /** Cancels the running prompt of a session, if there is one. */
  cancel({ sessionId = "" }: Params): void {
    this.#sessions.get(sessionId)?.cancel?.abort();
  }

  /** Cancels every running prompt. */
  close(): void {
    for (const session of this.#sessions.values()) session.cancel?.abort();
  }

  #create(): string {
    const id = `demo-${crypto.randomUUID()}`;
    this.#sessions.set(id, { id, turns: 0, cancel: undefined });
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size > MAX_SESSIONS) this.#sessions.delete(oldest!);
    return id;
  }

  #find({ sessionId = "" }: Params): DemoSession {
    const session = this.#sessions.get(sessionId);
    if (session === undefined) throw new RpcError(RESOURCE_NOT_FOUND, `There is no session ${sessionId}.`);
    return session;
  }

  async #prompt(session: DemoSession, blocks: readonly PromptBlock[]): Promise<"end_turn" | "cancelled"> {
    if (session.cancel) throw new RpcError(INVALID_PARAMS, "A prompt is running in this session.");
    const { signal } = session.cancel = new AbortController();
    const text = blocks.map((block) => block.text ?? "").join("\n");
    const images = blocks.filter(({ type }) => type === "image");
    const script = new DemoScript(this.#client, session.id, this.#pace, signal);
    try {
      await script.play(text, images, ++session.turns);
      return "end_turn";
    } catch (error) {
      if (!signal.aborted) throw error;
      return "cancelled";
    } finally {
      session.cancel = undefined;
    }
  }
}

/** An error answer to a request. */
class RpcError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Serves ACP (JSON-RPC, one message a line) over two byte streams until the client closes them. */
export async function serveDemo(
  streams: { readonly readable: ReadableStream<Uint8Array>; readonly writable: WritableStream<Uint8Array> },
  pace: Pace = DEFAULT_PACE,
): Promise<void> {
  const writer = streams.writable.getWriter();
  const encoder = new TextEncoder();
  const send = (message: Record<string, unknown>) =>
    writer.write(encoder.encode(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n"));
  const answers = new Map<unknown, (result: unknown) => void>();
  let nextId = 0;
  const agent = new DemoAgent({
    notify: (method, params) => send({ method, params }),
    async request(method, params) {
      const { promise, resolve } = Promise.withResolvers<unknown>();
      const id = nextId++;
      answers.set(id, resolve);
      await send({ id, method, params });
      return await promise;
    },
  }, pace);

  async function answer(id: unknown, method: string, params: Params): Promise<void> {
    try {
      await send({ id, result: await agent.request(method, params) });
    } catch (error) {
      const code = error instanceof RpcError ? error.code : INTERNAL_ERROR;
      await send({ id, error: { code, message: String((error as Error).message) } }).catch(() => {});
    }
  }

  function onLine(line: string): void {
    const { id, method, params, result } = parseMessage(line);
    if (typeof method === "string") {
      if (id !== undefined) answer(id, method, params ?? {});
      else if (method === "session/cancel") agent.cancel(params ?? {});
    } else {
      answers.get(id)?.(result);
      answers.delete(id);
    }
  }

  try {
    let rest = "";
    for await (const text of streams.readable.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > MAX_LINE_CHARS) break;
      lines.forEach(onLine);
    }
  } catch {
    // The client broke the connection.
  }
  agent.close();
  await writer.close().catch(() => {});
}

/** Parses a message. A line that is not a JSON object counts as an empty message. */
function parseMessage(line: string): { id?: unknown; method?: unknown; params?: Params; result?: unknown } {
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
