/** Model and mode of a session: reads what the agent offers, and sets them. @module */

import { AppError, messageOf } from "../core/errors.ts";
import type { AgentModel } from "../turn/agent.ts";
import { ClosedError, explain, RpcError } from "./json_rpc.ts";
import { parseSessionSettings, type SessionSettings } from "./wire.ts";

/** Values that an error message names. */
const MAX_NAMED = 10;

/** The kinds of options that can be configured, in the order in which they are set. */
const KINDS = ["mode", "model"] as const;
/** One of {@linkcode KINDS}. */
export type OptionKind = (typeof KINDS)[number];

/** An option of a session. */
export interface SessionOption {
  readonly kind: OptionKind;
  /**
   * The id for `session/set_config_option`. Without an id, `session/set_model` or `session/set_mode` sets the option.
   */
  readonly configId: string | undefined;
  /** The id of the value that the agent reported or confirmed last. */
  readonly current: string | undefined;
  readonly values: readonly AgentModel[];
}

/**
 * Reads the model and mode options that an agent offers for a session. If there are two ways to set an
 * option, the config option counts, as in ACP.
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
export function readOptions(
  { configOptions, models, modes }: Partial<SessionSettings> & Pick<SessionSettings, "configOptions">,
): SessionOption[] {
  return KINDS.flatMap((kind) => {
    // Some agents leave out the category. Then the id names the kind.
    const option = configOptions.find(({ id, category }) => (category ?? id) === kind);
    const found = option ?? { model: models, mode: modes }[kind];
    return found ? [{ kind, configId: option?.id, current: found.current, values: found.values }] : [];
  });
}

/** Finds the id of a configured value: the same id, else the name or the id in any case. */
export function findValue({ values }: SessionOption, wanted: string): string | undefined {
  const lower = wanted.toLowerCase();
  const found = values.find(({ id }) => id === wanted) ??
    values.find(({ name }) => name.toLowerCase() === lower) ??
    values.find(({ id }) => id.toLowerCase() === lower);
  return found?.id;
}

/** Says that a value is not offered, and which values are. */
export function notOffered(kind: OptionKind, wanted: string, values: readonly AgentModel[] = []): string {
  if (values.length === 0) {
    return `The agent offers no ${kind}s to choose from, so "${wanted}" cannot be set.`;
  }
  const named = values.slice(0, MAX_NAMED).map(({ id }) => id).join(", ");
  const more = values.length > MAX_NAMED ? `, and ${values.length - MAX_NAMED} more` : "";
  return `The agent has no ${kind} "${wanted}"; it offers ${named}${more}.`;
}

/** The options with which an agent's last new session was opened, kept from one process to the next. */
export class SessionDefaults {
  options: readonly SessionOption[] | undefined;

  get model(): SessionOption | undefined {
    return this.options?.find(({ kind }) => kind === "model");
  }

  /**
   * Completes the options of a resumed session. A kind that the agent does not report is taken from new sessions, with
   * an unknown current value.
   *
   * @param mode The configured mode. If no new session is known either, the mode is assumed to exist: a mode that
   *   forbids writing must not be lost.
   */
  complete(reported: readonly SessionOption[], mode: string | undefined): SessionOption[] {
    const assumed: SessionOption[] = mode === undefined
      ? []
      : [{ kind: "mode", configId: undefined, current: undefined, values: [{ id: mode, name: mode }] }];
    const missing = (this.options ?? assumed).filter(({ kind }) =>
      !reported.some((option) => option.kind === kind)
    );
    return [...reported, ...missing.map((option) => ({ ...option, current: undefined }))];
  }
}

/** A value that an agent does not take, or that does not do what it should. */
export interface SettingWarning {
  /** The key in the agent's table of config.toml. */
  readonly setting: "mcp_servers" | "permissions" | OptionKind;
  /** The value, or the name of the MCP server. */
  readonly name: string;
  /** The reason, as a sentence for people. */
  readonly text: string;
}

/** Sends a request that changes a session, and calls `read` with its result. */
export type SendChange = (method: string, params: unknown, read: (result: unknown) => void) => Promise<void>;

/** The model and the mode of one session, as the agent last reported them. */
export class SessionConfig {
  /** The configured values that could not be set. */
  readonly warnings: SettingWarning[] = [];
  readonly #sessionId: string;
  readonly #send: SendChange;
  #options: readonly SessionOption[];
  /** The model that answers if a request names none. */
  #defaultModel: string | undefined;

  /**
   * @param defaultModel The default of a resumed session, whose current model may be one that an earlier request chose.
   */
  constructor(
    sessionId: string,
    options: readonly SessionOption[],
    send: SendChange,
    defaultModel?: string,
  ) {
    this.#sessionId = sessionId;
    this.#send = send;
    this.#options = options;
    this.#defaultModel = defaultModel ?? this.model;
  }

  /** The id of the current model, if the agent reports it. */
  get model(): string | undefined {
    return this.option("model")?.current;
  }

  option(kind: OptionKind): SessionOption | undefined {
    return this.#options.find((option) => option.kind === kind);
  }

  /** Takes a newer list of config options from the agent. */
  update(configOptions: SessionSettings["configOptions"]): void {
    const newer = readOptions({ configOptions });
    const isReplaced = ({ kind }: SessionOption) => newer.some((option) => option.kind === kind);
    this.#options = [...this.#options.filter((option) => !isReplaced(option)), ...newer];
  }

  /** Sets the configured mode and model. Keeps a warning for each that could not be set. */
  async configure(preferences: { readonly [kind in OptionKind]?: string | undefined }): Promise<void> {
    for (const kind of KINDS) {
      const name = preferences[kind];
      if (name === undefined) continue;
      try {
        await this.#set(kind, this.#find(kind, name));
        if (kind === "model") this.#defaultModel = this.model;
      } catch (error) {
        this.warnings.push({ setting: kind, name, text: messageOf(error) });
      }
    }
  }

  /**
   * Sets the model, or returns to the default model. Does nothing if that model answers already.
   *
   * @throws {AppError} `model_not_found` if the agent does not offer the model, `agent_error` if it does not take it.
   *   {@linkcode ClosedError} if the connection closes.
   */
  async setModel(model: string | undefined): Promise<void> {
    const id = model === undefined ? this.#defaultModel : this.#find("model", model);
    if (id !== undefined) await this.#set("model", id);
  }

  #find(kind: OptionKind, wanted: string): string {
    const option = this.option(kind);
    const value = option?.current === wanted ? wanted : option && findValue(option, wanted);
    if (value !== undefined) return value;
    const code = kind === "model" ? "model_not_found" : "invalid_value";
    throw new AppError(code, notOffered(kind, wanted, option?.values), { param: kind });
  }

  async #set(kind: OptionKind, value: string): Promise<void> {
    const option = this.option(kind);
    if (option === undefined || option.current === value) return;
    const { configId } = option;
    const method = `session/set_${configId === undefined ? kind : "config_option"}`;
    const params = configId === undefined ? { [`${kind}Id`]: value } : { configId, value };
    try {
      await this.#send(method, { sessionId: this.#sessionId, ...params }, (result) => {
        this.#options = this.#options.map((option) =>
          option.kind === kind ? { ...option, current: value } : option
        );
        this.update(parseSessionSettings(result).configOptions);
      });
    } catch (error) {
      if (error instanceof ClosedError) throw error;
      const outcome = error instanceof RpcError ? "The agent refused" : "The agent did not confirm";
      const message = `${outcome} the ${kind} "${value}": ${explain(error)}`;
      throw new AppError("agent_error", message, { cause: error });
    }
  }
}
