/**
 * The items of a response, and the events that tell of them: pure. The official client checks the order of the events
 * and every index and id. Source: the client's `ResponseStream`, and OpenAI's API reference.
 *
 * @module
 */

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
import { MAX_DELTA_CHARS, splitBySize } from "../skin_text.ts";
import type { EventWriter } from "./event_writer.ts";
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

/** Characters of thoughts and plans of a response. Later ones are not shown. */
const MAX_SUMMARY_CHARS = 256 * 1024;
/** Items and parts of thoughts of a response. Beyond, tools, thoughts and plans are not shown. */
const MAX_SHOWN = 1_000;
/** Characters of a tool's title, and of a plan. */
const MAX_NAME_CHARS = 200;
const MAX_PLAN_CHARS = 4_000;
/** The text of a refusal without words, as in chat. */
const REFUSAL = "The agent refused to answer.";

/** The facts of a response that its items need. */
export interface OutputHead {
  /** The id of the response, as `responseId` makes it. */
  readonly id: string;
  /** The server of the tools: the label under which the client expects approval requests, or the agent's name. */
  readonly serverLabel: string;
  /** The approval request of each tool that asked in an earlier response. */
  readonly approvals?: ReadonlyMap<ToolCallId, string> | undefined;
}

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

/** The items of a response that is being made, in their order. */
export class ResponseOutput {
  readonly #head: OutputHead;
  readonly #events: EventWriter;
  /** The items. The open message and the open thoughts are without their text. */
  readonly #items: OutputItem[] = [];
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

  constructor(head: OutputHead, events: EventWriter) {
    this.#head = head;
    this.#events = events;
  }

  /** Whether the agent has said something in words. */
  get hasText(): boolean {
    return this.#hasText;
  }

  /** Returns the items so far, with the text so far. */
  toItems(): OutputItem[] {
    return this.#items.map((item, index) => this.#withText(item, index));
  }

  /** The words so far. */
  get text(): string {
    return this.toItems().map((item) => item.type === "message" ? textOf(item) : "").join("");
  }

  /** Adds a piece of the reply. @param isPlain As `scanPlain` finds: the text needs no escape. */
  addText(text: string, isPlain: boolean): void {
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
    if (!this.#events.areRead) return;
    if (isPlain && text.length <= MAX_DELTA_CHARS) return this.#sendText(message, `"${text}"`);
    for (const delta of splitBySize(text)) this.#sendText(message, safeJson(delta));
  }

  #openMessage(): OpenMessage {
    const message = this.#addMessage();
    const at = contentAt(message);
    this.#events.send({ type: "response.content_part.added", ...at, part: textPart("") });
    // The constant part is made once, because this is the token path.
    const deltaStart = `${safeJson({ type: DELTA, ...at }).slice(0, -1)},"delta":`;
    this.#hasText = true;
    return this.#message = { ...message, deltaStart, text: "" };
  }

  /** Adds a thought, a plan, or what is new of a tool. */
  addAgentEvent(event: AgentEvent): void {
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
      this.#events.send({ type: "response.reasoning_summary_part.added", ...at, part: summaryPart("") });
    }
    reasoning.text += text;
    for (const delta of splitBySize(text)) {
      this.#events.send({ type: "response.reasoning_summary_text.delta", ...at, delta });
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
    this.#events.send({ type: "response.reasoning_summary_text.done", ...at, text });
    this.#events.send({ type: "response.reasoning_summary_part.done", ...at, part });
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
    this.#events.send({ type: `response.mcp_call.${status}`, item_id: item.id, output_index: index });
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
    this.#events.send({ type: "response.mcp_call.in_progress", ...at });
    this.#events.send({ type: "response.mcp_call_arguments.done", ...at, arguments: call.arguments });
    this.#setTool(tool.id, added);
    return added;
  }

  #setTool(id: ToolCallId, placed: Placed<McpCall>): void {
    this.#tools.set(id, placed);
    this.#items[placed.index] = placed.item;
  }

  #closeTool(id: ToolCallId, placed: Placed<McpCall>): void {
    this.#setTool(id, placed);
    this.#closeItem(placed.index, placed.item);
  }

  /** Adds a refusal without words. */
  addRefusal(): void {
    const message = this.#addMessage();
    const at = contentAt(message);
    const part = { type: "refusal", refusal: REFUSAL } as const;
    this.#events.send({ type: "response.content_part.added", ...at, part: { ...part, refusal: "" } });
    this.#events.send({ type: "response.refusal.delta", ...at, delta: REFUSAL });
    this.#events.send({ type: "response.refusal.done", ...at, refusal: REFUSAL });
    this.#events.send({ type: "response.content_part.done", ...at, part });
    this.#closeMessage(message, "completed", [part]);
  }

  /** @param json The text as JSON. */
  #sendText({ deltaStart }: OpenMessage, json: string): void {
    this.#events.sendJson(`${deltaStart}${json},"logprobs":[]`, DELTA);
  }

  /** Adds the question whether a tool may run. @returns The id of the item. */
  addApprovalRequest({ tool, detail }: PermissionRequest): string {
    const item: McpApprovalRequest = {
      id: this.#nextId("mcp_approval_request"),
      type: "mcp_approval_request",
      name: nameOf(tool),
      server_label: this.#head.serverLabel,
      // The whole detail, because a person decides by it.
      arguments: JSON.stringify({ kind: tool.kind, title: tool.title, detail }),
    };
    this.#closeItem(this.#addItem(item).index, item);
    return item.id;
  }

  /** Closes what is open. The tools of a turn may go on: it can outlive its response. */
  close(status: ItemStatus): void {
    this.#closeText(status);
    for (const [id, { index, item }] of this.#tools) {
      if (item.status !== "in_progress") continue;
      this.#closeTool(id, { index, item: { ...item, status: "incomplete" } });
    }
  }

  /** Closes the message or the thoughts that are open. */
  #closeText(status: ItemStatus): void {
    const message = this.#message;
    const reasoning = this.#reasoning;
    if (message) {
      const at = contentAt(message);
      const part = textPart(message.text);
      this.#events.send({ type: "response.output_text.done", ...at, text: message.text, logprobs: [] });
      this.#events.send({ type: "response.content_part.done", ...at, part });
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
    return itemId(type, this.#head.id, this.#items.length);
  }

  /** Adds an item behind the others. The message or the thoughts before it are complete. */
  #addItem<Item extends OutputItem>(item: Item): Placed<Item> {
    this.#closeText("completed");
    this.#shown++;
    const index = this.#items.push(item) - 1;
    this.#events.send({ type: "response.output_item.added", output_index: index, item });
    return { index, item };
  }

  #closeItem(index: number, item: OutputItem): void {
    this.#items[index] = item;
    this.#events.send({ type: "response.output_item.done", output_index: index, item });
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
