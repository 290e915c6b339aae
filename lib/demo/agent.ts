/**
 * The demo agent: an ACP agent over stdin and stdout that needs no key, no network and no model. It starts as a process of
 * its own, from source or from the executable, and therefore imports nothing of this program and nothing from npm.
 *
 * In order: the sessions and their methods, the connection to the client, and the program.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type Client, DemoScript, type Pace, type PromptBlock } from "./script.ts";

/** Default pace: about as fast as a model. */
const DEFAULT_PACE: Pace = { tokenMs: 25, stepMs: 400 };

/** Sessions that are kept. Beyond it the one that was closed first is deleted, or else the oldest. */
const MAX_SESSIONS = 1_000;
/** Turns that are kept per session. */
const MAX_TURNS = 100;
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
    loadSession: true,
    promptCapabilities: { image: true, audio: false, embeddedContext: false },
    sessionCapabilities: { close: {}, resume: {}, delete: {} },
  },
  authMethods: [],
};

interface DemoSession {
  readonly id: string;
  readonly turns: { readonly prompt: string; reply: string }[];
  /** A closed session can be resumed. */
  isOpen: boolean;
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
  /** A closed session is moved to the end, so that closed sessions are in the order of their end. */
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
      case "session/load": {
        const session = this.#find(params);
        await this.#replay(session);
        session.isOpen = true;
        return {};
      }
      case "session/resume":
        this.#find(params).isOpen = true;
        return {};
      case "session/close": {
        const session = this.#findOpen(params);
        session.cancel?.abort();
        session.isOpen = false;
        this.#sessions.delete(session.id);
        this.#sessions.set(session.id, session);
        return {};
      }
      case "session/delete": {
        const session = this.#find(params);
        session.cancel?.abort();
        this.#sessions.delete(session.id);
        return {};
      }
      case "session/prompt":
        return { stopReason: await this.#prompt(this.#findOpen(params), params.prompt ?? []) };
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
    this.#sessions.set(id, { id, turns: [], isOpen: true, cancel: undefined });
    if (this.#sessions.size > MAX_SESSIONS) {
      const sessions = [...this.#sessions.values()];
      const oldest = sessions.find(({ isOpen }) => !isOpen) ?? sessions[0];
      if (oldest) this.#sessions.delete(oldest.id);
    }
    return id;
  }

  #find({ sessionId = "" }: Params): DemoSession {
    const session = this.#sessions.get(sessionId);
    if (session === undefined) throw new RpcError(RESOURCE_NOT_FOUND, `There is no session ${sessionId}.`);
    return session;
  }

  #findOpen(params: Params): DemoSession {
    const session = this.#find(params);
    if (!session.isOpen) throw new RpcError(RESOURCE_NOT_FOUND, `The session ${session.id} is closed.`);
    return session;
  }

  /** Sends the turns of a session as updates, as `session/load` has to before its answer. */
  async #replay({ id: sessionId, turns }: DemoSession): Promise<void> {
    const sendChunk = async (sessionUpdate: string, text: string) => {
      const update = { sessionUpdate, content: { type: "text", text } };
      await this.#client.notify("session/update", { sessionId, update });
    };
    for (const { prompt, reply } of turns) {
      await sendChunk("user_message_chunk", prompt);
      await sendChunk("agent_message_chunk", reply);
    }
  }

  async #prompt(session: DemoSession, blocks: readonly PromptBlock[]): Promise<"end_turn" | "cancelled"> {
    if (session.cancel) throw new RpcError(INVALID_PARAMS, "A prompt is running in this session.");
    const { signal } = session.cancel = new AbortController();
    const text = blocks.map((block) => block.text ?? "").join("\n");
    const images = blocks.filter(({ type }) => type === "image");
    const turn = { prompt: text, reply: "" };
    session.turns.push(turn);
    if (session.turns.length > MAX_TURNS) session.turns.shift();
    const script = new DemoScript({
      client: this.#client,
      sessionId: session.id,
      pace: this.#pace,
      onText: (token) => turn.reply += token,
      signal,
    });
    try {
      await script.play(text, images, session.turns.length);
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
  const { "token-ms": tokenMs = DEFAULT_PACE.tokenMs, "step-ms": stepMs = DEFAULT_PACE.stepMs } = values;
  await serveDemo({ readable: Deno.stdin.readable, writable: Deno.stdout.writable }, {
    tokenMs: Number(tokenMs),
    stepMs: Number(stepMs),
  });
}

if (import.meta.main) await runDemo(Deno.args);
