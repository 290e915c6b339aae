/** Runs a turn: puts the prompt, watches over time and silence, hands every event to whoever reads. @module */

import { AppError, toAppError } from "../core/errors.ts";
import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";
import type { PromptBlock, RunningPrompt, Session } from "./agent.ts";
import { EmotionScanner, type EmotionWords } from "./emotion.ts";
import type { SessionId, TurnEvent, TurnId, TurnReader } from "./event.ts";
import type { PermissionId } from "./permission.ts";

/** Characters of text and thought that a turn keeps for those who join late. */
export const RECORD_LIMIT = 1024 * 1024;
/** Events that a turn keeps for those who join late. */
const RECORD_EVENT_LIMIT = 10_000;

/** How long a turn may take, in milliseconds; 0 is without limit. */
export interface TurnLimits {
  /** Longest silence of the agent. */
  readonly replyTimeoutMs: number;
  /** Longest turn. */
  readonly turnTimeoutMs: number;
}

/** Watches turns without taking part in them: is never waited for, and must not throw. */
export interface TurnObserver {
  /** The agent has the prompt; comes before every event. */
  onStart(turn: Turn): void;
  /** An event of the turn. */
  onEvent(event: TurnEvent, turn: Turn): void;
}

/** What a turn is made of. */
export interface TurnOptions {
  readonly session: Session;
  readonly blocks: readonly PromptBlock[];
  readonly limits: TurnLimits;
  /** What the caller calls the conversation; without it, it is called as the session. */
  readonly conversation?: string | undefined;
  /** What answers: an agent's name, or `agent/model`. */
  readonly resolvedModel: string;
  /** Nobody asked for it and perhaps nobody will hear the answer: the agent was prompted by the program itself. */
  readonly unsolicited?: boolean;
  readonly observer?: TurnObserver | undefined;
  /** The words that are emotions in the reply; without them none are looked for. */
  readonly emotions?: EmotionWords | undefined;
  /** Keep the events, so that a re-sent request can {@linkcode Turn.read} them from the start. */
  readonly record?: boolean;
}

/** One prompt, and all that the agent does in answer to it. Made by {@linkcode runTurn}. */
export class Turn {
  readonly id: TurnId = crypto.randomUUID() as TurnId;
  readonly sessionId: SessionId;
  /** The name of its conversation, as callers and watchers know it. */
  readonly conversation: string;
  /** See {@linkcode TurnOptions.resolvedModel}. */
  readonly resolvedModel: string;
  /** See {@linkcode TurnOptions.unsolicited}. */
  readonly unsolicited: boolean;
  /** Resolves once the agent has really ended the turn, which may be after its readers were told the end. */
  readonly ended: Promise<void>;

  readonly #limits: TurnLimits;
  readonly #observer: TurnObserver | undefined;
  readonly #emotions: EmotionScanner | undefined;
  /** The permissions that the agent waits for. */
  readonly #asking = new Set<PermissionId>();
  readonly #recorded: boolean;
  readonly #readers = new Set<TurnReader>();
  readonly #settle: () => void;
  /** What was told so far: kept until the first reader came, and after that if the turn is recorded. */
  #record: TurnEvent[] | undefined = [];
  #recordChars = 0;
  #prompting: RunningPrompt | undefined;
  #cancelled = false;
  #abandoned = false;
  #over = false;
  #silence: IdleTimer | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #begun = false;

  /** Not for callers: {@linkcode runTurn} makes turns. */
  constructor(options: TurnOptions) {
    const { session, limits, conversation, resolvedModel, unsolicited, observer, emotions, record } = options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.sessionId = session.id;
    this.conversation = conversation ?? session.id;
    this.resolvedModel = resolvedModel;
    this.unsolicited = unsolicited ?? false;
    this.ended = promise;
    this.#settle = resolve;
    this.#limits = limits;
    this.#observer = observer;
    this.#emotions = emotions && new EmotionScanner(emotions, {
      emotion: (tag, intensity) => this.#tell({ type: "emotion", tag, intensity }),
    });
    this.#recorded = record ?? false;
  }

  /** Whether the last event has been told. */
  get isOver(): boolean {
    return this.#over;
  }

  /** Whether its last reader left before it was over. */
  get isAbandoned(): boolean {
    return this.#abandoned;
  }

  /** Not for callers: puts the prompt. */
  async start(session: Session, blocks: readonly PromptBlock[]): Promise<void> {
    const { replyTimeoutMs, turnTimeoutMs } = this.#limits;
    try {
      this.#prompting = await session.prompt(blocks, (event) => this.#hear(event));
    } catch (error) {
      // Whoever observes was told that it began.
      if (this.#begun) this.fail(toAppError(error, "agent_unavailable"));
      throw error;
    }
    this.#begin();
    if (this.#cancelled) this.#prompting.cancel();
    if (this.#over) return;
    this.#silence = startIdleTimer(replyTimeoutMs, () => {
      // It is a person who is silent, and whose time is bounded elsewhere.
      if (this.#asking.size > 0) return;
      this.fail(
        new AppError("agent_timeout", `The agent was silent for ${replyTimeoutMs / 1000} seconds.`, {
          prompted: true,
        }),
      );
    });
    if (turnTimeoutMs > 0) {
      this.#timer = setTimeout(() =>
        this.fail(
          new AppError("agent_timeout", `The turn took longer than ${turnTimeoutMs / 1000} seconds.`, {
            prompted: true,
          }),
        ), turnTimeoutMs);
    }
  }

  /**
   * Hands every event from the start of the turn to `reader`: those that were before come at once. A turn that is
   * not recorded has one reader.
   *
   * @returns A function to stop reading; the last reader to leave a running turn cancels it.
   * @throws {AppError} `turn_cancelled` if the events from the start are no longer there.
   */
  read(reader: TurnReader): () => void {
    if (this.#record === undefined) {
      throw new AppError("turn_cancelled", "This turn can no longer be told from its start.", {
        prompted: true,
      });
    }
    for (const event of this.#record) reader(event);
    if (!this.#recorded) this.#record = undefined;
    if (this.#over) return () => {};
    this.#readers.add(reader);
    return () => {
      if (!this.#readers.delete(reader) || this.#readers.size > 0) return;
      this.#abandoned = true;
      this.cancel();
    };
  }

  /** Asks the agent to stop; readers get the end when it answers. Does nothing once the turn is over. */
  cancel(): void {
    if (this.#over || this.#cancelled) return;
    this.#cancelled = true;
    this.#prompting?.cancel();
  }

  /** Tells the readers at once that the turn failed, and asks the agent to stop. */
  fail(failure: AppError): void {
    if (this.#over) return;
    this.#tell({ type: "failure", failure });
    this.#prompting?.cancel();
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#observer?.onStart(this);
  }

  #hear(event: TurnEvent): void {
    const last = event.type === "end" || event.type === "failure";
    if (!this.#over) {
      this.#begin();
      this.#silence?.touch();
      if (event.type === "text") this.#emotions?.push(event.text);
      else if (!last) this.#emotions?.pause();
      this.#tell(last ? this.#lastEvent(event) : event);
    }
    if (last) this.#settle();
  }

  /** A `cancelled` that nobody asked for is a failure. */
  #lastEvent(event: TurnEvent): TurnEvent {
    if (event.type !== "end" || event.reason !== "cancelled" || this.#cancelled) return event;
    const failure = new AppError("agent_cancelled", "The agent cancelled the turn.", { prompted: true });
    return { type: "failure", failure };
  }

  #tell(event: TurnEvent): void {
    if (event.type === "permission") this.#asking.add(event.request.id);
    else if (event.type === "permission_resolved") this.#asking.delete(event.resolution.id);
    else if (event.type === "end" || event.type === "failure") {
      this.#emotions?.end();
      for (const id of this.#asking) {
        this.#tell({ type: "permission_resolved", resolution: { id, outcome: "cancelled", by: "turn" } });
      }
      this.#over = true;
      this.#silence?.[Symbol.dispose]();
      clearTimeout(this.#timer);
    }
    this.#keep(event);
    // Those that join meanwhile read it from the record.
    for (const reader of [...this.#readers]) if (this.#readers.has(reader)) reader(event);
    this.#observer?.onEvent(event, this);
    if (this.#over) this.#readers.clear();
  }

  #keep(event: TurnEvent): void {
    const record = this.#record;
    if (record === undefined) return;
    this.#recordChars += event.type === "text" || event.type === "thought" ? event.text.length : 1;
    if (this.#recordChars > RECORD_LIMIT || record.length > RECORD_EVENT_LIMIT) {
      this.#record = undefined;
      return;
    }
    record.push(event);
  }
}

/**
 * Runs a turn. Resolves once the agent took the prompt, so that a dead or busy agent can still be told with a status.
 *
 * @throws {AppError} if the agent could not be given the prompt.
 */
export async function runTurn(options: TurnOptions): Promise<Turn> {
  const turn = new Turn(options);
  await turn.start(options.session, options.blocks);
  return turn;
}

/** How what is waited for is settled. */
export interface Settle<T> {
  resolve(value: T): void;
  reject(reason: unknown): void;
}

/**
 * Reads a turn until its reader settles what comes of it.
 *
 * @throws The signal's reason if it aborts first, and the turn is left; or whatever the reader rejects with.
 */
export async function collectTurn<T>(
  turn: Turn,
  makeReader: (settle: Settle<T>) => TurnReader,
  signal: AbortSignal,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const leave = turn.read(makeReader({ resolve, reject }));
  const abort = () => {
    leave();
    reject(signal.reason);
  };
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
