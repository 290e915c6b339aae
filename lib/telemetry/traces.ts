/**
 * Spans of turns and tools. Deno makes the span of a request, and exports them all, if `OTEL_DENO` is set. Only then is
 * this file loaded. The attributes hold no words, names of conversations, ids or keys.
 *
 * @module
 */

import {
  type Attributes,
  type Context,
  context,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import { BoundedMap } from "../core/bounded_map.ts";
import { AppError } from "../core/errors.ts";
import { type Answered, publicPath } from "../http/router.ts";
import { isLast, isOpen, type LastEvent, type ToolCallId, type TurnEvent } from "../turn/event.ts";
import type { Turn, TurnMeter } from "../turn/turn.ts";
import { errorTypeOf, MAX_TOOLS, OPERATION, PROVIDER } from "./metrics.ts";

/** Makes the spans. */
export class Traces {
  readonly #tracer: Tracer;

  constructor(version: string) {
    this.#tracer = trace.getTracer("oab-vtuber", version);
  }

  /** Names the span of the request, which is active, by its route. */
  onAnswered({ route, method, code }: Answered): void {
    const span = trace.getActiveSpan();
    if (route) {
      span?.updateName(`${method} ${publicPath(route)}`);
      span?.setAttribute("http.route", publicPath(route));
    }
    if (code) span?.setAttribute("error.type", code);
  }

  /** Traces a request for a turn of this agent, below the active span, and tells another meter the same. */
  traceTurn(agent: string, meter: TurnMeter): TurnMeter {
    return new TracedTurn(this.#tracer, agent, meter);
  }
}

/** Traces one request for a turn. */
class TracedTurn implements TurnMeter {
  readonly #tracer: Tracer;
  readonly #agent: string;
  readonly #meter: TurnMeter;
  /** The turn may start outside of the request, when an earlier turn has ended. */
  readonly #parent: Context = context.active();
  readonly #askedAt = Date.now();
  #span: Span | undefined;
  #hasText = false;
  /** The spans of the open tool calls. */
  readonly #tools = new BoundedMap<ToolCallId, Span>(MAX_TOOLS);

  constructor(tracer: Tracer, agent: string, meter: TurnMeter) {
    this.#tracer = tracer;
    this.#agent = agent;
    this.#meter = meter;
  }

  onRejected(error: unknown): void {
    this.#meter.onRejected(error);
    endSpan(this.#start(), error instanceof AppError ? error.code : "disconnect");
  }

  onStart(turn: Turn): void {
    this.#meter.onStart(turn);
    this.#span = this.#start();
    this.#span.addEvent("prompt_taken");
  }

  onEvent(event: TurnEvent, turn: Turn): void {
    this.#meter.onEvent(event, turn);
    // Comes for every token.
    if (event.type === "text" && this.#hasText) return;
    switch (event.type) {
      case "text":
        this.#hasText = true;
        this.#span?.addEvent("first_text");
        return;
      case "tool":
        return this.#onTool(event);
      case "usage":
        this.#span?.setAttributes({
          "gen_ai.usage.input_tokens": event.usage.inputTokens,
          "gen_ai.usage.output_tokens": event.usage.outputTokens,
        });
        return;
      default:
        if (isLast(event)) this.#onEnd(event, turn);
    }
  }

  /** Starts the span of the turn at the time of the request. */
  #start(): Span {
    return this.#tracer.startSpan(`${OPERATION} ${this.#agent}`, {
      kind: SpanKind.CLIENT,
      startTime: this.#askedAt,
      attributes: {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.agent.name": this.#agent,
      },
    }, this.#parent);
  }

  #onTool({ tool, closing }: TurnEvent & { readonly type: "tool" }): void {
    const span = this.#tools.get(tool.id);
    if (!isOpen(tool)) {
      this.#tools.delete(tool.id);
      if (span) endSpan(span, tool.status === "completed" ? "" : closing ? "cancelled" : "failed");
    } else if (span === undefined && this.#span) {
      const attributes: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool.kind,
        "gen_ai.agent.name": this.#agent,
      };
      const parent = trace.setSpan(this.#parent, this.#span);
      this.#tools.set(tool.id, this.#tracer.startSpan(`execute_tool ${tool.kind}`, { attributes }, parent));
    }
  }

  #onEnd(last: LastEvent, turn: Turn): void {
    if (this.#span === undefined) return;
    for (const span of this.#tools.values()) endSpan(span, "cancelled");
    this.#tools.clear();
    if (last.type === "end") this.#span.setAttribute("gen_ai.response.finish_reasons", [last.reason]);
    endSpan(this.#span, errorTypeOf(last, turn));
    this.#span = undefined;
  }
}

/** Ends a span. A cancel is no error of the agent. */
function endSpan(span: Span, errorType: string): void {
  if (errorType !== "") span.setAttribute("error.type", errorType);
  if (errorType !== "" && errorType !== "cancelled") span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
}
