import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { Command } from "../../scripts/build.ts";
import {
  compile,
  type Compiled,
  type CompileOptions,
  describe,
  parseMeasure,
} from "../../scripts/compile.ts";
import { argument, list, pretend, temporary, UNREACHABLE } from "../support/harness/fake_compile.ts";

const LINUX = { os: "linux", arch: "x86_64" } as const;
const TOOLCHAIN = { deno: "/cache/deno", base: "/cache/denort" };

/** Fails as natively compiling does where the download is away, and lets the rest succeed. */
function nativeAway({ program, args }: Command): string | undefined {
  return program === Deno.execPath() && args[0] === "compile" ? UNREACHABLE : undefined;
}

function options(
  directory: string,
  fail: (command: Command) => string | undefined,
  others: Partial<CompileOptions> = {},
): CompileOptions & { commands: Command[] } {
  return {
    root: directory,
    entry: `${directory}/main.ts`,
    dist: `${directory}/dist`,
    measure: false,
    build: LINUX,
    log: () => {},
    fetchToolchain: () => Promise.resolve(TOOLCHAIN),
    ...pretend(fail),
    ...others,
  };
}

Deno.test("compile() natively where it can, and asks npm for nothing", async () => {
  for (const [os, name] of [["linux", "oab-vtuber"], ["windows", "oab-vtuber.exe"]] as const) {
    await using directory = await temporary();
    const fetchToolchain = () => Promise.reject(new Error("not asked for"));
    const given = options(directory.path, () => undefined, { build: { os, arch: "x86_64" }, fetchToolchain });
    const compiled = await compile(given);
    assertEquals(compiled.way, "native");
    assertEquals(compiled.denoVersion, Deno.version.deno);
    assertEquals(compiled.path, `${given.dist}/${name}`);
    assertEquals(await list(given.dist), [name]);
    assertEquals(given.commands.map(({ args }) => args[0]), ["bundle", "bundle", "compile"]);
    assertEquals(argument(given.commands[2]!, "--include"), `${argument(given.commands[1]!, "--output")}.gz`);
  }
});

Deno.test("compile() with what npm has where the native download is away", async () => {
  await using directory = await temporary();
  const given = options(directory.path, nativeAway);
  const compiled = await compile(given);
  assertEquals([compiled.way, compiled.denoVersion], ["npm", "2.7.11"]);
  assertEquals(await list(given.dist), ["oab-vtuber"]);
  const last = given.commands.at(-1)!;
  assertEquals(last.program, TOOLCHAIN.deno);
  assertEquals(argument(last, "--include"), `${argument(given.commands[1]!, "--output")}.gz`);
  assertEquals(last.env?.DENORT_BIN, TOOLCHAIN.base);
  assertEquals(last.env?.DENO_TLS_CA_STORE, "system");
});

Deno.test("compile() measures against an empty program made the same way", async () => {
  for (const fail of [() => undefined, nativeAway]) {
    await using directory = await temporary();
    const given = options(directory.path, fail, { measure: true });
    const compiled = await compile(given);
    const [whole, empty] = given.commands.slice(-2);
    assertEquals(whole!.program, empty!.program);
    assertEquals(whole!.env, empty!.env);
    assertEquals(argument(empty!, "--include"), undefined);
    // The pretended executable holds the path of its source.
    assertEquals(compiled.addedBytes, "main.js".length - "empty.js".length);
    assertEquals(await list(given.dist), ["oab-vtuber"]);
  }
});

Deno.test("compile() leaves nothing behind and says why, whatever fails", async () => {
  const npmAway = () => Promise.reject(new Error("npm is away"));
  const cases: [string, (command: Command) => string | undefined, Partial<CompileOptions>, string[]][] = [
    [
      "bundling the page's module",
      ({ args }) => args.includes("browser") ? "error: npm is away" : undefined,
      {},
      [
        "Cannot bundle the module",
        "npm is away",
      ],
    ],
    ["bundling", ({ args }) => args[0] === "bundle" ? "error: no such file" : undefined, {}, [
      "Cannot bundle",
      "no such file",
    ]],
    [
      "another failure is not npm's business",
      ({ args }) => args[0] === "compile" ? "error: disk full" : undefined,
      {
        fetchToolchain: () => Promise.reject(new Error("must not be asked")),
      },
      ["Cannot compile: disk full"],
    ],
    ["both ways away", nativeAway, { fetchToolchain: npmAway }, [
      "Natively: Writing",
      "Setting up base binary",
      "From npm: npm is away",
    ]],
    ["nothing on npm for macOS", nativeAway, { build: { os: "darwin", arch: "aarch64" } }, [
      "Natively: Writing",
      "From npm: there is nothing for darwin aarch64",
    ]],
    [
      "the other Deno",
      (command) => command.program === TOOLCHAIN.deno ? "error: no" : nativeAway(command),
      {},
      [
        "Natively: Writing",
        "From npm: Deno 2.7.11 failed: no",
      ],
    ],
    ["measuring", ({ args }) => args.at(-1)?.endsWith("empty.js") ? "error: no" : undefined, {
      measure: true,
    }, [
      "Cannot compile an empty program: no",
    ]],
  ];
  for (const [name, fail, others, parts] of cases) {
    await using directory = await temporary();
    const given = options(directory.path, fail, others);
    const error = await assertRejects(() => compile(given), Error, undefined, name);
    for (const part of parts) assertStringIncludes(error.message, part, name);
    assertEquals(await list(given.dist), [], name);
  }
});

Deno.test("describe() says the way, the Deno inside and the size", () => {
  const native: Compiled = { path: "dist/x", way: "native", denoVersion: "2.9.6", sizeBytes: 97_532_835 };
  assertEquals(
    describe(native),
    "dist/x: 97.53 MB (97532835 bytes)\nCompiled natively: Deno 2.9.6 inside",
  );
  assertEquals(
    describe({ ...native, way: "npm", denoVersion: "2.7.11", addedBytes: 455_310 }),
    "dist/x: 97.53 MB (97532835 bytes)\n" +
      "Compiled with the base executable from npm: Deno 2.7.11 inside, not for release\n" +
      "455310 bytes above an empty program compiled the same way",
  );
});

Deno.test("parseMeasure() knows one argument", () => {
  assertEquals(parseMeasure([]), false);
  assertEquals(parseMeasure(["--measure"]), true);
  assertThrows(() => parseMeasure(["--measure", "--fast"]), Error, "Unknown argument --fast");
});
