import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { Command } from "../../scripts/build.ts";
import {
  compile,
  type Compiled,
  type CompileOptions,
  describe,
  parseMeasure,
} from "../../scripts/compile.ts";
import { BUNDLED_MODULES } from "../../lib/stage/page_files.ts";
import {
  archive,
  argument,
  fakeRunner,
  listNames,
  tempDirectory,
  UNREACHABLE,
} from "../support/harness/fake_compile.ts";

const LINUX = { os: "linux", arch: "x86_64" } as const;
const TOOLCHAIN = { deno: "/cache/deno", base: "/cache/denort" };

/** Fails native compilation as if its download were unreachable. */
function nativeFails({ program, args }: Command): string | undefined {
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
    ...fakeRunner(fail),
    ...others,
  };
}

Deno.test("compile: compiles natively without npm if it can", async () => {
  for (const [os, name] of [["linux", "oab-vtuber"], ["windows", "oab-vtuber.exe"]] as const) {
    await using directory = await tempDirectory();
    const fetchToolchain = () => Promise.reject(new Error("must not be fetched"));
    const setup = options(directory.path, () => undefined, { build: { os, arch: "x86_64" }, fetchToolchain });
    const compiled = await compile(setup);
    assertEquals(compiled.method, "native");
    assertEquals(compiled.denoVersion, Deno.version.deno);
    assertEquals(compiled.path, `${setup.dist}/${name}`);
    assertEquals(await listNames(setup.dist), [name]);
    const modules = Array.from(BUNDLED_MODULES, () => "bundle");
    assertEquals(setup.commands.map(({ args }) => args[0]), ["bundle", ...modules, "compile"]);
    assertEquals(argument(setup.commands.at(-1)!, "--include"), archive(setup.commands));
  }
});

Deno.test("compile: uses npm's toolchain if the native download is unreachable", async () => {
  await using directory = await tempDirectory();
  const setup = options(directory.path, nativeFails);
  const compiled = await compile(setup);
  assertEquals([compiled.method, compiled.denoVersion], ["npm", "2.7.11"]);
  assertEquals(await listNames(setup.dist), ["oab-vtuber"]);
  const last = setup.commands.at(-1)!;
  assertEquals(last.program, TOOLCHAIN.deno);
  assertEquals(argument(last, "--include"), archive(setup.commands));
  assertEquals(last.env?.DENORT_BIN, TOOLCHAIN.base);
  assertEquals(last.env?.DENO_TLS_CA_STORE, "system");
});

Deno.test("compile: measures against an empty program that is compiled the same way", async () => {
  for (const fail of [() => undefined, nativeFails]) {
    await using directory = await tempDirectory();
    const setup = options(directory.path, fail, { measure: true });
    const compiled = await compile(setup);
    const [whole, empty] = setup.commands.slice(-2);
    assertEquals(whole!.program, empty!.program);
    assertEquals(whole!.env, empty!.env);
    assertEquals(argument(empty!, "--include"), undefined);
    // A fake executable holds the path of its source.
    assertEquals(compiled.addedBytes, "main.js".length - "empty.js".length);
    assertEquals(await listNames(setup.dist), ["oab-vtuber"]);
  }
});

Deno.test("compile: leaves no file behind and says why it failed", async () => {
  const npmFails = () => Promise.reject(new Error("npm is unreachable"));
  const cases: [string, (command: Command) => string | undefined, Partial<CompileOptions>, string[]][] = [
    [
      "bundling a module of the page",
      ({ args }) => args.includes("browser") ? "error: npm is unreachable" : undefined,
      {},
      [
        "Cannot bundle characters/vrm/vrm.ts",
        "npm is unreachable",
      ],
    ],
    [
      "a failure that npm cannot help with",
      ({ args }) => args[0] === "compile" ? "error: disk full" : undefined,
      {
        fetchToolchain: () => Promise.reject(new Error("must not be fetched")),
      },
      ["Cannot compile: disk full"],
    ],
    ["both toolchains unreachable", nativeFails, { fetchToolchain: npmFails }, [
      "Natively: Writing",
      "Setting up base binary",
      "From npm: npm is unreachable",
    ]],
    ["measuring", ({ args }) => args.at(-1)?.endsWith("empty.js") ? "error: no" : undefined, {
      measure: true,
    }, [
      "Cannot compile an empty program: no",
    ]],
  ];
  for (const [name, fail, others, parts] of cases) {
    await using directory = await tempDirectory();
    const setup = options(directory.path, fail, others);
    const error = await assertRejects(() => compile(setup), Error, undefined, name);
    for (const part of parts) assertStringIncludes(error.message, part, name);
    assertEquals(await listNames(setup.dist), [], name);
  }
});

Deno.test("describe: names the method, the Deno version and the size", () => {
  const native: Compiled = { path: "dist/x", method: "native", denoVersion: "2.9.6", sizeBytes: 97_532_835 };
  assertEquals(
    describe(native),
    "dist/x: 97.53 MB (97532835 bytes)\nCompiled natively: Deno 2.9.6 inside",
  );
  assertEquals(
    describe({ ...native, method: "npm", denoVersion: "2.7.11", addedBytes: 455_310 }),
    "dist/x: 97.53 MB (97532835 bytes)\n" +
      "Compiled with the base executable from npm: Deno 2.7.11 inside, not for release\n" +
      "455310 bytes above an empty program compiled the same way",
  );
});

Deno.test("parseMeasure: knows one argument", () => {
  assertEquals(parseMeasure([]), false);
  assertEquals(parseMeasure(["--measure"]), true);
  assertThrows(() => parseMeasure(["--measure", "--fast"]), Error, "Unknown argument --fast");
});
