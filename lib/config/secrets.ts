/** Finds values that must not be printed, and places where the server's own key would reach an agent. Pure. @module */

import type { AgentConfig } from "../acp/create_agent.ts";
import type { McpServer, NamedValue } from "../acp/wire.ts";

const KEY_VARIABLE = "VTUBER_AUTH_KEY";
/** Names of variables whose values are secret. `AUTHOR` does not count, `AUTHORIZATION` does. */
const SECRET_NAME = /key|token|secret|pass|auth(?!or(?!i))|credential|cookie|private/i;
/** Characters of the shortest value that is redacted; shorter ones occur in ordinary words. */
const MIN_SECRET_CHARS = 6;
/** Characters of the shortest key that is looked for in an agent's table; a shorter one may be an ordinary word. */
const MIN_KEY_CHARS = 8;

type Variables = Readonly<Record<string, string>>;

/** Turns variables or headers into the list that ACP wants. */
export function namedValues(values: Variables): NamedValue[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

/**
 * Collects the values that must not be printed or logged: the server's key, the values of variables whose names say
 * that they are secret, and headers, passwords and queries of MCP servers. Arguments of commands are never printed.
 */
export function collectSecrets(
  { authKey, agents }: { readonly authKey: string | undefined; readonly agents: readonly AgentConfig[] },
  own: Variables,
): string[] {
  const values = [
    ...secretValues(namedValues(own)),
    ...agents.flatMap(({ env, mcpServers }) => [
      ...secretValues(namedValues(env)),
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
  return namedValues(own).filter((variable) => variable.name.toUpperCase() === name.toUpperCase());
}

/** Reports whether this is the name of the variable that holds the server's key. */
export function isKeyVariable(name: string): boolean {
  return name.toUpperCase() === KEY_VARIABLE;
}

/** Finds the keys of an agent's table through which the agent would get the server's key. */
export function findKeyLeaks(agent: AgentConfig, key: string, own: Variables): string[] {
  const { command, args, workingDir, mode, model, env, inheritEnv, mcpServers } = agent;
  const inherited = inheritEnv.flatMap((name) => variablesOf(own, name));
  const fields = {
    ...{ command, args, working_dir: workingDir, mode, model, env },
    inherit_env: [inheritEnv, inherited],
    mcp_servers: mcpServers,
  };
  const forms = key.length < MIN_KEY_CHARS ? [] : [key, encodeURIComponent(key)];
  const holdsKey = (value: unknown) => {
    const text = JSON.stringify(value) ?? "";
    return forms.some((form) => text.includes(JSON.stringify(form).slice(1, -1)));
  };
  return Object.entries(fields)
    .filter(([field, value]) => holdsKey(value) || field === "inherit_env" && inheritEnv.some(isKeyVariable))
    .map(([field]) => field);
}
