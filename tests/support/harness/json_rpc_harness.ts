import { AcpAgent, type AcpAgentOptions } from "../../../lib/acp/agent.ts";
import type { AgentTimeouts } from "../../../lib/acp/handshake.ts";
import { JsonRpcPeer, type PeerHandlers, type PeerStreams } from "../../../lib/acp/json_rpc.ts";
import type { AgentProcess } from "../../../lib/acp/process.ts";
import type { Log, LogFields, LogLevel } from "../../../lib/core/log.ts";
import { type Json, readLines } from "../agents/agent_io.ts";
import { NO_BROKER } from "./no_broker.ts";
import { waitFor } from "./turn_recorder.ts";

/** Creates one direction of a connection in memory: a byte stream, as of a process, and its other end. */
function pipe(): PeerStreams {
  let controller!: ReadableByteStreamController;
  const readable = new ReadableStream({
    type: "bytes",
    start: (started) => void (controller = started),
  });
  const writable = new WritableStream<Uint8Array>({
    write: (bytes) => controller.enqueue(bytes.slice()),
    close() {
      controller.close();
      controller.byobRequest?.respond(0);
    },
    abort: (reason) => controller.error(reason),
  });
  return { readable, writable };
}

/** Creates both ends of a connection in memory. */
export function streamPair(): [PeerStreams, PeerStreams] {
  const [there, back] = [pipe(), pipe()];
  return [
    { readable: back.readable, writable: there.writable },
    { readable: there.readable, writable: back.writable },
  ];
}

/** The remote end of a connection, which the test plays line by line. */
export class RawPeer {
  readonly #lines: AsyncGenerator<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor({ readable, writable }: PeerStreams) {
    this.#lines = readLines(readable);
    this.#writer = writable.getWriter();
  }

  /** Sends messages, or lines as they are, in one write. */
  async send(...messages: (Json | string)[]): Promise<void> {
    const lines = messages.map((message) =>
      typeof message === "string" ? message : JSON.stringify({ jsonrpc: "2.0", ...message })
    );
    await this.#writer.write(new TextEncoder().encode(lines.map((line) => line + "\n").join("")));
  }

  /** Receives the next message; `undefined` at the end. */
  async receive(): Promise<Json | undefined> {
    const { value, done } = await waitFor(this.#lines.next(), "a line");
    return done ? undefined : JSON.parse(value);
  }

  /** Ends the stream. */
  async close(): Promise<void> {
    await this.#writer.close();
  }

  /** Breaks the stream. */
  async abort(error: Error): Promise<void> {
    await this.#writer.abort(error);
  }
}

type RequestHandler = (method: string, params: unknown, signal: AbortSignal) => Promise<unknown>;

/** Handlers that record notifications and invalid lines in brief, and answer requests with a function. */
export class RecordingHandlers implements PeerHandlers {
  readonly entries: string[] = [];
  readonly onRequest: RequestHandler;

  constructor(onRequest: RequestHandler = (method, params) => Promise.resolve({ method, params })) {
    this.onRequest = onRequest;
  }

  onNotification(method: string, params: unknown): void {
    this.entries.push(`${method} ${JSON.stringify(params)}`);
  }

  onInvalidLine(line: string, why: string): void {
    this.entries.push(`invalid: ${why}: ${line}`);
  }
}

/** Creates a peer whose remote end the test plays. */
export function rawPair(
  handlers = new RecordingHandlers(),
): { peer: JsonRpcPeer; handlers: RecordingHandlers; remote: RawPeer } {
  const [mine, theirs] = streamPair();
  return { peer: new JsonRpcPeer(mine, handlers), handlers, remote: new RawPeer(theirs) };
}

/** Creates two connected peers. */
export function peerPair(
  one = new RecordingHandlers(),
  other = new RecordingHandlers(),
): [JsonRpcPeer, JsonRpcPeer] {
  const [mine, theirs] = streamPair();
  return [new JsonRpcPeer(mine, one), new JsonRpcPeer(theirs, other)];
}

/** One line of the log. */
export interface LogEntry {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** A log that keeps its entries, and lets a test wait for them. */
export class LogRecorder {
  readonly entries: LogEntry[] = [];
  readonly log: Log;
  readonly #waiting = new Set<() => void>();

  constructor() {
    const record = (level: LogLevel) => (message: string, fields: LogFields = {}) => {
      this.entries.push({ level, message, fields });
      for (const check of this.#waiting) check();
    };
    this.log = { debug: record("debug"), info: record("info"), warn: record("warn"), error: record("error") };
  }

  /** Returns the entries with this message, or with a message that matches. */
  matching(message: string | RegExp): LogEntry[] {
    return this.entries.filter((entry) =>
      typeof message === "string" ? entry.message === message : message.test(entry.message)
    );
  }

  /** Resolves to the first matching entry, past or future. */
  async waitFor(message: string | RegExp): Promise<LogEntry> {
    const { promise, resolve } = Promise.withResolvers<LogEntry>();
    const check = () => {
      const [entry] = this.matching(message);
      if (entry) resolve(entry);
    };
    this.#waiting.add(check);
    check();
    try {
      return await waitFor(promise, `the log entry "${message}"`);
    } finally {
      this.#waiting.delete(check);
    }
  }
}

/** Creates the process of an agent in memory. `stop` and `kill` end it at once. */
export function memoryProcess(streams: PeerStreams, end: () => void): AgentProcess & { stops: number } {
  const { promise: exited, resolve } = Promise.withResolvers<string>();
  const kill = () => {
    end();
    resolve("exited with code 0");
  };
  return {
    ...streams,
    exited,
    stops: 0,
    stderrTail: () => [],
    stop(endInput) {
      this.stops++;
      endInput?.();
      kill();
      return Promise.resolve();
    },
    kill,
  };
}

/** Creates an agent whose process the test plays line by line. */
export function rawAgent(recorder = new LogRecorder()): { agent: AcpAgent; remote: RawPeer } {
  const [mine, theirs] = streamPair();
  const remote = new RawPeer(theirs);
  const launch = () => memoryProcess(mine, () => remote.close());
  return { agent: new AcpAgent(agentOptions(recorder, launch)), remote };
}

/** Time limits that no test reaches, and no quiet periods, so that a turn ends with the agent's answer. */
export const TEST_TIMEOUTS: AgentTimeouts = {
  setupMs: 60_000,
  readMs: 60_000,
  resumeMs: 60_000,
  cancelMs: 60_000,
  afterPrompt: { silenceMs: 0, maxMs: 0 },
  afterLoad: { silenceMs: 0, maxMs: 0 },
};

/** Options of an agent in a test: no MCP servers, every permission is allowed, and hardly any time limit. */
export function agentOptions(recorder: LogRecorder, launch: AcpAgentOptions["launch"]): AcpAgentOptions {
  return {
    name: "agent",
    program: "agent",
    launch,
    cwd: "/",
    mcpServers: [],
    permissions: "allow",
    broker: NO_BROKER,
    version: "1",
    variables: new Set(),
    log: recorder.log,
    timeouts: TEST_TIMEOUTS,
  };
}
