/** Those who watch, as tests have them: what they were told, and turns for them to watch. @module */

import type { Subscriber, Transport } from "../../../lib/events/subscriber.ts";
import type { VtuberEvent } from "../../../lib/events/wire.ts";
import { EventHub, type EventHubOptions } from "../../../lib/events/hub.ts";
import { emotionWords } from "../../../lib/turn/emotion.ts";
import type { ToolCallId } from "../../../lib/turn/event.ts";
import type { PermissionId, PermissionQuestion, PermissionRequest } from "../../../lib/turn/permission.ts";
import { runTurn, type Turn, type TurnOptions } from "../../../lib/turn/turn.ts";
import { MemoryAgent, type MemoryPrompt } from "../agents/memory_agent.ts";
import { soon } from "./turn_recorder.ts";

/** The words that are emotions if nobody says otherwise. */
export const EMOTIONS = emotionWords();

/** A frame as it comes out of JSON. */
export interface Frame {
  readonly type: string;
  readonly ts: number;
  readonly [field: string]: unknown;
}

/** A frame without its time. */
export type Told = Omit<Frame, "ts">;

/** A frame, or an event before it is one, in a word or two: `state working`, `tool t1 done`, `plan 2`. */
export function briefOf(event: VtuberEvent | Told): string {
  const { type, ts: _, ...fields } = event as Told;
  switch (type) {
    case "agent_state":
      return `state ${fields.state}`;
    case "emotion":
      return `emotion ${fields.tag} ${fields.intensity}`;
    case "tool_status":
      return `tool ${fields.tool_call_id} ${fields.status}`;
    case "plan":
      return `plan ${(fields.entries as unknown[]).length}`;
    case "notification":
      return `notification ${fields.text}`;
    case "permission_request":
      return `asks ${fields.request_id}`;
    case "permission_resolved":
      return `${fields.request_id} ${fields.outcome} by ${fields.by}`;
    case "say":
      return `say ${fields.text}`;
    case "subscribed":
      return `subscribed ${(fields.events as string[]).join(",")}`;
    default:
      return [type, ...Object.values(fields)].join(" ");
  }
}

/** The other end of a connection: takes frames, as fast as the test lets it. */
export class Watcher implements Transport {
  backlog = 0;
  readonly frames: Frame[] = [];
  /** With what it was disconnected. */
  closed: { readonly code: number; readonly reason: string } | undefined;
  #wake = Promise.withResolvers<void>();

  send(frame: string): void {
    this.frames.push(JSON.parse(frame));
    this.#woken();
  }

  close(code: number, reason: string): void {
    this.closed = { code, reason };
    this.#woken();
  }

  /** What it was told, in brief. */
  get briefs(): string[] {
    return this.frames.map(briefOf);
  }

  /** The same, from now on: what was told is forgotten. */
  news(): string[] {
    return this.frames.splice(0).map(briefOf);
  }

  /** Waits until it was told this, or disconnected. */
  async until(fits: (watcher: this) => boolean, what: string): Promise<void> {
    while (!fits(this)) await soon(this.#wake.promise, what);
  }

  #woken(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}

/** A hub, an agent, and whoever the test lets in. */
export class Stage implements Disposable {
  readonly hub: EventHub;
  readonly agent = new MemoryAgent();

  /** Without `holdMs` a passing state is held until the test is over. */
  constructor(options: Partial<EventHubOptions> = {}) {
    this.hub = new EventHub({ emotions: EMOTIONS, holdMs: 3_600_000, ...options });
    this.agent.answersCancels = false;
  }

  /** Lets somebody in. */
  join(names?: readonly string[]): Watcher & { client: Subscriber } {
    const watcher = new Watcher();
    return Object.assign(watcher, { client: this.hub.subscribe(watcher, names) });
  }

  /** Begins a turn of this conversation. */
  async begin(
    conversation = "mao",
    options: Partial<TurnOptions> = {},
  ): Promise<{ turn: Turn; prompt: MemoryPrompt }> {
    const session = await this.agent.newSession();
    const limits = { replyTimeoutMs: 0, turnTimeoutMs: 0 };
    const turn = await runTurn({
      session,
      blocks: [{ type: "text", text: "Hello" }],
      resolvedModel: "openab",
      limits,
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

/** What an agent asks. */
export function question(fields: Partial<PermissionQuestion> = {}): PermissionQuestion {
  return {
    tool: { id: "t1" as ToolCallId, title: "rm -r x", kind: "execute", status: "pending" },
    detail: "rm -r /tmp/x",
    options: [{ id: "yes", name: "Yes", kind: "allow_once" }, { id: "no", name: "No", kind: "reject_once" }],
    ...fields,
  };
}

/** A request that is open until 1000 seconds after 1970. */
export function request(id: string, fields: Partial<PermissionQuestion> = {}): PermissionRequest {
  return { ...question(fields), id: id as PermissionId, expiresAt: 1_000_999 };
}

/** An agent asks. */
export function asks(id: string, fields: Partial<PermissionQuestion> = {}) {
  return { type: "permission", request: request(id, fields) } as const;
}

/** Somebody answers. */
export function answered(id: string, outcome: "allowed" | "rejected" = "allowed", by = "me") {
  return { type: "permission_resolved", resolution: { id: id as PermissionId, outcome, by } } as const;
}
