/** One turn as watchers see it. Pure: turn events in, events for watchers out; no clock, no input. @module */

import { isOpen, type PlanEntry, type ToolCall, type ToolCallId, type TurnEvent } from "../turn/event.ts";
import type { PermissionRequest } from "../turn/permission.ts";
import type {
  AgentStateEvent,
  AgentStateName,
  PermissionRequestEvent,
  StateDetail,
  TurnRef,
  VtuberEvent,
} from "./wire.ts";

/** Characters of a tool's name; titles are whole command lines with some agents. */
const MAX_NAME_CHARS = 200;
/** Lines of a plan that are told, and characters of each. */
const MAX_PLAN_ENTRIES = 100;
const MAX_ENTRY_CHARS = 500;
/** Characters of what a permission request shows, and its answers. */
const MAX_DETAIL_CHARS = 8_000;
const MAX_OPTIONS = 20;
/** Tools of one turn that are kept in mind, open ones and ended ones; of the latter the oldest is forgotten. */
const MAX_TOOLS = 1_000;

/** OpenAB's classes of tools, by what ACP says of them. */
const CODING: ReadonlySet<string> = new Set(["edit", "delete", "move", "execute"]);

/** Follows one turn. */
export class TurnState {
  readonly about: TurnRef;
  /** Nobody asked for this turn: its end is not celebrated, and nothing that it says is shown. */
  readonly #unasked: boolean;
  /** The open ones, in the order in which they were opened. */
  readonly #tools = new Map<ToolCallId, ToolCall>();
  /** Those that have ended: what comes of them later is nobody's business. */
  readonly #done = new Set<ToolCallId>();
  readonly #permissions = new Map<string, PermissionRequestEvent>();
  #plan: readonly PlanEntry[] | undefined;
  #leaving: { readonly state: AgentStateName; readonly detail?: StateDetail } | undefined;
  #ended: AgentStateName | undefined;
  #shown: { readonly state: AgentStateName; readonly subagents: number } | undefined;

  constructor(about: TurnRef, unasked = false) {
    this.about = about;
    this.#unasked = unasked;
  }

  /** What the agent does now. */
  get state(): AgentStateEvent {
    const { state, detail } = this.#present();
    return { type: "agent_state", ...this.about, state, ...(detail ? { detail } : {}) };
  }

  /** Whether the turn is over. */
  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** The tools that are open. */
  get tools(): readonly VtuberEvent[] {
    return [...this.#tools.values()].map((tool) => this.#toolStatus(tool));
  }

  /** The plan, if there is one. */
  get plan(): readonly PlanEntry[] | undefined {
    return this.#plan;
  }

  /** The requests that wait for an answer. */
  get permissions(): readonly PermissionRequestEvent[] {
    return [...this.#permissions.values()];
  }

  /** The agent has the prompt. */
  begun(): VtuberEvent[] {
    return this.#withState([]);
  }

  /** What watchers are told of this; text is not their business here. */
  heard(event: TurnEvent): VtuberEvent[] {
    switch (event.type) {
      case "text":
      case "thought":
      case "usage":
        return [];
      case "emotion": {
        const { tag, intensity } = event;
        return this.#unasked ? [] : [{ type: "emotion", ...this.about, tag, intensity }];
      }
      case "tool":
        // A tool that is closed since the turn ends is no sign that the agent thinks again.
        return event.closing ? this.#tool(event.tool) : this.#withState(this.#tool(event.tool));
      case "plan":
        this.#plan = event.entries.slice(0, MAX_PLAN_ENTRIES).map((entry) => ({
          ...entry,
          content: cut(entry.content, MAX_ENTRY_CHARS),
        }));
        return [{ type: "plan", ...this.about, entries: this.#plan }];
      case "permission": {
        const request = this.#request(event.request);
        this.#permissions.set(event.request.id, request);
        return this.#withState([request]);
      }
      case "permission_resolved": {
        const { id, outcome, option, by } = event.resolution;
        // The turn is about to end: until it does, it is told as it was.
        if (by === "turn") this.#leaving ??= this.#present();
        this.#permissions.delete(id);
        const chosen = option ? { option_id: option.id } : {};
        const resolved: VtuberEvent[] = [
          { type: "permission_resolved", ...this.about, request_id: id, outcome, ...chosen, by },
        ];
        return this.#withState(resolved);
      }
      case "end":
        return this.#end(event.reason === "cancelled" ? "idle" : "attention", event.reason === "end_turn");
      case "failure":
        return this.#end("error", false);
      default:
        return event satisfies never;
    }
  }

  /** The end of the last state: every turn ends in `idle`. Nothing if it has come to that already. */
  rest(): VtuberEvent[] {
    this.#ended = "idle";
    return this.#withState([]);
  }

  #end(state: AgentStateName, completed: boolean): VtuberEvent[] {
    const status = completed ? "completed" : "failed";
    const left = [...this.#tools.values()].flatMap((tool) => this.#tool({ ...tool, status }));
    this.#ended = this.#unasked ? "idle" : state;
    return this.#withState(left);
  }

  /** At most a start and an end of each. */
  #tool(tool: ToolCall): VtuberEvent[] {
    if (this.#done.has(tool.id)) return [];
    const known = this.#tools.has(tool.id);
    if (!isOpen(tool)) {
      this.#tools.delete(tool.id);
      this.#done.add(tool.id);
      for (const oldest of this.#done) {
        if (this.#done.size <= MAX_TOOLS) break;
        this.#done.delete(oldest);
      }
      return [this.#toolStatus(tool)];
    }
    if (!known && this.#tools.size >= MAX_TOOLS) return [];
    this.#tools.set(tool.id, tool);
    return known ? [] : [this.#toolStatus(tool)];
  }

  #toolStatus(tool: ToolCall): VtuberEvent {
    return {
      type: "tool_status",
      ...this.about,
      tool_call_id: tool.id,
      tool_name: nameOf(tool),
      kind: tool.kind,
      status: TOOL_STATUS[tool.status],
    };
  }

  #request({ id, tool, detail: told, options, expiresAt }: PermissionRequest): PermissionRequestEvent {
    // With some agents the title is the command, and the whole of it is what a person has to see.
    const isCut = tool.title.length > MAX_NAME_CHARS && !told.includes(tool.title);
    const detail = cut(isCut ? `${tool.title}\n${told}`.trim() : told, MAX_DETAIL_CHARS);
    return {
      type: "permission_request",
      ...this.about,
      request_id: id,
      tool: {
        tool_call_id: tool.id,
        tool_name: nameOf(tool),
        kind: tool.kind,
        ...(detail === "" ? {} : { detail }),
      },
      options: options.slice(0, MAX_OPTIONS).map(({ id, name, kind }) => ({
        option_id: id,
        name: cut(name, MAX_NAME_CHARS),
        kind,
      })),
      expires_at: Math.floor(expiresAt / 1000),
    };
  }

  /** These events, and the state if it is another one than was told last. */
  #withState(events: VtuberEvent[]): VtuberEvent[] {
    const { state, detail } = this.#present();
    const subagents = detail?.subagent_count ?? 0;
    if (this.#shown?.state === state && this.#shown.subagents === subagents) return events;
    this.#shown = { state, subagents };
    return [...events, this.state];
  }

  #present(): { state: AgentStateName; detail?: StateDetail } {
    if (this.#ended !== undefined) return { state: this.#ended };
    if (this.#leaving !== undefined) return this.#leaving;
    const asking = [...this.#permissions.values()].at(-1);
    if (asking) return { state: "notification", detail: { tool_name: asking.tool.tool_name } };
    const tools = [...this.#tools.values()];
    const newest = tools.at(-1);
    if (newest === undefined) return { state: "thinking" };
    const subagents = tools.filter((tool) => tool.isSubagent).length;
    const detail = { tool_class: classOf(newest), tool_name: nameOf(newest) };
    return subagents === 0
      ? { state: "working", detail }
      : { state: "juggling", detail: { ...detail, subagent_count: subagents } };
  }
}

const TOOL_STATUS = {
  pending: "pending",
  in_progress: "running",
  completed: "done",
  failed: "failed",
} as const;

function classOf({ kind }: ToolCall): "tool" | "coding" | "web" {
  if (CODING.has(kind)) return "coding";
  return kind === "fetch" ? "web" : "tool";
}

function nameOf({ title }: ToolCall): string {
  return cut(title, MAX_NAME_CHARS);
}

function cut(text: string, maxChars: number): string {
  return text.length > maxChars ? text.slice(0, maxChars).toWellFormed() + "..." : text;
}
