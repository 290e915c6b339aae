/** Logs in to an agent, by methods that need no person. @module */

import { AppError } from "../core/errors.ts";
import { explain, RPC, RpcError } from "./json_rpc.ts";
import type { AuthMethod } from "./wire.ts";

/**
 * Chooses the first log-in method that takes a key from the agent's environment. Agents mark such a method in three ways:
 * `type: "env_var"` (codex), `_meta["api-key"]` (gemini, codex) or only by its id.
 *
 * @param variables Names of the variables in the agent's environment.
 */
export function chooseAuthMethod(
  methods: readonly AuthMethod[],
  variables: ReadonlySet<string>,
): AuthMethod | undefined {
  return methods.find((method) => {
    if (method.type === "terminal") return false;
    const required = requiredVariables(method);
    if (required.length > 0) return required.every((name) => variables.has(name));
    return method.type === "env_var" || method._meta?.["api-key"] !== undefined ||
      /^(openai|.*api[-_]?key)$/i.test(method.id);
  });
}

/** Reads the variables that a method of type `env_var` requires: `vars: [{name}]`, or `varName`. */
function requiredVariables(method: AuthMethod): string[] {
  const { vars, varName } = method as { vars?: unknown; varName?: unknown };
  if (typeof varName === "string") return [varName];
  if (!Array.isArray(vars)) return [];
  return vars.flatMap((entry) => typeof entry?.name === "string" && !entry.optional ? [entry.name] : []);
}

/** Makes the error that says how to log in. @param answer The agent's own words. */
export function authRequiredError(methods: readonly AuthMethod[], answer?: string): AppError {
  const names = methods.map(({ id, name }) => name ? `${id} (${name})` : id).join(", ");
  const said = answer ? ` It said: ${answer.replace(/\.$/, "")}.` : "";
  return new AppError(
    "agent_auth_required",
    `The agent requires a log-in.${said} Log in once with the agent's own program, or pass its key on` +
      ` (inherit_env in config.toml, or OPENAB_AGENT_INHERIT_ENV). Its log-in methods: ${
        names || "none named"
      }.`,
  );
}

/** The log-in to one agent process: made when the agent asks for it, once for all requests that wait. */
export class AgentAuth {
  readonly #methods: readonly AuthMethod[];
  readonly #variables: ReadonlySet<string>;
  readonly #authenticate: (methodId: string) => Promise<unknown>;
  #loggingIn: Promise<void> | undefined;

  /**
   * @param methods The agent's log-in methods.
   * @param variables Names of the variables in the agent's environment.
   * @param authenticate Sends `authenticate`.
   */
  constructor(
    methods: readonly AuthMethod[],
    variables: ReadonlySet<string>,
    authenticate: (methodId: string) => Promise<unknown>,
  ) {
    this.#methods = methods;
    this.#variables = variables;
    this.#authenticate = authenticate;
  }

  /** Makes the error that says how to log in. @param answer The agent's own words. */
  requiredError(answer?: string): AppError {
    return authRequiredError(this.#methods, answer);
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
    await (this.#loggingIn ??= this.#logIn());
    try {
      return await send();
    } catch (error) {
      // The next request logs in again.
      this.#loggingIn = undefined;
      throw isAuthRequired(error) ? this.requiredError() : error;
    }
  }

  async #logIn(): Promise<void> {
    try {
      const method = chooseAuthMethod(this.#methods, this.#variables);
      if (method === undefined) throw this.requiredError();
      await this.#authenticate(method.id);
    } catch (error) {
      this.#loggingIn = undefined;
      throw error instanceof AppError ? error : this.requiredError(explain(error));
    }
  }
}

function isAuthRequired(error: unknown): boolean {
  return error instanceof RpcError && error.code === RPC.authRequired;
}
