/** One watcher: what it wants to hear, and what waits for it while it reads slowly. @module */

import { type CommandReply, EVENT_NAMES, type EventName, frameOf, type VtuberEvent } from "./wire.ts";

/** How frames reach a watcher. */
export interface Transport {
  send(frame: string): void;
  /** Bytes that were sent and that the other end has not taken. */
  readonly backlog: number;
  /** Ends the connection, with a WebSocket's close code. */
  close(code: number, reason: string): void;
  /** Resolves when the connection has ended and what was sent before has gone out, where that can be known. */
  readonly ended?: Promise<void>;
}

/** Bytes in the transport beyond which frames wait here, where old ones can be left out. */
const HIGH_WATER_BYTES = 64 * 1024;
/** Frames that wait, and characters of all of them; clients that wait for the same frame share it. */
const MAX_WAITING = 4_096;
const MAX_WAITING_CHARS = 4 * 1024 * 1024;
/** How soon a watcher for whom frames wait is looked at, and how often one that stays slow, in milliseconds. */
const FIRST_LOOK_MS = 1;
const LOOK_MS = 100;
/** How long a watcher may be slow before it is disconnected, in milliseconds. */
const MAX_SLOW_MS = 30_000;
/** Close code: "try again later". */
const TRY_AGAIN_LATER = 1013;

/** What is told to those who say nothing: everything but what streams. */
const BY_DEFAULT: readonly EventName[] = EVENT_NAMES.filter((name) => name !== "say");
/** A newer one takes the place of an older one, or the loss is bearable. */
const DROPPABLE: ReadonlySet<string> = new Set([
  "agent_state",
  "emotion",
  "tool_status",
  "plan",
  "say",
  "pong",
]);

/** A watcher. */
export class Subscriber {
  readonly id: string = crypto.randomUUID();
  /** What it calls itself; its id until it does. */
  name: string = this.id;
  readonly #transport: Transport;
  readonly #closed: (client: Subscriber) => void;
  #events: ReadonlySet<string> = new Set(BY_DEFAULT);
  #subscribed = false;
  #waiting: { readonly type: string; readonly frame: string }[] = [];
  #waitingChars = 0;
  #looking: ReturnType<typeof setTimeout> | undefined;
  #lookMs = 0;
  #slowSince = 0;
  #dropped = 0;
  #open = true;

  /** @param closed Called once, when it is disconnected or has gone. */
  constructor(transport: Transport, closed: (client: Subscriber) => void) {
    this.#transport = transport;
    this.#closed = closed;
  }

  /** Frames that were left out since it connected. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Resolves when its connection has ended, where that can be known. */
  get ended(): Promise<void> {
    return this.#transport.ended ?? Promise.resolve();
  }

  /** Whether it asked for permission requests by name: then it counts as somebody who can answer. */
  get answersPermissions(): boolean {
    return this.#subscribed && this.#events.has("permission_request");
  }

  wants(type: EventName): boolean {
    return this.#events.has(type);
  }

  /** Hears these events from now on, and no others; `*` stands for all but `say`. Names that are not known are left out. */
  subscribe(names: readonly string[]): EventName[] {
    const wanted = new Set(names.includes("*") ? [...BY_DEFAULT, ...names] : names);
    const events = EVENT_NAMES.filter((name) => wanted.has(name));
    this.#events = new Set(events);
    this.#subscribed = true;
    return events;
  }

  /** Tells it something that it alone is to hear. */
  send(message: CommandReply | VtuberEvent): void {
    this.deliver(message.type, frameOf(message));
  }

  /** Hands on a frame, now or when it has read what came before. */
  deliver(type: string, frame: string): void {
    if (!this.#open) return;
    if (this.#waiting.length === 0 && this.#transport.backlog < HIGH_WATER_BYTES) {
      this.#transport.send(frame);
      return;
    }
    this.#waiting.push({ type, frame });
    this.#waitingChars += frame.length;
    while (this.#waiting.length > MAX_WAITING || this.#waitingChars > MAX_WAITING_CHARS) {
      if (!this.#dropOldest()) return this.#giveUp();
    }
    if (this.#looking !== undefined) return;
    this.#slowSince = performance.now();
    this.#lookIn(FIRST_LOOK_MS);
  }

  /** Disconnects it. */
  close(code: number, reason: string): void {
    if (!this.#open) return;
    this.detach();
    this.#transport.close(code, reason);
  }

  /** It has disconnected. May be said more than once. */
  detach(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#waiting = [];
    clearTimeout(this.#looking);
    this.#closed(this);
  }

  #look(): void {
    let sent = 0;
    while (sent < this.#waiting.length && this.#transport.backlog < HIGH_WATER_BYTES) {
      const { frame } = this.#waiting[sent++]!;
      this.#waitingChars -= frame.length;
      this.#transport.send(frame);
    }
    this.#waiting.splice(0, sent);
    if (this.#waiting.length === 0) {
      this.#looking = undefined;
    } else if (sent > 0) {
      this.#slowSince = performance.now();
      this.#lookIn(FIRST_LOOK_MS);
    } else if (performance.now() - this.#slowSince > MAX_SLOW_MS) {
      this.#giveUp();
    } else {
      this.#lookIn(Math.min(LOOK_MS, 2 * this.#lookMs));
    }
  }

  #lookIn(ms: number): void {
    this.#lookMs = ms;
    this.#looking = setTimeout(() => this.#look(), ms);
  }

  #dropOldest(): boolean {
    const index = this.#waiting.findIndex(({ type }) => DROPPABLE.has(type));
    if (index < 0) return false;
    const [dropped] = this.#waiting.splice(index, 1);
    this.#waitingChars -= dropped?.frame.length ?? 0;
    this.#dropped++;
    return true;
  }

  #giveUp(): void {
    this.close(TRY_AGAIN_LATER, "too slow: connect again");
  }
}
