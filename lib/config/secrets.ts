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
    ...secretValues(names.flatMap((name) => valuesOf(own, name).map((value) => ({ name, value })))),
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

/** Finds the values of a variable; Windows accepts names of variables in any case. */
function valuesOf(own: Variables, name: string): string[] {
  return Object.keys(own).filter((key) => key.toUpperCase() === name.toUpperCase()).map((key) => own[key]!);
}

/** Reports whether this is the name of the variable that holds the server's key. */
export function isKeyVariable(name: string): boolean {
  return name.toUpperCase() === KEY_VARIABLE;
}

/** Finds the agents that would get the server's key: the name of each, and the keys of its table that hold it. */
export function findKeyLeaks(
  agents: readonly AgentConfig[],
  key: string,
  own: Variables,
): { agent: string; fields: string[] }[] {
  const isLong = key.length >= MIN_KEY_CHARS;
  const forms = [key, encodeURIComponent(key)];
  const isHeld = (texts: readonly string[]) =>
    texts.some((text) => isLong ? forms.some((form) => text.includes(form)) : text === key);
  return agents.flatMap((agent) => {
    const fields = textsOf(agent, own)
      .filter(({ words, values }) => isHeld(values) || isLong && isHeld(words))
      // The path of an MCP server whose name holds the key would print the key.
      .map(({ path }) => isLong && isHeld([path]) ? "mcp_servers" : path);
    if (agent.inheritEnv.some(isKeyVariable)) fields.push("inherit_env");
    return fields.length > 0 ? [{ agent: agent.name, fields: [...new Set(fields)] }] : [];
  });
}

/** The texts of one key of an agent's table. A short server key may be equal to a word, but hardly to a value. */
interface AgentTexts {
  readonly path: string;
  readonly words: readonly string[];
  readonly values: readonly string[];
}

function textsOf(agent: AgentConfig, own: Variables): AgentTexts[] {
  const { command = "", args, mode = "", model = "", workingDir, env, inheritEnv, mcpServers } = agent;
  return [
    { path: "command", words: [command], values: [] },
    { path: "args", words: args, values: [] },
    { path: "working_dir", words: [workingDir], values: [] },
    { path: "mode", words: [mode], values: [] },
    { path: "model", words: [model], values: [] },
    { path: "env", words: Object.keys(env), values: Object.values(env) },
    { path: "inherit_env", words: inheritEnv, values: inheritEnv.flatMap((name) => valuesOf(own, name)) },
    ...mcpServers.map((server) => {
      const [words, named] = "command" in server
        ? [[server.command, ...server.args], server.env]
        : [[server.url], server.headers];
      return {
        path: `mcp_servers.${server.name}`,
        words: [server.name, ...words, ...named.map(({ name }) => name)],
        values: named.map(({ value }) => value),
      };
    }),
  ];
}
