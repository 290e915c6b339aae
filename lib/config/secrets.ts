/** Finds values that must not be printed, and places where a key of the server would reach an agent. Pure. @module */

import type { AgentConfig } from "../acp/create_agent.ts";
import type { McpServer, NamedValue } from "../acp/wire.ts";
import { MIN_SECRET_CHARS, urlSecrets } from "../core/redact.ts";
import { sha256 } from "../http/access.ts";
import { type UpstreamConfig, upstreamSecrets } from "../core/upstream.ts";
import type { EmbeddingsConfig } from "../openai/embeddings.ts";
import type { SpeechConfig, TranscriptionConfig } from "../speech/config.ts";
import { type KeyConfig, type ServerKey, serverKeys } from "./keys.ts";

/** Names of variables whose values are secret. `AUTHOR` does not count, `AUTHORIZATION` does. */
const SECRET_NAME = /key|token|secret|pass|auth(?!or(?!i))|credential|cookie|private/i;
/** Characters of the shortest key that is looked for in an agent's table; a shorter one may be an ordinary word. */
const MIN_KEY_CHARS = 8;

type Variables = Readonly<Record<string, string>>;

/** Turns variables or headers into the list that ACP wants. */
export function namedValues(values: Variables): NamedValue[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

/** The parts of a configuration that can hold secrets. */
interface SecretSources {
  readonly authKey: string | undefined;
  readonly keys: readonly KeyConfig[];
  readonly agents: readonly AgentConfig[];
  readonly embeddings?: EmbeddingsConfig | undefined;
  readonly speech?: SpeechConfig | undefined;
  readonly transcription?: TranscriptionConfig | undefined;
}

/**
 * Collects the values that must not be printed or logged: the server's keys, the values of variables whose names say
 * that they are secret, or that hold a key, the headers and addresses' secrets of MCP servers, and the secrets of
 * upstreams. Arguments of commands are never printed.
 */
export function collectSecrets(
  { authKey, keys, agents, embeddings, speech, transcription }: SecretSources,
  own: Variables,
): string[] {
  const audio = [speech, transcription].filter((config) => config?.provider === "upstream");
  const upstreams: UpstreamConfig[] = [...embeddings ? [embeddings] : [], ...audio];
  const owned = serverKeys({ authKey, keys });
  const values = [
    ...owned.flatMap(({ variables }) => variables.map((name) => own[name] ?? "")),
    ...secretValues(namedValues(own)),
    ...agents.flatMap(({ env, mcpServers }) => [
      ...secretValues(namedValues(env)),
      ...mcpServers.flatMap(serverSecrets),
    ]),
    ...upstreams.flatMap(upstreamSecrets),
  ].filter((value) => value.length >= MIN_SECRET_CHARS);
  return [...new Set([...owned.flatMap(({ plain }) => plain ?? []), ...values])];
}

function serverSecrets(server: McpServer): string[] {
  if ("command" in server) return secretValues(server.env);
  return [...server.headers.map(({ value }) => value), ...urlSecrets(server.url)];
}

function secretValues(variables: readonly NamedValue[]): string[] {
  return variables.filter(({ name }) => SECRET_NAME.test(name)).map(({ value }) => value);
}

/** Finds the variables of a name; Windows accepts names of variables in any case. */
function variablesOf(own: Variables, name: string): NamedValue[] {
  return namedValues(own).filter((variable) => variable.name.toUpperCase() === name.toUpperCase());
}

/** A key of the server that an agent would get, and the fields of the agent's table that hold it. */
interface KeyLeak {
  readonly label: string;
  readonly fields: readonly string[];
}

/** Finds the fields of an agent's table that hold a key of the server. */
export function findKeyLeaks(agent: AgentConfig, keys: readonly ServerKey[], own: Variables): KeyLeak[] {
  const { command, args, workingDir, mode, model, env, inheritEnv, mcpServers } = agent;
  const inherited = inheritEnv.flatMap((name) => variablesOf(own, name));
  const fields = Object.entries({
    ...{ command, args, working_dir: workingDir, mode, model, env },
    inherit_env: [inheritEnv, inherited],
    mcp_servers: mcpServers,
  }).map(([field, value]) => ({ field, ...searchable(value) }));
  const names = new Set(inheritEnv.map((name) => name.toUpperCase()));
  return keys.flatMap(({ label, sha256, plain = "", variables }) => {
    const forms = plain.length < MIN_KEY_CHARS ? [] : [plain, encodeURIComponent(plain)];
    const quoted = forms.map((form) => JSON.stringify(form).slice(1, -1));
    const isInherited = variables.some((name) => names.has(name.toUpperCase()));
    const found = fields.filter(({ field, json, hashes }) =>
      hashes.has(sha256) || quoted.some((form) => json.includes(form)) ||
      field === "inherit_env" && isInherited
    );
    return found.length === 0 ? [] : [{ label, fields: found.map(({ field }) => field) }];
  });
}

/** Returns a value as JSON, and the hashes of its texts and of their words: a key may be known by its hash only. */
function searchable(value: unknown): { json: string; hashes: ReadonlySet<string> } {
  const texts: string[] = [];
  const json = JSON.stringify(value, (key, item) => {
    texts.push(key);
    if (typeof item === "string") texts.push(item);
    return item;
  }) ?? "";
  const words = texts.flatMap((text) => [text, ...text.match(/[\w-]+/g) ?? []]);
  return { json, hashes: new Set(words.filter((word) => word.length >= MIN_KEY_CHARS).map(sha256)) };
}
