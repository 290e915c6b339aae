/** Runs a turn: puts the prompt, watches over time and silence, hands every event to whoever reads. @module */

import type { PromptBlock, Prompting, Session } from "./agent.ts";
import type { SessionId, TurnEvent, TurnId, TurnReader } from "./event.ts";
import { Failure } from "./failure.ts";
import { type SilenceWatch, watchSilence } from "./silence.ts";

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

/** What a turn is made of. */
export interface TurnOptions {
  readonly session: Session;
  readonly blocks: readonly PromptBlock[];
  readonly limits: TurnLimits;
  /** Hears every event too; never waited for. */
  readonly observe?: (event: TurnEvent, turn: Turn) => void;
  /** Keep the events, so that a re-sent request can {@linkcode Turn.read} them from the start. */
  readonly record?: boolean;
}

/** One prompt, and all that the agent does in answer to it. Made by {@linkcode runTurn}. */
export class Turn {
  readonly id: TurnId = crypto.randomUUID() as TurnId;
  readonly sessionId: SessionId;
  /** Resolves once the agent has really ended the turn, which may be after its readers were told the end. */
  readonly ended: Promise<void>;

  readonly #limits: TurnLimits;
  readonly #observe: TurnOptions["observe"];
  readonly #recorded: boolean;
  readonly #readers = new Set<TurnReader>();
  readonly #settle: () => void;
  /** What was told so far: kept until the first reader came, and after that if the turn is recorded. */
  #record: TurnEvent[] | undefined = [];
  #recordChars = 0;
  #prompting: Prompting | undefined;
  #cancelled = false;
  #abandoned = false;
  #over = false;
  #silence: SilenceWatch | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Not for callers: {@linkcode runTurn} makes turns. */
  constructor({ session, limits, observe, record }: TurnOptions) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.sessionId = session.id;
    this.ended = promise;
    this.#settle = resolve;
    this.#limits = limits;
    this.#observe = observe;
    this.#recorded = record ?? false;
  }

  /** Whether the last event has been told. */
  get over(): boolean {
    return this.#over;
  }

  /** Whether its last reader left before it was over. */
  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** Not for callers: puts the prompt. */
  async start(session: Session, blocks: readonly PromptBlock[]): Promise<void> {
    const { replyTimeoutMs, turnTimeoutMs } = this.#limits;
    this.#prompting = await session.prompt(blocks, (event) => this.#hear(event));
    if (this.#cancelled) this.#prompting.cancel();
    if (this.#over) return;
    this.#silence = watchSilence(replyTimeoutMs, () =>
      this.fail(
        new Failure("agent_timeout", `The agent was silent for ${replyTimeoutMs / 1000} seconds.`, {
          prompted: true,
        }),
      ));
    if (turnTimeoutMs > 0) {
      this.#timer = setTimeout(() =>
        this.fail(
          new Failure("agent_timeout", `The turn took longer than ${turnTimeoutMs / 1000} seconds.`, {
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
   * @throws {Failure} `turn_cancelled` if the events from the start are no longer there.
   */
  read(reader: TurnReader): () => void {
    if (this.#record === undefined) {
      throw new Failure("turn_cancelled", "This turn can no longer be told from its start.", {
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
  fail(failure: Failure): void {
    if (this.#over) return;
    this.#tell({ type: "failure", failure });
    this.#prompting?.cancel();
  }

  #hear(event: TurnEvent): void {
    const last = event.type === "end" || event.type === "failure";
    if (!this.#over) {
      this.#silence?.touch();
      this.#tell(last ? this.#lastEvent(event) : event);
    }
    if (last) this.#settle();
  }

  /** A `cancelled` that nobody asked for is a failure. */
  #lastEvent(event: TurnEvent): TurnEvent {
    if (event.type !== "end" || event.reason !== "cancelled" || this.#cancelled) return event;
    const failure = new Failure("agent_cancelled", "The agent cancelled the turn.", { prompted: true });
    return { type: "failure", failure };
  }

  #tell(event: TurnEvent): void {
    if (event.type === "end" || event.type === "failure") {
      this.#over = true;
      this.#silence?.[Symbol.dispose]();
      clearTimeout(this.#timer);
    }
    this.#keep(event);
    // Those that join meanwhile read it from the record.
    for (const reader of [...this.#readers]) if (this.#readers.has(reader)) reader(event);
    this.#observe?.(event, this);
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
 * @throws {Failure} if the agent could not be given the prompt.
 */
export async function runTurn(options: TurnOptions): Promise<Turn> {
  const turn = new Turn(options);
  await turn.start(options.session, options.blocks);
  return turn;
}
