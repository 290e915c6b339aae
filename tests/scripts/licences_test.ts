import { assertEquals, assertStringIncludes } from "@std/assert";
import project from "../../deno.json" with { type: "json" };
import { runProgram } from "../support/harness/server_process.ts";

/** Packages that only tests and types use: they are not in the executable. */
const NOT_IN_PROGRAM = ["@types/three", "parse-prometheus-text-format", "playwright-core"];

Deno.test("--licenses: prints the licence of every package in the program", async () => {
  const { code, out } = await runProgram(["--licenses"]);
  assertEquals(code, 0);
  const headings = [...out.matchAll(/^={80}\n([^\s,]+).*\n={80}$/gm)].map(([, name]) => name!);
  const packages = Object.values(project.imports)
    .map((specifier) => /^npm:\/?(@?[^@]+)/.exec(specifier)![1]!)
    .filter((name) => !NOT_IN_PROGRAM.includes(name));
  assertEquals(headings.toSorted(), [...new Set(packages)].toSorted());
  assertStringIncludes(out, "CARNEGIE MELLON UNIVERSITY AND THE CONTRIBUTORS TO THIS WORK");
});
