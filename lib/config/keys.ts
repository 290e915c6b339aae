/** The keys of the configuration file: `[keys.NAME]`. Pure. @module */

import { z } from "zod";
import type { AgentConfig } from "../acp/create_agent.ts";
import { type ApiKey, sha256 } from "../http/access.ts";
import { MAX_REQUESTS_PER_MINUTE } from "../http/rate_limit.ts";
import { SCOPES } from "../turn/caller.ts";
import { DEFAULT_AGENT, isSameName } from "../turn/model_router.ts";
import { PERMISSION_POLICIES, type PermissionPolicy } from "../turn/permission.ts";
import { isTable, type TableReader, text, variablesIn } from "./config_file.ts";
import { suggest } from "./suggest.ts";

/** Characters of a key that is too long to be guessed. */
export const SAFE_KEY_CHARS = 16;
/** Limit of keys in `[keys]`. */
const MAX_KEYS = 1_000;
/** Largest values of the other limits of a key. */
const MAX_TURNS_PER_DAY = 1_000_000;
const MAX_CONCURRENT_TURNS = 10_000;
/** The variable with the key of the owner. */
const OWNER_VARIABLE = "VTUBER_AUTH_KEY";

/** A limit of a key. */
const limit = (max: number) => {
  const message = `must be a whole number from 1 to ${max}, without quotes`;
  return z.number(message).int(message).min(1, message).max(max, message).optional();
};
const SCOPE_LIST = `The scopes are ${SCOPES.join(", ")}`;
const scope = z.enum(SCOPES, { error: ({ input }) => scopeFault(input) });
const scopes = z.array(scope, {
  error: ({ input }) =>
    input === undefined
      ? `is required: what the key allows, such as ["chat"]. ${SCOPE_LIST}`
      : 'must be a list of scopes, such as ["chat"]',
}).min(1, `cannot be empty. ${SCOPE_LIST}`);

const keyTable = z.object({
  key: text.trim().min(1, "cannot be empty").optional(),
  key_sha256: text.trim().toLowerCase()
    .regex(/^[0-9a-f]{64}$/, "must have 64 hexadecimal digits, as `oab-vtuber key new NAME` prints them")
    .optional(),
  scopes,
  requests_per_minute: limit(MAX_REQUESTS_PER_MINUTE),
  turns_per_day: limit(MAX_TURNS_PER_DAY),
  concurrent_turns: limit(MAX_CONCURRENT_TURNS),
  permissions: z.enum(PERMISSION_POLICIES, `must be one of ${PERMISSION_POLICIES.join(", ")}`).optional(),
  agent: text.trim().min(1, "cannot be empty: leave it out, or name an agent").optional(),
}, "must be the table of a key, such as [keys.overlay]");

/** Says why a value is not a scope, and which scope is probably meant. */
export function scopeFault(value: unknown): string {
  const meant = typeof value === "string" ? suggest(value, SCOPES) : undefined;
  return `is not a scope. ${meant ? `Did you mean ${meant}? ` : ""}${SCOPE_LIST}`;
}

/** The names of the keys of a table `[keys.NAME]`. */
export const KEY_SETTINGS: readonly string[] = Object.keys(keyTable.shape);

/** A key of the configuration. */
export interface KeyConfig extends ApiKey {
  /** The place in the configuration: `keys.NAME`. */
  readonly label: string;
  /** The key itself; `undefined` if only its hash is configured. */
  readonly plain: string | undefined;
  /** The variables that hold the key, or a part of it. */
  readonly variables: readonly string[];
}

/** The table of a key. */
export interface KeyTable extends Readonly<z.output<typeof keyTable>> {
  readonly name: string;
  readonly variables: readonly string[];
}

/** Reads the keys of a file. A key with a mistake is left out. */
export function readKeyTables(reader: TableReader): KeyTable[] {
  return reader.named("key", MAX_KEYS, "overlay").flatMap(([name, raw]) => {
    const path = `keys.${name}`;
    if (isTable(raw) && "key" in raw === "key_sha256" in raw) {
      reader.reject(
        path,
        "key" in raw
          ? "has both key and key_sha256: take one of them out"
          : "needs key_sha256, or key: `oab-vtuber key new NAME` prints one",
      );
    }
    // A limit with a typing error would not hold.
    const table = reader.read(keyTable, reader.expand(raw, path), path, true);
    const variables = isTable(raw) && typeof raw.key === "string" ? variablesIn(raw.key) : [];
    return table ? [{ ...table, name, variables }] : [];
  });
}

/** The parts of the configuration that keys depend on. */
interface KeySurroundings {
  readonly authKey: string | undefined;
  readonly agents: readonly AgentConfig[];
  readonly dataDir: string | undefined;
}

/** Makes the keys of their tables, and rejects tables that do not fit each other or the rest of the configuration. */
export function resolveKeys(
  tables: readonly KeyTable[],
  { authKey, agents, dataDir }: KeySurroundings,
  reader: TableReader,
): KeyConfig[] {
  const labels = new Map<string, string>();
  if (authKey !== undefined) labels.set(sha256(authKey), OWNER_VARIABLE);
  return tables.map((table) => {
    const { name, key: plain, variables } = table;
    const id = `keys.${name}`;
    // A table has a key or its hash.
    const hash = plain === undefined ? table.key_sha256! : sha256(plain);
    const other = labels.get(hash);
    if (other !== undefined) {
      const path = `${id}.${plain === undefined ? "key_sha256" : "key"}`;
      reader.reject(path, `is the same key as ${other}: \`oab-vtuber key new NAME\` makes another one`);
    }
    labels.set(hash, id);
    if (table.turns_per_day !== undefined && dataDir === undefined) {
      reader.reject(
        `${id}.turns_per_day`,
        "needs a folder for data, because the count must survive a restart: set VTUBER_DATA_DIR to a folder",
      );
    }
    const caller = {
      id,
      scopes: new Set(table.scopes),
      requestsPerMinute: table.requests_per_minute,
      turnsPerDay: table.turns_per_day,
      concurrentTurns: table.concurrent_turns,
      permissions: table.permissions,
      agent: table.agent === undefined ? undefined : findAgent(table.agent, agents),
    };
    if (table.agent !== undefined && caller.agent === undefined) {
      const names = agents.map(({ name }) => name);
      const meant = suggest(table.agent, names);
      const hint = meant ? `Did you mean ${meant}? ` : "";
      reader.reject(`${id}.agent`, `there is no such agent. ${hint}There is ${names.join(", ")}`);
    }
    return { label: id, sha256: hash, caller, plain, variables };
  });
}

/** Finds the name of the agent that a request means by a name. */
function findAgent(name: string, agents: readonly AgentConfig[]): string | undefined {
  if (isSameName(name, DEFAULT_AGENT)) return agents[0]?.name;
  return agents.find((agent) => isSameName(agent.name, name))?.name;
}

/** Lists the permission policies of the keys that an agent answers. */
export function keyPermissionsOf(
  agent: AgentConfig,
  keys: readonly KeyConfig[],
): readonly PermissionPolicy[] {
  return keys.flatMap(({ caller }) =>
    caller.agent === undefined || caller.agent === agent.name ? caller.permissions ?? [] : []
  );
}

/** A key of `[keys.NAME]`, or the key of the owner, whose label is `VTUBER_AUTH_KEY`. */
export type ServerKey = Omit<KeyConfig, "caller">;

/** Whether a key could be guessed; a key that is known by its hash counts as long. */
export function isShort({ plain }: ServerKey): boolean {
  return plain !== undefined && plain.length < SAFE_KEY_CHARS;
}

/** Lists every key of the server. */
export function serverKeys(
  { authKey, keys }: { readonly authKey: string | undefined; readonly keys: readonly KeyConfig[] },
): ServerKey[] {
  const owner = authKey === undefined ? [] : [{
    label: OWNER_VARIABLE,
    sha256: sha256(authKey),
    plain: authKey,
    variables: [OWNER_VARIABLE],
  }];
  return [...owner, ...keys];
}

/** Maps the names of variables that hold keys, in capital letters, to the labels of these keys. */
export function keyVariables(tables: readonly KeyTable[]): Map<string, string> {
  const named = tables.flatMap(({ name, variables }) =>
    variables.map((variable): [string, string] => [variable.toUpperCase(), `keys.${name}`])
  );
  return new Map([...named, [OWNER_VARIABLE, OWNER_VARIABLE]]);
}
