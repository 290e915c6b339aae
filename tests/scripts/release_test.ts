import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Command } from "../../scripts/build.ts";
import {
  checksumsText,
  fitForRelease,
  release,
  releaseName,
  type ReleaseOptions,
  TARGETS,
} from "../../scripts/release.ts";
import { argument, list, pretend, temporary, UNREACHABLE } from "../support/harness/fake_compile.ts";

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
    ...pretend(fail),
  };
}

Deno.test("releaseName() of every target", () => {
  const names = Object.fromEntries(TARGETS.map((target) => [target.triple, releaseName("1.2.3", target)]));
  assertEquals(names, {
    "aarch64-unknown-linux-gnu": NAMES[0],
    "x86_64-unknown-linux-gnu": NAMES[1],
    "aarch64-apple-darwin": NAMES[2],
    "x86_64-apple-darwin": NAMES[3],
    "x86_64-pc-windows-msvc": NAMES[4],
  });
});

Deno.test("checksumsText() is sorted by name, with two spaces and a last newline", () => {
  const cases = [
    [[], ""],
    [[{ name: "b", sha256: "11" }, { name: "a", sha256: "22" }], "22  a\n11  b\n"],
    [
      [{ name: "a-b", sha256: "11" }, { name: "a.b", sha256: "22" }, { name: "B", sha256: "33" }],
      "33  B\n11  a-b\n22  a.b\n",
    ],
  ] as const;
  for (const [checksums, text] of cases) assertEquals(checksumsText(checksums), text);
});

Deno.test("fitForRelease() from Deno 2.9 on", () => {
  const cases = [
    ["2.9.0", true],
    ["2.9.6", true],
    ["2.10.0", true],
    ["3.0.0", true],
    ["2.9.0-rc.1", true],
    ["2.8.9", false],
    ["2.7.11", false],
    ["1.46.3", false],
  ] as const;
  for (const [version, fit] of cases) assertEquals(fitForRelease(version), fit, version);
});

Deno.test("release() bundles once, the program and the page's module, compiles every target and lists the checksums", async () => {
  await using directory = await temporary();
  const given = options(directory.path);
  const names = await release(given);
  assertEquals(names.toSorted(), ["SHA256SUMS", ...NAMES]);
  assertEquals(await list(given.dist), ["SHA256SUMS", ...NAMES]);
  assertEquals(given.commands.map(({ args }) => args[0]), [
    "bundle",
    "bundle",
    ...TARGETS.map(() => "compile"),
  ]);
  const module = `${argument(given.commands[1]!, "--output")}.gz`;
  for (const command of given.commands.slice(2)) assertEquals(argument(command, "--include"), module);
  assertEquals(
    given.commands.slice(2).map((command) => argument(command, "--target")),
    TARGETS.map(({ triple }) => triple),
  );
  const text = await Deno.readTextFile(`${given.dist}/SHA256SUMS`);
  assertEquals(text.trimEnd().split("\n").map((line) => line.split("  ")[1]), NAMES);
});

Deno.test("release() says which target failed and leaves dist as it was", async () => {
  const cases = [
    [UNREACHABLE, ["Setting up base binary", "only `deno task compile` works"], true],
    ["error: disk full", ["disk full"], false],
  ] as const;
  for (const [output, parts, hinted] of cases) {
    await using directory = await temporary();
    const given = options(
      directory.path,
      (command) => argument(command, "--target") === "x86_64-apple-darwin" ? output : undefined,
    );
    await Deno.mkdir(given.dist);
    await Deno.writeTextFile(`${given.dist}/oab-vtuber`, "of before");
    const error = await assertRejects(() => release(given), Error, "Cannot compile for x86_64-apple-darwin");
    for (const part of parts) assertStringIncludes(error.message, part);
    assertEquals(error.message.includes("deno task compile"), hinted);
    assertEquals(await list(given.dist), ["oab-vtuber"]);
  }
});

Deno.test("release() refuses a Deno that is too old before it runs anything", async () => {
  await using directory = await temporary();
  const given = { ...options(directory.path), denoVersion: "2.7.11" };
  await assertRejects(() => release(given), Error, "A release needs Deno 2.9 or newer: this is 2.7.11");
  assertEquals(given.commands, []);
  assertEquals(await list(directory.path), []);
});
