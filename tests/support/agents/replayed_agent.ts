/**
 * Replays the agent's side of a recorded ACP session over stdin and stdout. The recording is cut into exchanges,
 * one for each request of its client; a live request takes the next exchange of its method, whatever the client
 * skipped or added in between.
 */

import {
  type ChildCommand,
  denoCommand,
  isObject,
  type Json,
  LAST_WORDS_MS,
  line,
  openLog,
  Output,
  readMessages,
  sleep,
} from "./scripted_agent.ts";

/** How a recording is replayed. */
export interface ReplayOptions {
  /** Recorded pauses are kept, this many times faster; without it there are none. */
  readonly speed?: number;
  /** The longest wait for session/cancel where the recording has one; default 2000. */
  readonly cancelWaitMs?: number;
  /** File to which every received message is appended, one JSON line each. */
  readonly log?: string;
}

/** One line of a recording: when it was, which way it went, what it said. */
export interface RecordedLine {
  readonly t: number;
  readonly dir: "c2a" | "a2c" | "exit" | "nonjson";
  readonly msg: unknown;
}

/** The command that replays a recording: a path, or a bare name for tests/fixtures/acp/NAME.ndjson. */
export function replayCommand(recording: string, options: ReplayOptions = {}): ChildCommand {
  const programArgs = [recordingPath(recording), JSON.stringify(options)];
  return denoCommand(import.meta.url, options.log !== undefined, programArgs);
}

/** The lines of a recording, named like in `replayCommand`. */
export function readRecording(recording: string): RecordedLine[] {
  const text = Deno.readTextFileSync(recordingPath(recording));
  return text.split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
}

function recordingPath(recording: string): string {
  if (/[\\/]/.test(recording)) return recording;
  return `${import.meta.dirname}/../../fixtures/acp/${recording.replace(/\.ndjson$/, "")}.ndjson`;
}

/** What happens between a request and its answer, and behind it. */
type Item =
  | { readonly type: "send"; readonly t: number; readonly text: string; readonly requestId?: unknown }
  | { readonly type: "awaitAnswer"; readonly t: number; readonly requestId: unknown }
  | { readonly type: "awaitCancel"; readonly t: number };

/** One recorded request with all that the agent sent on its account. */
interface Exchange {
  readonly method: string;
  readonly t: number;
  /** The recorded session it is about; for session/new the one it made. */
  sessionId: string | undefined;
  answer: Json | undefined;
  readonly before: Item[];
  readonly after: Item[];
}

/** A recording as exchanges, in the order of their requests. */
function exchangesOf(recording: readonly RecordedLine[]): Exchange[] {
  const exchanges: Exchange[] = [];
  const byId = new Map<unknown, Exchange>();
  const byRequest = new Map<unknown, Exchange>();
  /** The exchange that a line belongs to: an open one of its session, or else the one of it that ended last. */
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
      const known = typeof sessionId === "string" ? sessionId : undefined;
      const exchange = { method, t, sessionId: known, answer: undefined, before: [], after: [] };
      exchanges.push(exchange);
      byId.set(id, exchange);
    }
  }
  return exchanges;
}

/** The agent of a recording, live. */
class ReplayAgent {
  readonly #options: ReplayOptions;
  readonly #output: Output;
  readonly #exchanges: readonly Exchange[];
  readonly #left: Exchange[];
  /** The id that stands for a recorded one, unless an exchange is played in another session. */
  #liveIds: ReadonlyMap<string, string> = new Map();
  readonly #turns = new Map<unknown, AbortController>();
  readonly #answers = new Map<unknown, { arrived: Promise<void>; arrive: () => void }>();

  constructor(recording: readonly RecordedLine[], options: ReplayOptions, output: Output) {
    this.#options = options;
    this.#output = output;
    this.#exchanges = exchangesOf(recording);
    this.#left = [...this.#exchanges];
  }

  /** Handles one received message; whatever takes time goes on by itself. */
  receive(message: Json): void {
    const { id, method } = message;
    const params = isObject(message.params) ? message.params : {};
    if (typeof method !== "string") {
      this.#answers.get(id)?.arrive();
    } else if (id !== undefined) {
      const next = this.#left.findIndex((exchange) => exchange.method === method);
      const [exchange] = next < 0 ? [] : this.#left.splice(next, 1);
      if (exchange !== undefined) this.#play(exchange, id, params);
      else this.#output.send({ jsonrpc: "2.0", id, ...this.#improvise(method) });
    } else if (method === "session/cancel") {
      this.#turns.get(params.sessionId)?.abort();
    }
  }

  async #play(exchange: Exchange, id: unknown, params: Json): Promise<void> {
    const { sessionId, answer, before, after } = exchange;
    const live = exchange.method === "session/new" ? crypto.randomUUID() : params.sessionId;
    const ids = new Map(this.#liveIds);
    if (sessionId !== undefined && typeof live === "string") ids.set(sessionId, live);
    if (exchange.method === "session/new") this.#liveIds = ids;
    const rewrite = (text: string) =>
      ids.entries().reduce((text, [from, to]) => text.replaceAll(from, to), text);
    const turn = new AbortController();
    if (exchange.method === "session/prompt") this.#turns.set(live, turn);
    const cancelRecorded = before.some((item) => item.type === "awaitCancel");
    // A cancel that the recording has not: nothing more is sent, but an open permission still gets its outcome.
    const stopped = () => turn.signal.aborted && !cancelRecorded;

    let t = exchange.t;
    for (const item of before) {
      if (item.type === "send" && !stopped()) {
        await this.#pause(item.t - t, turn.signal);
        if (!stopped()) await this.#send(item, rewrite);
      } else if (item.type === "awaitAnswer") {
        await this.#answers.get(item.requestId)?.arrived;
      } else if (item.type === "awaitCancel") {
        await sleep(this.#options.cancelWaitMs ?? 2000, turn.signal);
      }
      t = item.t;
    }
    if (this.#turns.get(live) === turn) this.#turns.delete(live);
    if (stopped()) return this.#output.send({ jsonrpc: "2.0", id, result: { stopReason: "cancelled" } });
    if (answer === undefined) return;
    this.#output.write(rewrite(line({ ...answer, id })));
    for (const item of after) {
      if (item.type !== "send") continue;
      if (this.#options.speed !== undefined) await this.#pause(item.t - t); // else in the answer's own write
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

  /** A plausible answer to a request that the recording has not, or not so often. */
  #improvise(method: string): Json {
    const recorded = this.#exchanges.findLast((exchange) => exchange.method === method)?.answer;
    switch (method) {
      case "session/new":
        if (!isObject(recorded?.result)) return { result: { sessionId: crypto.randomUUID() } };
        return { result: { ...recorded.result, sessionId: crypto.randomUUID() } };
      case "initialize":
        return { result: isObject(recorded?.result) ? recorded.result : { protocolVersion: 1 } };
      case "session/prompt":
        return { error: { code: -32603, message: "The recording has no further prompt" } };
      case "session/list":
        return { result: { sessions: [] } };
      case "session/set_config_option": {
        const made = this.#exchanges.find((exchange) => exchange.method === "session/new")?.answer?.result;
        return { result: { configOptions: isObject(made) ? made.configOptions ?? [] : [] } };
      }
      case "authenticate":
      case "session/load":
      case "session/resume":
      case "session/close":
      case "session/delete":
      case "session/set_mode":
      case "session/set_model":
        return { result: {} };
      default:
        return { error: { code: -32601, message: `Method not found: ${method}` } };
    }
  }
}

async function main(recording: string, options: ReplayOptions): Promise<void> {
  const lines = readRecording(recording);
  const output = new Output();
  const agent = new ReplayAgent(lines, options, output);
  for await (const message of readMessages(openLog(options.log))) agent.receive(message);
  await Promise.race([output.drained(), sleep(LAST_WORDS_MS)]);
  const exit = lines.find(({ dir }) => dir === "exit")?.msg;
  Deno.exit(isObject(exit) && typeof exit.code === "number" ? exit.code : 0);
}

if (import.meta.main) await main(Deno.args[0] ?? "", JSON.parse(Deno.args[1] ?? "{}"));
