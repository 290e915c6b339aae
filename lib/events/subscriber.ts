/** A subscriber: which events it gets, and the messages that wait while it reads slowly. @module */

import { type Caller, requireScopes } from "../turn/caller.ts";
import {
  type CommandReply,
  encodeMessage,
  EVENT_NAMES,
  EVENT_SCOPES,
  type EventName,
  type Message,
  type VtuberEvent,
} from "./wire.ts";

/** Carries messages to a subscriber: a WebSocket, an event stream, or a function inside the program. */
export interface Transport {
  send(message: Message): void;
  /** Bytes that were sent and not yet received. */
  readonly backlog: number;
  /** Closes the connection with a WebSocket close code. A promise resolves once everything was sent. */
  close(code: number, reason: string): void | Promise<void>;
  /**
   * The subscriber is a part of the program. It does not count as a watcher, because it neither says notifications nor
   * posts them back, and it answers permission requests only while `canAnswer` is true.
   */
  readonly internal?: { readonly canAnswer: boolean };
}

/** Bytes in the transport above which messages wait here, where old ones can be dropped. */
const HIGH_WATER_BYTES = 64 * 1024;
/** Messages that can wait, and characters of their frames. */
const MAX_WAITING = 4_096;
const MAX_WAITING_CHARS = 4 * 1024 * 1024;
/** Time until waiting messages are sent again: at first, and at most. Each attempt without progress doubles it. */
const MIN_FLUSH_MS = 1;
const MAX_FLUSH_MS = 100;
/** Longest time without progress before a slow subscriber is disconnected. */
const MAX_STALL_MS = 30_000;
/** WebSocket close code `Try Again Later` (IANA registry). */
export const TRY_AGAIN_LATER = 1013;

/** Messages that may be dropped: a newer one replaces them, or the loss is harmless. */
const DROPPABLE = new Set<string>(["agent_state", "emotion", "tool_status", "plan", "say", "pong"]);

/**
 * Returns the events that names stand for. `*` stands for all that the caller may get, but for the streaming `say`;
 * unknown names are ignored.
 *
 * @throws {AppError} `insufficient_scope` if a name is of an event that the caller may not get.
 */
export function eventsOf(names: readonly string[], caller: Caller): EventName[] {
  return EVENT_NAMES.filter((name) => {
    const scope = EVENT_SCOPES[name];
    if (names.includes(name)) {
      requireScopes(caller, [scope], `The event "${name}"`);
      return true;
    }
    return names.includes("*") && name !== "say" && caller.scopes.has(scope);
  });
}

/** One subscriber of the hub. */
export class Subscriber implements Disposable {
  readonly id: string = crypto.randomUUID();
  /** The name that the client gave itself; its id until then. */
  name: string = this.id;
  /** The caller that connected; no command changes it. */
  readonly caller: Caller;
  readonly #transport: Transport;
  readonly #onDetach: () => void;
  #events: ReadonlySet<string>;
  #hasChosen = false;
  #waiting: Message[] = [];
  #waitingChars = 0;
  #flushTimer: ReturnType<typeof setTimeout> | undefined;
  #stalledSince = 0;
  #isAttached = true;

  /** @param onDetach Called once, when the subscriber is closed or has disconnected. */
  constructor(transport: Transport, caller: Caller, onDetach: () => void) {
    this.#transport = transport;
    this.caller = caller;
    this.#events = new Set(eventsOf(["*"], caller));
    this.#onDetach = onDetach;
  }

  /** Whether the subscriber is a part of the program. See {@linkcode Transport.internal}. */
  get isInternal(): boolean {
    return this.#transport.internal !== undefined;
  }

  /** Whether the subscriber answers permission requests: it has chosen them, and is able to. */
  get answersPermissions(): boolean {
    return this.#hasChosen && this.wants("permission_request") &&
      (this.#transport.internal?.canAnswer ?? true);
  }

  /** Whether the subscriber shows questions to a person: it has chosen them, and is no part of the program. */
  get answersQuestions(): boolean {
    return this.#hasChosen && this.wants("question") && !this.isInternal;
  }

  wants(type: EventName): boolean {
    return this.#events.has(type);
  }

  /**
   * Replaces the events to deliver by the events with these names.
   *
   * @returns The events that are now delivered.
   * @throws {AppError} As {@linkcode eventsOf} does; the events are then the same as before.
   */
  subscribe(names: readonly string[]): EventName[] {
    const events = eventsOf(names, this.caller);
    this.#events = new Set(events);
    this.#hasChosen = true;
    return events;
  }

  /** Sends an event or reply to this subscriber alone. */
  send(event: CommandReply | VtuberEvent): void {
    this.deliver(encodeMessage(event));
  }

  /** Sends a message, or queues it behind the messages that wait. */
  deliver(message: Message): void {
    if (!this.#isAttached) return;
    if (this.#waiting.length === 0 && this.#transport.backlog < HIGH_WATER_BYTES) {
      this.#transport.send(message);
      return;
    }
    this.#waiting.push(message);
    this.#waitingChars += message.frame.length;
    while (this.#waiting.length > MAX_WAITING || this.#waitingChars > MAX_WAITING_CHARS) {
      const oldest = this.#waiting.findIndex(({ event }) => DROPPABLE.has(event.type));
      if (oldest < 0) return this.#closeAsSlow();
      this.#take(oldest);
    }
    if (this.#flushTimer !== undefined) return;
    this.#stalledSince = performance.now();
    this.#scheduleFlush(MIN_FLUSH_MS);
  }

  /** Disconnects the subscriber as {@linkcode Transport.close} does. */
  close(code: number, reason: string): void | Promise<void> {
    if (!this.#isAttached) return;
    this.detach();
    return this.#transport.close(code, reason);
  }

  /** Marks the subscriber as disconnected. May be called more than once. */
  detach(): void {
    if (!this.#isAttached) return;
    this.#isAttached = false;
    this.#waiting = [];
    clearTimeout(this.#flushTimer);
    this.#onDetach();
  }

  [Symbol.dispose](): void {
    this.detach();
  }

  #scheduleFlush(delayMs: number): void {
    this.#flushTimer = setTimeout(() => this.#flush(delayMs), delayMs);
  }

  #flush(waitedMs: number): void {
    const before = this.#waiting.length;
    while (this.#waiting.length > 0 && this.#transport.backlog < HIGH_WATER_BYTES) {
      this.#stalledSince = performance.now();
      this.#transport.send(this.#take(0));
    }
    this.#flushTimer = undefined;
    if (this.#waiting.length === 0) return;
    if (performance.now() - this.#stalledSince > MAX_STALL_MS) return this.#closeAsSlow();
    const madeProgress = this.#waiting.length < before;
    this.#scheduleFlush(madeProgress ? MIN_FLUSH_MS : Math.min(waitedMs * 2, MAX_FLUSH_MS));
  }

  #take(index: number): Message {
    const [message] = this.#waiting.splice(index, 1) as [Message];
    this.#waitingChars -= message.frame.length;
    return message;
  }

  #closeAsSlow(): void {
    this.close(TRY_AGAIN_LATER, "reads too slowly: connect again");
  }
}
