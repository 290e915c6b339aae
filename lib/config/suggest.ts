/** Names that may be meant by those that are not known. Pure. @module */

/** A key however it is written: `mcpServers` is `mcp_servers`. */
export function plain(key: string): string {
  return key.replace(/[-_]/g, "").toLowerCase();
}

/** The name that may be meant by a key: the same however it is written, or one slip away. */
export function suggest(key: string, names: readonly string[]): string | undefined {
  return names.find((name) => plain(name) === plain(key)) ??
    names.find((name) => isOneSlip(plain(name), plain(key)));
}

/** Whether two words differ in one letter, or in two that changed places. */
function isOneSlip(one: string, other: string): boolean {
  let start = 0;
  while (start < one.length && one[start] === other[start]) start++;
  let end = 0;
  const rest = Math.min(one.length, other.length) - start;
  while (end < rest && one.at(-1 - end) === other.at(-1 - end)) end++;
  const [a, b] = [one.slice(start, one.length - end), other.slice(start, other.length - end)];
  return a.length <= 1 && b.length <= 1 || a.length === 2 && a === [...b].reverse().join("");
}
