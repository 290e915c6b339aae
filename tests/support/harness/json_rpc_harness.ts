import { AcpAgent } from "../../../lib/acp/agent.ts";
import { JsonRpcPeer, type PeerHandlers, type PeerStreams } from "../../../lib/acp/json_rpc.ts";
import type { AgentProcess } from "../../../lib/acp/process.ts";
import type { Log, LogFields, LogLevel } from "../../../lib/core/log.ts";
import { type Json, readLines } from "../agents/scripted_agent.ts";
import { soon } from "./turn_recorder.ts";
import { NOBODY } from "./no_broker.ts";

/** Both ends of a connection in memory. */
export function streamPair(): [PeerStreams, PeerStreams] {
  const there = new TransformStream<Uint8Array, Uint8Array>();
  const back = new TransformStream<Uint8Array, Uint8Array>();
  return [
    { readable: back.readable, writable: there.writable },
    { readable: there.readable, writable: back.writable },
  ];
}

/** The other end of a peer, line by line. */
export class RawPeer {
  readonly #lines: AsyncGenerator<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor({ readable, writable }: PeerStreams) {
    this.#lines = readLines(readable);
    this.#writer = writable.getWriter();
  }

  /** Writes these messages, strings as they are, in one go. */
  async send(...messages: (Json | string)[]): Promise<void> {
    const lines = messages.map((message) =>
      typeof message === "string" ? message : JSON.stringify({ jsonrpc: "2.0", ...message })
    );
    await this.#writer.write(new TextEncoder().encode(lines.map((line) => line + "\n").join("")));
  }

  /** The next message; undefined at the end. */
  async receive(): Promise<Json | undefined> {
    const { value, done } = await soon(this.#lines.next(), "a line");
    return done ? undefined : JSON.parse(value);
  }

  /** Ends what it says. */
  async close(): Promise<void> {
    await this.#writer.close();
  }

  /** Breaks off what it says. */
  async abort(error: Error): Promise<void> {
    await this.#writer.abort(error);
  }
}

/** Everything that a peer was told, in order, in short; requests are answered by the given function. */
export class RecordingHandlers implements PeerHandlers {
  readonly entries: string[] = [];
  readonly #answer: (method: string, params: unknown, signal: AbortSignal) => Promise<unknown>;

  constructor(answer: (method: string, params: unknown, signal: AbortSignal) => Promise<unknown> = echo) {
    this.#answer = answer;
  }

  onNotification(method: string, params: unknown): void {
    this.entries.push(`${method} ${JSON.stringify(params)}`);
  }

  onRequest(method: string, params: unknown, signal: AbortSignal): Promise<unknown> {
    return this.#answer(method, params, signal);
  }

  onInvalidLine(line: string, why: string): void {
    this.entries.push(`garbage: ${why}: ${line}`);
  }
}

function echo(method: string, params: unknown): Promise<unknown> {
  return Promise.resolve({ method, params });
}

/** A peer, what it was told, and its other end in raw lines. */
export function rawPair(
  told = new RecordingHandlers(),
): { peer: JsonRpcPeer; told: RecordingHandlers; end: RawPeer } {
  const [mine, theirs] = streamPair();
  return { peer: new JsonRpcPeer(mine, told), told, end: new RawPeer(theirs) };
}

/** Two peers that talk to each other. */
export function peerPair(
  one = new RecordingHandlers(),
  other = new RecordingHandlers(),
): [JsonRpcPeer, JsonRpcPeer] {
  const [mine, theirs] = streamPair();
  return [new JsonRpcPeer(mine, one), new JsonRpcPeer(theirs, other)];
}

/** Closes peers at the end of a test. */
export async function closePeers(...peers: JsonRpcPeer[]): Promise<void> {
  await soon(Promise.all(peers.map((peer) => peer.close())), "the peers' close");
}

/** One line of the log. */
export interface LogEntry {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** A log that a test can look at and wait for. */
export class LogRecorder {
  readonly entries: LogEntry[] = [];
  readonly log: Log;
  readonly #waiting = new Set<() => void>();

  constructor() {
    const say = (level: LogLevel) => (message: string, fields: LogFields = {}) => {
      this.entries.push({ level, message, fields });
      for (const look of this.#waiting) look();
    };
    this.log = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
  }

  /** The entries of this message, or with these words in it. */
  matching(message: string | RegExp): LogEntry[] {
    return this.entries.filter((entry) =>
      typeof message === "string" ? entry.message === message : message.test(entry.message)
    );
  }

  /** The first entry, past or future, of this message, or with these words in it. */
  async waitFor(message: string | RegExp): Promise<LogEntry> {
    const { promise, resolve } = Promise.withResolvers<LogEntry>();
    const look = () => {
      const [entry] = this.matching(message);
      if (entry) resolve(entry);
    };
    this.#waiting.add(look);
    look();
    try {
      return await soon(promise, `the log entry "${message}"`);
    } finally {
      this.#waiting.delete(look);
    }
  }
}

/** A link to an agent in memory: `stop` and `kill` end it at once. */
export function memoryProcess(streams: PeerStreams, end: () => void): AgentProcess & { stops: number } {
  const { promise: exited, resolve } = Promise.withResolvers<string>();
  const finish = () => {
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
      finish();
      return Promise.resolve();
    },
    kill: finish,
  };
}

/** An agent whose other end says what a test tells it to, line by line. */
export function rawAgent(recorder = new LogRecorder()): { agent: AcpAgent; end: RawPeer } {
  const [mine, theirs] = streamPair();
  const end = new RawPeer(theirs);
  const agent = new AcpAgent({
    name: "raw",
    program: "agent",
    launch: () => memoryProcess(mine, () => end.close()),
    cwd: "/",
    permissions: "allow",
    broker: NOBODY,
    version: "1",
    variables: new Set(),
    log: recorder.log,
  });
  return { agent, end };
}
