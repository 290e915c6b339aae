/** Translates ACP session updates into turn events. @module */

import { BoundedMap } from "../core/bounded_map.ts";
import { cutMiddle, truncate } from "../core/text.ts";
import { escapeUnsafeInLines } from "../core/unsafe_text.ts";
import {
  isOpen,
  type ToolCall,
  type ToolCallId,
  type ToolKind,
  type ToolStatus,
  type TurnEvent,
  type TurnReader,
} from "../turn/event.ts";
import { accessOf, detailOf, mergeAccess, NO_ACCESS, type ToolAccess } from "./tool_access.ts";
import type { SessionUpdate, ToolFields } from "./wire.ts";

/** Tool calls of one turn that are remembered. */
const MAX_TOOLS = 1_000;
/** Characters of a tool call's title. */
const MAX_TITLE_CHARS = 1_000;
/** Characters of text in one update. A longer text would stop the event loop; agents send a few words at a time. */
const MAX_TEXT_CHARS = 256 * 1024;

/** Kinds of tools, the most dangerous last. */
const BY_DANGER: readonly ToolKind[] = [
  "think",
  "read",
  "search",
  "fetch",
  "switch_mode",
  "move",
  "edit",
  "other",
  "delete",
  "execute",
];

/** Names of tools that start a subagent (Claude, opencode, Codex). */
const SUBAGENT_TOOLS: ReadonlySet<unknown> = new Set(["Task", "Agent", "task", "agent", "spawn_agent"]);

/** A tool call, with what the agent has shown of it so far. */
export interface TrackedTool {
  readonly tool: ToolCall;
  /** Whether the agent has named a kind; `other` is also the kind of a tool that has none. */
  readonly hasKind: boolean;
  readonly access: ToolAccess;
  /** The last command or change that it showed. */
  readonly shown: string;
  /** Its permission was refused, after which the agent may never mention it again. */
  readonly isRefused: boolean;
}

/** Characters of a command or change that are kept from one update to the next. */
const MAX_SHOWN_CHARS = 4_000;

/** Whether the command or change was too long to be kept whole. */
export function isCut({ shown }: TrackedTool): boolean {
  return shown.length > MAX_SHOWN_CHARS;
}

type TextContent = { readonly type: string; readonly text?: string | undefined };

/**
 * The tool calls of one turn and the translation of its updates. An update names only what changed, and some agents
 * never announce a tool before they update it, so that tool calls are merged here.
 */
export class UpdateTranslator {
  readonly #tools = new BoundedMap<ToolCallId, TrackedTool>(MAX_TOOLS);
  /** The last piece of text, and the message that it belongs to. */
  #lastText = "";
  #messageId: string | undefined;
  #hasToolSinceText = false;
  /** Whether a tool call was updated since the agent spoke. */
  #mayHaveUnended = false;

  /** Whether the turn has text that is not empty. */
  get hasText(): boolean {
    return this.#lastText !== "";
  }

  /** Translates an update into events. Some updates mean nothing to a turn. */
  translate(update: SessionUpdate, reader: TurnReader): void {
    switch (update.sessionUpdate) {
      case "agent_message_chunk": {
        const content = this.#separate(update);
        if (this.#mayHaveUnended && content.text) this.#endUnended(reader);
        return translateText("text", content, reader);
      }
      case "agent_thought_chunk":
        return translateText("thought", update.content, reader);
      case "tool_call":
      case "tool_call_update": {
        const before = this.find(update.toolCallId)?.tool;
        const { tool } = this.upsertTool(update);
        if (tool !== before) reader({ type: "tool", tool });
        return;
      }
      case "plan":
        return reader({ type: "plan", entries: update.entries });
      case "usage_update": {
        const { used, size, cost } = update;
        return reader({ type: "context", context: { used, size, ...(cost ? { cost } : {}) } });
      }
      case "available_commands_update":
      case "config_option_update":
        return;
      default:
        return update satisfies never;
    }
  }

  /** Finds what is known of a tool call. */
  find(id: string): TrackedTool | undefined {
    return this.#tools.get(id as ToolCallId);
  }

  /**
   * Merges the fields of an announcement, an update or a permission request into the tool call. If they name different
   * kinds, the most dangerous one counts. The tool stays the same object if nothing has changed that a person sees.
   */
  upsertTool(fields: ToolFields): TrackedTool {
    const id = fields.toolCallId as ToolCallId;
    const earlier = this.#tools.get(id);
    const hasKind = earlier?.hasKind || fields.kind != null;
    const tool: ToolCall = {
      id,
      title: fields.title
        ? truncate(escapeUnsafeInLines(fields.title.slice(0, MAX_TITLE_CHARS + 1)), MAX_TITLE_CHARS)
        : earlier?.tool.title ?? "tool",
      kind: moreDangerous(earlier?.hasKind ? earlier.tool.kind : undefined, fields.kind ?? undefined) ??
        "other",
      status: newStatus(earlier?.tool.status, fields.status ?? undefined),
      ...(earlier?.tool.isSubagent || isSubagent(fields) ? { isSubagent: true } : {}),
    };
    const access = accessOf(fields);
    const tracked = {
      tool: earlier && isSame(earlier.tool, tool) ? earlier.tool : tool,
      hasKind,
      access: mergeAccess(earlier?.access ?? NO_ACCESS, access),
      isRefused: earlier?.isRefused ?? false,
      shown: access.isUnsafe ? cutMiddle(detailOf(fields), MAX_SHOWN_CHARS) : earlier?.shown ?? "",
    };
    this.#tools.set(id, tracked);
    this.#mayHaveUnended = true;
    this.#hasToolSinceText ||= earlier === undefined;
    return tracked;
  }

  /**
   * Puts a line break between the texts before and after a tool call, and of two messages: agents send no space there.
   */
  #separate({ content, messageId }: Extract<SessionUpdate, { content: unknown }>): TextContent {
    const { type, text } = content;
    if (type !== "text" || !text) return content;
    const isOtherMessage = messageId !== this.#messageId && messageId !== undefined &&
      this.#messageId !== undefined;
    const isGlued = (isOtherMessage || this.#hasToolSinceText) &&
      /\S$/.test(this.#lastText) && /^\S/.test(text);
    this.#lastText = text;
    this.#messageId = messageId ?? this.#messageId;
    this.#hasToolSinceText = false;
    return isGlued ? { type, text: `\n${text}` } : content;
  }

  /** Marks a tool call whose permission was refused. */
  markRefused(id: ToolCallId): void {
    const tracked = this.#tools.get(id);
    if (tracked) this.#tools.set(id, { ...tracked, isRefused: true });
  }

  /**
   * Ends the tool calls that were running or refused when the agent speaks on: some agents never end them. A subagent
   * may still work, and a pending call may wait for its permission.
   */
  #endUnended(reader: TurnReader): void {
    this.#mayHaveUnended = false;
    for (const tracked of [...this.#tools.values()]) {
      const { tool, isRefused } = tracked;
      const isUnended = isRefused ? isOpen(tool) : tool.status === "in_progress" && !tool.isSubagent;
      if (!isUnended) continue;
      const ended = { ...tool, status: isRefused ? "failed" : "completed" } as const;
      this.#tools.set(tool.id, { ...tracked, tool: ended });
      reader({ type: "tool", tool: ended });
    }
  }

  /** Closes the tool calls that the agent left open, with this status; refused ones with `failed`. */
  closeTools(status: "completed" | "failed"): TurnEvent[] {
    const open = [...this.#tools.values()].filter(({ tool }) => isOpen(tool));
    this.#tools.clear();
    return open.map(({ tool, isRefused }) => ({
      type: "tool",
      tool: { ...tool, status: isRefused ? "failed" : status },
      closing: true,
    }));
  }
}

/** A tool call that has ended does not start again. */
function newStatus(earlier: ToolStatus | undefined, named: ToolStatus | undefined): ToolStatus {
  const status = named ?? earlier ?? "pending";
  return earlier && !isOpen({ status: earlier }) && isOpen({ status }) ? earlier : status;
}

function isSame(a: ToolCall, b: ToolCall): boolean {
  return a.title === b.title && a.kind === b.kind && a.status === b.status && a.isSubagent === b.isSubagent;
}

/** Whether the tool's name or input says that it starts a subagent. The title is text for people. */
function isSubagent({ name, rawInput, _meta }: ToolFields): boolean {
  return SUBAGENT_TOOLS.has(name ?? _meta.claudeCode.toolName) ||
    typeof rawInput === "object" && rawInput !== null && "subagent_type" in rawInput;
}

/** Returns the more dangerous of two kinds. */
function moreDangerous(a: ToolKind | undefined, b: ToolKind | undefined): ToolKind | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return BY_DANGER.indexOf(a) > BY_DANGER.indexOf(b) ? a : b;
}

/** Only text is spoken: images, audio, links and empty chunks of an agent are not part of the reply. */
function translateText(
  type: "text" | "thought",
  content: TextContent,
  reader: TurnReader,
): void {
  if (content.type !== "text" || !content.text) return;
  reader({ type, text: truncate(content.text, MAX_TEXT_CHARS) });
}
