/** What must not be seen, and what must not be handed on: pure. @module */

import type { McpServer, NamedValue } from "../acp/mcp.ts";
import type { AgentSetup } from "../acp/start.ts";
import { splitCommand } from "./kinds.ts";
import type { Config } from "./load.ts";

/** Characters of a text that is kept secret; shorter ones are words that stand everywhere. */
const SECRET_CHARS = 6;
/** Names of what is secret. Who an author is, is not. */
const SECRET_NAME = /key|token|secret|pass|auth(?!or(?!i))|credential|cookie|private/i;
/** Characters of a key that is looked for inside of other texts; a shorter one may be a word of them. */
const KEY_CHARS = 8;
const KEY_VARIABLE = "VTUBER_AUTH_KEY";

/** Variables by name. */
type Variables = Readonly<Record<string, string>>;

/**
 * What must not be printed or logged: the key, and of what agents and MCP servers are given the headers, the variables
 * and arguments whose names say that they are secret, and addresses with a password or a query.
 */
export function secretsOf(
  { authKey, agents, fileVariables }: Pick<Config, "authKey" | "agents" | "fileVariables">,
  own: Variables,
): string[] {
  const names = [...fileVariables, ...agents.flatMap(({ inheritEnv }) => inheritEnv)].filter(isSecretName);
  const set = agents.flatMap(({ args, env, mcpServers }) => [
    ...secretsOfArgs(args),
    ...secretValues(Object.entries(env)),
    ...mcpServers.flatMap(secretsOfServer),
  ]);
  const given = [...names.flatMap((name) => valuesOf(own, name)), ...set];
  const secrets = given.filter((text) => text.length >= SECRET_CHARS);
  return [...new Set([...authKey ? [authKey] : [], ...secrets])];
}

function secretsOfServer(server: McpServer): string[] {
  if ("command" in server) {
    return [
      ...secretsOfArgs(server.args),
      ...secretValues(server.env.map(({ name, value }) => [name, value])),
    ];
  }
  return [...secretsOfAddress(server.url), ...server.headers.map(({ value }) => value)];
}

function secretsOfAddress(url: string): string[] {
  const { username, password, search, searchParams } = new URL(url);
  const isSecret = username !== "" || password !== "" || search !== "";
  return isSecret ? [url, password, ...secretValues(searchParams)] : [];
}

/** A name and its value in one word: `--token=x`, `TOKEN=x`, or a header's `X-Token: x`. */
const PAIR = /^([^\s=:]+)[=:]\s*(.+)$/s;
const ADDRESS = /^https?:\/\//i;

/** Secrets among the words of a command line, and among those inside of a word, such as a shell's command. */
function secretsOfArgs(args: readonly string[]): string[] {
  const inner = args.filter((arg) => /\s/.test(arg)).flatMap((arg) =>
    secretsOfWords(splitCommand(arg) ?? [])
  );
  return [...secretsOfWords(args), ...inner];
}

function secretsOfWords(words: readonly string[]): string[] {
  return words.flatMap((word, place) => {
    if (ADDRESS.test(word)) return secretsOfValue(word);
    const [, name, value] = PAIR.exec(word) ?? [];
    if (name !== undefined && value !== undefined) {
      return isSecretName(name) ? [value] : secretsOfValue(value);
    }
    const next = words[place + 1];
    // Behind an option that needs no value comes another option.
    const isOption = /^--?[^\s=-]/.test(word) && next !== undefined && !next.startsWith("--");
    return isOption ? secretValues([[word, next]]) : [];
  });
}

/** Secrets in an address, or in what is a pair itself, as in `--env=TOKEN=x`. */
function secretsOfValue(value: string): string[] {
  if (ADDRESS.test(value)) return URL.canParse(value) ? secretsOfAddress(value) : [];
  const [, name, inner] = PAIR.exec(value) ?? [];
  return name !== undefined && inner !== undefined ? secretValues([[name, inner]]) : [];
}

function secretValues(entries: Iterable<readonly [name: string, value: string]>): string[] {
  return [...entries].flatMap(([name, value]) => isSecretName(name) ? [value] : []);
}

function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** Windows takes the names of variables in any case. */
function valuesOf(own: Variables, name: string): string[] {
  return Object.entries(own).flatMap(([key, value]) =>
    key.toUpperCase() === name.toUpperCase() ? [value] : []
  );
}

/** Whether a name is that of the key's variable. */
export function isKeyVariable(name: string): boolean {
  return name.toUpperCase() === KEY_VARIABLE;
}

/** Where the key would reach an agent: each agent's name, and its fields at fault. */
export function leaksOf(
  agents: readonly AgentSetup[],
  secret: string,
  own: Variables,
): [name: string, fields: string[]][] {
  const isLong = secret.length >= KEY_CHARS;
  const forms = [secret, encodeURIComponent(secret)];
  const has = (texts: readonly string[]) =>
    texts.some((text) => isLong ? forms.some((form) => text.includes(form)) : text === secret);
  return agents.flatMap((agent) => {
    const inherits = agent.inheritEnv.some((name) => isKeyVariable(name) || has(valuesOf(own, name)));
    const fields = fieldsOf(agent).filter(({ texts, isWord }) => (isLong || !isWord) && has(texts));
    // A server that is called by the key is not to be named.
    const names = fields.map(({ field }) => isLong && field.includes(secret) ? "mcp_servers" : field);
    const leaks = [...new Set([...names, ...inherits ? ["inherit_env"] : []])];
    return leaks.length > 0 ? [[agent.name, leaks] as [string, string[]]] : [];
  });
}

/** Texts that reach an agent. */
interface Field {
  readonly field: string;
  readonly texts: readonly string[];
  /** They may be words, which a short key may be as well. */
  readonly isWord: boolean;
}

/** All texts that an agent is made of. */
function fieldsOf({ name: _name, env, mcpServers, workingDir, inheritEnv, ...others }: AgentSetup): Field[] {
  return [
    ...Object.entries(others).map(([field, value]) => word(field, textsIn(value))),
    word("working_dir", [workingDir]),
    word("env", Object.keys(env)),
    data("env", Object.values(env)),
    word("inherit_env", inheritEnv),
    ...mcpServers.flatMap(fieldsOfServer),
  ];
}

function fieldsOfServer(server: McpServer): Field[] {
  const path = `mcp_servers.${server.name}`;
  const name = word("mcp_servers", [server.name]);
  const named = (field: string, list: readonly NamedValue[]) => [
    word(`${path}.${field}`, list.map(({ name }) => name)),
    data(`${path}.${field}`, list.map(({ value }) => value)),
  ];
  return "command" in server
    ? [
      name,
      word(`${path}.command`, [server.command]),
      word(`${path}.args`, server.args),
      ...named("env", server.env),
    ]
    : [name, word(`${path}.url`, [server.url]), ...named("headers", server.headers)];
}

function word(field: string, texts: readonly string[]): Field {
  return { field, texts, isWord: true };
}

function data(field: string, texts: readonly string[]): Field {
  return { field, texts, isWord: false };
}

function textsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return Array.isArray(value) ? value.flatMap(textsIn) : [];
}
