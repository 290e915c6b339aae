/** Chooses what makes room where several owners share a limit. @module */

/** An entry that takes room. */
export interface OwnedEntry {
  readonly owner: string;
  readonly chars: number;
}

/**
 * Lists the entries to remove so that the others keep within the limits: each time the oldest one of the owner that
 * takes the most room. So no owner takes the room of another, however many entries it adds.
 *
 * @param entries Oldest first.
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { listExcess } from "./excess.ts";
 * const entry = (id: string, owner: string) => ({ id, owner, chars: 1 });
 * const entries = [entry("1", "a"), entry("2", "b"), entry("3", "b")];
 * assertEquals(listExcess(entries, 2, 100), [entry("2", "b")]);
 * ```
 */
export function listExcess<T extends OwnedEntry>(
  entries: Iterable<T>,
  maxEntries: number,
  maxChars: number,
): T[] {
  const all = [...entries];
  let count = all.length;
  let chars = charsOf(all);
  if (count <= maxEntries && chars <= maxChars) return [];
  const owners = Map.groupBy(all, ({ owner }) => owner).values()
    .map((left) => ({ left, chars: charsOf(left) })).toArray();
  const removed: T[] = [];
  while (count > maxEntries || chars > maxChars) {
    const room = (owner: typeof owners[number]) => count > maxEntries ? owner.left.length : owner.chars;
    const largest = owners.reduce((most, owner) => room(owner) > room(most) ? owner : most);
    const oldest = largest.left.shift();
    if (oldest === undefined) break;
    removed.push(oldest);
    largest.chars -= oldest.chars;
    chars -= oldest.chars;
    count--;
  }
  return removed;
}

function charsOf(entries: readonly OwnedEntry[]): number {
  return entries.reduce((sum, { chars }) => sum + chars, 0);
}
