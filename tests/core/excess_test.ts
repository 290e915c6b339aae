import { assertEquals } from "@std/assert";
import { listExcess } from "../../lib/core/excess.ts";

/** Reads entries such as `a1 b20`: an owner, and the characters. */
function entriesOf(text: string) {
  return text.split(" ").filter(Boolean).map((entry) => ({
    owner: entry[0]!,
    chars: Number(entry.slice(1)),
  }));
}

const ROWS: readonly [entries: string, maxEntries: number, maxChars: number, removed: string][] = [
  ["", 2, 10, ""],
  ["a1 b2", 2, 10, ""],
  ["a1 a2 a3", 2, 10, "a1"],
  ["a1 b2 b3 b4", 3, 10, "b2"],
  ["a1 b2 b3 b4", 2, 10, "b2 b3"],
  ["a1 a2 b3 b4", 3, 100, "a1"],
  ["a9 b1 b1 b1", 9, 11, "a9"],
  ["a3 b9 b1", 9, 5, "b9"],
  ["a3 b9 b1", 9, 0, "b9 a3 b1"],
  ["a1 b1 c1", 0, 10, "a1 b1 c1"],
];
for (const [entries, maxEntries, maxChars, removed] of ROWS) {
  Deno.test(`listExcess: of "${entries}" with ${maxEntries} and ${maxChars}: "${removed}"`, () => {
    assertEquals(listExcess(entriesOf(entries), maxEntries, maxChars), entriesOf(removed));
  });
}
