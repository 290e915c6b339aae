/** Model and mode of a session: reads what the agent offers, and sets them. @module */

import { abortable } from "../core/abortable.ts";
import { AppError, messageOf } from "../core/errors.ts";
import type { AgentModel } from "../turn/agent.ts";
import { ClosedError, explain, isTimeout, type JsonRpcPeer, request, RpcError } from "./json_rpc.ts";
import { type ConfigOption, parseSessionSettings, type SessionSettings } from "./wire.ts";

/** Values of one option that are kept. Kilo offers 390 models. */
const MAX_VALUES = 1_000;
/** Values that an error message names. */
const MAX_NAMED = 10;

/** A kind of option that can be configured. */
export type OptionKind = "model" | "mode";

/** An option of a session, with one of the two ways in which ACP sets it. */
export interface SessionOption {
  readonly kind: OptionKind;
  /** The id for `session/set_config_option`. Without an id, `session/set_model` or `session/set_mode` sets the option. */
  readonly configId: string | undefined;
  /** The id of the current value. Undefined if the agent does not tell, or did not confirm the last change. */
  readonly current: string | undefined;
  readonly values: readonly AgentModel[];
}

/**
 * Reads the model and mode options that an agent offers for a session. Of two ways to set the model the config option
 * counts; of two ways to set the mode both count, the mode's own method first, because their values may differ.
 *
 * @example
 * ```ts
 * import { readOptions } from "./session_config.ts";
 * import { parseSessionSettings } from "./wire.ts";
 * const models = { currentModelId: "a", availableModels: [{ modelId: "a", name: "A" }] };
 * const [model] = readOptions(parseSessionSettings({ models }));
 * if (model?.current !== "a") throw new Error("The current model is a.");
 * ```
 */
export function readOptions({ configOptions, models, modes }: SessionSettings): SessionOption[] {
  const offered = models?.availableModels.map(({ modelId, name }) => ({ id: modelId, name }));
  const model = readConfigOption("model", configOptions) ??
    (models && toOption("model", undefined, models.currentModelId, offered ?? []));
  const mode = modes && toOption("mode", undefined, modes.currentModeId, modes.availableModes);
  return [model, mode, readConfigOption("mode", configOptions)].filter((option) => option != null);
}

/** Finds an option by its category, or if it has no category by its id. */
function readConfigOption(kind: OptionKind, options: readonly ConfigOption[]): SessionOption | undefined {
  const option = options.find(({ id, category }) => (category ?? id) === kind);
  if (option === undefined) return undefined;
  return toOption(
    kind,
    option.id,
    option.currentValue,
    option.options.map(({ value, name }) => ({ id: value, name })),
  );
}

function toOption(
  kind: OptionKind,
  configId: string | undefined,
  current: string | undefined,
  offered: readonly AgentModel[],
): SessionOption {
  const values = new Map<string, AgentModel>();
  for (const { id, name } of offered) {
    if (values.size >= MAX_VALUES) break;
    if (!values.has(id)) values.set(id, { id, name: name || id });
  }
  return { kind, configId, current: current || undefined, values: [...values.values()] };
}

/**
 * Finds the id of a configured value: the same id, else the name in any case, else the id in another case if only one
 * matches.
 */
export function findValue({ values }: SessionOption, wanted: string): string | undefined {
  const lower = wanted.toLowerCase();
  const sameLetters = values.filter(({ id }) => id.toLowerCase() === lower);
  const found = values.find(({ id }) => id === wanted) ??
    values.find(({ name }) => name.toLowerCase() === lower) ??
    (sameLetters.length === 1 ? sameLetters[0] : undefined);
  return found?.id;
}

/** Builds the request that sets an option. */
export function setRequest(
  { kind, configId }: SessionOption,
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

/** Says that a value is not offered, and which values are. */
export function notOffered(kind: OptionKind, wanted: string, values: readonly AgentModel[] = []): string {
  if (values.length === 0) return `The agent has no ${kind} "${wanted}"; it offers none.`;
  const named = values.slice(0, MAX_NAMED).map(({ id }) => id).join(", ");
  const more = values.length > MAX_NAMED ? `, and ${values.length - MAX_NAMED} more` : "";
  return `The agent has no ${kind} "${wanted}"; it offers ${named}${more}.`;
}

function notTaken(kind: OptionKind, wanted: string, error: unknown): string {
  const outcome = error instanceof RpcError ? "The agent refused" : "The agent did not confirm";
  return `${outcome} the ${kind} "${wanted}": ${explain(error)}`;
}

/** The options of an agent's new sessions, kept from one process to the next. */
export class SessionDefaults {
  /** The models that the newest session offered; none before the first session. */
  models: readonly AgentModel[] = [];
  /** The options of the newest new session. */
  options: readonly SessionOption[] | undefined;
  /** The model with which the newest new session began, if the agent told. */
  model: string | undefined;

  /** Takes the options of a new session. */
  learn(options: readonly SessionOption[]): void {
    this.options = options;
    this.model = options.find(({ kind }) => kind === "model")?.current ?? this.model;
  }

  /**
   * Completes the options of a resumed session. A kind that the agent does not tell is taken from new sessions, with an
   * unknown current value.
   *
   * @param mode The configured mode. If no new session is known either, the mode is assumed to exist: a mode that
   *   forbids writing must not be lost.
   */
  complete(options: readonly SessionOption[], mode: string | undefined): SessionOption[] {
    const assumed: SessionOption[] = mode === undefined
      ? []
      : [{ kind: "mode", configId: undefined, current: undefined, values: [{ id: mode, name: mode }] }];
    const fallback = this.options?.map(withoutCurrent) ?? assumed;
    return [...options, ...fallback.filter(({ kind }) => !options.some((option) => option.kind === kind))];
  }
}

/** Forgets the current value, which can still be chosen even if the agent does not list it. */
function withoutCurrent(option: SessionOption): SessionOption {
  const { current, values } = option;
  const isListed = current === undefined || values.some(({ id }) => id === current);
  return {
    ...option,
    current: undefined,
    values: isListed ? values : [{ id: current, name: current }, ...values],
  };
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

/** The mode and the model of every session, by id or name. */
export interface SessionPreferences {
  readonly mode?: string | undefined;
  readonly model?: string | undefined;
}

/** Sends a request that changes a session, and calls `read` with its result, in time or late. */
export type SendChange = (method: string, params: unknown, read: (result: unknown) => void) => Promise<void>;

/**
 * Makes the function that sends changes to an agent.
 *
 * @param againMs The time limit after a change that was not answered.
 */
export function changeSender(peer: JsonRpcPeer, timeoutMs: number, againMs: number = timeoutMs): SendChange {
  const unanswered = new Set<string>();
  return async (method, params, read) => {
    const onAnswer = (result: unknown) => {
      unanswered.delete(method);
      read(result);
    };
    const limitMs = unanswered.has(method) ? againMs : timeoutMs;
    try {
      await request(peer, { method, params, timeoutMs: limitMs, read: onAnswer, onLate: onAnswer });
    } catch (error) {
      if (isTimeout(error)) unanswered.add(method);
      else unanswered.delete(method);
      throw error;
    }
  };
}

/** The model and the mode of one session, as the agent last told them. */
export class SessionConfig {
  readonly #sessionId: string;
  readonly #send: SendChange;
  #options: readonly SessionOption[];
  /** The model that answers if a request names none. */
  #defaultModel: string | undefined;
  /** Whether another model than the default may be set. */
  #mayDiffer: boolean;
  /** Whether an option that is missing here is known not to exist. */
  readonly #isComplete: boolean;
  /** The newest request of each kind: an answer to an earlier request does not tell the current value. */
  readonly #newest = new Map<OptionKind, symbol>();
  readonly #warnings: SettingWarning[] = [];
  /** Settles when the last queued change has ended. */
  #queue: Promise<unknown> = Promise.resolve();

  /** @param resumedWith The defaults of a resumed session, whose current model may be any. */
  constructor(
    sessionId: string,
    options: readonly SessionOption[],
    send: SendChange,
    resumedWith?: Pick<SessionDefaults, "model" | "options">,
  ) {
    this.#sessionId = sessionId;
    this.#send = send;
    this.#options = options;
    this.#defaultModel = resumedWith?.model ?? this.model;
    this.#mayDiffer = resumedWith !== undefined;
    this.#isComplete = resumedWith === undefined || resumedWith.options !== undefined;
  }

  /** The id of the current model, if the agent tells. */
  get model(): string | undefined {
    return this.option("model")?.current;
  }

  /** The configured values that could not be set. */
  get warnings(): readonly SettingWarning[] {
    return this.#warnings;
  }

  /** Returns the option that counts first for a kind. */
  option(kind: OptionKind): SessionOption | undefined {
    return this.#options.find((option) => option.kind === kind);
  }

  /** Takes a newer list of config options from the agent. A mode that has its own method keeps that too. */
  update(configOptions: readonly ConfigOption[]): void {
    const newer = readOptions({ configOptions, models: undefined, modes: undefined });
    const isReplaced = ({ kind, configId }: SessionOption) =>
      newer.some((option) => option.kind === kind) && (kind === "model" || configId !== undefined);
    this.#options = [...this.#options.filter((option) => !isReplaced(option)), ...newer];
  }

  /** Sets the configured mode and model within a time limit, and keeps a warning for each that could not be set. */
  async configure(preferences: SessionPreferences, timeoutMs: number): Promise<void> {
    const timeout = new AbortController();
    const timer = setTimeout(
      () => timeout.abort(new Error(`The settings took longer than ${timeoutMs / 1000} seconds.`)),
      timeoutMs,
    );
    await this.#enqueue(async () => {
      for (const setting of ["mode", "model"] as const) {
        const name = preferences[setting];
        if (name === undefined) continue;
        const text = await this.#apply(setting, name, timeout.signal);
        if (text !== undefined) this.#warnings.push({ setting, name, text });
      }
    }).finally(() => clearTimeout(timer));
  }

  /**
   * Sets the model, or returns to the default model. Does nothing if that model answers already.
   *
   * @throws {AppError} `model_not_found` if the agent does not offer the model, `agent_error` if it does not take it.
   *   {@linkcode ClosedError} if the connection closes.
   */
  setModel(model: string | undefined): Promise<void> {
    return this.#enqueue(() => this.#setModel(model));
  }

  /** Runs changes one after another. The queue never blocks, because every request has a time limit. */
  #enqueue<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(change);
    this.#queue = done.catch(() => {});
    return done;
  }

  async #setModel(wanted: string | undefined): Promise<void> {
    const option = this.option("model");
    if (wanted === undefined) {
      if (this.#defaultModel === undefined || option?.current === this.#defaultModel) return;
      if (option?.current === undefined && !this.#mayDiffer) return;
    } else if (wanted === option?.current) return;
    else if (!option?.values.some(({ id }) => id === wanted)) {
      throw new AppError("model_not_found", notOffered("model", wanted, option?.values), { param: "model" });
    }
    const model = wanted ?? this.#defaultModel;
    if (option === undefined || model === undefined) return;
    this.#mayDiffer ||= model !== this.#defaultModel;
    try {
      await this.#set(option, model);
    } catch (error) {
      if (error instanceof ClosedError) throw error;
      throw new AppError("agent_error", notTaken("model", model, error), { cause: error });
    }
  }

  /** Sets a configured value by the first option that has it. @returns Why the value is not set, if it is not. */
  async #apply(kind: OptionKind, wanted: string, signal: AbortSignal): Promise<string | undefined> {
    const options = this.#options.filter((option) => option.kind === kind);
    for (const option of options) {
      const value = option.current === wanted ? wanted : findValue(option, wanted);
      if (value === undefined) continue;
      if (signal.aborted) return `The ${kind} "${wanted}" was not requested: ${messageOf(signal.reason)}`;
      try {
        if (option.current !== value) await this.#set(option, value, signal);
        if (kind === "model") this.#defaultModel = this.model;
        return undefined;
      } catch (error) {
        // The agent may still take a model that it did not refuse.
        if (kind === "model" && !(error instanceof RpcError)) this.#defaultModel = value;
        return notTaken(kind, wanted, error);
      }
    }
    if (kind === "model" && options.length === 0 && !this.#isComplete) {
      return `The model "${wanted}" was not requested: the agent does not list the models of a resumed session.`;
    }
    return notOffered(kind, wanted, options[0]?.values);
  }

  async #set(option: SessionOption, value: string, signal?: AbortSignal): Promise<void> {
    const { kind } = option;
    const { method, params } = setRequest(option, this.#sessionId, value);
    const request = Symbol(value);
    this.#newest.set(kind, request);
    const sending = this.#send(method, params, (result) => {
      // The agent may have taken an earlier request before or after the newest one: only its list of options tells.
      this.#setCurrent(option, this.#newest.get(kind) === request ? value : undefined);
      this.update(parseSessionSettings(result).configOptions);
    });
    try {
      await abortable(sending, signal);
    } catch (error) {
      // The agent may still take a value that it did not refuse.
      if (!(error instanceof RpcError) && this.#newest.get(kind) === request) {
        this.#setCurrent(option, undefined);
      }
      throw error;
    }
  }

  #setCurrent({ kind, configId }: SessionOption, current: string | undefined): void {
    this.#options = this.#options.map((option) =>
      option.kind === kind && option.configId === configId ? { ...option, current } : option
    );
  }
}
