import { assertEquals, assertRejects } from "@std/assert";
import type { TurnEvent, TurnReader } from "../../../lib/turn/event.ts";
import { AppError } from "../../../lib/core/errors.ts";

/** Longer than a slow machine needs for anything: a bound on a wait that would otherwise never end. */
const BOUND_MS = 60_000;

/** What the promise resolves to; rejects, naming what was waited for, when that does not come. */
export async function soon<T>(promise: Promise<T>, what: string, boundMs = BOUND_MS): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`Waited in vain for ${what}`)), boundMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The {@linkcode AppError} with which a promise rejects. */
export async function failureOf(promise: Promise<unknown>): Promise<AppError> {
  return await assertRejects(() => soon(promise, "a failure"), AppError);
}

/** Lets everything happen that can happen without a timer or the outside. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Whether an event is the last of its turn. */
export function isLast(event: TurnEvent): boolean {
  return event.type === "end" || event.type === "failure";
}

/** An event in a word or two, for tables: `text hello`, `tool ls completed`, `end cancelled`, `failure agent_error`. */
export function brief(event: TurnEvent): string {
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

/** A reader that keeps what it hears, and lets a test wait for it. */
export class Heard {
  readonly events: TurnEvent[] = [];
  readonly #waiting = new Set<() => void>();

  readonly reader: TurnReader = (event) => {
    this.events.push(event);
    for (const look of this.#waiting) look();
  };

  /** The text so far. */
  get text(): string {
    return this.events.map((event) => event.type === "text" ? event.text : "").join("");
  }

  /** What was heard so far, each event in brief. */
  get briefs(): string[] {
    return this.events.map(brief);
  }

  /** The failure that was the last event. */
  get failure(): AppError {
    const event = this.events.at(-1);
    if (event?.type !== "failure") throw new Error(`No failure, but ${this.briefs.join("; ")}`);
    return event.failure;
  }

  /** The first event, past or future, that fits. */
  until(fits: (event: TurnEvent) => boolean, what = "an event"): Promise<TurnEvent> {
    const { promise, resolve } = Promise.withResolvers<TurnEvent>();
    let seen = 0;
    const look = () => {
      while (seen < this.events.length) {
        const event = this.events[seen++];
        if (event === undefined || !fits(event)) continue;
        this.#waiting.delete(look);
        return resolve(event);
      }
    };
    this.#waiting.add(look);
    look();
    return soon(promise, what);
  }

  /** The event of this text. */
  untilText(text: string): Promise<TurnEvent> {
    return this.until((event) => event.type === "text" && event.text === text, `the text ${text}`);
  }

  /** Waits for the last event, and gives it in brief. */
  async last(): Promise<string> {
    return brief(await this.until(isLast, "the end of a turn"));
  }

  /** Asserts that one last event came and nothing after it. */
  assertWhole(): void {
    assertEquals(this.events.map(isLast).indexOf(true), this.events.length - 1, this.briefs.join("; "));
  }
}
