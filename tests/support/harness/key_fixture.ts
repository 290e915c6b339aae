/** API keys of tests. The text of a key is its name. @module */

import type { KeyConfig } from "../../../lib/config/keys.ts";
import { sha256 } from "../../../lib/http/access.ts";
import { type Caller, type Scope, SCOPES } from "../../../lib/turn/caller.ts";

/** Makes a caller with these scopes. */
export function callerWith(...scopes: Scope[]): Caller {
  return { id: scopes.join(" "), scopes: new Set(scopes) };
}

/** Makes a key with these scopes, and other fields of its caller. */
export function apiKey(
  name: string,
  scopes: readonly Scope[] = SCOPES,
  fields: Partial<Caller> = {},
): KeyConfig {
  const label = `keys.${name}`;
  const caller = { id: label, scopes: new Set(scopes), ...fields };
  return { label, sha256: sha256(name), caller, plain: name, variables: [] };
}

/** Sends a key with a request. */
export function withKey(key: string): { readonly headers: Record<string, string> } {
  return { headers: { authorization: `Bearer ${key}` } };
}
