/** Logging in to an agent: only in ways that need no person. @module */

import { Failure } from "../turn/failure.ts";
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
export function loginNeeded(methods: readonly AuthMethod[], why?: string): Failure {
  const ways = methods.map((method) => method.name ? `${method.id} (${method.name})` : method.id).join(", ");
  const tried = why ? ` It said: ${why.replace(/\.$/, "")}.` : "";
  return new Failure(
    "agent_auth_required",
    `The agent asks for a log-in.${tried} Log in with the agent's own program once, or give it its key` +
      ` (inherit_env in config.toml, or OPENAB_AGENT_INHERIT_ENV). Its ways to log in: ${
        ways || "none named"
      }.`,
  );
}
