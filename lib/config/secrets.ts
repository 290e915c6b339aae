/** Finds values that must not be printed, and places where the server's own key would reach an agent. Pure. @module */

import type { AgentConfig } from "../acp/create_agent.ts";
import type { McpServer, NamedValue } from "../acp/wire.ts";

const KEY_VARIABLE = "VTUBER_AUTH_KEY";
/** Names of variables whose values are secret. `AUTHOR` does not count, `AUTHORIZATION` does. */
const SECRET_NAME = /key|token|secret|pass|auth(?!or(?!i))|credential|cookie|private/i;
/** Characters of the shortest value that is redacted; shorter ones occur in ordinary words. */
const MIN_SECRET_CHARS = 6;
/** Characters of the shortest key that is looked for inside of other texts; a shorter one may be part of a word. */
const MIN_KEY_CHARS = 8;

type Variables = Readonly<Record<string, string>>;

/** The parts of a configuration that hold secrets. */
export interface SecretSource {
  readonly authKey: string | undefined;
  readonly agents: readonly AgentConfig[];
  /** Names of the variables that the file refers to as `${NAME}`. */
  readonly fileVariables: readonly string[];
}

/**
 * Collects the values that must not be printed or logged: the server's key, the values of variables whose names say
 * that they are secret, and headers, passwords and queries of MCP servers. Arguments of commands are never printed.
 */
export function collectSecrets({ authKey, agents, fileVariables }: SecretSource, own: Variables): string[] {
  const names = [...fileVariables, ...agents.flatMap(({ inheritEnv }) => inheritEnv)];
  const values = [
    ...secretValues(names.flatMap((name) => variablesOf(own, name))),
    ...agents.flatMap(({ env, mcpServers }) => [
      ...secretValues(Object.entries(env).map(([name, value]) => ({ name, value }))),
      ...mcpServers.flatMap(serverSecrets),
    ]),
  ].filter((value) => value.length >= MIN_SECRET_CHARS);
  return [...new Set([...authKey ? [authKey] : [], ...values])];
}

function serverSecrets(server: McpServer): string[] {
  if ("command" in server) return secretValues(server.env);
  const { password, search } = new URL(server.url);
  return [...server.headers.map(({ value }) => value), password, search];
}

function secretValues(variables: readonly NamedValue[]): string[] {
  return variables.filter(({ name }) => SECRET_NAME.test(name)).map(({ value }) => value);
}

/** Finds the variables of a name; Windows accepts names of variables in any case. */
function variablesOf(own: Variables, name: string): NamedValue[] {
  return Object.entries(own).filter(([key]) => key.toUpperCase() === name.toUpperCase())
    .map(([name, value]) => ({ name, value }));
}

/** Reports whether this is the name of the variable that holds the server's key. */
export function isKeyVariable(name: string): boolean {
  return name.toUpperCase() === KEY_VARIABLE;
}

/** Finds the keys of an agent's table through which the agent would get the server's key. */
export function findKeyLeaks(agent: AgentConfig, key: string, own: Variables): string[] {
  const { command, args, workingDir, mode, model, env, inheritEnv, mcpServers } = agent;
  const inherited = inheritEnv.flatMap((name) => variablesOf(own, name));
  const values = { env, inherit_env: [inheritEnv, inherited], mcp_servers: mcpServers };
  // A short key may be equal to a word, such as the name of a program, but hardly to a variable's value.
  const fields = key.length < MIN_KEY_CHARS
    ? values
    : { command, args, working_dir: workingDir, mode, model, ...values };
  const leaks = Object.entries(fields).filter(([, value]) => holdsKey(value, key)).map(([field]) => field);
  return inheritEnv.some(isKeyVariable) ? [...new Set([...leaks, "inherit_env"])] : leaks;
}

/** Searches the texts of a value for a key; and for a long key, their parts and the names in the value too. */
function holdsKey(value: unknown, key: string): boolean {
  const isLong = key.length >= MIN_KEY_CHARS;
  if (typeof value === "string") {
    return value === key || isLong && [key, encodeURIComponent(key)].some((form) => value.includes(form));
  }
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(([name, item]) => isLong && holdsKey(name, key) || holdsKey(item, key));
}
