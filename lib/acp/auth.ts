/** Logging in to an agent: only in ways that need no person. @module */

import type { Log } from "../core/log.ts";
import { AppError } from "../core/errors.ts";
import { explain, reasonOf } from "./json_rpc.ts";
import { RPC, RpcError } from "./json_rpc.ts";
import type { AuthMethod } from "./wire.ts";

/**
 * The first of the agent's ways to log in that needs no person: one that takes a key from the agent's environment.
 * Agents say so in three ways: `type: "env_var"` (codex), `_meta["api-key"]` (gemini, codex) or only by the id.
 */
export function loginMethod(
  methods: readonly AuthMethod[],
  variables: ReadonlySet<string>,
): AuthMethod | undefined {
  return methods.find((method) => {
    if (method.type === "terminal") return false;
    const named = variableNames(method);
    if (named.length > 0) return named.every((name) => variables.has(name));
    return method.type === "env_var" || method._meta?.["api-key"] !== undefined ||
      /^(openai|.*api[-_]?key)$/i.test(method.id);
  });
}

/** The variables that a method of type `env_var` asks for: `vars: [{name}]`, or `varName`. */
function variableNames(method: AuthMethod): string[] {
  const { vars, varName } = method as { vars?: unknown; varName?: unknown };
  if (typeof varName === "string") return [varName];
  if (!Array.isArray(vars)) return [];
  return vars.flatMap((entry) => typeof entry?.name === "string" && !entry.optional ? [entry.name] : []);
}

/** The failure that tells how to log in. */
export function authRequiredError(methods: readonly AuthMethod[], why?: string, cause?: unknown): AppError {
  const ways = methods.map((method) => method.name ? `${method.id} (${method.name})` : method.id).join(", ");
  const tried = why ? ` It said: ${why.replace(/\.$/, "")}.` : "";
  return new AppError(
    "agent_auth_required",
    `The agent asks for a log-in.${tried} Log in with the agent's own program once, or give it its key` +
      ` (inherit_env in config.toml, or OPENAB_AGENT_INHERIT_ENV). Its ways to log in: ${
        ways || "none named"
      }.`,
    { cause, reason: reasonOf(cause) },
  );
}

/** What a {@linkcode AgentAuth} is made of. */
export interface AgentAuthOptions {
  /** The agent's ways to log in. */
  readonly methods: readonly AuthMethod[];
  /** Names of the variables in the agent's environment: a log-in by variable needs no person. */
  readonly variables: ReadonlySet<string>;
  readonly log: Log;
  /** Asks the agent to log in. */
  readonly authenticate: (methodId: string) => Promise<unknown>;
}

/** The log-in to one running agent: made when the agent asks for it, once for all that wait. */
export class AgentAuth {
  readonly #options: AgentAuthOptions;
  #made: Promise<void> | undefined;

  constructor(options: AgentAuthOptions) {
    this.#options = options;
  }

  /** The failure that tells how to log in. */
  needed(why?: string, cause?: unknown): AppError {
    return authRequiredError(this.#options.methods, why, cause);
  }

  /**
   * Asks for something; if the agent wants a log-in first, and that needs no person, logs in and asks again.
   *
   * @throws {AppError} `agent_auth_required` with the ways to log in; else what `ask` throws.
   */
  async withAuth<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (!asksForLogin(error)) throw error;
    }
    await (this.#made ??= this.#make());
    try {
      return await ask();
    } catch (error) {
      this.#made = undefined;
      throw asksForLogin(error) ? this.needed() : error;
    }
  }

  async #make(): Promise<void> {
    const { methods, variables, log, authenticate } = this.#options;
    const method = loginMethod(methods, variables);
    if (method === undefined) {
      this.#made = undefined;
      throw this.needed();
    }
    log.info("logging in to the agent", { method: method.id });
    try {
      await authenticate(method.id);
    } catch (error) {
      this.#made = undefined;
      throw this.needed(explain(error), error);
    }
  }
}

function asksForLogin(error: unknown): boolean {
  return error instanceof RpcError && error.code === RPC.authRequired;
}
