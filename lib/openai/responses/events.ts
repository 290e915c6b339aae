/** Builds a response from a reply, and the events of its stream: pure. @module */

import { type AppError, ERROR_STATUS } from "../../core/errors.ts";
import type { PermissionRequest } from "../../turn/event.ts";
import type { ReplyEnd, ReplySink } from "../reply_reader.ts";
import { type CompletionUsage, completionUsage, TokenCount } from "../usage.ts";
import { type EventSink, EventWriter } from "./event_writer.ts";
import { type OutputHead, ResponseOutput } from "./output.ts";
import type { ResponseEcho } from "./wire.ts";

/**
 * Characters of a reply; a longer one is cut there, as too long: for `createReplyReader`. The last events repeat the
 * text four times, which has to fit into what a slow reader may leave waiting.
 */
export const MAX_REPLY_CHARS = 256 * 1024;

/** Progress of a response. */
export type ResponseStatus = "queued" | "in_progress" | "completed" | "incomplete" | "failed" | "cancelled";

/** The facts of a response that its reply does not change. */
export interface ResponseHead extends OutputHead {
  /** Unix seconds. */
  readonly createdAt: number;
  readonly model: string;
  /** Estimated. */
  readonly promptTokens: number;
  /** The conversation, if the request names it. */
  readonly conversation?: string | undefined;
  readonly echo: ResponseEcho;
}

/** A response, as the API shows it. */
export type ResponseObject = ReturnType<ResponseBuilder["toResponse"]>;

/**
 * A response that is being made. Its stream begins with the constructor, and ends with {@linkcode ReplySink.end},
 * {@linkcode ResponseBuilder.askApproval} or {@linkcode ResponseBuilder.cancel}; later calls do nothing.
 */
export class ResponseBuilder {
  /** Takes the reply. Its functions need no `this`. */
  readonly sink: ReplySink = {
    text: (text, isPlain) => this.#open()?.addText(text, isPlain),
    agentEvent: (event) => this.#open()?.addAgentEvent(event),
    end: (end) => this.#end(end),
  };
  readonly #head: ResponseHead;
  readonly #events: EventWriter;
  readonly #output: ResponseOutput;
  #status: ResponseStatus;
  #isStarted = false;
  #error: ReturnType<typeof errorOf> | null = null;
  #incompleteReason: "max_output_tokens" | "content_filter" | undefined;
  #usage: CompletionUsage | undefined;

  /** @param emit Without it, no event is made. */
  constructor(head: ResponseHead, emit?: EventSink) {
    this.#head = head;
    this.#events = new EventWriter(emit);
    this.#output = new ResponseOutput(head, this.#events);
    this.#status = head.echo.background ? "queued" : "in_progress";
    this.#sendResponse("response.created");
    if (head.echo.background) this.#sendResponse("response.queued");
  }

  /** Whether the response has ended. */
  get isOver(): boolean {
    return this.#status !== "queued" && this.#status !== "in_progress";
  }

  /** Tells that the agent has the prompt. From then on, a client must not send the request again. */
  start(): void {
    if (this.#isStarted || this.isOver) return;
    this.#isStarted = true;
    this.#status = "in_progress";
    this.#sendResponse("response.in_progress");
  }

  /** Tells a client in a silence that the stream is alive. */
  keepAlive(): void {
    if (!this.isOver) this.#events.send({ type: "keepalive" });
  }

  /** Ends the response because somebody cancels it, or its client has hung up. */
  cancel(): void {
    if (!this.isOver) this.#finish("cancelled");
  }

  /**
   * Ends the response with the question whether a tool may run. The turn waits for the answer.
   *
   * @returns The id of the item; `undefined` if the response has ended before.
   */
  askApproval(request: PermissionRequest): string | undefined {
    const id = this.#open()?.addApprovalRequest(request);
    if (id === undefined) return undefined;
    const count = new TokenCount();
    count.add(this.#output.text);
    this.#usage = completionUsage(undefined, { prompt: this.#head.promptTokens, completion: count.value });
    this.#finish("completed");
    return id;
  }

  /** Returns the response so far, or as it ended. */
  toResponse() {
    const { id, createdAt, model, conversation, echo } = this.#head;
    return {
      id,
      object: "response" as const,
      created_at: createdAt,
      status: this.#status,
      background: echo.background,
      conversation: conversation === undefined ? null : { id: conversation },
      error: this.#error,
      incomplete_details: this.#incompleteReason ? { reason: this.#incompleteReason } : null,
      instructions: echo.instructions,
      max_output_tokens: echo.max_output_tokens,
      metadata: echo.metadata,
      model,
      output: this.#output.toItems(),
      parallel_tool_calls: true,
      previous_response_id: echo.previous_response_id,
      reasoning: { effort: null, summary: null },
      store: echo.store,
      temperature: null,
      text: echo.text,
      tool_choice: "auto" as const,
      tools: [],
      top_p: null,
      truncation: "disabled" as const,
      usage: this.#usage ? usageOf(this.#usage) : null,
      user: echo.user,
    };
  }

  #end({ tail, finish, usage, failure, isCancelled }: ReplyEnd): void {
    if (this.isOver) return;
    // The line end for skins that speak line by line is left out: the events tell where the text ends.
    const rest = tail.trimEnd();
    if (rest !== "") this.#open()?.addText(rest, false);
    if (this.#isStarted) this.#usage = usage;
    if (failure && failure.code !== "turn_cancelled") {
      this.#error = errorOf(failure);
      return this.#finish("failed");
    }
    if (failure || isCancelled) return this.#finish("cancelled");
    switch (finish) {
      case "stop":
        return this.#finish("completed");
      case "length":
        this.#incompleteReason = "max_output_tokens";
        return this.#finish("incomplete");
      case "content_filter":
        if (!this.#output.hasText) this.#open()?.addRefusal();
        this.#incompleteReason = "content_filter";
        return this.#finish("incomplete");
      case "error":
        return this.#finish("cancelled");
      default:
        return finish satisfies never;
    }
  }

  /** Closes what is open, and ends the stream. */
  #finish(status: Exclude<ResponseStatus, "queued" | "in_progress">): void {
    this.#output.close(status === "completed" ? "completed" : "incomplete");
    this.#status = status;
    // No event tells of a cancelled response. This one is never taken for success, and needs no error.
    this.#sendResponse(status === "cancelled" ? "response.failed" : `response.${status}`);
  }

  /** Returns the output for what comes next: the turn has begun. `undefined` once the response has ended. */
  #open(): ResponseOutput | undefined {
    this.start();
    return this.isOver ? undefined : this.#output;
  }

  #sendResponse(type: string): void {
    if (this.#events.areRead) this.#events.send({ type, response: this.toResponse() });
  }
}

/** Words an error with one of the codes that OpenAI's client knows. The type is our code, which says more. */
function errorOf({ code: type, message, param, status = ERROR_STATUS[type] }: AppError) {
  const isOfRequest = status === 400 || status === 404;
  const code = status === 429 ? "rate_limit_exceeded" : isOfRequest ? "invalid_prompt" : "server_error";
  return { code, type, message, param: param ?? null } as const;
}

function usageOf({ prompt_tokens, completion_tokens, total_tokens, ...details }: CompletionUsage) {
  return {
    input_tokens: prompt_tokens,
    input_tokens_details: details.prompt_tokens_details,
    output_tokens: completion_tokens,
    output_tokens_details: details.completion_tokens_details,
    total_tokens,
  };
}
