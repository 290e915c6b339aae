import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  baseUnreachable,
  compileArgs,
  FEATURES,
  packFiles,
  PERMISSIONS,
  programBundleArgs,
  reason,
  runCommand,
} from "../../scripts/build.ts";
import { argument, fakeRunner, tempDirectory, UNREACHABLE } from "../support/harness/fake_compile.ts";

Deno.test("PERMISSIONS: are these and no others", () => {
  assertEquals(
    PERMISSIONS.join(" "),
    "--no-prompt --allow-net --allow-env --allow-read --allow-write --allow-run",
  );
});

Deno.test("compileArgs: names the target and files if given, and the bundle last", () => {
  const common = ["compile", "--no-check", "--no-config", "--no-lock", ...FEATURES, ...PERMISSIONS];
  assertEquals(compileArgs("in.js", "out"), [...common, "--output", "out", "in.js"]);
  assertEquals(
    compileArgs("in.js", "out", { target: "t", include: ["a.js", "b.js"] }),
    [...common, "--target", "t", "--include", "a.js", "--include", "b.js", "--output", "out", "in.js"],
  );
});

Deno.test("reason: keeps the error and drops the rest", () => {
  const cases = [
    ["Download x\nerror: no route\n\nCaused by:\n    0: dns\n\nStack backtrace:\n  0: y", [
      "no route",
      "",
      "Caused by:",
      "    0: dns",
    ]],
    ["something else\n", ["something else"]],
    ["", ["no output"]],
  ] as const;
  for (const [output, lines] of cases) assertEquals(reason(output), lines.join("\n"));
});

Deno.test("baseUnreachable: recognises Deno's message", () => {
  assert(baseUnreachable(UNREACHABLE));
  assert(!baseUnreachable("Download https://host/denort.zip\nerror: Module not found"));
});

Deno.test("packFiles: packs the files of the page, its bundled modules, and the built-in voice", async () => {
  await using work = await tempDirectory();
  const { run, commands } = fakeRunner(() => undefined);
  const [page, voice, ...others] = await packFiles(run, "/root", work.path);
  assertEquals([page, voice, others], [`${work.path}/page.json.gz`, `${work.path}/flite.wasm.gz`, []]);
  const [command] = commands;
  assertEquals([command?.program, command?.cwd], [Deno.execPath(), "/root"]);
  assertEquals(argument(command!, "--platform"), "browser");
  assertEquals(command?.args.at(-1), "lib/stage/page/characters/vrm/vrm.ts");
  const files = await unpack(page!).json();
  const bundled = await Deno.readTextFile(argument(command!, "--output")!);
  assertEquals(files["characters/vrm/vrm.js"], bundled);
  assertEquals(files["css/stage.css"], await Deno.readTextFile("lib/stage/page/css/stage.css"));
  assertEquals([files["deno.json"], files["characters/vrm/vrm.ts"]], [undefined, undefined]);
  assert(WebAssembly.validate(await unpack(voice!).bytes()));
  assert((await Deno.stat(voice!)).size < 15_000_000);
  await assertRejects(
    () => packFiles(fakeRunner(() => "error: npm is unreachable").run, "/root", work.path),
    Error,
    "Cannot bundle characters/vrm/vrm.ts: npm is unreachable",
  );
});

Deno.test("programBundleArgs: leave the built-in voice out of the bundle", async () => {
  await using work = await tempDirectory();
  const entry = `${Deno.cwd()}/lib/speech/builtin.ts`;
  const args = programBundleArgs(entry, `${work.path}/main.js`);
  const outcome = await runCommand(
    { program: Deno.execPath(), args, cwd: Deno.cwd() },
    new AbortController().signal,
  );
  assert(outcome.success, outcome.output);
  assert((await Deno.stat(`${work.path}/main.js`)).size < 1_000_000);
});

Deno.test("runCommand: returns the outcome with both outputs, and sets the environment", async () => {
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

Deno.test("runCommand: an abort ends its child, and no other is started", async () => {
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

function unpack(path: string): Response {
  const file = Deno.openSync(path);
  return new Response(file.readable.pipeThrough(new DecompressionStream("gzip")));
}
