/** Logs in to an agent, by methods that need no person. @module */

import { AppError } from "../core/errors.ts";
import { explain, RPC, RpcError } from "./json_rpc.ts";
import type { AuthMethod } from "./wire.ts";

/**
 * Chooses the first log-in method that takes a key from the agent's environment. Agents mark such a method in three
 * ways: `type: "env_var"` (codex), `_meta["api-key"]` (gemini, codex) or only by its id.
 *
 * @param variables Names of the variables in the agent's environment.
 */
export function chooseAuthMethod(
  methods: readonly AuthMethod[],
  variables: ReadonlySet<string>,
): AuthMethod | undefined {
  return methods.find(({ id, type, vars, varName, _meta }) => {
    if (type === "terminal") return false;
    const required = varName === undefined ? vars.filter(({ optional }) => !optional) : [{ name: varName }];
    if (required.length > 0) return required.every(({ name }) => variables.has(name));
    return type === "env_var" || _meta?.["api-key"] !== undefined || /^(openai|.*api[-_]?key)$/i.test(id);
  });
}

/** The log-in to one agent process, made when the agent asks for it. */
export class AgentAuth {
  readonly #methods: readonly AuthMethod[];
  readonly #variables: ReadonlySet<string>;
  readonly #authenticate: (methodId: string) => Promise<void>;
  /** The log-in that is being made, for all requests that wait for it. */
  #loggingIn: Promise<void> | undefined;

  /** @param authenticate Sends `authenticate`. */
  constructor(
    methods: readonly AuthMethod[],
    variables: ReadonlySet<string>,
    authenticate: (methodId: string) => Promise<void>,
  ) {
    this.#methods = methods;
    this.#variables = variables;
    this.#authenticate = authenticate;
  }

  /** Makes the error that says how to log in. @param answer The agent's own words. */
  requiredError(answer?: string): AppError {
    const names = this.#methods.map(({ id, name }) => name ? `${id} (${name})` : id).join(", ");
    const said = answer ? ` It said: ${answer.replace(/\.$/, "")}.` : "";
    return new AppError(
      "agent_auth_required",
      `The agent requires a log-in.${said} Log in once with the agent's own program, or pass its key on` +
        ` (inherit_env in config.toml, or OPENAB_AGENT_INHERIT_ENV). Its log-in methods: ${
          names || "none named"
        }.`,
      { reason: "login" },
    );
  }

  /**
   * Sends a request. If the agent requires a log-in, logs in and sends the request again.
   *
   * @throws {AppError} `agent_auth_required` if the log-in needs a person or fails; else the error of `send`.
   */
  async withAuth<T>(send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (error) {
      if (!isAuthRequired(error)) throw error;
    }
    await (this.#loggingIn ??= this.#logIn().finally(() => this.#loggingIn = undefined));
    try {
      return await send();
    } catch (error) {
      throw isAuthRequired(error) ? this.requiredError() : error;
    }
  }

  async #logIn(): Promise<void> {
    const method = chooseAuthMethod(this.#methods, this.#variables);
    if (method === undefined) throw this.requiredError();
    try {
      await this.#authenticate(method.id);
    } catch (error) {
      throw this.requiredError(explain(error));
    }
  }
}

/** Whether an agent answered a request with the demand for a log-in. */
export function isAuthRequired(error: unknown): error is RpcError {
  return error instanceof RpcError && error.code === RPC.authRequired;
}
