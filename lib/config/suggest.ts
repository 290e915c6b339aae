/** Describes names that are not settings: they were removed, or another name is meant. Pure. @module */

import { levenshteinDistance } from "@std/text/levenshtein-distance";

/** Settings and keys that no longer have an effect, with what to do instead. */
const REMOVED: ReadonlyMap<string, string> = new Map([
  ["VTUBER_REPLY_TAIL_IDLE_MS", "a turn ends when the agent ends it. Take it out"],
  ["processes", "one process now serves all sessions of an agent. Take it out"],
]);

/** Describes a name that is not among the names of settings. */
export function describeUnknown(name: string, names: readonly string[]): string {
  const removed = REMOVED.get(name);
  if (removed) return `has no effect: ${removed}.`;
  const suggestion = suggest(name, names);
  return `is not a setting of this version.${suggestion ? ` Did you mean ${suggestion}?` : ""}`;
}

/**
 * Finds the name that is probably meant: the same in another spelling, or with two letters that changed places, or with
 * one letter that is wrong, missing or too many.
 */
export function suggest(name: string, names: readonly string[]): string | undefined {
  const key = normalize(name);
  const sort = (text: string) => [...text].sort().join("");
  const distance = (other: string): number => levenshteinDistance(normalize(other), key);
  return names.find((other) => distance(other) === 0) ??
    names.find((other) => distance(other) === 2 && sort(normalize(other)) === sort(key)) ??
    names.find((other) => distance(other) === 1);
}

/** Removes the differences between spellings: `mcpServers` becomes the same as `mcp_servers`. */
function normalize(key: string): string {
  return key.replace(/[-_]/g, "").toLowerCase();
}
