/** What must not be seen, and what must not be handed on: pure. @module */

import type { McpServer, NamedValue } from "../acp/wire.ts";
import type { AgentConfig } from "../acp/create_agent.ts";
import { splitCommand } from "./parsers.ts";
import type { Config } from "./load.ts";

/** Characters of a text that is kept secret; shorter ones are words that stand everywhere. */
const SECRET_CHARS = 6;
/** Names of what is secret. Who an author is, is not. */
const SECRET_NAME = /key|token|secret|pass|auth(?!or(?!i))|credential|cookie|private/i;
/** Names of what only tells where a secret is, or of which kind: `--token-file`. */
const PLAIN_NAME = /[-_.](file|path|dir|type|env|name|mode|methods?)$/i;
/** A number behind another name is how many or how long: `--max-tokens`, `--auth-timeout`. */
const SECRET_NUMBER_NAME = /(key|token|secret|pass[a-z]*|auth[a-z]*|credentials?|cookie|private)$/i;
const NUMBER = /^[\d.]+$/;
/** Names of variables that are no word: each variable that is set has one. */
const CAPITALS = /^[A-Z][A-Z\d_]*$/;
/** Characters of a key that is looked for inside of other texts; a shorter one may be a word of them. */
const KEY_CHARS = 8;
/** Pairs in one another that are looked into: `--env=URL=x:y` are three. */
const NESTED_PAIRS = 3;
const KEY_VARIABLE = "VTUBER_AUTH_KEY";

/** Variables by name. */
type Variables = Readonly<Record<string, string>>;
/** A name and its value. */
type Named = readonly [name: string, value: string];

/**
 * What must not be printed or logged: the key, and of what agents and MCP servers are given the headers, the variables
 * and arguments whose names say that they are secret, and addresses with a password or a query. Names of agents and of
 * variables stay readable, wherever they stand.
 */
export function collectSecrets(
  { authKey, agents, fileVariables }: Pick<Config, "authKey" | "agents" | "fileVariables">,
  own: Variables,
): string[] {
  const variables = [...fileVariables, ...agents.flatMap(({ inheritEnv }) => inheritEnv)];
  const names = [
    ...agents.map(({ name }) => name),
    ...Object.keys(own).filter((name) => CAPITALS.test(name)),
  ];
  const readable = new Set([...variables, ...names]);
  const given = variables.flatMap((name) => valuesOf(own, name).map((value): Named => [name, value]));
  const found = [
    ...secretsOfVariables(given),
    ...agents.flatMap(({ args, env, mcpServers }) => [
      ...secretsOfArgs(args),
      ...secretsOfVariables(Object.entries(env)),
      ...mcpServers.flatMap(secretsOfServer),
    ]),
  ];
  const secrets = found.filter((text) => text.length >= SECRET_CHARS && !readable.has(text));
  return [...new Set([...authKey ? [authKey] : [], ...secrets])];
}

function secretsOfServer(server: McpServer): string[] {
  if ("command" in server) {
    return [
      ...secretsOfArgs(server.args),
      ...secretsOfVariables(server.env.map(({ name, value }) => [name, value])),
    ];
  }
  return [...secretsOfAddress(server.url), ...server.headers.map(({ value }) => value)];
}

function secretsOfVariables(variables: readonly Named[]): string[] {
  return variables.flatMap(([name, value]) => [
    ...secretValues([[name, value]]),
    ...(ADDRESS.test(value) ? secretsOfAddress(value) : []),
  ]);
}

/** Secrets in an address, that of a database too. */
function secretsOfAddress(address: string): string[] {
  const { username, password, search, searchParams } = URL.parse(address) ?? looseParts(address);
  const hasSecret = username !== "" || password !== "" || search !== "";
  return hasSecret ? [address, password, decoded(password), ...secretValues(searchParams)] : [];
}

/** The parts of what is nearly an address: that of several servers, or with a password that should be escaped. */
function looseParts(address: string): Pick<URL, "username" | "password" | "search" | "searchParams"> {
  const [, username = "", password = "", search = ""] =
    /:\/\/(?:([^:@]*)(?::(.*))?@)?[^?]*(\?.*)?$/s.exec(address) ?? [];
  return { username, password, search, searchParams: new URLSearchParams(search) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A name and its value in one word: `--token=x`, `TOKEN=x`, or a header's `X-Token: x`. */
const PAIR = /^([^\s=:]+)[=:]\s*(.+)$/s;
/** The same inside of JSON, TOML or a program: `{"token":"x"}`, `{ token = "x" }`. */
const INNER_PAIR =
  /(?<![\w.-])([\w.-]+)["']?\s*[=:]\s*(?:\[\s*)?("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"',;&{}[\]()]+)/gs;
const ADDRESS = /^[a-z][a-z\d+.-]*:\/\//i;

/** Secrets among the words of a command line, and among those inside of a word, such as a shell's command. */
function secretsOfArgs(args: readonly string[]): string[] {
  const inner = args.filter((arg) => /\s/.test(arg)).flatMap((arg) =>
    secretsOfWords(splitCommand(arg) ?? [])
  );
  return [...secretsOfWords(args), ...inner].map(bare);
}

function secretsOfWords(words: readonly string[]): string[] {
  return words.flatMap((word, place) => [
    ...secretsOfWord(word, words[place + 1]),
    ...(/["'{]/.test(word) ? innerPairs(word).flatMap((pair) => secretsOfPair(pair)) : []),
  ]);
}

function secretsOfWord(word: string, next: string | undefined): string[] {
  const isPair = PAIR.test(word) || /^[{[]/.test(word);
  if (isPair) return secretsOfValue(word);
  // Behind an option that needs no value comes another option.
  const isOption = /^--?[^\s=-]/.test(word) && next !== undefined && !next.startsWith("--");
  return isOption ? secretValues([[word, next]]) : [];
}

/** Secrets in an address, or in a pair, whose value may be another, as in `--env=TOKEN=x`. */
function secretsOfValue(value: string, depth = 0): string[] {
  if (ADDRESS.test(value)) return secretsOfAddress(value);
  // The pairs inside are looked for by themselves.
  if (/^[{[]/.test(value) || depth === NESTED_PAIRS) return [];
  const [, name, inner] = PAIR.exec(value) ?? [];
  return name === undefined || inner === undefined ? [] : secretsOfPair([name, inner], depth + 1);
}

function secretsOfPair([name, value]: Named, depth = 0): string[] {
  return [...secretValues([[name, value]]), ...secretsOfValue(value, depth)];
}

function innerPairs(text: string): Named[] {
  return [...text.matchAll(INNER_PAIR)].map(([, name = "", value = ""]) => [name, unquoted(value)]);
}

function unquoted(text: string): string {
  try {
    return text.startsWith('"') ? String(JSON.parse(text)) : bare(text);
  } catch {
    return bare(text);
  }
}

/** A value without the quotes or brackets that it stands in. */
function bare(value: string): string {
  return /^["'`([{]/.test(value) ? value.replace(/^["'`([{]+|["'`)\]},;]+$/g, "") : value;
}

function secretValues(entries: Iterable<Named>): string[] {
  return [...entries].flatMap(([name, value]) => isSecret(name, value) ? [value] : []);
}

function isSecret(name: string, value: string): boolean {
  const inWords = name.replace(/(?<=[a-z])(?=[A-Z])/g, "-");
  if (!SECRET_NAME.test(name) || PLAIN_NAME.test(inWords)) return false;
  return !NUMBER.test(value) || SECRET_NUMBER_NAME.test(name);
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
export function findKeyLeaks(
  agents: readonly AgentConfig[],
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
function fieldsOf({ name: _name, env, mcpServers, workingDir, inheritEnv, ...others }: AgentConfig): Field[] {
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
