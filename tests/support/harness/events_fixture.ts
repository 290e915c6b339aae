/** A hub, turns for it to observe, and subscribers that record what they get. @module */

import { EventHub } from "../../../lib/events/hub.ts";
import type { Subscriber, Transport } from "../../../lib/events/subscriber.ts";
import type { Message, VtuberEvent } from "../../../lib/events/wire.ts";
import { AppError } from "../../../lib/core/errors.ts";
import { LOCAL_CALLER } from "../../../lib/http/access.ts";
import type { Caller } from "../../../lib/turn/caller.ts";
import { emotionWords } from "../../../lib/turn/emotion.ts";
import type {
  PermissionId,
  PermissionOutcome,
  PermissionQuestion,
  QuestionId,
  ToolCall,
  ToolCallId,
  TurnEvent,
} from "../../../lib/turn/event.ts";
import { runTurn, type Turn, type TurnOptions } from "../../../lib/turn/turn.ts";
import { MemoryAgent, type MemoryPrompt } from "../agents/memory_agent.ts";
import type { Random } from "./random.ts";
import { waitFor } from "./turn_recorder.ts";

/** The default emotion words. */
export const EMOTIONS = emotionWords();

/** A frame of the event channel. */
// deno-lint-ignore no-explicit-any
export type Frame = { readonly type: string; readonly ts: number; readonly [field: string]: any };

/** Summarizes a frame or an event in a word or two: `state working`, `tool t1 done`, `plan 2`. */
export function summarize(event: VtuberEvent | Frame): string {
  const { type, ts: _, ...fields } = event as Frame;
  switch (type) {
    case "agent_state":
      return `state ${fields.state}`;
    case "emotion":
      return `emotion ${fields.tag} ${fields.intensity}`;
    case "tool_status":
      return `tool ${fields.tool_call_id} ${fields.status}`;
    case "plan":
      return `plan ${fields.entries.length}`;
    case "permission_request":
      return `asks ${fields.request_id}`;
    case "permission_resolved":
      return `${fields.request_id} ${fields.outcome} by ${fields.by}`;
    case "question":
      return `question ${fields.message}`;
    case "notification":
    case "say":
      return `${type} ${fields.text}`;
    case "subscribed":
      return `subscribed ${fields.events.join(",")}`;
    default:
      return [type, ...Object.values(fields)].join(" ");
  }
}

/** The other end of a subscriber's connection, which receives as fast as the test lets it. */
export class RecordingTransport implements Transport {
  backlog = 0;
  readonly frames: Frame[] = [];
  /** The close code and reason, once the subscriber is disconnected. */
  closed: { readonly code: number; readonly reason: string } | undefined;
  #change = Promise.withResolvers<void>();

  send({ frame }: Message): void {
    this.frames.push(JSON.parse(frame));
    this.#notify();
  }

  close(code: number, reason: string): void {
    this.closed = { code, reason };
    this.#notify();
  }

  get summaries(): string[] {
    return this.frames.map(summarize);
  }

  /** Removes the frames so far and returns their summaries. */
  takeSummaries(): string[] {
    return this.frames.splice(0).map(summarize);
  }

  /** Waits until the condition holds; looks after each frame and after the end. */
  async until(holds: (transport: this) => boolean, what: string): Promise<void> {
    while (!holds(this)) await waitFor(this.#change.promise, what);
  }

  /** Waits until the last frame is the state `idle`. */
  untilIdle(): Promise<void> {
    return this.until(({ summaries }) => summaries.at(-1) === "state idle", "idle");
  }

  #notify(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers<void>();
  }
}

/** A hub, and an agent that ends no turn by itself. Without `holdMs`, the last state of a turn stays until the test ends. */
export class HubFixture implements Disposable {
  readonly hub: EventHub;
  readonly agent = new MemoryAgent();

  constructor({ holdMs = 3_600_000 } = {}) {
    this.hub = new EventHub({ holdMs });
    this.agent.answersCancels = false;
  }

  /** Connects a subscriber. */
  connect(
    names?: readonly string[],
    caller: Caller = LOCAL_CALLER,
  ): RecordingTransport & { subscriber: Subscriber } {
    const transport = new RecordingTransport();
    return Object.assign(transport, { subscriber: this.hub.subscribe(transport, caller, names) });
  }

  /** Starts a turn of this conversation. */
  async startTurn(
    conversation = "mao",
    options: Partial<TurnOptions> = {},
  ): Promise<{ turn: Turn; prompt: MemoryPrompt }> {
    const session = await this.agent.newSession();
    const turn = await runTurn({
      session,
      blocks: [{ type: "text", text: "Hello" }],
      resolvedModel: "openab",
      limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 },
      conversation,
      observer: this.hub,
      emotions: EMOTIONS,
      ...options,
    });
    return { turn, prompt: await this.agent.nextPrompt() };
  }

  [Symbol.dispose](): void {
    this.hub.close();
  }
}

/** A question of the agent. */
export function permissionQuestion(fields: Partial<PermissionQuestion> = {}): PermissionQuestion {
  return {
    tool: { id: "t1" as ToolCallId, title: "rm -r x", kind: "execute", status: "pending" },
    detail: "rm -r /tmp/x",
    options: [{ id: "yes", name: "Yes", kind: "allow_once" }, { id: "no", name: "No", kind: "reject_once" }],
    ...fields,
  };
}

/** The event of a question that is open until 1000 seconds after 1970. */
export function permissionEvent(id: string, fields: Partial<PermissionQuestion> = {}) {
  const request = { ...permissionQuestion(fields), id: id as PermissionId, expiresAt: 1_000_999 };
  return { type: "permission", request } as const;
}

/** The event of an answer. */
export function resolvedEvent(id: string, outcome: PermissionOutcome = "allowed", by = "me") {
  return { type: "permission_resolved", resolution: { id: id as PermissionId, outcome, by } } as const;
}

/** The event of a question to a person, which a client shows. */
export function questionEvent(id: string, message: string) {
  const question = { message, fields: [], isPrivate: false, isShown: true, expiresAt: 1_000_999 };
  return { type: "question", request: { ...question, id: id as QuestionId, cancel: () => {} } } as const;
}

/** The event of its answer. */
export function questionResolvedEvent(id: string) {
  const resolution = { id: id as QuestionId, outcome: "answered", by: "me" } as const;
  return { type: "question_resolved", resolution } as const;
}

/** The ways in which a random turn ends. */
export const RANDOM_ENDS: readonly TurnEvent[] = [
  { type: "end", reason: "end_turn" },
  { type: "end", reason: "cancelled" },
  { type: "end", reason: "refusal" },
  { type: "failure", failure: new AppError("agent_crashed", "Gone.") },
];

/** Yields random events of a turn, each tool at most once from its start to its end. */
export function* randomEvents(random: Random, steps: number): Generator<TurnEvent> {
  const open: Pick<ToolCall, "id" | "isSubagent">[] = [];
  const asked: string[] = [];
  const event = (tool: Pick<ToolCall, "id" | "isSubagent">, status: ToolCall["status"]): TurnEvent => ({
    type: "tool",
    tool: { ...tool, title: tool.id, kind: "edit", status },
  });
  const takeOne = <T>(list: T[]): T | undefined => list.splice(random.below(list.length || 1), 1)[0];
  for (let i = 0; i < steps; i++) {
    switch (random.below(6)) {
      case 0:
      case 1: {
        const tool = { id: `t${i}` as ToolCallId, isSubagent: random.below(3) === 0 };
        open.push(tool);
        yield event(tool, random.pick(["pending", "in_progress"]));
        break;
      }
      case 2: {
        const tool = takeOne(open);
        if (tool) yield event(tool, random.pick(["completed", "failed"]));
        break;
      }
      case 3:
        if (open.length > 0) yield event(random.pick(open), "in_progress");
        break;
      case 4:
        asked.push(`p${i}`);
        yield permissionEvent(`p${i}`);
        break;
      default: {
        const id = takeOne(asked);
        if (id !== undefined) yield resolvedEvent(id);
      }
    }
  }
  for (const id of asked) yield resolvedEvent(id);
}
