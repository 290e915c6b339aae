/** What is chosen in one session: its model and its mode. @module */

import { Failure } from "../turn/failure.ts";
import { explain } from "./ask.ts";
import { sessionGone } from "./ending.ts";
import {
  type Choice,
  find,
  modelsOf,
  modesOf,
  notOffered,
  type Offered,
  optionOf,
  requestFor,
} from "./models.ts";
import { ClosedError } from "./peer.ts";
import { type ConfigOption, parseSessionSettings, type SessionSettings } from "./wire.ts";

/** Asks the agent for something; `read` is called with the answer before anything that comes behind it. */
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
  #modes: Choice[];
  /** The model that answers where none is asked for. */
  #usual: string | undefined;
  /** Settles when the last choice that was asked for was made, or refused. */
  #queue: Promise<unknown> = Promise.resolve();

  /** @param usual The agent's own model, where this session may have been left with another. */
  constructor(sessionId: string, settings: SessionSettings, ask: Ask, usual?: string) {
    this.#sessionId = sessionId;
    this.#ask = ask;
    this.#models = modelsOf(settings);
    this.#modes = modesOf(settings);
    this.#usual = usual ?? this.model;
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

  /** Sets what every session should be set to. Tells, in words, what could not be. */
  async configure({ mode, model }: Wanted): Promise<string[]> {
    const warnings: string[] = [];
    if (mode !== undefined) {
      warnings.push(...await this.#configure(this.#modes, mode, notOffered("mode", mode, this.modes)));
    }
    if (model !== undefined) {
      const choices = this.#models ? [this.#models] : [];
      const refused = await this.#configure(choices, model, notOffered("model", model, this.models));
      warnings.push(...refused);
      if (refused.length === 0) this.#usual = this.model;
    }
    return warnings;
  }

  /** See `Session.choose`. One choice at a time. */
  choose(model: string | undefined): Promise<void> {
    const chosen = this.#queue.then(() => this.#choose(model));
    this.#queue = chosen.catch(() => {});
    return chosen;
  }

  async #choose(wanted: string | undefined): Promise<void> {
    const choice = this.#models;
    if (wanted === undefined) {
      // An agent that does not tell which one answers is not known to have left its own.
      if (!choice?.current || this.#usual === undefined || choice.current === this.#usual) return;
    } else if (wanted === choice?.current) return;
    else if (!this.models.some(({ id }) => id === wanted)) {
      throw new Failure("model_not_found", notOffered("model", wanted, this.models), { param: "model" });
    }
    const model = wanted ?? this.#usual;
    if (choice === undefined || model === undefined) return;
    try {
      await this.#set(choice, model);
    } catch (error) {
      if (error instanceof ClosedError) throw sessionGone();
      throw new Failure("agent_error", `The agent refused the model "${model}": ${explain(error)}`, {
        cause: error,
      });
    }
  }

  async #configure(choices: readonly Choice[], wanted: string, unknown: string): Promise<string[]> {
    for (const choice of choices) {
      const value = choice.current === wanted ? wanted : find(choice, wanted);
      if (value === undefined) continue;
      try {
        if (choice.current !== value) await this.#set(choice, value);
        return [];
      } catch (error) {
        return [`The agent did not take the ${choice.kind} "${wanted}": ${explain(error)}`];
      }
    }
    return [unknown];
  }

  async #set(choice: Choice, value: string): Promise<void> {
    const { method, params } = requestFor(choice, this.#sessionId, value);
    await this.#ask(method, params, (result) => {
      const set = (one: Choice): Choice =>
        one.configId === choice.configId ? { ...one, current: value } : one;
      if (choice.kind === "mode") this.#modes = this.#modes.map(set);
      else this.#models = this.#models && set(this.#models);
      this.told(parseSessionSettings(result).configOptions);
    });
  }
}
