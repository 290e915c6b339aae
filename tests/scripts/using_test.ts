import { assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The variables declared with `using` that are read once: minifying puts what they are in that place, and nobody ends it. */
function readOnce(source: string): string[] {
  // What begins with _ is never read.
  return [...source.matchAll(/\busing ([a-z]\w*) =/g)].flatMap(({ 1: name, index }) => {
    const after = source.slice(index).match(new RegExp(`\\b${name}\\b`, "g")) ?? [];
    return after.length === 2 ? [name!] : [];
  });
}

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sources(`${folder}/${name}`);
    else if (name.endsWith(".ts")) yield `${folder}/${name}`;
  }
}

Deno.test("what the executable is to dispose of is read twice, or not at all", async () => {
  for await (const path of sources(`${ROOT}lib`)) {
    assertEquals(readOnce(await Deno.readTextFile(path)), [], path);
  }
  assertEquals(readOnce(await Deno.readTextFile(`${ROOT}main.ts`)), []);
});

Deno.test("a variable that is read once is found", () => {
  assertEquals(readOnce("using a = b();\nreturn a.c;"), ["a"]);
  assertEquals(readOnce("await using a = b();\na.c();\na.d();"), []);
  assertEquals(readOnce("using _a = b();"), []);
});
