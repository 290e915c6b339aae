/**
 * Replays the agent's side of a recorded ACP session over stdin and stdout. The recording is cut into exchanges, one for
 * each request of its client. A request takes the next exchange of its method, whatever the client skipped or added.
 */

import {
  type ChildCommand,
  denoCommand,
  DRAIN_MS,
  isObject,
  type Json,
  line,
  openLog,
  Output,
  readMessages,
  sleep,
} from "./agent_io.ts";

/** Options of a replay. */
export interface ReplayOptions {
  /** Factor by which recorded pauses are shortened. Without it there are none. */
  readonly speed?: number;
  /** Longest wait for a recorded session/cancel. Default: 2000. */
  readonly cancelWaitMs?: number;
  /** File that gets every received message as a JSON line. */
  readonly log?: string;
}

/** One line of a recording: time in milliseconds, direction and message. */
export interface RecordedLine {
  readonly t: number;
  readonly dir: "c2a" | "a2c" | "exit" | "nonjson";
  readonly msg: unknown;
}

/** Builds the command that replays a recording: a path, or a name for tests/fixtures/acp/NAME.ndjson. */
export function replayCommand(recording: string, options: ReplayOptions = {}): ChildCommand {
  const programArgs = [recordingPath(recording), JSON.stringify(options)];
  return denoCommand(import.meta.url, options.log !== undefined, programArgs);
}

/** Reads the lines of a recording, by path or name. */
export function readRecording(recording: string): RecordedLine[] {
  const text = Deno.readTextFileSync(recordingPath(recording));
  return text.split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
}

function recordingPath(recording: string): string {
  if (/[\\/]/.test(recording)) return recording;
  return `${import.meta.dirname}/../../fixtures/acp/${recording.replace(/\.ndjson$/, "")}.ndjson`;
}

/** An item between a request and its answer, or behind the answer. */
type Item =
  | { readonly type: "send"; readonly t: number; readonly text: string; readonly requestId?: unknown }
  | { readonly type: "awaitAnswer"; readonly t: number; readonly requestId: unknown }
  | { readonly type: "awaitCancel"; readonly t: number };

/** One recorded request with everything that the agent sent for it. */
interface Exchange {
  readonly method: string;
  readonly t: number;
  /** The recorded session of the request; for session/new the new one. */
  sessionId: string | undefined;
  answer: Json | undefined;
  readonly before: Item[];
  readonly after: Item[];
}

/** Cuts a recording into exchanges, in the order of their requests. */
function exchangesOf(recording: readonly RecordedLine[]): Exchange[] {
  const exchanges: Exchange[] = [];
  const byId = new Map<unknown, Exchange>();
  const byRequest = new Map<unknown, Exchange>();
  /** Finds the exchange of a line: an open one of its session, or else the last one. */
  const owner = (sessionId: unknown) => {
    const fitting = sessionId === undefined ? [] : exchanges.filter((one) => one.sessionId === sessionId);
    const candidates = fitting.length > 0 ? fitting : exchanges;
    return candidates.findLast((one) => one.answer === undefined) ?? candidates.at(-1);
  };
  const add = (exchange: Exchange | undefined, item: Item) => {
    (exchange?.answer === undefined ? exchange?.before : exchange.after)?.push(item);
  };
  for (const { t, dir, msg } of recording) {
    if (dir === "nonjson") add(owner(undefined), { type: "send", t, text: `${msg}\n` });
    if (!isObject(msg) || dir === "nonjson" || dir === "exit") continue;
    const { id, method } = msg;
    const sessionId = isObject(msg.params) ? msg.params.sessionId : undefined;
    if (dir === "a2c" && method === undefined) {
      const exchange = byId.get(id);
      if (exchange === undefined) continue;
      exchange.answer = msg;
      const made = isObject(msg.result) ? msg.result.sessionId : undefined;
      if (typeof made === "string") exchange.sessionId ??= made;
    } else if (dir === "a2c") {
      const exchange = owner(sessionId);
      if (id !== undefined && exchange !== undefined) byRequest.set(id, exchange);
      add(exchange, { type: "send", t, text: line(msg), requestId: id });
    } else if (method === undefined) {
      add(byRequest.get(id), { type: "awaitAnswer", t, requestId: id });
    } else if (method === "session/cancel") {
      add(owner(sessionId), { type: "awaitCancel", t });
    } else if (id !== undefined && typeof method === "string") {
      const recordedId = typeof sessionId === "string" ? sessionId : undefined;
      const exchange = { method, t, sessionId: recordedId, answer: undefined, before: [], after: [] };
      exchanges.push(exchange);
      byId.set(id, exchange);
    }
  }
  return exchanges;
}

/** The agent of a recording. */
class ReplayAgent {
  readonly #options: ReplayOptions;
  readonly #output: Output;
  readonly #exchanges: readonly Exchange[];
  readonly #remaining: Exchange[];
  /** The ids that replace recorded session ids. */
  #newIds: ReadonlyMap<string, string> = new Map();
  readonly #turns = new Map<unknown, AbortController>();
  readonly #answers = new Map<unknown, { arrived: Promise<void>; arrive: () => void }>();

  constructor(recording: readonly RecordedLine[], options: ReplayOptions, output: Output) {
    this.#options = options;
    this.#output = output;
    this.#exchanges = exchangesOf(recording);
    this.#remaining = [...this.#exchanges];
  }

  /** Handles a message, without waiting. */
  receive(message: Json): void {
    const { id, method } = message;
    const params = isObject(message.params) ? message.params : {};
    if (typeof method !== "string") {
      this.#answers.get(id)?.arrive();
    } else if (id !== undefined) {
      const next = this.#remaining.findIndex((exchange) => exchange.method === method);
      const [exchange] = next < 0 ? [] : this.#remaining.splice(next, 1);
      if (exchange !== undefined) this.#play(exchange, id, params);
      else this.#output.send({ jsonrpc: "2.0", id, ...this.#improvise(method) });
    } else if (method === "session/cancel") {
      this.#turns.get(params.sessionId)?.abort();
    }
  }

  async #play(exchange: Exchange, id: unknown, params: Json): Promise<void> {
    const { sessionId, answer, before, after } = exchange;
    const newId = exchange.method === "session/new" ? crypto.randomUUID() : params.sessionId;
    const ids = new Map(this.#newIds);
    if (sessionId !== undefined && typeof newId === "string") ids.set(sessionId, newId);
    if (exchange.method === "session/new") this.#newIds = ids;
    const rewrite = (text: string) =>
      ids.entries().reduce((text, [from, to]) => text.replaceAll(from, to), text);
    const turn = new AbortController();
    if (exchange.method === "session/prompt") this.#turns.set(newId, turn);
    const cancelRecorded = before.some((item) => item.type === "awaitCancel");
    // After a cancel that is not in the recording, nothing more is sent, but an open permission still gets its outcome.
    const isStopped = () => turn.signal.aborted && !cancelRecorded;

    let t = exchange.t;
    for (const item of before) {
      if (item.type === "send" && !isStopped()) {
        await this.#pause(item.t - t, turn.signal);
        if (!isStopped()) await this.#send(item, rewrite);
      } else if (item.type === "awaitAnswer") {
        await this.#answers.get(item.requestId)?.arrived;
      } else if (item.type === "awaitCancel") {
        await sleep(this.#options.cancelWaitMs ?? 2000, turn.signal);
      }
      t = item.t;
    }
    if (this.#turns.get(newId) === turn) this.#turns.delete(newId);
    if (isStopped()) return this.#output.send({ jsonrpc: "2.0", id, result: { stopReason: "cancelled" } });
    if (answer === undefined) return;
    this.#output.write(rewrite(line({ ...answer, id })));
    for (const item of after) {
      if (item.type !== "send") continue;
      if (this.#options.speed !== undefined) await this.#pause(item.t - t); // Without a speed, in the answer's write.
      this.#output.write(rewrite(item.text));
      t = item.t;
    }
  }

  async #send(item: Item & { type: "send" }, rewrite: (text: string) => string): Promise<void> {
    if (item.requestId !== undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#answers.set(item.requestId, { arrived: promise, arrive: resolve });
    }
    this.#output.write(rewrite(item.text));
    await this.#output.drained();
  }

  async #pause(ms: number, signal?: AbortSignal): Promise<void> {
    if (this.#options.speed !== undefined) await sleep(ms / this.#options.speed, signal);
  }

  /** Makes up the answer to a request that is not in the recording, or not as often. */
  #improvise(method: string): Json {
    if (method === "session/prompt") {
      return { error: { code: -32603, message: "The recording has no further prompt" } };
    }
    const recorded = this.#exchanges.findLast((exchange) => exchange.method === method)?.answer?.result;
    const result = isObject(recorded) ? recorded : {};
    return { result: method === "session/new" ? { ...result, sessionId: crypto.randomUUID() } : result };
  }
}

async function main(recording: string, options: ReplayOptions): Promise<void> {
  const lines = readRecording(recording);
  const output = new Output();
  const agent = new ReplayAgent(lines, options, output);
  for await (const message of readMessages(openLog(options.log))) agent.receive(message);
  await Promise.race([output.drained(), sleep(DRAIN_MS)]);
  const exit = lines.find(({ dir }) => dir === "exit")?.msg;
  Deno.exit(isObject(exit) && typeof exit.code === "number" ? exit.code : 0);
}

if (import.meta.main) await main(Deno.args[0] ?? "", JSON.parse(Deno.args[1] ?? "{}"));
