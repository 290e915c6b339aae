/**
 * The metrics of the program, and the events that move them. The label values come from the code and the configuration
 * only: no words, names of conversations, ids or keys.
 *
 * @module
 */

import { startBackgroundTimer, type Timer } from "../core/background_timer.ts";
import { BoundedMap } from "../core/bounded_map.ts";
import { AppError } from "../core/errors.ts";
import { type Answered, publicPath } from "../http/router.ts";
import { isLast, isOpen, type LastEvent, type ToolCallId, type TurnEvent } from "../turn/event.ts";
import type { Turn, TurnMeter } from "../turn/turn.ts";
import { type Definition, type LabelValues, MetricStore } from "./metric_store.ts";

/** The value of a label for everything that the label does not tell apart. */
const OTHER = "other";
/** The methods that a label tells apart. */
const LABELLED_METHODS: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "POST",
  "DELETE",
  "OPTIONS",
  "PUT",
  "PATCH",
]);
/** The operation (`gen_ai.operation.name`) of every turn, and the provider of the models: an agent behind ACP. */
export const OPERATION = "invoke_agent";
export const PROVIDER = "acp";

/** Open tool calls of one turn that are timed, and that have a span. */
export const MAX_TOOLS = 1_000;
/** Between two measurements of the event loop's lag, in milliseconds. */
const LAG_INTERVAL_MS = 1_000;

/** Returns `count` bounds, each twice as large as the bound before. */
function doubling(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => Number((first * 2 ** index).toPrecision(12)));
}
/** Upper bounds of buckets, in seconds or tokens. The conventions of OpenTelemetry for generative AI name most. */
const TURN_SECS = doubling(0.1, 13);
const TOOL_SECS = doubling(0.01, 14);
const FIRST_TOKEN_SECS = [
  ...[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
  // An agent may first start, or use tools.
  ...[20, 40],
];
const HTTP_SECS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const LAG_SECS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const TOKENS = Array.from({ length: 14 }, (_, index) => 4 ** index);

/** Every metric. */
export const METRICS = {
  http_requests_total: {
    type: "counter",
    help: "Responses",
    labels: ["route", "method", "status"],
  },
  http_errors_total: {
    type: "counter",
    help: "Responses that are an error, by its code",
    labels: ["code"],
  },
  http_request_duration_seconds: {
    type: "histogram",
    help: "Time from a request to the head of its response",
    labels: ["route", "method"],
    buckets: HTTP_SECS,
  },
  turns_in_flight: { type: "gauge", help: "Turns that run or are about to run" },
  turns_queued: {
    type: "gauge",
    help:
      "Requests that wait for an earlier turn of their conversation, or for their agent to take the prompt",
  },
  turns_rejected_total: {
    type: "counter",
    help: "Turns that did not start, by the code of the error, or disconnect if the client left",
    labels: ["reason"],
  },
  turn_cancelled_total: {
    type: "counter",
    help:
      "Turns that were cancelled: disconnect (the client left), api (a person interrupted it), barge_in (a newer " +
      "request came), stop (the reply reached its stop sequence)",
    labels: ["by"],
  },
  gen_ai_server_request_duration_seconds: {
    type: "histogram",
    help: "Time from the request for a turn to its end, with the wait for earlier turns",
    labels: ["gen_ai_operation_name", "gen_ai_request_model", "error_type"],
    buckets: TURN_SECS,
  },
  gen_ai_server_time_to_first_token_seconds: {
    type: "histogram",
    help: "Time from the request for a turn to the first text of its reply",
    labels: ["gen_ai_operation_name", "gen_ai_request_model"],
    buckets: FIRST_TOKEN_SECS,
  },
  gen_ai_invoke_agent_duration_seconds: {
    type: "histogram",
    help: "Time from the prompt that the agent took to the end of the turn",
    labels: ["gen_ai_agent_name", "error_type"],
    buckets: TURN_SECS,
  },
  gen_ai_execute_tool_duration_seconds: {
    type: "histogram",
    help:
      "Time that a tool call was open, with the wait for a permission; gen_ai_tool_name is the kind of the tool",
    labels: ["gen_ai_tool_name", "error_type"],
    buckets: TOOL_SECS,
  },
  gen_ai_client_token_usage: {
    type: "histogram",
    help: "Tokens of a turn, from agents that count them; estimates are left out",
    labels: ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_token_type", "gen_ai_request_model"],
    buckets: TOKENS,
  },
  tts_request_duration_seconds: {
    type: "histogram",
    help: "Time from a request for speech to the end of the sound, which a slow reader makes longer",
    labels: ["error_type"],
    buckets: TURN_SECS,
  },
  time_to_first_audio_seconds: {
    type: "histogram",
    help: "Time from a request for speech to its first sound",
    buckets: FIRST_TOKEN_SECS,
  },
  stt_request_duration_seconds: {
    type: "histogram",
    help: "Time from a recording that is there to its transcript",
    labels: ["error_type"],
    buckets: TURN_SECS,
  },
  sessions_open: { type: "gauge", help: "Conversations with an open session of their agent" },
  agent_process_up: { type: "gauge", help: "1 if the agent can serve, else 0", labels: ["agent"] },
  agent_restarts_total: {
    type: "counter",
    help: "Times that the process of an agent ended by itself; the program then starts it again",
    labels: ["agent"],
  },
  permission_requests_total: {
    type: "counter",
    help:
      "Permission requests: allowed and rejected by a person, expired, cancelled, no_client (nobody could " +
      "answer), allowed_by_policy and rejected_by_policy (by the setting or an earlier decision)",
    labels: ["outcome"],
  },
  emotion_events_total: { type: "counter", help: "Emotion tags in replies" },
  ws_clients: { type: "gauge", help: "Open WebSockets, by their subprotocol", labels: ["kind"] },
  sse_streams: { type: "gauge", help: "Open streams of server-sent events: replies and events" },
  event_loop_lag_seconds: {
    type: "histogram",
    help: "Lateness of a timer, measured once a second",
    buckets: LAG_SECS,
  },
  process_resident_memory_bytes: { type: "gauge", help: "Resident memory, without the agents" },
  process_start_time_seconds: { type: "gauge", help: "Start of the process, in seconds since 1970" },
  build_info: {
    type: "gauge",
    help: "1, with the versions of the program and of Deno",
    labels: ["version", "deno"],
  },
} as const satisfies Readonly<Record<string, Definition>>;

type DurationName = Exclude<
  Parameters<MetricStore<typeof METRICS>["observe"]>[0],
  "gen_ai_client_token_usage"
>;

/** The gauges that the program reads for each scrape. */
export type Gauges = Omit<
  Parameters<MetricStore<typeof METRICS>["write"]>[0],
  "process_resident_memory_bytes" | "process_start_time_seconds" | "build_info"
>;

/** Counts and measures. */
export class Metrics {
  readonly #store = new MetricStore(METRICS);
  readonly #version: string;

  /** @param agents The names of the configured agents. */
  constructor(agents: readonly string[], version: string) {
    this.#version = version;
    for (const agent of agents) this.#store.add("agent_restarts_total", [agent], 0);
    this.#store.add("emotion_events_total", [], 0);
  }

  /** Writes every metric in Prometheus' text format. */
  write(gauges: Gauges): string {
    return this.#store.write({
      ...gauges,
      process_resident_memory_bytes: Deno.memoryUsage().rss,
      process_start_time_seconds: Math.floor(performance.timeOrigin / 1000),
      build_info: [[[this.#version, Deno.version.deno], 1]],
    });
  }

  onAnswered({ route, method, status, ms, code }: Answered): void {
    const labels = [route ? publicPath(route) : OTHER, LABELLED_METHODS.has(method) ? method : OTHER];
    this.#store.add("http_requests_total", [...labels, String(status)]);
    this.#store.observe("http_request_duration_seconds", labels, ms / 1000);
    if (code) this.#store.add("http_errors_total", [code]);
  }

  onAgentExit(agent: string): void {
    this.#store.add("agent_restarts_total", [agent]);
  }

  onPermission(decision: string): void {
    this.#store.add("permission_requests_total", [decision]);
  }

  /** Measures the lateness of a timer, until the result is disposed of. The timer does not keep the program alive. */
  watchEventLoop(): Disposable {
    let timer: Timer;
    const measure = () => {
      const dueAt = performance.now() + LAG_INTERVAL_MS;
      timer = startBackgroundTimer(() => {
        this.#store.observe("event_loop_lag_seconds", [], Math.max(0, performance.now() - dueAt) / 1000);
        measure();
      }, LAG_INTERVAL_MS);
    };
    measure();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  }

  /** Measures a request for speech. */
  measureSpeech() {
    const onEnd = this.#timer("tts_request_duration_seconds");
    const onFirstAudio = this.#timer("time_to_first_audio_seconds");
    return { onFirstAudio: () => onFirstAudio(), onEnd };
  }

  /** Measures a request for a transcript. */
  measureTranscription() {
    return { onEnd: this.#timer("stt_request_duration_seconds") };
  }

  /** Returns a function that observes the time since now. */
  #timer(name: DurationName): (...labels: string[]) => void {
    const startedAt = performance.now();
    return (...labels) => this.#store.observe(name, labels, (performance.now() - startedAt) / 1000);
  }

  /** Measures a request for a turn of this agent. */
  measureTurn(agent: string): TurnMeter {
    return new TurnMeasurement(this.#store, agent);
  }
}

/** Measures one request for a turn. */
class TurnMeasurement implements TurnMeter {
  readonly #store: MetricStore<typeof METRICS>;
  readonly #agent: string;
  readonly #askedAt = performance.now();
  /** When the agent took the prompt; undefined before, and after the end. */
  #startedAt: number | undefined;
  #hasText = false;
  /** When each open tool call was announced. */
  readonly #tools = new BoundedMap<ToolCallId, number>(MAX_TOOLS);

  constructor(store: MetricStore<typeof METRICS>, agent: string) {
    this.#store = store;
    this.#agent = agent;
  }

  onRejected(error: unknown): void {
    this.#store.add("turns_rejected_total", [error instanceof AppError ? error.code : "disconnect"]);
  }

  onStart(): void {
    this.#startedAt = performance.now();
  }

  onEvent(event: TurnEvent, turn: Turn): void {
    // Comes for every token.
    if (event.type === "text" && this.#hasText) return;
    switch (event.type) {
      case "text":
        this.#hasText = true;
        return this.#observeSince(this.#askedAt, "gen_ai_server_time_to_first_token_seconds", [
          OPERATION,
          this.#agent,
        ]);
      case "tool": {
        const { tool: { id, kind, status }, closing } = event;
        const openedAt = this.#tools.get(id);
        if (isOpen(event.tool)) {
          if (openedAt === undefined) this.#tools.set(id, performance.now());
        } else if (openedAt !== undefined) {
          this.#tools.delete(id);
          const errorType = status === "completed" ? "" : closing ? "cancelled" : "failed";
          this.#observeSince(openedAt, "gen_ai_execute_tool_duration_seconds", [kind, errorType]);
        }
        return;
      }
      case "usage": {
        const { inputTokens, outputTokens } = event.usage;
        this.#observeTokens("input", inputTokens);
        this.#observeTokens("output", outputTokens);
        return;
      }
      case "emotion":
        return this.#store.add("emotion_events_total");
      default:
        if (isLast(event)) this.#onEnd(event, turn);
    }
  }

  #onEnd(last: LastEvent, turn: Turn): void {
    if (this.#startedAt === undefined) return;
    if (turn.cancelledBy) this.#store.add("turn_cancelled_total", [turn.cancelledBy]);
    const errorType = errorTypeOf(last, turn);
    this.#observeSince(this.#startedAt, "gen_ai_invoke_agent_duration_seconds", [this.#agent, errorType]);
    this.#observeSince(this.#askedAt, "gen_ai_server_request_duration_seconds", [
      OPERATION,
      this.#agent,
      errorType,
    ]);
    this.#startedAt = undefined;
  }

  #observeSince(at: number, name: DurationName, labels: LabelValues): void {
    this.#store.observe(name, labels, (performance.now() - at) / 1000);
  }

  #observeTokens(type: "input" | "output", tokens: number): void {
    if (tokens > 0) {
      this.#store.observe("gen_ai_client_token_usage", [OPERATION, PROVIDER, type, this.#agent], tokens);
    }
  }
}

/** Tells how a turn went wrong, for the attribute `error.type`; empty if its reply is all that was asked for. */
export function errorTypeOf(last: LastEvent, { cancelledBy, unsolicited }: Turn): string {
  if (last.type === "failure") return last.failure.code;
  if (last.reason === "cancelled") return cancelledBy === "stop" ? "" : last.reason;
  // The character may have nothing to say of itself.
  if (last.isEmpty && !unsolicited) return "empty";
  return last.reason === "refusal" ? last.reason : "";
}
