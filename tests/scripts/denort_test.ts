import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { type Command, type Run, sha256 } from "../../scripts/build.ts";
import { cacheDirectory, cutBase, npmToolchain, type Pins } from "../../scripts/denort.ts";
import { listNames, tempDirectory } from "../support/harness/fake_compile.ts";

const BASE = new TextEncoder().encode("the base executable");
const DENO = new TextEncoder().encode("deno itself");

/** Makes a program like `deno compile`: the base, appended bytes, and their number. */
function program(
  base: Uint8Array,
  appendedBytes: number,
  trailer = BigInt(appendedBytes),
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(base.length + appendedBytes);
  bytes.set(base);
  new DataView(bytes.buffer).setBigUint64(bytes.length - 8, trailer, true);
  return bytes;
}

Deno.test("cutBase: removes the appended bytes", () => {
  for (const appendedBytes of [8, 9, 300, 70_000]) {
    assertEquals(cutBase(program(BASE, appendedBytes)), BASE, `${appendedBytes} bytes`);
  }
});

Deno.test("cutBase: refuses bytes that are no such program", () => {
  const cases: [string, Uint8Array<ArrayBuffer>, string][] = [
    ["empty", new Uint8Array(0), "0 bytes are too few"],
    ["a length without its own bytes", program(BASE, 20, 7n), "7 of 39 bytes appended"],
    ["nothing left for the base", program(BASE, 20, 39n), "39 of 39 bytes appended"],
    ["a length beyond every number", program(BASE, 20, 2n ** 64n - 1n), "of 39 bytes appended"],
  ];
  for (const [name, bytes, message] of cases) {
    assertThrows(() => cutBase(bytes), Error, message, name);
  }
});

Deno.test("cacheDirectory: is below the user's cache directory", () => {
  const cases = [
    [{ XDG_CACHE_HOME: "/cache", HOME: "/home/me" }, "/cache/oab-vtuber"],
    [{ XDG_CACHE_HOME: "relative", HOME: "/home/me" }, "/home/me/.cache/oab-vtuber"],
    [{ HOME: "/home/me" }, "/home/me/.cache/oab-vtuber"],
  ] as const;
  for (const [env, directory] of cases) assertEquals(cacheDirectory(env), directory);
  assertThrows(() => cacheDirectory({}), Error, "neither XDG_CACHE_HOME nor HOME");
});

/** A fake npm that has these two files. */
function npm(deno: Uint8Array, host: Uint8Array): { run: Run; commands: Command[] } {
  const commands: Command[] = [];
  const run = async (command: Command) => {
    commands.push(command);
    const { imports } = JSON.parse(await Deno.readTextFile(`${command.cwd}/deno.json`));
    const [denoPackage, hostPackage] = Object.keys(imports);
    const modules = `${command.cwd}/node_modules`;
    await Deno.mkdir(`${modules}/${denoPackage}`, { recursive: true });
    await Deno.writeFile(`${modules}/${denoPackage}/deno`, deno);
    await Deno.mkdir(`${modules}/${hostPackage}/bin`, { recursive: true });
    await Deno.writeFile(`${modules}/${hostPackage}/bin/steady`, host);
    return { success: true, output: "" };
  };
  return { run, commands };
}

async function pins(): Promise<Pins> {
  return {
    deno: { size: DENO.length, sha256: await sha256(DENO) },
    base: { size: BASE.length, sha256: await sha256(BASE) },
  };
}

Deno.test("npmToolchain: fetches once, and again if a file is damaged", async () => {
  await using directory = await tempDirectory();
  const cacheDir = `${directory.path}/cache`;
  const { run, commands } = npm(DENO, program(BASE, 20));
  const lines: string[] = [];
  const options = { cacheDir, pins: await pins(), run, log: (line: string) => lines.push(line) };

  const toolchain = await npmToolchain(options);
  assertEquals(await Deno.readFile(toolchain.deno), DENO);
  assertEquals(await Deno.readFile(toolchain.base), BASE);
  assertEquals(await listNames(cacheDir), ["deno-2.7.11", "denort-2.7.11"]);
  assertEquals(commands.map(({ args }) => args), [["install"]]);

  assertEquals(await npmToolchain(options), toolchain);
  assertEquals(commands.length, 1);

  for (const path of [toolchain.deno, toolchain.base]) {
    const before = commands.length;
    await Deno.writeTextFile(path, "x", { append: true });
    lines.length = 0;
    await npmToolchain(options);
    assertEquals(commands.length, before + 1);
    assertStringIncludes(lines[0]!, `Refused ${path}`);
  }
  assertEquals(await Deno.readFile(toolchain.base), BASE);
});

Deno.test("npmToolchain: keeps no file that does not match its pin", async () => {
  const other = new TextEncoder().encode("another executable!");
  const cases: [string, Uint8Array, Uint8Array, string, string[]][] = [
    ["another deno", other.subarray(0, DENO.length), program(BASE, 20), "Refused Deno from npm", []],
    ["another base", DENO, program(other, 20), "Refused the base executable from npm", ["deno-2.7.11"]],
    ["no base", DENO, new Uint8Array(4), "Cannot cut out the base executable", ["deno-2.7.11"]],
  ];
  for (const [name, deno, host, message, kept] of cases) {
    await using directory = await tempDirectory();
    const options = { cacheDir: directory.path, pins: await pins(), run: npm(deno, host).run, log: () => {} };
    await assertRejects(() => npmToolchain(options), Error, message, name);
    assertEquals(await listNames(directory.path), kept, name);
  }
});
