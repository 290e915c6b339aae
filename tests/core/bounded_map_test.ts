import { assertEquals } from "@std/assert";
import { BoundedMap } from "../../lib/core/bounded_map.ts";

Deno.test("BoundedMap: removes the oldest entry beyond its limit", () => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1).set("b", 2).set("c", 3);
  assertEquals([...map], [["b", 2], ["c", 3]]);
});

Deno.test("BoundedMap: a key that is set again is the newest", () => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1).set("b", 2).set("a", 3).set("c", 4);
  assertEquals([...map], [["a", 3], ["c", 4]]);
});
