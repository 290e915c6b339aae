import { assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Lists the variables declared with `using` that are read once: minifying inlines them, so that nothing disposes of them. */
function readOnce(source: string): string[] {
  // A name that begins with _ is never read.
  return [...source.matchAll(/\busing ([a-z]\w*) =/g)].flatMap(({ 1: name, index }) => {
    const uses = source.slice(index).match(new RegExp(`\\b${name}\\b`, "g")) ?? [];
    return uses.length === 2 ? [name!] : [];
  });
}

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sources(`${folder}/${name}`);
    else if (name.endsWith(".ts")) yield `${folder}/${name}`;
  }
}

Deno.test("using: the program reads no such variable exactly once", async () => {
  for await (const path of sources(`${ROOT}lib`)) {
    assertEquals(readOnce(await Deno.readTextFile(path)), [], path);
  }
  assertEquals(readOnce(await Deno.readTextFile(`${ROOT}main.ts`)), []);
});

Deno.test("using: the check finds a variable that is read once", () => {
  assertEquals(readOnce("using a = b();\nreturn a.c;"), ["a"]);
  assertEquals(readOnce("await using a = b();\na.c();\na.d();"), []);
  assertEquals(readOnce("using _a = b();"), []);
});
