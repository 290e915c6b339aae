/**
 * Fuzzes the whole program in one process: random requests, WebSockets and agents against the parts of the program as
 * `lib/server.ts` wires them, behind a real port. Each input has a seed of its own, so that it can be played again.
 *
 * @module
 */

import { pooledMap } from "@std/async/pool";
import { AcpAgent } from "../../lib/acp/agent.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { openStore } from "../../lib/conversation/store.ts";
import { EventHub } from "../../lib/events/hub.ts";
import { createServer, type Server } from "../../lib/server.ts";
import { openCharacter } from "../../lib/stage/character.ts";
import { Metrics } from "../../lib/telemetry/metrics.ts";
import { PermissionBroker } from "../../lib/turn/permission.ts";
import { QuestionBroker } from "../../lib/turn/question.ts";
import { EventClient } from "../support/harness/event_client.ts";
import { HealthMonitor, Stopwatch } from "../support/harness/health_monitor.ts";
import { cpuMicros } from "../support/harness/inspector.ts";
import { agentOptions, LogRecorder, TEST_TIMEOUTS } from "../support/harness/json_rpc_harness.ts";
import { Random } from "../support/harness/random.ts";
import { type Answer, encodeRequest, exchange, type HangUp } from "./exchange.ts";
import { HostileAgent } from "./hostile_agent.ts";
import { httpInput } from "./http_input.ts";
import { playSocket, socketInput } from "./socket_input.ts";

/** Longest time that the event loop may stand still, in milliseconds. */
const MAX_LAG_MS = 500;
/** Longest time of one input. */
const HANG_MS = 60_000;
/** Inputs that are played at once. */
const AT_ONCE = 8;
const TICK_MS = 20;
/** Bytes of a request and of its answer in a finding. */
const MAX_SHOWN = 400;
/** Findings after which a run ends. */
const MAX_FINDINGS = 5;

/** The kinds of inputs, taken in turns. */
export const KINDS = ["http", "acp", "socket"] as const;
/** One of {@linkcode KINDS}. */
export type Kind = (typeof KINDS)[number];

/** What a run found out. */
export interface Report {
  readonly inputs: number;
  /** How often each status, or end without a status, came. */
  readonly statuses: ReadonlyMap<string, number>;
  readonly maxLagMs: number;
  readonly maxHealthMs: number;
  /** Faults, each with the seed that plays its input again. */
  readonly findings: readonly string[];
}

/** Limits of a run. */
export interface RunOptions {
  /** Seed of the first input; the following ones count up. */
  readonly seed: number;
  readonly inputs: number;
}

/** Plays inputs against one server, then asks the server whether it still serves. */
export async function fuzz({ seed, inputs }: RunOptions): Promise<Report> {
  await using target = await Target.start();
  const statuses = new Map<string, number>();
  const findings: string[] = [];
  const running = new Set<number>();
  const lag = new LagMonitor();
  const health = new HealthMonitor(`http://127.0.0.1:${target.port}`, ownCpuMs);
  const play = async (at: number): Promise<void> => {
    if (findings.length >= MAX_FINDINGS) return;
    running.add(at);
    const kind = KINDS[at % KINDS.length]!;
    try {
      const outcome = await withLimit(target.play(kind, at));
      statuses.set(`${kind} ${outcome}`, (statuses.get(`${kind} ${outcome}`) ?? 0) + 1);
    } catch (error) {
      findings.push(`seed ${at} (${kind}): ${error instanceof Error ? error.message : error}`);
    }
    running.delete(at);
    for (const fault of [...lag.takeFaults(), ...health.takeFaults(), ...target.takeFaults()]) {
      findings.push(`seeds ${[at, ...running].join(", ")}: ${fault}`);
    }
  };
  const seeds = Array.from({ length: inputs }, (_, index) => seed + index);
  await Array.fromAsync(pooledMap(AT_ONCE, seeds, play));
  for (const fault of await target.checkService()) {
    findings.push(`seeds ${seed} to ${seed + inputs - 1}: ${fault}`);
  }
  await health.stop();
  lag.stop();
  findings.push(...lag.takeFaults(), ...health.takeFaults());
  return { inputs, statuses, findings, maxLagMs: lag.maxMs, maxHealthMs: health.maxMs };
}

async function withLimit<T>(work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no end after ${HANG_MS / 1000} s`)), HANG_MS);
  return await Promise.race([work, promise]).finally(() => clearTimeout(timer));
}

/** The server under test, and a client that watches it. */
class Target implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #agent: HostileAgent;
  readonly #marks: Map<string, Random>;
  readonly #recorder: LogRecorder;
  readonly #watcher: EventClient;
  readonly #stack: AsyncDisposableStack;
  /** What the agent asked last. */
  readonly #asked = { permission: "none", question: "none" };

  private constructor(
    parts: { server: Server; agent: HostileAgent; marks: Map<string, Random>; recorder: LogRecorder },
    port: number,
    watcher: EventClient,
    stack: AsyncDisposableStack,
  ) {
    this.#server = parts.server;
    this.#agent = parts.agent;
    this.#marks = parts.marks;
    this.#recorder = parts.recorder;
    this.port = port;
    this.#watcher = watcher;
    this.#stack = stack;
  }

  static async start(): Promise<Target> {
    await using stack = new AsyncDisposableStack();
    const recorder = new LogRecorder();
    const folder = await Deno.makeTempDir({ prefix: "oab-vtuber-fuzz-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const config = {
      ...loadConfig({ env: {} }).config,
      replyTimeoutMs: 400,
      turnTimeoutMs: 2_000,
      shutdownGraceMs: 0,
      maxSessions: 20,
    };
    const hub = new EventHub({ holdMs: 0 });
    const permissions = new PermissionBroker(200, () => hub.canAnswerPermissions);
    const questions = new QuestionBroker(200, () => hub.canAnswerQuestions);
    const marks = new Map<string, Random>();
    const hostile = new HostileAgent((mark) => marks.get(mark));
    const launched = performance.now();
    const agent = new AcpAgent({
      ...agentOptions(recorder, () => hostile.launch()),
      permissions: "ask",
      broker: permissions,
      questions,
      timeouts: { ...TEST_TIMEOUTS, setupMs: 300, resumeMs: 300, cancelMs: 100 },
      // Time that passes quickly, so that no restart is delayed.
      now: () => launched + (performance.now() - launched) * 1_000,
    });
    const server = createServer(config, {
      agents: [agent],
      hub,
      permissions,
      questions,
      character: await openCharacter(config.character),
      metrics: new Metrics([agent.name], "1"),
      store: await openStore(folder, recorder.log),
      version: "1",
      log: recorder.log,
    });
    stack.use(server);
    stack.defer(() => server.drain());
    // As main.ts serves it.
    const http = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      onListen() {},
      onError: () => new Response(null, { status: 500 }),
    }, (request, info) => server.app(request, info.remoteAddr.hostname));
    stack.defer(() => http.shutdown());
    const { port } = http.addr;
    const watcher = stack.use(await EventClient.open(`http://127.0.0.1:${port}/v1/vtuber/ws`));
    watcher.send({ type: "subscribe", events: ["*", "say"] });
    return new Target({ server, agent: hostile, marks, recorder }, port, watcher, stack.move());
  }

  /** Plays one input. @returns What came of it. @throws {Error} if the outcome is a fault. */
  async play(kind: Kind, seed: number): Promise<string> {
    const random = new Random(seed);
    switch (kind) {
      case "http": {
        const { bytes, hangUp } = httpInput(random, this.#server.routes, this.#asked);
        const answer = await exchange(this.port, bytes, hangUp);
        return verdict(answer, new TextDecoder().decode(bytes.subarray(0, MAX_SHOWN)));
      }
      case "acp":
        return await this.#playAgent(random, `fuzz-${seed}`);
      case "socket":
        await playSocket(this.port, socketInput(random, this.#asked));
        return "ended";
      default:
        return kind satisfies never;
    }
  }

  /** Runs a turn in which the agent misbehaves. */
  async #playAgent(random: Random, mark: string): Promise<string> {
    if (random.once(6)) {
      this.#agent.disturb(random.pick(["initialize", "session/new", "session/resume"]), random);
    }
    this.#marks.set(mark, random);
    const hangUp = random.pick(["head", undefined, undefined, undefined] as const);
    const answer = await this.#chat(mark, {
      stream: !random.once(3),
      conversation: `talk-${random.below(10)}`,
    }, hangUp);
    this.#marks.delete(mark);
    return verdict(answer, "POST a chat");
  }

  #chat(
    content: string,
    fields: { stream: boolean; conversation?: string },
    hangUp?: HangUp,
  ): Promise<Answer> {
    const { stream, conversation } = fields;
    const body = new TextEncoder().encode(
      JSON.stringify({ stream, conversation_id: conversation, messages: [{ role: "user", content }] }),
    );
    return exchange(
      this.port,
      encodeRequest("POST /v1/chat/completions HTTP/1.1", [
        ["host", "127.0.0.1"],
        ["connection", "close"],
        ["content-type", "application/json"],
        ["content-length", `${body.length}`],
      ], body),
      hangUp,
    );
  }

  /** Returns the faults that the log tells of, and forgets the log. */
  takeFaults(): string[] {
    for (const { request_id, question_id } of this.#watcher.frames.splice(0)) {
      if (request_id) this.#asked.permission = request_id;
      if (question_id) this.#asked.question = question_id;
    }
    // That an agent keeps exiting is an error too, but no fault of the server.
    const errors = this.#recorder.entries.splice(0).filter(({ message, level }) =>
      level === "error" && !/^agent exited|^could not start/.test(message)
    );
    return errors.map(({ message, fields }) =>
      `the log says: ${message} ${fields.stack ?? Deno.inspect(fields)}`
    );
  }

  /** Checks that the server still serves: a turn, the watcher from the start, and that nothing is left of the inputs. */
  async checkService(): Promise<string[]> {
    this.#agent.calm();
    const faults: string[] = [];
    const check = async (what: string, work: () => Promise<boolean>) => {
      const isFine = await withLimit(work()).catch(() => false);
      if (!isFine) faults.push(`afterwards ${what}`);
    };
    await check("no turn is served", async () => {
      // The first one may meet a process that an input has broken.
      for (let tries = 0; tries < 5; tries++) {
        const { body, status } = await this.#chat("Are you well?", { stream: false });
        if (status === 200 && body.includes("Fine.")) return true;
      }
      return false;
    });
    await check("the watcher is not answered", async () => {
      await this.#watcher.ping();
      return true;
    });
    await check("a turn is running, or a watcher is still counted", async () => {
      for (;;) {
        const body = (await exchange(
          this.port,
          encodeRequest("GET /v1/vtuber/state HTTP/1.1", [
            ["host", "127.0.0.1"],
            ["connection", "close"],
          ], new Uint8Array()),
        )).body;
        if (this.#server.conversations.running.size === 0 && /"watchers":1\b/.test(body)) return true;
        await new Promise((resolve) => setTimeout(resolve, TICK_MS));
      }
    });
    faults.push(...this.takeFaults());
    return faults;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await withLimit(this.#stack.disposeAsync());
  }
}

/** Names the answer to a request. @throws {Error} if no server may answer so. */
function verdict({ status, head, body, isCut }: Answer, request: string): string {
  if (status === undefined) return isCut ? "hung up" : "closed";
  // The answer to another method has no body, or no end.
  const isStream = request.startsWith("POST ") && /^content-type: text\/event-stream/im.test(head);
  const isWhole = !isStream || isCut || body.includes("data: [DONE]\n\n");
  if (status !== 500 && isWhole) return `${status}`;
  throw new Error(`${status}, ${body.slice(-MAX_SHOWN)}, to ${request}`);
}

/** Measures how long the event loop stands still. */
class LagMonitor {
  /** The longest time so far, in milliseconds. */
  maxMs = 0;
  readonly #faults: string[] = [];
  readonly #timer: ReturnType<typeof setInterval>;

  constructor() {
    let watch = new Stopwatch(ownCpuMs);
    this.#timer = setInterval(() => {
      const ms = watch.elapsedMs - TICK_MS;
      watch = new Stopwatch(ownCpuMs);
      this.maxMs = Math.max(this.maxMs, ms);
      if (ms > MAX_LAG_MS) this.#faults.push(`the event loop stood still for ${Math.round(ms)} ms`);
    }, TICK_MS);
  }

  takeFaults(): string[] {
    return this.#faults.splice(0);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** The processor time of the event loop's thread: others check schemas and collect garbage. */
function ownCpuMs(): number | undefined {
  const micros = cpuMicros("thread-self");
  return micros === undefined ? undefined : micros / 1000;
}
