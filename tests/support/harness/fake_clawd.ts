/**
 * The server of clawd-on-desk 0.5.10 for tests of the driver: on a real port, with its limits, its rules for sessions
 * and its open permission requests. It reads raw connections, because it has to break them off and notice broken ones.
 *
 * @module
 */

import { waitFor } from "./turn_recorder.ts";

/** Any JSON object. */
export type Json = Record<string, unknown>;

/** The states that the server accepts. */
const STATES = new Set([
  ...[
    "idle",
    "thinking",
    "working",
    "juggling",
    "sweeping",
    "carrying",
    "attention",
    "notification",
    "error",
  ],
  ...["sleeping", "yawning", "dozing", "collapsing", "waking", "mini-idle", "mini-peek"],
]);
const MAX_STATE_BYTES = 1_024;
const MAX_PERMISSION_BYTES = 512 * 1024;
/** States that leave the session idle, and states that leave it unchanged. */
const IDLE_AFTER = new Set(["attention", "notification", "sleeping"]);
const TRANSIENT = new Set(["error", "sweeping", "carrying"]);
/** Events that deny an open permission request of the session. */
const DENYING_EVENTS = new Set(["PostToolUse", "PostToolUseFailure", "Stop"]);
/** Tools that are allowed without a question. */
const ALLOWED_TOOLS = new Set(["TaskCreate", "TaskUpdate", "TaskGet", "TaskList", "TaskStop", "TaskOutput"]);

/** A permission request on the screen. */
export interface Bubble {
  readonly body: Json;
  readonly session: string;
  /** Open, decided, or closed by the client. */
  state: "open" | "allow" | "deny" | "closed";
  readonly answer: (decision: Json) => void;
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body: Uint8Array;
}

/** Options of the fake. */
export interface FakeClawdOptions {
  readonly port?: number;
  /** The value of the identity header. */
  readonly identity?: string;
}

/** A fake pet. */
export class FakeClawd implements AsyncDisposable {
  /** The accepted states, in order. */
  readonly posts: Json[] = [];
  /** Everything that happened: `state EVENT session`, `ask TOOL`, `closed TOOL`, `413`, `400 STATE`. */
  readonly log: string[] = [];
  readonly bubbles: Bubble[] = [];
  /** The state of each session. */
  readonly sessions = new Map<string, string>();
  /** "Do not disturb": breaks off permission requests. */
  dnd = false;
  /** Answers probes, but no states. */
  isBroken = false;
  probes = 0;
  readonly #identity: string;
  readonly #listener: Deno.TcpListener;
  readonly #connections = new Set<Deno.TcpConn>();
  readonly #serving: Promise<void>;
  readonly #waiting = new Set<() => void>();

  constructor({ port = 0, identity = "clawd-on-desk" }: FakeClawdOptions = {}) {
    this.#identity = identity;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port });
    this.#serving = this.#serve();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** The text of `runtime.json`. */
  get runtime(): string {
    return JSON.stringify({ app: "clawd-on-desk", port: this.port, ownerPid: 1 });
  }

  /** The last posted state in the log. */
  get last(): string | undefined {
    return this.log.findLast((line) => !line.startsWith("ask") && !line.startsWith("closed"));
  }

  /** Waits until the condition holds. */
  async until(holds: () => boolean, what = "the pet"): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => {
      if (!holds()) return;
      this.#waiting.delete(look);
      resolve();
    };
    this.#waiting.add(look);
    look();
    try {
      await waitFor(promise, what);
    } catch (error) {
      throw new Error(`${(error as Error).message}; so far: ${this.log.join(", ")}`);
    }
  }

  /** Waits until the line is in the log so many times. */
  untilLogged(line: string, times = 1): Promise<void> {
    return this.until(() => this.log.filter((one) => one === line).length >= times, line);
  }

  /** Decides the newest open request, with the suggestion of this index. */
  decide(
    behavior: "allow" | "deny",
    { suggestion, message }: { suggestion?: number; message?: string } = {},
  ) {
    const bubble = this.bubbles.findLast(({ state }) => state === "open");
    if (bubble === undefined) throw new Error("No bubble is open");
    bubble.state = behavior;
    const offered = bubble.body.permission_suggestions as unknown[];
    bubble.answer({
      behavior,
      ...(message === undefined ? {} : { message }),
      ...(suggestion === undefined ? {} : { updatedPermissions: [offered[suggestion]] }),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) close(connection);
    await this.#serving;
  }

  async #serve(): Promise<void> {
    const handled: Promise<void>[] = [];
    try {
      for await (const connection of this.#listener) handled.push(this.#handle(connection));
    } catch {
      // The listener was closed.
    }
    await Promise.all(handled);
  }

  /** Handles the one request of a connection. */
  async #handle(connection: Deno.TcpConn): Promise<void> {
    this.#connections.add(connection);
    try {
      const request = await readRequest(connection);
      if (request === undefined) return;
      const { method, path } = request;
      if (method === "GET" && path === "/state") {
        this.probes++;
        await this.#respond(
          connection,
          200,
          JSON.stringify({ ok: true, app: "clawd-on-desk", port: this.port }),
        );
        this.#changed();
      } else if (method === "POST" && path === "/state") {
        if (this.isBroken) return;
        const [status, text] = this.#state(request.body);
        await this.#respond(connection, status, text);
        this.#changed();
      } else if (method === "POST" && path === "/permission") {
        await this.#permission(connection, request.body);
      } else {
        await this.#respond(connection, 404, "not found");
      }
    } catch {
      // The client closed the connection.
    } finally {
      this.#connections.delete(connection);
      close(connection);
    }
  }

  #state(bytes: Uint8Array): [status: number, text: string] {
    if (bytes.length > MAX_STATE_BYTES) {
      this.log.push("413");
      return [413, "state payload too large"];
    }
    const body = JSON.parse(new TextDecoder().decode(bytes)) as Json;
    const { state, event, session_id } = body as Record<string, string | undefined>;
    if (state === undefined || !STATES.has(state)) {
      this.log.push(`400 ${state}`);
      return [400, "unknown state"];
    }
    const session = session_id ?? "default";
    this.posts.push(body);
    this.log.push(`${state} ${event ?? "-"} ${session}`);
    if (event !== undefined && DENYING_EVENTS.has(event)) {
      for (const bubble of this.bubbles) {
        if (bubble.state !== "open" || bubble.session !== session) continue;
        bubble.state = "deny";
        bubble.answer({ behavior: "deny", message: "User answered in terminal" });
      }
    }
    this.#update(session, state, event);
    return [200, "ok"];
  }

  #update(session: string, state: string, event: string | undefined): void {
    if (event === "PermissionRequest") return;
    if (event === "SessionEnd") this.sessions.delete(session);
    else if (IDLE_AFTER.has(state)) this.sessions.set(session, "idle");
    else if (TRANSIENT.has(state)) this.sessions.set(session, this.sessions.get(session) ?? "idle");
    else if (this.sessions.get(session) === "juggling" && state === "working" && event !== "SubagentStop") {
      return;
    } else this.sessions.set(session, state);
  }

  async #permission(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
    if (this.dnd) {
      this.log.push("dnd");
      return this.#changed();
    }
    const body = JSON.parse(new TextDecoder().decode(bytes)) as Json;
    const { promise, resolve } = Promise.withResolvers<Json | undefined>();
    const bubble: Bubble = { body, session: String(body.session_id), state: "open", answer: resolve };
    if (bytes.length > MAX_PERMISSION_BYTES) {
      resolve({ behavior: "deny", message: "Permission request too large" });
    } else if (ALLOWED_TOOLS.has(String(body.tool_name))) resolve({ behavior: "allow" });
    else this.bubbles.push(bubble);
    this.log.push(`ask ${body.tool_name}`);
    this.#changed();
    const closed = connection.read(new Uint8Array(1)).catch(() => null).then(() => {
      if (bubble.state !== "open") return;
      bubble.state = "closed";
      this.log.push(`closed ${body.tool_name}`);
      resolve(undefined);
      this.#changed();
    });
    const decision = await promise;
    if (decision !== undefined) {
      const text = JSON.stringify({ hookSpecificOutput: { hookEventName: "PermissionRequest", decision } });
      await this.#respond(connection, 200, text);
    }
    close(connection);
    await closed;
  }

  async #respond(connection: Deno.TcpConn, status: number, text: string): Promise<void> {
    const body = new TextEncoder().encode(text);
    const identity = status < 400 ? `x-clawd-server: ${this.#identity}\r\n` : "";
    const head =
      `HTTP/1.1 ${status} Status\r\n${identity}content-length: ${body.length}\r\nconnection: close\r\n\r\n`;
    await writeAll(connection, new Uint8Array([...new TextEncoder().encode(head), ...body]));
  }

  #changed(): void {
    for (const look of [...this.#waiting]) look();
  }
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // The connection is closed already.
  }
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await connection.write(bytes.subarray(written));
}

/** Reads a request with a body of a known length; `undefined` if the connection closes before its end. */
async function readRequest(connection: Deno.TcpConn): Promise<Request | undefined> {
  let bytes = new Uint8Array();
  const chunk = new Uint8Array(64 * 1024);
  while (true) {
    const text = new TextDecoder("latin1").decode(bytes);
    const end = text.indexOf("\r\n\r\n");
    if (end >= 0) {
      const [line = "", ...fields] = text.slice(0, end).split("\r\n");
      const length = Number(/^content-length:\s*(\d+)$/im.exec(fields.join("\n"))?.[1] ?? 0);
      if (bytes.length >= end + 4 + length) {
        const [method = "", path = ""] = line.split(" ");
        return { method, path, body: bytes.slice(end + 4, end + 4 + length) };
      }
    }
    const count = await connection.read(chunk);
    if (count === null) return undefined;
    bytes = new Uint8Array([...bytes, ...chunk.subarray(0, count)]);
  }
}
