/**
 * Builds a response from a reply, and the events of its stream: pure. The official client checks the order of the events
 * and every index and id. Source: the client's `ResponseStream`, and OpenAI's API reference.
 *
 * @module
 */

import { type AppError, ERROR_STATUS } from "../../core/errors.ts";
import { truncate } from "../../core/text.ts";
import { spaceUnsafe } from "../../core/unsafe_text.ts";
import {
  isOpen,
  type PermissionRequest,
  type PlanEntry,
  type ToolCall,
  type ToolCallId,
} from "../../turn/event.ts";
import { type AgentEvent, safeJson } from "../chunk.ts";
import type { ReplyEnd, ReplySink } from "../reply_reader.ts";
import { MAX_DELTA_CHARS, splitBySize } from "../skin_text.ts";
import { type CompletionUsage, completionUsage, TokenCount } from "../usage.ts";
import {
  itemId,
  type ItemStatus,
  type McpApprovalRequest,
  type McpCall,
  type OutputItem,
  type OutputMessage,
  type ReasoningItem,
  type SummaryPart,
} from "./items.ts";
import type { ResponseEcho } from "./wire.ts";

/**
 * Characters of a reply; a longer one is cut there, as too long: for `createReplyReader`. The last events repeat the
 * text four times, which has to fit into what a slow reader may leave waiting.
 */
export const MAX_REPLY_CHARS = 256 * 1024;
/** Characters of thoughts and plans of a response. Later ones are not shown. */
const MAX_SUMMARY_CHARS = 256 * 1024;
/** Items and parts of thoughts of a response. Beyond, tools, thoughts and plans are not shown. */
const MAX_SHOWN = 1_000;
/** Characters of a tool's title, and of a plan. */
const MAX_NAME_CHARS = 200;
const MAX_PLAN_CHARS = 4_000;
/** The text of a refusal without words, as in chat. */
const REFUSAL = "The agent refused to answer.";

/** Progress of a response. */
export type ResponseStatus = "queued" | "in_progress" | "completed" | "incomplete" | "failed" | "cancelled";

/** The facts of a response that its reply does not change. */
export interface ResponseHead {
  /** As `responseId` makes it. */
  readonly id: string;
  /** Unix seconds. */
  readonly createdAt: number;
  readonly model: string;
  /** The server of the tools: the label under which the client expects approval requests, or the agent's name. */
  readonly serverLabel: string;
  /** Estimated. */
  readonly promptTokens: number;
  /** The conversation, if the request names it. */
  readonly conversation?: string | undefined;
  readonly echo: ResponseEcho;
  /** The approval request of each tool that asked in an earlier response. */
  readonly approvals?: ReadonlyMap<ToolCallId, string> | undefined;
}

/** A response, as the API shows it. */
export type ResponseObject = ReturnType<ResponseBuilder["toResponse"]>;

/** An item, and its index in the output. */
interface Placed<Item extends OutputItem> {
  readonly index: number;
  readonly item: Item;
}

/** The message that is open. */
interface OpenMessage extends Placed<OutputMessage> {
  /** The data of a text event up to its text. */
  readonly deltaStart: string;
  text: string;
}

/** The thoughts that are open. */
interface OpenReasoning extends Placed<ReasoningItem> {
  /** The parts that are complete. */
  readonly summary: SummaryPart[];
  /** The text of the part that is open; `undefined` without one. */
  text: string | undefined;
}

/**
 * A response that is being made. Its stream begins with the constructor, and ends with {@linkcode ReplySink.end},
 * {@linkcode ResponseBuilder.askApproval} or {@linkcode ResponseBuilder.cancel}; later calls do nothing.
 */
export class ResponseBuilder {
  /** Takes the reply. Its functions need no `this`. */
  readonly sink: ReplySink = {
    text: (text, isPlain) => this.#addText(text, isPlain),
    agentEvent: (event) => this.#addAgentEvent(event),
    end: (end) => this.#end(end),
  };
  readonly #head: ResponseHead;
  readonly #emit: ((data: string, type: string) => void) | undefined;
  #sequence = 0;
  #status: ResponseStatus;
  #isStarted = false;
  #error: ReturnType<typeof errorOf> | null = null;
  #incompleteReason: "max_output_tokens" | "content_filter" | undefined;
  #usage: CompletionUsage | undefined;
  /** The items. The open message and the open thoughts are without their text. */
  readonly #output: OutputItem[] = [];
  /** At most one of them is open: whatever comes next closes it. */
  #message: OpenMessage | undefined;
  #reasoning: OpenReasoning | undefined;
  readonly #tools = new Map<ToolCallId, Placed<McpCall>>();
  /** White space that begins the next message: no message is without words. */
  #space = "";
  #hasText = false;
  #shown = 0;
  #summaryChars = 0;
  /** The first half of a surrogate pair at the end of the thoughts. */
  #half = "";
  #plan = "";

  /** @param emit Takes the data and the type of each event; without it, no event is made. */
  constructor(head: ResponseHead, emit?: (data: string, type: string) => void) {
    this.#head = head;
    this.#emit = emit;
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
    if (!this.isOver) this.#send({ type: "keepalive" });
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
  askApproval({ tool, detail }: PermissionRequest): string | undefined {
    if (this.isOver) return undefined;
    const item: McpApprovalRequest = {
      id: this.#nextId("mcp_approval_request"),
      type: "mcp_approval_request",
      name: nameOf(tool),
      server_label: this.#head.serverLabel,
      // The whole detail, because a person decides by it.
      arguments: JSON.stringify({ kind: tool.kind, title: tool.title, detail }),
    };
    this.#closeItem(this.#addItem(item).index, item);
    const count = new TokenCount();
    for (const item of this.#output) if (item.type === "message") count.add(textOf(item));
    this.#usage = completionUsage(undefined, { prompt: this.#head.promptTokens, completion: count.value });
    this.#finish("completed");
    return item.id;
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
      output: this.#output.map((item, index) => this.#withText(item, index)),
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

  #addText(text: string, isPlain: boolean): void {
    if (this.isOver) return;
    let message = this.#message;
    if (message === undefined) {
      this.#space += text;
      if (text.trim() === "") return;
      message = this.#openMessage();
      text = this.#space;
      this.#space = "";
      isPlain = false;
    }
    message.text += text;
    if (this.#emit === undefined) return;
    if (isPlain && text.length <= MAX_DELTA_CHARS) return this.#sendDelta(message, `"${text}"`);
    for (const delta of splitBySize(text)) this.#sendDelta(message, safeJson(delta));
  }

  #openMessage(): OpenMessage {
    const message = this.#addMessage();
    const at = contentAt(message);
    this.#send({ type: "response.content_part.added", ...at, part: textPart("") });
    // The constant part is made once, because this is the token path.
    const deltaStart = `${safeJson({ type: DELTA, ...at }).slice(0, -1)},"delta":`;
    this.#hasText = true;
    return this.#message = { ...message, deltaStart, text: "" };
  }

  #addAgentEvent(event: AgentEvent): void {
    if (this.isOver) return;
    switch (event.type) {
      case "thought":
        return this.#addThought(event.text);
      case "tool":
        return this.#addTool(event.tool);
      case "plan":
        return this.#addPlan(event.entries);
      default:
        return event satisfies never;
    }
  }

  #addThought(thought: string): void {
    const joined = this.#half + thought;
    this.#half = /[\ud800-\udbff]$/.exec(joined)?.[0] ?? "";
    const text = joined.slice(0, joined.length - this.#half.length).toWellFormed();
    const isFirst = this.#reasoning?.text === undefined;
    if (isFirst && text.trim() === "" || !this.#hasRoom(text)) return;
    this.#addSummary(text);
  }

  #addPlan(entries: readonly PlanEntry[]): void {
    const plan = truncate(entries.map(planLine).join("\n"), MAX_PLAN_CHARS).toWellFormed();
    if (plan === this.#plan || plan === "" || !this.#hasRoom(plan)) return;
    this.#plan = plan;
    this.#closeSummary();
    this.#addSummary(plan);
    this.#closeSummary();
  }

  /** Whether a thought or a plan is still shown. */
  #hasRoom(text: string): boolean {
    this.#summaryChars += text.length;
    return this.#summaryChars <= MAX_SUMMARY_CHARS && this.#shown < MAX_SHOWN;
  }

  #addSummary(text: string): void {
    const reasoning = this.#reasoning ?? this.#openReasoning();
    const at = summaryAt(reasoning);
    if (reasoning.text === undefined) {
      this.#shown++;
      reasoning.text = "";
      this.#send({ type: "response.reasoning_summary_part.added", ...at, part: summaryPart("") });
    }
    reasoning.text += text;
    for (const delta of splitBySize(text)) {
      this.#send({ type: "response.reasoning_summary_text.delta", ...at, delta });
    }
  }

  #openReasoning(): OpenReasoning {
    const id = this.#nextId("reasoning");
    const added = this.#addItem({ id, type: "reasoning", status: "in_progress", summary: [] });
    return this.#reasoning = { ...added, summary: [], text: undefined };
  }

  #closeSummary(): void {
    const reasoning = this.#reasoning;
    if (reasoning?.text === undefined) return;
    const { text } = reasoning;
    const at = summaryAt(reasoning);
    const part = summaryPart(text);
    this.#send({ type: "response.reasoning_summary_text.done", ...at, text });
    this.#send({ type: "response.reasoning_summary_part.done", ...at, part });
    reasoning.summary.push(part);
    reasoning.text = undefined;
  }

  #addTool(tool: ToolCall): void {
    const added = this.#tools.get(tool.id) ?? this.#openTool(tool);
    if (added?.item.status !== "in_progress") return;
    const { index } = added;
    const item: McpCall = { ...added.item, ...callOf(tool) };
    if (isOpen(tool)) return this.#setTool(tool.id, { index, item });
    const isFailed = tool.status === "failed";
    const status = isFailed ? "failed" : "completed";
    this.#send({ type: `response.mcp_call.${status}`, item_id: item.id, output_index: index });
    this.#closeTool(tool.id, { index, item: { ...item, status, error: isFailed ? TOOL_ERROR : null } });
  }

  /** @returns `undefined` if tools are no longer shown. */
  #openTool(tool: ToolCall): Placed<McpCall> | undefined {
    if (this.#shown >= MAX_SHOWN) return undefined;
    const id = this.#nextId("mcp_call");
    const call = callOf(tool);
    const added = this.#addItem<McpCall>({
      ...{ id, type: "mcp_call", status: "in_progress", ...call, server_label: this.#head.serverLabel },
      ...{ arguments: "", output: null, error: null },
      approval_request_id: this.#head.approvals?.get(tool.id) ?? null,
    });
    const at = { item_id: id, output_index: added.index };
    this.#send({ type: "response.mcp_call.in_progress", ...at });
    this.#send({ type: "response.mcp_call_arguments.done", ...at, arguments: call.arguments });
    this.#setTool(tool.id, added);
    return added;
  }

  #setTool(id: ToolCallId, placed: Placed<McpCall>): void {
    this.#tools.set(id, placed);
    this.#output[placed.index] = placed.item;
  }

  #closeTool(id: ToolCallId, placed: Placed<McpCall>): void {
    this.#setTool(id, placed);
    this.#closeItem(placed.index, placed.item);
  }

  #end({ tail, finish, usage, failure, isCancelled }: ReplyEnd): void {
    if (this.isOver) return;
    // The line end for skins that speak line by line is left out: the events tell where the text ends.
    const rest = tail.trimEnd();
    if (rest !== "") this.#addText(rest, false);
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
        if (!this.#hasText) this.#addRefusal();
        this.#incompleteReason = "content_filter";
        return this.#finish("incomplete");
      case "error":
        return this.#finish("cancelled");
      default:
        return finish satisfies never;
    }
  }

  #addRefusal(): void {
    const message = this.#addMessage();
    const at = contentAt(message);
    const part = { type: "refusal", refusal: REFUSAL } as const;
    this.#send({ type: "response.content_part.added", ...at, part: { ...part, refusal: "" } });
    this.#send({ type: "response.refusal.delta", ...at, delta: REFUSAL });
    this.#send({ type: "response.refusal.done", ...at, refusal: REFUSAL });
    this.#send({ type: "response.content_part.done", ...at, part });
    this.#closeMessage(message, "completed", [part]);
  }

  /** Closes what is open, and ends the stream. */
  #finish(status: Exclude<ResponseStatus, "queued" | "in_progress">): void {
    this.#closeText(status === "completed" ? "completed" : "incomplete");
    for (const [id, { index, item }] of this.#tools) {
      // The tool may go on: a turn can outlive its response.
      if (item.status === "in_progress") {
        this.#closeTool(id, { index, item: { ...item, status: "incomplete" } });
      }
    }
    this.#status = status;
    // No event tells of a cancelled response. This one is never taken for success, and needs no error.
    this.#sendResponse(status === "cancelled" ? "response.failed" : `response.${status}`);
  }

  /** Closes the message or the thoughts that are open. */
  #closeText(status: ItemStatus): void {
    const message = this.#message;
    const reasoning = this.#reasoning;
    if (message) {
      const at = contentAt(message);
      const part = textPart(message.text);
      this.#send({ type: "response.output_text.done", ...at, text: message.text, logprobs: [] });
      this.#send({ type: "response.content_part.done", ...at, part });
      this.#message = undefined;
      this.#closeMessage(message, status, [part]);
    }
    if (reasoning) {
      this.#closeSummary();
      this.#reasoning = undefined;
      this.#closeItem(reasoning.index, { ...reasoning.item, status, summary: reasoning.summary });
    }
  }

  /** Returns an item with its text so far. */
  #withText(item: OutputItem, index: number): OutputItem {
    const [message, reasoning] = [this.#message, this.#reasoning];
    if (item.type === "message" && message?.index === index) {
      return { ...item, content: [textPart(message.text)] };
    }
    if (item.type === "reasoning" && reasoning?.index === index) {
      const { summary, text } = reasoning;
      return { ...item, summary: text === undefined ? [...summary] : [...summary, summaryPart(text)] };
    }
    return item;
  }

  #addMessage(): Placed<OutputMessage> {
    const id = this.#nextId("message");
    return this.#addItem({
      ...{ id, type: "message", status: "in_progress", role: "assistant" },
      content: [],
    });
  }

  #closeMessage(
    { index, item }: Placed<OutputMessage>,
    status: ItemStatus,
    content: OutputMessage["content"],
  ): void {
    this.#closeItem(index, { ...item, status, content });
  }

  #nextId(type: OutputItem["type"]): string {
    return itemId(type, this.#head.id, this.#output.length);
  }

  /** Adds an item behind the others. The message or the thoughts before it are complete. */
  #addItem<Item extends OutputItem>(item: Item): Placed<Item> {
    this.start();
    this.#closeText("completed");
    this.#shown++;
    const index = this.#output.push(item) - 1;
    this.#send({ type: "response.output_item.added", output_index: index, item });
    return { index, item };
  }

  #closeItem(index: number, item: OutputItem): void {
    this.#output[index] = item;
    this.#send({ type: "response.output_item.done", output_index: index, item });
  }

  #sendResponse(type: string): void {
    if (this.#emit) this.#send({ type, response: this.toResponse() });
  }

  #send(event: { readonly type: string; readonly [field: string]: unknown }): void {
    this.#emit?.(safeJson({ ...event, sequence_number: this.#sequence++ }), event.type);
  }

  /** @param json The text as JSON. */
  #sendDelta({ deltaStart }: OpenMessage, json: string): void {
    this.#emit?.(`${deltaStart}${json},"logprobs":[],"sequence_number":${this.#sequence++}}`, DELTA);
  }
}

/** The type of an event with text. */
const DELTA = "response.output_text.delta";
const TOOL_ERROR = {
  type: "mcp_tool_execution_error",
  content: [{ type: "text", text: "The tool failed." }],
};

/** Names the first part of a message. */
function contentAt({ index, item }: Placed<OutputMessage>) {
  return { item_id: item.id, output_index: index, content_index: 0 };
}

/** Names the part of thoughts that is open or comes next. */
function summaryAt({ index, item, summary }: OpenReasoning) {
  return { item_id: item.id, output_index: index, summary_index: summary.length };
}

function textPart(text: string) {
  return { type: "output_text", text, annotations: [] } as const;
}

function summaryPart(text: string) {
  return { type: "summary_text", text } as const;
}

/** Returns what of a tool call may change while it runs. */
function callOf(tool: ToolCall): Pick<McpCall, "name" | "arguments"> {
  return { name: nameOf(tool), arguments: JSON.stringify({ kind: tool.kind }) };
}

function nameOf({ title, kind }: ToolCall): string {
  return truncate(spaceUnsafe(title).trim(), MAX_NAME_CHARS).toWellFormed() || kind;
}

const PLAN_MARKS: Readonly<Record<PlanEntry["status"], string>> = {
  pending: "[ ]",
  in_progress: "[-]",
  completed: "[x]",
};

function planLine({ content, status }: PlanEntry): string {
  return `${PLAN_MARKS[status]} ${spaceUnsafe(content)}`;
}

function textOf({ content }: OutputMessage): string {
  return content.map((part) => part.type === "refusal" ? part.refusal : part.text).join("");
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
