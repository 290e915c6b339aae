/** The state of one turn, as subscribers see it. Pure: turn events in, wire events out; no clock, no I/O. @module */

import type { AppError } from "../core/errors.ts";
import { cutMiddle, truncate } from "../core/text.ts";
import {
  isOpen,
  type PermissionRequest,
  type PlanEntry,
  type QuestionRequest,
  type ToolCall,
  type ToolCallId,
  type TurnEvent,
} from "../turn/event.ts";
import { emptyTurnError, sentenceOf } from "../turn/error_sentences.ts";
import { MAX_GLANCE_CHARS } from "../turn/permission.ts";
import {
  type AgentStateEvent,
  errorDetail,
  type PermissionRequestEvent,
  type QuestionEvent,
  type ToolStatusEvent,
  type TurnRef,
  type VtuberEvent,
} from "./wire.ts";

/** Characters of a tool's name; some agents use the whole command line as the title. */
const MAX_NAME_CHARS = 200;
/** Tools of one turn; further ones are not shown. */
const MAX_TOOLS = 1_000;

/** The tool kinds of OpenAB's class `coding`. */
const CODING: ReadonlySet<string> = new Set(["edit", "delete", "move", "execute"]);
const TOOL_STATUS = {
  pending: "pending",
  in_progress: "running",
  completed: "done",
  failed: "failed",
} as const;
const NO_EVENTS: readonly VtuberEvent[] = [];

/** Follows one turn. An unsolicited turn shows its states and tools, but neither its words nor how it ended. */
export class TurnState {
  readonly ref: TurnRef;
  /** The newest plan. */
  plan: readonly PlanEntry[] = [];
  readonly #unsolicited: boolean;
  /** Oldest first. Tools that have ended stay, so that later updates of them are ignored. */
  readonly #tools = new Map<ToolCallId, ToolCall>();
  readonly #permissions = new Map<string, PermissionRequest>();
  readonly #questions = new Map<string, QuestionRequest>();
  #final: AgentStateEvent["state"] | undefined;
  #failure: AppError | undefined;
  /** Whether the agent waits for its model. */
  #isWaiting = false;
  /** The published state, number of sub-agents, and whether the agent waits for its model. */
  #shown = "";

  constructor(ref: TurnRef, unsolicited = false) {
    this.ref = ref;
    this.#unsolicited = unsolicited;
  }

  /** The current state. */
  get state(): AgentStateEvent {
    return { type: "agent_state", ...this.ref, ...this.#current() };
  }

  /** Whether the turn has ended. */
  get hasEnded(): boolean {
    return this.#final !== undefined;
  }

  /** The open tools. */
  get tools(): readonly ToolStatusEvent[] {
    return this.#openTools.map((tool) => this.#toolStatus(tool));
  }

  /** The open permission requests. */
  get permissions(): readonly PermissionRequestEvent[] {
    return [...this.#permissions.values()].map((request) => permissionEvent(this.ref, request));
  }

  /** The open questions. */
  get questions(): readonly QuestionEvent[] {
    return [...this.#questions.values()].map((request) => questionEvent(this.ref, request));
  }

  /** Finds an open permission request, with its whole detail. */
  wholePermission(id: string): PermissionRequestEvent | undefined {
    const request = this.#permissions.get(id);
    return request && permissionEvent(this.ref, request, Infinity);
  }

  /** Starts the turn: the agent has taken the prompt. */
  start(): readonly VtuberEvent[] {
    return this.#withState([]);
  }

  /** Says that the agent has been silent for a while. Without an open tool or question, it waits for its model. */
  wait(): readonly VtuberEvent[] {
    this.#isWaiting = this.#current().state === "thinking";
    return this.#withState([]);
  }

  /** Applies an event of the turn. */
  apply(event: TurnEvent): readonly VtuberEvent[] {
    const wasWaiting = this.#isWaiting;
    this.#isWaiting = false;
    const events = this.#apply(event);
    return wasWaiting ? this.#withState(events) : events;
  }

  #apply(event: TurnEvent): readonly VtuberEvent[] {
    switch (event.type) {
      case "text":
      case "thought":
      case "usage":
        return NO_EVENTS;
      case "speech":
        return this.#unsolicited ? NO_EVENTS : [{ type: "say", ...this.ref, text: event.text }];
      case "emotion": {
        const { tag, intensity, at } = event;
        return this.#unsolicited ? NO_EVENTS : [{ type: "emotion", ...this.ref, tag, intensity, at }];
      }
      case "tool":
        // A tool that only closes because the turn ends does not mean that the agent is thinking again.
        return event.closing ? this.#updateTool(event.tool) : this.#withState(this.#updateTool(event.tool));
      case "plan":
        this.plan = event.entries;
        return [{ type: "plan", ...this.ref, entries: this.plan }];
      case "permission": {
        this.#permissions.set(event.request.id, event.request);
        return this.#withState([permissionEvent(this.ref, event.request)]);
      }
      case "permission_resolved": {
        const { id, outcome, option, by } = event.resolution;
        this.#permissions.delete(id);
        const chosen = option ? { option_id: option.id } : {};
        const resolved = {
          type: "permission_resolved",
          ...this.ref,
          request_id: id,
          outcome,
          ...chosen,
          by,
        } as const;
        // The end of the turn, which withdraws the request, is the next state.
        return by === "turn" ? [resolved] : this.#withState([resolved]);
      }
      case "question":
        this.#questions.set(event.request.id, event.request);
        return this.#withState([questionEvent(this.ref, event.request)]);
      case "question_resolved": {
        const { id, outcome, by } = event.resolution;
        this.#questions.delete(id);
        const resolved = { type: "question_resolved", ...this.ref, question_id: id, outcome, by } as const;
        return by === "turn" ? [resolved] : this.#withState([resolved]);
      }
      case "context":
        return [{ type: "usage", ...this.ref, ...event.context }];
      case "end":
        if (event.isEmpty) {
          this.#failure = emptyTurnError();
          return this.#end("error", false);
        }
        return this.#end(event.reason === "cancelled" ? "idle" : "attention", event.reason === "end_turn");
      case "failure": {
        this.#failure = event.failure;
        // As in the reply of a skin, the character says that it failed.
        const sentence = { type: "say", ...this.ref, text: `\n${sentenceOf(event.failure)}\n` } as const;
        const ended = this.#end("error", false);
        return this.#unsolicited ? ended : [sentence, ...ended];
      }
      default:
        return event satisfies never;
    }
  }

  /** Returns to `idle`, the last state of every turn. */
  retire(): readonly VtuberEvent[] {
    this.#final = "idle";
    return this.#withState([]);
  }

  #end(state: AgentStateEvent["state"], completed: boolean): readonly VtuberEvent[] {
    const status = completed ? "completed" : "failed";
    const closed = this.#openTools.flatMap((tool) => this.#updateTool({ ...tool, status }));
    this.#final = this.#unsolicited ? "idle" : state;
    return this.#withState(closed);
  }

  get #openTools(): ToolCall[] {
    return [...this.#tools.values()].filter(isOpen);
  }

  /** Reports one start and one end of each tool. */
  #updateTool(tool: ToolCall): ToolStatusEvent[] {
    const earlier = this.#tools.get(tool.id);
    if (earlier ? !isOpen(earlier) : this.#tools.size >= MAX_TOOLS) return [];
    this.#tools.set(tool.id, tool);
    return earlier && isOpen(tool) ? [] : [this.#toolStatus(tool)];
  }

  #toolStatus(tool: ToolCall): ToolStatusEvent {
    return {
      type: "tool_status",
      ...this.ref,
      tool_call_id: tool.id,
      tool_name: nameOf(tool),
      kind: tool.kind,
      status: TOOL_STATUS[tool.status],
    };
  }

  /** Adds the state to the events if it differs from the last one in what {@linkcode TurnState.#shown} holds. */
  #withState(events: readonly VtuberEvent[]): readonly VtuberEvent[] {
    const { state, detail } = this.#current();
    const shown = `${state} ${detail?.subagent_count ?? 0} ${detail?.waiting ?? false}`;
    if (this.#shown === shown) return events;
    this.#shown = shown;
    return [...events, this.state];
  }

  #current(): Pick<AgentStateEvent, "state" | "detail"> {
    if (this.#final === "error" && this.#failure) {
      return { state: this.#final, detail: { error: errorDetail(this.#failure) } };
    }
    if (this.#final !== undefined) return { state: this.#final };
    const request = [...this.#permissions.values()].at(-1);
    if (request) return { state: "notification", detail: { tool_name: nameOf(request.tool) } };
    if (this.#questions.size > 0) return { state: "notification" };
    const tools = this.#openTools;
    const newest = tools.at(-1);
    if (newest === undefined) {
      return this.#isWaiting ? { state: "thinking", detail: { waiting: true } } : { state: "thinking" };
    }
    const detail = { tool_class: toolClass(newest), tool_name: nameOf(newest) };
    const subagents = tools.filter((tool) => tool.isSubagent).length;
    if (subagents === 0) return { state: "working", detail };
    return { state: "juggling", detail: { ...detail, subagent_count: subagents } };
  }
}

/** Makes the event of a request. A detail that is longer is cut, and such a request can only be rejected. */
function permissionEvent(
  ref: TurnRef,
  { id, tool, detail, options, expiresAt }: PermissionRequest,
  maxDetailChars = MAX_GLANCE_CHARS,
): PermissionRequestEvent {
  const isCut = detail.length > maxDetailChars;
  return {
    type: "permission_request",
    ...ref,
    request_id: id,
    tool: {
      tool_call_id: tool.id,
      tool_name: nameOf(tool),
      kind: tool.kind,
      ...(detail === "" ? {} : { detail: cutMiddle(detail, maxDetailChars) }),
      ...(detail.length > MAX_GLANCE_CHARS ? { detail_chars: detail.length } : {}),
    },
    options: options.filter(({ kind }) => !isCut || kind.startsWith("reject"))
      .map(({ id, name, kind }) => ({ option_id: id, name, kind })),
    expires_at: Math.floor(expiresAt / 1000),
  };
}

function questionEvent(
  ref: TurnRef,
  { id, message, fields, url, isPrivate, expiresAt }: QuestionRequest,
): QuestionEvent {
  return {
    type: "question",
    ...ref,
    question_id: id,
    message,
    ...(url === undefined ? {} : { url }),
    ...(isPrivate ? { is_private: true } : {}),
    fields,
    expires_at: Math.floor(expiresAt / 1000),
  };
}

function toolClass({ kind }: ToolCall): "tool" | "coding" | "web" {
  if (CODING.has(kind)) return "coding";
  return kind === "fetch" ? "web" : "tool";
}

function nameOf({ title }: ToolCall): string {
  return truncate(title, MAX_NAME_CHARS);
}
