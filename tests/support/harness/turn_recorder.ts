/** Records the events of a turn, and waits for them. @module */

import { assertEquals, assertRejects } from "@std/assert";
import { AppError } from "../../../lib/core/errors.ts";
import { isLast, type TurnEvent, type TurnReader } from "../../../lib/turn/event.ts";

export { isLast };

/** Longest wait for anything, in milliseconds: longer than a slow machine needs, and than any interval of a test. */
const TIMEOUT_MS = 120_000;

/** Waits for a promise. Rejects after the timeout, and names what did not come. */
export async function waitFor<T>(promise: Promise<T>, what: string, timeoutMs = TIMEOUT_MS): Promise<T> {
  const { promise: timeout, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`Waited in vain for ${what}`)), timeoutMs);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Returns the {@linkcode AppError} with which a promise rejects. */
export async function appErrorOf(promise: Promise<unknown>): Promise<AppError> {
  return await assertRejects(() => waitFor(promise, "an error"), AppError);
}

/** Waits until everything has happened that needs no timer and nothing from outside. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Summarizes an event for tables: `text hello`, `tool ls read completed`, `end cancelled`, `failure agent_error`. */
export function summarize(event: TurnEvent): string {
  switch (event.type) {
    case "text":
    case "speech":
    case "thought":
      return `${event.type} ${event.text}`;
    case "tool":
      return `tool ${event.tool.title} ${event.tool.kind} ${event.tool.status}`;
    case "plan":
      return `plan ${event.entries.map((entry) => entry.status).join(",")}`;
    case "emotion":
      return `emotion ${event.tag} ${event.intensity}`;
    case "permission":
      return `permission ${event.request.tool.title}`;
    case "permission_resolved":
      return `permission ${event.resolution.outcome} by ${event.resolution.by}`;
    case "question":
      return `question ${event.request.message}`;
    case "question_resolved":
      return `question ${event.resolution.outcome} by ${event.resolution.by}`;
    case "context": {
      const { used, size, cost } = event.context;
      return `context ${used} of ${size}${cost ? `, ${cost.amount} ${cost.currency}` : ""}`;
    }
    case "usage":
      return `usage ${event.usage.inputTokens}+${event.usage.outputTokens}`;
    case "end":
      return `end ${event.reason}`;
    case "failure":
      return `failure ${event.failure.code}`;
    default:
      return event satisfies never;
  }
}

/** A reader that records events, and lets a test wait for them. */
export class TurnRecorder {
  readonly events: TurnEvent[] = [];
  readonly #waiting = new Set<() => void>();

  readonly reader: TurnReader = (event) => {
    this.events.push(event);
    for (const check of this.#waiting) check();
  };

  /** The reply so far. */
  get text(): string {
    return this.events.map((event) => event.type === "text" ? event.text : "").join("");
  }

  get summaries(): string[] {
    return this.events.map(summarize);
  }

  /** The error of the last event. */
  get failure(): AppError {
    const event = this.events.at(-1);
    if (event?.type !== "failure") throw new Error(`No failure, but ${this.summaries.join("; ")}`);
    return event.failure;
  }

  /** Waits for the first event, past or future, that matches. */
  until(matches: (event: TurnEvent) => boolean, what = "an event"): Promise<TurnEvent> {
    const { promise, resolve } = Promise.withResolvers<TurnEvent>();
    let checked = 0;
    const check = () => {
      while (checked < this.events.length) {
        const event = this.events[checked++];
        if (event === undefined || !matches(event)) continue;
        this.#waiting.delete(check);
        return resolve(event);
      }
    };
    this.#waiting.add(check);
    check();
    return waitFor(promise, what);
  }

  /** Waits for a text event with this text. */
  untilText(text: string): Promise<TurnEvent> {
    return this.until((event) => event.type === "text" && event.text === text, `the text ${text}`);
  }

  /** Waits for the last event, and summarizes it. */
  async lastSummary(): Promise<string> {
    return summarize(await this.until(isLast, "the end of a turn"));
  }

  /** Asserts that exactly one last event came, at the end. */
  assertComplete(): void {
    assertEquals(this.events.map(isLast).indexOf(true), this.events.length - 1, this.summaries.join("; "));
  }
}
