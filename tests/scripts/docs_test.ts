import { assertEquals, assertThrows } from "@std/assert";
import { markdownTable, replacePart } from "../../scripts/docs.ts";

Deno.test("markdownTable: columns are as wide as their widest cell, and bars are escaped", () => {
  assertEquals(
    markdownTable(["name", "a"], [["`x|y`", "1"], ["z", ""]]),
    "| name   | a   |\n| ------ | --- |\n| `x\\|y` | 1   |\n| z      |     |",
  );
});

Deno.test("replacePart: replaces the text between the markers only", () => {
  const page = "before <!-- x -->old<!-- /x --> after";
  assertEquals(replacePart(page, "x", "new"), "before <!-- x -->\n\nnew\n\n<!-- /x --> after");
});

for (
  const page of ["", "<!-- x -->", "<!-- /x --><!-- x -->", "<!-- x --><!-- /x --><!-- x --><!-- /x -->"]
) {
  Deno.test(`replacePart: refuses a page without one pair of markers: "${page}"`, () => {
    assertThrows(() => replacePart(page, "x", "new"), Error, "<!-- x -->");
  });
}
