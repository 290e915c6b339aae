/** What is chosen in one session: its model and its mode. @module */

import { orAbort } from "../turn/abort.ts";
import { Failure, messageOf } from "../turn/failure.ts";
import { explain } from "./ask.ts";
import { sessionGone } from "./ending.ts";
import {
  type Choice,
  type ChoiceKind,
  type Choices,
  find,
  notOffered,
  type Offered,
  optionOf,
  requestFor,
} from "./models.ts";
import { ClosedError, RpcError } from "./rpc.ts";
import type { Usual } from "./usual.ts";
import { type ConfigOption, parseSessionSettings } from "./wire.ts";

/** Asks the agent for something; `read` is called with the answer, early or late, before what comes behind it. */
export type Ask = (method: string, params: unknown, read: (result: unknown) => void) => Promise<void>;

/** What every session should be set to. */
export interface Wanted {
  /** A mode, by its id or name. */
  readonly mode?: string | undefined;
  /** A model, by its id or name. */
  readonly model?: string | undefined;
}

/** The model and the mode of a session, kept right as the agent tells of them. */
export class Chosen {
  readonly #sessionId: string;
  readonly #ask: Ask;
  #models: Choice | undefined;
  #modes: readonly Choice[];
  /** The model that answers where none is asked for. */
  #usual: string | undefined;
  /** Another than the usual one may be set. */
  #strayed: boolean;
  /** Whether it is known what the agent offers. */
  readonly #isKnown: boolean;
  /** The request of each kind that was sent last: the answer to an earlier one is of the past. */
  readonly #newest = new Map<ChoiceKind, symbol>();
  /** Settles when the last choice that was asked for was made, or refused. */
  #queue: Promise<unknown> = Promise.resolve();

  /** @param before What was known of the agent when it brought back this session, which may be set to anything. */
  constructor(
    sessionId: string,
    { model, modes }: Choices,
    ask: Ask,
    before?: Pick<Usual, "model" | "isKnown">,
  ) {
    this.#sessionId = sessionId;
    this.#ask = ask;
    this.#models = model;
    this.#modes = modes;
    this.#usual = before?.model ?? this.model;
    this.#strayed = before !== undefined;
    this.#isKnown = before?.isKnown ?? true;
  }

  /** The id of the model that answers now, if the agent tells. */
  get model(): string | undefined {
    return this.#models?.current;
  }

  /** The models that are offered. */
  get models(): readonly Offered[] {
    return this.#models?.offered ?? [];
  }

  /** The id of the mode, if the agent tells. */
  get mode(): string | undefined {
    return this.#modes[0]?.current;
  }

  /** The modes that are offered. */
  get modes(): readonly Offered[] {
    return this.#modes[0]?.offered ?? [];
  }

  /** The agent told its options anew. */
  told(options: readonly ConfigOption[]): void {
    this.#models = optionOf("model", options) ?? this.#models;
    const mode = optionOf("mode", options);
    if (mode) this.#modes = [...this.#modes.filter(({ configId }) => configId === undefined), mode];
  }

  /**
   * Sets what every session should be set to. Tells, in words, what could not be.
   *
   * @param signal Its time is over: nothing more is sent.
   */
  configure(wanted: Wanted, signal: AbortSignal): Promise<string[]> {
    return this.#inTurn(() => this.#configure(wanted, signal));
  }

  /** See `Session.choose`. One choice at a time. */
  choose(model: string | undefined): Promise<void> {
    return this.#inTurn(() => this.#choose(model));
  }

  /** Each of them ends in time, as requests do. */
  #inTurn<T>(job: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(job);
    this.#queue = done.catch(() => {});
    return done;
  }

  async #choose(wanted: string | undefined): Promise<void> {
    const choice = this.#models;
    if (wanted === undefined) {
      if (this.#usual === undefined || choice?.current === this.#usual) return;
      // An agent that does not tell which one answers is not known to have left its own.
      if (choice?.current === undefined && !this.#strayed) return;
    } else if (wanted === choice?.current) return;
    else if (!this.models.some(({ id }) => id === wanted)) {
      throw new Failure("model_not_found", notOffered("model", wanted, this.models), { param: "model" });
    }
    const model = wanted ?? this.#usual;
    if (choice === undefined || model === undefined) return;
    this.#strayed ||= model !== this.#usual;
    try {
      await this.#set(choice, model);
    } catch (error) {
      if (error instanceof ClosedError) throw sessionGone();
      throw new Failure("agent_error", untaken("model", model, error), { cause: error });
    }
  }

  async #configure({ mode, model }: Wanted, signal: AbortSignal): Promise<string[]> {
    const warnings: string[] = [];
    if (mode !== undefined) {
      warnings.push(...await this.#setFirst(this.#modes, mode, notOffered("mode", mode, this.modes), signal));
    }
    if (model !== undefined) {
      const choices = this.#models ? [this.#models] : [];
      const unknown = this.#models || this.#isKnown
        ? notOffered("model", model, this.models)
        : `The model "${model}" was not asked for: the agent does not tell what it has for a session from before.`;
      const refused = await this.#setFirst(choices, model, unknown, signal);
      warnings.push(...refused);
      if (refused.length === 0) this.#usual = this.model;
    }
    return warnings;
  }

  /** Sets the first that has it. */
  async #setFirst(
    choices: readonly Choice[],
    wanted: string,
    unknown: string,
    signal: AbortSignal,
  ): Promise<string[]> {
    for (const choice of choices) {
      const value = choice.current === wanted ? wanted : find(choice, wanted);
      if (value === undefined) continue;
      if (signal.aborted) {
        return [`The agent was not asked for the ${choice.kind} "${wanted}": ${messageOf(signal.reason)}`];
      }
      try {
        if (choice.current !== value) await this.#set(choice, value, signal);
        return [];
      } catch (error) {
        // It may still be taken.
        if (choice.kind === "model" && !(error instanceof RpcError)) this.#usual = value;
        return [untaken(choice.kind, wanted, error)];
      }
    }
    return [unknown];
  }

  async #set(choice: Choice, value: string, signal?: AbortSignal): Promise<void> {
    const { kind } = choice;
    const { method, params } = requestFor(choice, this.#sessionId, value);
    const request = Symbol(value);
    this.#newest.set(kind, request);
    const asked = this.#ask(method, params, (result) => {
      // Whether the agent took it before or after the newer one is not known, unless it says what is set.
      this.#mark(choice, this.#newest.get(kind) === request ? value : undefined);
      this.told(parseSessionSettings(result).configOptions);
    });
    try {
      await orAbort(asked, signal);
    } catch (error) {
      // It was not refused: it may be taken yet.
      if (!(error instanceof RpcError) && this.#newest.get(kind) === request) this.#mark(choice, undefined);
      throw error;
    }
  }

  #mark(choice: Choice, value: string | undefined): void {
    const set = (one: Choice): Choice => one.configId === choice.configId ? { ...one, current: value } : one;
    if (choice.kind === "mode") this.#modes = this.#modes.map(set);
    else this.#models = this.#models && set(this.#models);
  }
}

/** What became of asking for it, where the agent did not say that it took it. */
function untaken(kind: ChoiceKind, wanted: string, error: unknown): string {
  const what = error instanceof RpcError ? "The agent refused" : "It is not known whether the agent took";
  return `${what} the ${kind} "${wanted}": ${explain(error)}`;
}
