import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Command } from "../../scripts/build.ts";
import {
  checksumsText,
  fitForRelease,
  release,
  type ReleaseOptions,
  TARGETS,
} from "../../scripts/release.ts";
import { BUNDLED_MODULES } from "../../lib/stage/page_files.ts";
import {
  archive,
  argument,
  fakeRunner,
  listNames,
  tempDirectory,
  UNREACHABLE,
} from "../support/harness/fake_compile.ts";

const NAMES = [
  "oab-vtuber-1.2.3-linux-aarch64",
  "oab-vtuber-1.2.3-linux-x86_64",
  "oab-vtuber-1.2.3-macos-aarch64",
  "oab-vtuber-1.2.3-macos-x86_64",
  "oab-vtuber-1.2.3-windows-x86_64.exe",
];

function options(
  directory: string,
  fail: (command: Command) => string | undefined = () => undefined,
): ReleaseOptions & { commands: Command[] } {
  return {
    root: directory,
    entry: `${directory}/main.ts`,
    dist: `${directory}/dist`,
    version: "1.2.3",
    denoVersion: "2.9.6",
    log: () => {},
    ...fakeRunner(fail),
  };
}

Deno.test("checksumsText: is sorted by name, with two spaces and a final newline", () => {
  const cases = [
    [[], ""],
    [
      [{ name: "a-b", sha256: "11" }, { name: "a.b", sha256: "22" }, { name: "B", sha256: "33" }],
      "33  B\n11  a-b\n22  a.b\n",
    ],
  ] as const;
  for (const [checksums, text] of cases) assertEquals(checksumsText(checksums), text);
});

Deno.test("fitForRelease: from Deno 2.9 on", () => {
  const cases = [
    ["2.9.0", true],
    ["2.10.0", true],
    ["2.8.9", false],
    ["1.46.3", false],
  ] as const;
  for (const [version, fit] of cases) assertEquals(fitForRelease(version), fit, version);
});

Deno.test("release: bundles once, compiles every target and lists the checksums", async () => {
  await using directory = await tempDirectory();
  const setup = options(directory.path);
  const names = await release(setup);
  assertEquals(names.toSorted(), ["SHA256SUMS", ...NAMES]);
  assertEquals(await listNames(setup.dist), ["SHA256SUMS", ...NAMES]);
  assertEquals(setup.commands.map(({ args }) => args[0]), [
    "bundle",
    ...Array.from(BUNDLED_MODULES, () => "bundle"),
    ...TARGETS.map(() => "compile"),
  ]);
  const compiled = setup.commands.filter(({ args }) => args[0] === "compile");
  for (const command of compiled) assertEquals(argument(command, "--include"), archive(setup.commands));
  assertEquals(
    compiled.map((command) => argument(command, "--target")),
    TARGETS.map(({ triple }) => triple),
  );
  const text = await Deno.readTextFile(`${setup.dist}/SHA256SUMS`);
  assertEquals(text.trimEnd().split("\n").map((line) => line.split("  ")[1]), NAMES);
});

Deno.test("release: names the target that failed and leaves dist as it was", async () => {
  const cases = [
    [UNREACHABLE, ["Setting up base binary", "only `deno task compile` works"], true],
    ["error: disk full", ["disk full"], false],
  ] as const;
  for (const [output, parts, hasHint] of cases) {
    await using directory = await tempDirectory();
    const setup = options(
      directory.path,
      (command) => argument(command, "--target") === "x86_64-apple-darwin" ? output : undefined,
    );
    await Deno.mkdir(setup.dist);
    await Deno.writeTextFile(`${setup.dist}/oab-vtuber`, "earlier");
    const error = await assertRejects(() => release(setup), Error, "Cannot compile for x86_64-apple-darwin");
    for (const part of parts) assertStringIncludes(error.message, part);
    assertEquals(error.message.includes("deno task compile"), hasHint);
    assertEquals(await listNames(setup.dist), ["oab-vtuber"]);
  }
});

Deno.test("release: refuses an old Deno before it runs anything", async () => {
  await using directory = await tempDirectory();
  const setup = { ...options(directory.path), denoVersion: "2.7.11" };
  await assertRejects(() => release(setup), Error, "A release needs Deno 2.9 or newer: this is 2.7.11");
  assertEquals(setup.commands, []);
  assertEquals(await listNames(directory.path), []);
});
