/** API keys of tests. The text of a key is its name. @module */

import { type ApiKey, sha256 } from "../../../lib/http/access.ts";
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
): ApiKey {
  return { name, sha256: sha256(name), caller: { id: `keys.${name}`, scopes: new Set(scopes), ...fields } };
}

/** Sends a key with a request. */
export function withKey(key: string): { readonly headers: Record<string, string> } {
  return { headers: { authorization: `Bearer ${key}` } };
}
