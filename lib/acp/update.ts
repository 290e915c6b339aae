/** Translates ACP session updates into turn events. @module */

import { BoundedMap } from "../core/bounded_map.ts";
import { isOpen, type ToolCall, type ToolCallId, type TurnEvent } from "../turn/event.ts";
import type { SessionUpdate, ToolFields } from "./wire.ts";

/** Tool calls of one turn that are remembered. */
const MAX_TOOLS = 1_000;

/** Names of tools that start a subagent (Claude, opencode, Codex). */
const SUBAGENT_TOOLS: ReadonlySet<unknown> = new Set(["Task", "Agent", "task", "agent", "spawn_agent"]);

/**
 * The tool calls of one turn and the translation of its updates. An update names only what changed, and some agents
 * never announce a tool before they update it, so that tool calls are merged here.
 */
export class UpdateTranslator {
  readonly #tools = new BoundedMap<ToolCallId, ToolCall>(MAX_TOOLS);
  readonly #refused = new Set<ToolCallId>();

  /** Translates an update. Returns `undefined` if it means nothing to a turn. */
  translate(update: SessionUpdate): TurnEvent | undefined {
    switch (update.sessionUpdate) {
      case "agent_message_chunk":
        return textEvent("text", update.content);
      case "agent_thought_chunk":
        return textEvent("thought", update.content);
      case "tool_call":
      case "tool_call_update": {
        const { tool, isChanged } = this.upsertTool(update);
        return isChanged ? { type: "tool", tool } : undefined;
      }
      case "plan":
        return { type: "plan", entries: update.entries };
      case "available_commands_update":
      case "config_option_update":
        return undefined;
      default:
        return update satisfies never;
    }
  }

  /** Merges the fields of an announcement, an update or a permission request into the tool call. */
  upsertTool(fields: ToolFields): { readonly tool: ToolCall; readonly isChanged: boolean } {
    const id = fields.toolCallId as ToolCallId;
    const previous = this.#tools.get(id);
    const tool: ToolCall = {
      id,
      title: fields.title || previous?.title || "tool",
      kind: fields.kind ?? previous?.kind ?? "other",
      status: fields.status ?? previous?.status ?? "pending",
      ...(previous?.isSubagent || isSubagent(fields) ? { isSubagent: true } : {}),
    };
    if (previous && isSame(previous, tool)) return { tool: previous, isChanged: false };
    this.#tools.set(id, tool);
    return { tool, isChanged: true };
  }

  /** Marks a tool call whose permission was refused: the agent may never mention it again. */
  markRefused(id: ToolCallId): void {
    this.#refused.add(id);
  }

  /** Closes the tool calls that the agent left open, with this status; refused ones with `failed`. */
  closeTools(status: "completed" | "failed"): TurnEvent[] {
    const open = [...this.#tools.values()].filter(isOpen);
    const events = open.map((tool): TurnEvent => ({
      type: "tool",
      tool: { ...tool, status: this.#refused.has(tool.id) ? "failed" : status },
      closing: true,
    }));
    this.#tools.clear();
    return events;
  }
}

function isSame(a: ToolCall, b: ToolCall): boolean {
  return a.title === b.title && a.kind === b.kind && a.status === b.status && a.isSubagent === b.isSubagent;
}

/** Whether the tool's name or input says that it starts a subagent. The title is text for people. */
function isSubagent({ name, rawInput, _meta }: ToolFields): boolean {
  return SUBAGENT_TOOLS.has(name ?? _meta.claudeCode.toolName) ||
    typeof rawInput === "object" && rawInput !== null && "subagent_type" in rawInput;
}

/** Only text is spoken: images, audio, links and empty chunks of an agent are not part of the reply. */
function textEvent(
  type: "text" | "thought",
  content: { readonly type: string; readonly text?: string | undefined },
): TurnEvent | undefined {
  return content.type === "text" && content.text ? { type, text: content.text } : undefined;
}
