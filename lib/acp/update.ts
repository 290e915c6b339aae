/** ACP session updates as turn events. @module */

import { isOpen, type ToolCall, type ToolCallId, type TurnEvent } from "../turn/event.ts";
import type { SessionUpdate } from "./wire.ts";

/** Tool calls of one turn that are kept in mind; beyond it the oldest is forgotten. */
const MAX_TOOLS = 1_000;

type ToolFields = Pick<
  Extract<SessionUpdate, { sessionUpdate: "tool_call" }>,
  "toolCallId" | "title" | "kind" | "status" | "name" | "rawInput" | "_meta"
>;

/** Tools that are agents of their own, by the names that agents give them (Claude, opencode, Codex). */
const SUBAGENT_TOOLS: ReadonlySet<unknown> = new Set(["Task", "Agent", "task", "agent", "spawn_agent"]);

/**
 * Turns the updates of one turn into its events. It has no input and no clock; its state is what the agent said of its
 * tools, since an update names only what changed, and some agents never announce a tool before they update it.
 */
export class UpdateTranslator {
  readonly #tools = new Map<ToolCallId, ToolCall>();
  /** Those that were not permitted: an agent may never speak of them again. */
  readonly #refused = new Set<ToolCallId>();

  /** The event that this update is, if it is one. */
  translate(update: SessionUpdate): TurnEvent | undefined {
    switch (update.sessionUpdate) {
      case "agent_message_chunk":
        return spoken("text", update.content);
      case "agent_thought_chunk":
        return spoken("thought", update.content);
      case "tool_call":
      case "tool_call_update":
        return this.upsertTool(update);
      case "plan":
        return { type: "plan", entries: update.entries };
      // Known, and nobody's business here: replayed history, menus, modes, titles, context size, notices, housekeeping.
      case "user_message_chunk":
      case "available_commands_update":
      case "current_mode_update":
      case "config_option_update":
      case "session_info_update":
      case "usage_update":
      case "notice":
      case "compaction_update":
      case "compaction_summary_chunk":
        return undefined;
      default:
        return update satisfies never;
    }
  }

  /** Takes in what is new of a tool call (an upsert); the event carries the whole, or nothing if nothing changed. */
  upsertTool(fields: ToolFields): Extract<TurnEvent, { type: "tool" }> | undefined {
    const id = fields.toolCallId as ToolCallId;
    const toolCall = this.#tools.get(id);
    const tool: ToolCall = {
      id,
      title: fields.title || toolCall?.title || "tool",
      kind: fields.kind ?? toolCall?.kind ?? "other",
      status: fields.status ?? toolCall?.status ?? "pending",
      ...(toolCall?.isSubagent || isSubagent(fields) ? { isSubagent: true } : {}),
    };
    if (toolCall && sameTool(toolCall, tool)) return undefined;
    this.#tools.set(id, tool);
    if (this.#tools.size > MAX_TOOLS) this.#forgetOldest();
    return { type: "tool", tool };
  }

  /** A tool call as far as the agent told of it. */
  known(id: string): ToolCall | undefined {
    return this.#tools.get(id as ToolCallId);
  }

  /** A tool call was not permitted: if the agent leaves it open, it has failed. */
  markRefused(id: string): void {
    if (this.#tools.has(id as ToolCallId)) this.#refused.add(id as ToolCallId);
  }

  /** The ends of the tools that the agent left open, `completed` or `failed`; those refused have failed. */
  closeTools(status: "completed" | "failed"): TurnEvent[] {
    const open = [...this.#tools.values()].filter((tool) => isOpen(tool));
    const ends = open.map((tool): TurnEvent => ({
      type: "tool",
      tool: { ...tool, status: this.#refused.has(tool.id) ? "failed" : status },
      closing: true,
    }));
    this.#tools.clear();
    this.#refused.clear();
    return ends;
  }

  #forgetOldest(): void {
    for (const id of this.#tools.keys()) {
      this.#tools.delete(id);
      this.#refused.delete(id);
      return;
    }
  }
}

function sameTool(a: ToolCall, b: ToolCall): boolean {
  return a.title === b.title && a.kind === b.kind && a.status === b.status && a.isSubagent === b.isSubagent;
}

/** The tool's own name says it, or its input: never its title, which is for people. */
function isSubagent({ name, rawInput, _meta }: ToolFields): boolean {
  return SUBAGENT_TOOLS.has(name ?? _meta?.claudeCode?.toolName) ||
    typeof rawInput === "object" && rawInput !== null && "subagent_type" in rawInput;
}

/** Text is spoken; images, sounds and links of an agent are not, and an empty chunk is nothing. */
function spoken(
  type: "text" | "thought",
  content: { type: string; text?: string | undefined },
): TurnEvent | undefined {
  return content.type === "text" && content.text ? { type, text: content.text } : undefined;
}
