import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  baseUnreachable,
  bundle,
  compileArgs,
  FEATURES,
  PERMISSIONS,
  reason,
  refuseForeignBase,
  runCommand,
  sha256,
} from "../../scripts/build.ts";
import { pretend, temporary, UNREACHABLE } from "./pretend.ts";

Deno.test("the baked permissions are these and no others", () => {
  assertEquals(
    PERMISSIONS.join(" "),
    "--no-prompt --allow-net --allow-env --allow-read --allow-run",
  );
});

Deno.test("compileArgs() names the target only when there is one, and the bundle last", () => {
  const common = ["compile", "--no-check", "--no-config", "--no-lock", ...FEATURES, ...PERMISSIONS];
  assertEquals(compileArgs("in.js", "out"), [...common, "--output", "out", "in.js"]);
  assertEquals(compileArgs("in.js", "out", "t"), [...common, "--target", "t", "--output", "out", "in.js"]);
});

Deno.test("reason() keeps the error and drops the rest", () => {
  const cases = [
    ["Download x\nerror: no route\n\nCaused by:\n    0: dns\n\nStack backtrace:\n  0: y", [
      "no route",
      "",
      "Caused by:",
      "    0: dns",
    ]],
    ["something else\n", ["something else"]],
    ["", ["it said nothing"]],
  ] as const;
  for (const [output, lines] of cases) assertEquals(reason(output), lines.join("\n"));
});

Deno.test("baseUnreachable() is told by Deno's own words", () => {
  assert(baseUnreachable(UNREACHABLE));
  assert(!baseUnreachable("Download https://host/denort.zip\nerror: Module not found"));
});

Deno.test("refuseForeignBase() refuses whatever DENORT_BIN says", () => {
  refuseForeignBase(undefined);
  for (const value of ["", "/somewhere/denort"]) {
    assertThrows(() => refuseForeignBase(value), Error, "DENORT_BIN is set");
  }
});

Deno.test("sha256() is hexadecimal and padded", async () => {
  assertEquals(
    await sha256(new TextEncoder().encode("abc")),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

Deno.test("bundle() says which entry cannot be bundled", async () => {
  const { run } = pretend(() => "error: Module not found");
  await using work = await temporary();
  await assertRejects(
    () => bundle(run, work.path, "main.ts", work.path),
    Error,
    "Cannot bundle main.ts: Module not found",
  );
});

Deno.test("runCommand() gives success, both outputs and the environment", async () => {
  const source =
    `console.log(Deno.env.get("WORD"), Deno.env.get("NO_COLOR")); console.error("err"); Deno.exit(+Deno.args[0])`;
  for (const [code, success] of [["0", true], ["3", false]] as const) {
    const outcome = await runCommand(
      { program: Deno.execPath(), args: ["eval", source, code], cwd: Deno.cwd(), env: { WORD: "word" } },
      new AbortController().signal,
    );
    assertEquals(outcome, { success, output: "word 1\nerr\n" });
  }
});

Deno.test("runCommand() ends its child when interrupted, and starts none after that", async () => {
  const interrupt = new AbortController();
  const command = {
    program: Deno.execPath(),
    args: ["eval", "setTimeout(() => {}, 30_000)"],
    cwd: Deno.cwd(),
  };
  const running = runCommand(command, interrupt.signal);
  interrupt.abort(new Error("interrupted"));
  await assertRejects(() => running, Error, "interrupted");
  await assertRejects(() => runCommand(command, interrupt.signal), Error, "interrupted");
});
