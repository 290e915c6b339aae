/** The readers of a reply, and the events for readers that come late. @module */

import { AppError } from "../core/errors.ts";
import type { TurnEvent, TurnReader } from "./event.ts";

/** Characters of the events that are kept for readers that join late. */
export const RECORD_LIMIT = 1024 * 1024;
/** Characters that each event counts beside its text. */
const EVENT_CHARS = 100;
const RESOLUTIONS: ReadonlySet<TurnEvent["type"]> = new Set(["permission_resolved", "question_resolved"]);

/** The events of a reply from its start, as long as there is room for them. */
class ReplyRecord {
  events: TurnEvent[] | undefined = [];
  #chars = 0;

  keep(event: TurnEvent): void {
    if (this.events === undefined || event.type === "speech") return;
    this.#chars += EVENT_CHARS + charsOf(event);
    if (this.#chars > RECORD_LIMIT) this.events = undefined;
    else this.events.push(event);
  }
}

/** Hands the events of a reply to its readers. */
export class ReplyReaders {
  readonly #isRecorded: boolean;
  /** Replaced, never changed, so that a reader may join or leave while an event is handed out. */
  #readers: readonly TurnReader[] = [];
  /** The events so far: kept until the first reader comes, and after that if the reply is recorded. */
  #record: ReplyRecord | undefined = new ReplyRecord();
  /** The events after the end of a reply that is suspended. */
  #next: ReplyRecord | undefined;
  #isClosed = false;
  /** The turn is over, so that a reply which begins now has its end already. */
  #isOver = false;

  /** @param isRecorded Keeps the events for any number of readers, instead of the first one alone. */
  constructor(isRecorded: boolean) {
    this.#isRecorded = isRecorded;
  }

  /** Whether the readers have the whole reply. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether the reply has ended before its turn, and no next reply has begun. */
  get isSuspended(): boolean {
    return this.#next !== undefined;
  }

  /**
   * Adds a reader, which gets the earlier events at once.
   *
   * @throws {AppError} `turn_cancelled` if the events from the start are gone.
   */
  add(reader: TurnReader): void {
    if (this.#record?.events === undefined) {
      throw new AppError("turn_cancelled", "The start of this turn is no longer kept.", { prompted: true });
    }
    for (const event of this.#record.events) reader(event);
    if (!this.#isRecorded) this.#record = undefined;
    if (!this.#isClosed) this.#readers = [...this.#readers, reader];
  }

  /** Removes a reader. Returns whether it was the last one that did not have the whole reply. */
  remove(reader: TurnReader): boolean {
    if (!this.#readers.includes(reader)) return false;
    this.#readers = this.#readers.filter((other) => other !== reader);
    return this.#readers.length === 0;
  }

  /** Hands out an event. */
  send(event: TurnEvent): void {
    this.#keep(event);
    for (const reader of this.#readers) reader(event);
  }

  /** Ends the reply, with its last event if the readers did not end it themselves. */
  close(last?: TurnEvent): void {
    const readers = this.#readers;
    if (last) this.#keep(last);
    this.#isClosed = true;
    this.#readers = [];
    if (last) { for (const reader of readers) reader(last); }
  }

  /** Ends the last reply, with the turn. */
  end(last: TurnEvent): void {
    this.#isOver = true;
    this.close(last);
  }

  /** Ends the reply with this event. Later events belong to the next reply, which waits for its readers. */
  suspend(last: TurnEvent): void {
    this.close(last);
    this.#next = new ReplyRecord();
  }

  /** Begins the next reply. */
  resume(): void {
    this.#isClosed = this.#isOver;
    this.#record = this.#next;
    this.#next = undefined;
  }

  #keep(event: TurnEvent): void {
    // The answer begins the next reply, and is no part of it.
    if (this.#next) { if (!RESOLUTIONS.has(event.type)) this.#next.keep(event); }
    else if (!this.#isClosed) this.#record?.keep(event);
  }
}

/** Counts the characters of an event, as far as they can be many. */
function charsOf(event: TurnEvent): number {
  switch (event.type) {
    case "text":
    case "thought":
      return event.text.length;
    case "tool":
      return event.tool.title.length;
    case "plan":
      return event.entries.reduce((chars, { content }) => chars + content.length, 0);
    case "permission":
      return event.request.detail.length;
    case "question":
      return event.request.message.length;
    default:
      return 0;
  }
}
