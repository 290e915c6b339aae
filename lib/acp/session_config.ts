/** What is chosen in one session: its model and its mode. @module */

import { abortable } from "../core/abortable.ts";
import { AppError, messageOf } from "../core/errors.ts";
import type { AgentModel } from "../turn/agent.ts";
import { ClosedError, explain, RpcError } from "./json_rpc.ts";
import { type ConfigOption, parseSessionSettings, type SessionSettings } from "./wire.ts";

/** Asks the agent for something; `read` is called with the answer, early or late, before what comes behind it. */
export type Ask = (method: string, params: unknown, read: (result: unknown) => void) => Promise<void>;

/** What every session should be set to. */
export interface SessionPreferences {
  /** A mode, by its id or name. */
  readonly mode?: string | undefined;
  /** A model, by its id or name. */
  readonly model?: string | undefined;
}

/** A configured value that an agent does not take. */
export interface SettingWarning {
  /** The key in the agent's table of config.toml. */
  readonly setting: "mcp_servers" | "model" | "mode";
  /** The value, or the name of the MCP server. */
  readonly name: string;
  /** The reason, as a sentence for people. */
  readonly text: string;
}

/** The model and the mode of a session, kept right as the agent tells of them. */
export class SessionConfig {
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
    before?: Pick<SessionDefaults, "model" | "isKnown">,
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
  update(options: readonly ConfigOption[]): void {
    this.#models = optionOf("model", options) ?? this.#models;
    const mode = optionOf("mode", options);
    if (mode) this.#modes = [...this.#modes.filter(({ configId }) => configId === undefined), mode];
  }

  /**
   * Sets what every session should be set to. Tells, in words, what could not be.
   *
   * @param signal Its time is over: nothing more is sent.
   */
  configure(wanted: SessionPreferences, signal: AbortSignal): Promise<SettingWarning[]> {
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
      throw new AppError("model_not_found", notOffered("model", wanted, this.models), { param: "model" });
    }
    const model = wanted ?? this.#usual;
    if (choice === undefined || model === undefined) return;
    this.#strayed ||= model !== this.#usual;
    try {
      await this.#set(choice, model);
    } catch (error) {
      if (error instanceof ClosedError) throw error;
      throw new AppError("agent_error", untaken("model", model, error), { cause: error });
    }
  }

  async #configure({ mode, model }: SessionPreferences, signal: AbortSignal): Promise<SettingWarning[]> {
    const warnings: SettingWarning[] = [];
    if (mode !== undefined) {
      const text = await this.#setFirst(this.#modes, mode, notOffered("mode", mode, this.modes), signal);
      if (text !== undefined) warnings.push({ setting: "mode", name: mode, text });
    }
    if (model !== undefined) {
      const choices = this.#models ? [this.#models] : [];
      const unknown = this.#models || this.#isKnown
        ? notOffered("model", model, this.models)
        : `The model "${model}" was not asked for: the agent does not tell what it has for a session from before.`;
      const text = await this.#setFirst(choices, model, unknown, signal);
      if (text !== undefined) warnings.push({ setting: "model", name: model, text });
      else this.#usual = this.model;
    }
    return warnings;
  }

  /** Sets the first that has it. */
  async #setFirst(
    choices: readonly Choice[],
    wanted: string,
    unknown: string,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    for (const choice of choices) {
      const value = choice.current === wanted ? wanted : find(choice, wanted);
      if (value === undefined) continue;
      if (signal.aborted) {
        return `The agent was not asked for the ${choice.kind} "${wanted}": ${messageOf(signal.reason)}`;
      }
      try {
        if (choice.current !== value) await this.#set(choice, value, signal);
        return undefined;
      } catch (error) {
        // It may still be taken.
        if (choice.kind === "model" && !(error instanceof RpcError)) this.#usual = value;
        return untaken(choice.kind, wanted, error);
      }
    }
    return unknown;
  }

  async #set(choice: Choice, value: string, signal?: AbortSignal): Promise<void> {
    const { kind } = choice;
    const { method, params } = requestFor(choice, this.#sessionId, value);
    const request = Symbol(value);
    this.#newest.set(kind, request);
    const asked = this.#ask(method, params, (result) => {
      // Whether the agent took it before or after the newer one is not known, unless it says what is set.
      this.#mark(choice, this.#newest.get(kind) === request ? value : undefined);
      this.update(parseSessionSettings(result).configOptions);
    });
    try {
      await abortable(asked, signal);
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

/** Models, or modes, of one agent that are kept; kilo offers 390. */
const MAX_OFFERED = 1_000;
/** How many of them a message names. */
const MAX_NAMED = 10;

/** What can be chosen. */
export type ChoiceKind = "model" | "mode";

/** Something of a list that an agent offers. */
export type Offered = AgentModel;

/** What an agent offers of a kind, in one of the two ways in which it can be asked for. */
export interface Choice {
  readonly kind: ChoiceKind;
  /** The option that `session/set_config_option` sets; without one there is a method of its own. */
  readonly configId: string | undefined;
  /** The id of what is set now, if the agent tells. */
  readonly current: string | undefined;
  readonly offered: readonly Offered[];
}

/** What can be chosen in a session. */
export interface Choices {
  readonly model: Choice | undefined;
  /** The mode, in each of the ways in which it can be asked for. */
  readonly modes: readonly Choice[];
}

/** What an agent offers for a session. */
export function choicesOf(settings: SessionSettings): Choices {
  return { model: modelsOf(settings), modes: modesOf(settings) };
}

/** The same for a session of which is not known what is set. What was set elsewhere can be, named or not. */
export function unset({ model, modes }: Choices): Choices {
  return { model: model && unsetOne(model), modes: modes.map(unsetOne) };
}

/**
 * The models that an agent offers for a session: its option of that category, or else the older list.
 *
 * @example
 * ```ts
 * import { modelsOf } from "./session_config.ts";
 * import { parseSessionSettings } from "./wire.ts";
 * const models = { currentModelId: "a", availableModels: [{ modelId: "a", name: "A" }] };
 * if (modelsOf(parseSessionSettings({ models }))?.current !== "a") throw new Error("It is told.");
 * ```
 */
export function modelsOf({ configOptions, models }: SessionSettings): Choice | undefined {
  const option = optionOf("model", configOptions);
  if (option || !models) return option;
  const offered = models.availableModels.map(({ modelId, name }) => ({ id: modelId, name }));
  return choice("model", undefined, models.currentModelId, offered);
}

/** The modes that an agent offers for a session, by their own method and as an option: agents may have both. */
export function modesOf({ configOptions, modes }: SessionSettings): Choice[] {
  const own = modes ? choice("mode", undefined, modes.currentModeId, modes.availableModes) : undefined;
  return [own, optionOf("mode", configOptions)].filter((one) => one !== undefined);
}

/** The option of a kind: by its category, or where it has none by its id. */
export function optionOf(kind: ChoiceKind, options: readonly ConfigOption[]): Choice | undefined {
  const option = options.find(({ id, category }) => (category ?? id) === kind);
  if (option === undefined) return undefined;
  const offered = option.options.map(({ value, name }) => ({ id: value, name }));
  return choice(kind, option.id, option.currentValue, offered);
}

/**
 * The id of what is wanted by id, or by the name that people know it by: the very id first, then a name in whatever
 * case, then an id in another case if only one is that.
 */
export function find({ offered }: Choice, wanted: string): string | undefined {
  const lower = wanted.toLowerCase();
  const alike = offered.filter(({ id }) => id.toLowerCase() === lower);
  const found = offered.find(({ id }) => id === wanted) ??
    offered.find(({ name }) => name.toLowerCase() === lower) ??
    (alike.length === 1 ? alike[0] : undefined);
  return found?.id;
}

/** The request that sets it. */
export function requestFor(
  { kind, configId }: Choice,
  sessionId: string,
  value: string,
): { method: string; params: Readonly<Record<string, string>> } {
  if (configId !== undefined) {
    return { method: "session/set_config_option", params: { sessionId, configId, value } };
  }
  return kind === "model"
    ? { method: "session/set_model", params: { sessionId, modelId: value } }
    : { method: "session/set_mode", params: { sessionId, modeId: value } };
}

/** Why something is not chosen: that it is not offered, and what is. */
export function notOffered(kind: ChoiceKind, wanted: string, offered: readonly Offered[]): string {
  if (offered.length === 0) return `The agent has no ${kind} "${wanted}"; it names none.`;
  const named = offered.slice(0, MAX_NAMED).map(({ id }) => id).join(", ");
  const more = offered.length > MAX_NAMED ? `, and ${offered.length - MAX_NAMED} more` : "";
  return `The agent has no ${kind} "${wanted}"; it has ${named}${more}.`;
}

function unsetOne(choice: Choice): Choice {
  const { current, offered } = choice;
  const isNamed = current === undefined || offered.some(({ id }) => id === current);
  return {
    ...choice,
    current: undefined,
    offered: isNamed ? offered : [{ id: current, name: current }, ...offered],
  };
}

function choice(
  kind: ChoiceKind,
  configId: string | undefined,
  current: string | undefined,
  all: readonly Offered[],
): Choice {
  const offered = new Map<string, Offered>();
  for (const { id, name } of all) {
    if (offered.size >= MAX_OFFERED) break;
    if (!offered.has(id)) offered.set(id, { id, name: name || id });
  }
  return { kind, configId, current: current || undefined, offered: [...offered.values()] };
}

/** What an agent told of its sessions. */
export class SessionDefaults {
  /** The models that it offers; none are known before a session was opened. */
  models: readonly AgentModel[] = [];
  #choices: Choices | undefined;
  #model: string | undefined;

  /** The model that its new sessions begin with, if it told. */
  get model(): string | undefined {
    return this.#model;
  }

  /** Whether it is known what its sessions offer. */
  get isKnown(): boolean {
    return this.#choices !== undefined;
  }

  /** A new session began with these. */
  began(choices: Choices): void {
    this.#choices = choices;
    this.#model = choices.model?.current ?? this.#model;
  }

  /**
   * What can be chosen in a session that was brought back: where the agent tells nothing of it, that of new ones, and
   * nothing is known of what is set.
   *
   * @param mode The mode that it should have. Where no new session was seen yet, it is taken to be there: a mode in
   *   which nothing may be written must not be lost.
   */
  broughtBack(told: Choices, mode: string | undefined): Choices {
    const before = this.#choices && unset(this.#choices);
    const model = told.model ?? before?.model;
    if (told.modes.length > 0) return { model, modes: told.modes };
    return { model, modes: before?.modes ?? (mode === undefined ? [] : [assumed(mode)]) };
  }
}

function assumed(mode: string): Choice {
  return { kind: "mode", configId: undefined, current: undefined, offered: [{ id: mode, name: mode }] };
}
