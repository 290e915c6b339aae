/** A map that keeps a limited number of entries. @module */

/**
 * A map in the order of use: setting a key makes it the newest, and the oldest entry beyond the limit is removed.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { BoundedMap } from "./bounded_map.ts";
 * const map = new BoundedMap<string, number>(2);
 * map.set("a", 1).set("b", 2).set("a", 3).set("c", 4);
 * assertEquals([...map.keys()], ["a", "c"]);
 * ```
 */
export class BoundedMap<K, V> extends Map<K, V> {
  readonly limit: number;

  /** @param limit Largest number of entries, at least 1. */
  constructor(limit: number) {
    super();
    this.limit = limit;
  }

  override set(key: K, value: V): this {
    this.delete(key);
    super.set(key, value);
    if (this.size > this.limit) {
      const { value: oldest } = this.keys().next();
      this.delete(oldest!);
    }
    return this;
  }
}
