/** The readers of a reply, and the events for readers that come late. @module */

import { AppError } from "../core/errors.ts";
import type { TurnEvent, TurnReader } from "./event.ts";

/** Characters of the events that are kept for readers that join late. */
export const RECORD_LIMIT = 1024 * 1024;
/** Characters that each event counts beside its text. */
const EVENT_CHARS = 100;

/** Hands the events of a reply to its readers. */
export class ReplyReaders {
  readonly #isRecorded: boolean;
  /** Replaced, never changed, so that a reader may join or leave while an event is handed out. */
  #readers: readonly TurnReader[] = [];
  /** The events so far: kept until the first reader comes, and after that if the reply is recorded. */
  #record: TurnEvent[] | undefined = [];
  #recordChars = 0;
  #isClosed = false;

  /** @param isRecorded Keeps the events for any number of readers, instead of the first one alone. */
  constructor(isRecorded: boolean) {
    this.#isRecorded = isRecorded;
  }

  /** Whether the readers have the whole reply. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Adds a reader, which gets the earlier events at once.
   *
   * @throws {AppError} `turn_cancelled` if the events from the start are gone.
   */
  add(reader: TurnReader): void {
    if (this.#record === undefined) {
      throw new AppError("turn_cancelled", "The start of this turn is no longer kept.", { prompted: true });
    }
    for (const event of this.#record) reader(event);
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

  /** Begins another reply. */
  reopen(): void {
    this.#isClosed = false;
    this.#record = [];
    this.#recordChars = 0;
  }

  #keep(event: TurnEvent): void {
    if (this.#record === undefined || event.type === "speech" || this.#isClosed) return;
    this.#recordChars += EVENT_CHARS + charsOf(event);
    if (this.#recordChars > RECORD_LIMIT) this.#record = undefined;
    else this.#record.push(event);
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
