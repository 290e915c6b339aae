import { assertEquals } from "@std/assert";
import plugin, { createPlugin, findCircle, LAYERS } from "../../scripts/lint_imports.ts";

const SIDEWAYS =
  "lib/openai/chat.ts may not import lib/acp/json_rpc.ts: units of one layer never import each other; " +
  "take a function as a parameter, from lib/server.ts";
const ORDER = "main > server > app, doctor > config > sides > http > conversation > turn > core";
const FUNCTION = "take a function as a parameter, from lib/server.ts";
const UPWARDS =
  `lib/turn/turn.ts may not import lib/http/sse.ts: imports go down (${ORDER}) and http is above turn; ${FUNCTION}`;

interface Case {
  readonly name?: string;
  readonly file: string;
  readonly source: string;
  readonly messages?: readonly string[];
}

const ALLOWED: readonly Case[] = [
  { file: "lib/acp/agent.ts", source: `import { JsonRpcPeer } from "./peer.ts";` },
  { file: "lib/openai/chat.ts", source: `import { sse } from "../http/sse.ts";` },
  { file: "lib/turn/turn.ts", source: `import type { AppError } from "../core/errors.ts";` },
  { file: "lib/server.ts", source: `import "./app.ts"; import "./openai/chat.ts"; import "./acp/agent.ts";` },
  {
    file: "lib/doctor/command.ts",
    source: `import "./report.ts"; import "../config/load.ts"; import "../acp/agent.ts";`,
  },
  { file: "main.ts", source: `import "./lib/app.ts"; import "./lib/turn/turn.ts";` },
  { file: "tests/e2e/chat_test.ts", source: `import "../../lib/app.ts";` },
  { file: "lib/turn/turn.ts", source: `import { z } from "zod"; import "node:fs";` },
  { file: "lib/config.ts", source: `import "../deno.json" with { type: "json" };` },
  { file: "lib/turn/turn.ts", source: `await import(name);` },
  { file: "lib/turn/turn.ts", source: `export const path = "../http/sse.ts";` },
  { file: "tests/app/a_test.ts", source: `import "@std/assert";` },
  { file: "main.ts", source: `Deno.env.get("HOME");` },
  { file: "scripts/compile.ts", source: `Deno.env.get("HOME");` },
  { file: "lib/acp/process.ts", source: `const { env } = options; options.env;` },
];

const REFUSED: readonly Case[] = [
  ...[
    `import { JsonRpcPeer } from "../acp/json_rpc.ts";`,
    `import type { JsonRpcPeer } from "../acp/json_rpc.ts";`,
    `import "../acp/json_rpc.ts";`,
    `export { JsonRpcPeer } from "../acp/json_rpc.ts";`,
    `export * from "../acp/json_rpc.ts";`,
    `await import("../acp/json_rpc.ts");`,
    "await import(`../acp/json_rpc.ts`);",
    `type JsonRpcPeer = import("../acp/json_rpc.ts").JsonRpcPeer;`,
    `import peer = require("../acp/json_rpc.ts");`,
  ].map((source) => ({ file: "lib/openai/chat.ts", source, messages: [SIDEWAYS] })),
  {
    file: "lib/turn/turn.ts",
    source: `import "../http/sse.ts"; export * from "../http/sse.ts";`,
    messages: [UPWARDS, UPWARDS],
  },
  {
    file: "lib/acp/agent.ts",
    source: `import type { Config } from "../config/load.ts";`,
    messages: [
      `lib/acp/agent.ts may not import lib/config/load.ts: imports go down (${ORDER}) and config is above acp; ` +
      "take the options as a parameter",
    ],
  },
  {
    file: "lib/config/load.ts",
    source: `import "../app.ts";`,
    messages: [
      `lib/config/load.ts may not import lib/app.ts: imports go down (${ORDER}) and app is above config; ${FUNCTION}`,
    ],
  },
  {
    file: "lib/app.ts",
    source: `import "../main.ts";`,
    messages: [
      `lib/app.ts may not import main.ts: imports go down (${ORDER}) and main is above app; ${FUNCTION}`,
    ],
  },
  {
    file: "lib/app.ts",
    source: `import "./doctor/report.ts";`,
    messages: [
      `lib/app.ts may not import lib/doctor/report.ts: units of one layer never import each other; ${FUNCTION}`,
    ],
  },
  {
    file: "lib/acp/connection.ts",
    source: `import "../../tests/support/agents/scripted_agent.ts";`,
    messages: [
      "lib/acp/connection.ts may not import tests/support/agents/scripted_agent.ts: " +
      "the program uses lib/ only; move the file there",
    ],
  },
  {
    file: "lib/acp/connection.ts",
    source: `import "../extras/list.ts";`,
    messages: [
      "lib/acp/connection.ts may not import lib/extras/list.ts: lib/extras is in no layer; " +
      "add it to LAYERS in scripts/lint_imports.ts",
    ],
  },
  ...["@std/assert", "@std/assert/equals", "jsr:@std/assert@1", "npm:deno-std@1.4.0/assert/mod.js"].map((
    from,
  ) => ({
    file: "lib/turn/turn.ts",
    source: `import { assert } from "${from}";`,
    messages: [
      `lib/turn/turn.ts may not import ${from}: assertions belong in tests; throw an AppError instead`,
    ],
  })),
  ...[
    `Deno.env.get("HOME");`,
    `Deno["env"].toObject();`,
    `globalThis.Deno.env.get("HOME");`,
    `const { env } = Deno;`,
    `const { build, env: variables } = Deno;`,
  ].map((source) => ({
    file: "lib/core/log.ts",
    source,
    messages: [
      "lib/core/log.ts may not read the environment: only main.ts does; take the value as a parameter",
    ],
  })),
];

const ROOTS: readonly { readonly system: string; readonly root: string; path(file: string): string }[] = [
  { system: "Linux", root: "file:///srv/a%20project/", path: (file) => `/srv/a project/${file}` },
  {
    system: "Windows",
    root: "file:///C:/a/project/",
    path: (file) => `c:\\a\\project\\${file.replaceAll("/", "\\")}`,
  },
];
for (const { system, root, path } of ROOTS) {
  const plugin = createPlugin(root, () => undefined);
  for (const { file, source, messages = [] } of [...ALLOWED, ...REFUSED]) {
    Deno.test(`lint plugin on ${system}: ${file}: ${source}`, () => {
      const found = Deno.lint.runPlugin(plugin, path(file), source);
      assertEquals(found.map(({ message }) => message), messages);
    });
  }
}

Deno.test("lint plugin: absolute specifiers into the project count too", () => {
  const plugin = createPlugin("/srv/project", () => undefined);
  const messages = (specifier: string) =>
    Deno.lint.runPlugin(plugin, "/srv/project/lib/openai/chat.ts", `import "${specifier}";`)
      .map(({ message }) => message);
  assertEquals(messages("file:///srv/project/lib/acp/json_rpc.ts"), [SIDEWAYS]);
  assertEquals(messages("/srv/project/lib/acp/json_rpc.ts"), [SIDEWAYS]);
  assertEquals(messages("/srv/other/lib/x.ts"), []);
});

Deno.test("lint plugin: the exported plugin knows the project's own paths", () => {
  const own = import.meta.filename!.replace(/tests.scripts.lint_imports_test\.ts$/, "lib/openai/chat.ts");
  for (const file of ["lib/openai/chat.ts", own]) {
    const found = Deno.lint.runPlugin(plugin, file, `import "../acp/json_rpc.ts";`);
    assertEquals(found.map(({ id, message }) => [id, message]), [["structure/import-direction", SIDEWAYS]]);
  }
});

Deno.test("lint plugin: finds circles, of types too, but not in comments", () => {
  const sources: Readonly<Record<string, string>> = {
    "lib/turn/a.ts": `import type { B } from "./b.ts";`,
    "lib/turn/b.ts": `import {\n  C,\n} from "./c.ts";`,
    "lib/turn/c.ts": `export * from "./a.ts";`,
    "lib/turn/d.ts": ` * import { E } from "./e.ts";`,
    "lib/turn/e.ts": `import "./d.ts";`,
  };
  const plugin = createPlugin("/srv/project", (file) => sources[file]);
  const messages = (file: string) =>
    Deno.lint.runPlugin(plugin, `/srv/project/${file}`, sources[file]!.replace(" * ", "// "))
      .map(({ message }) => message);
  assertEquals(messages("lib/turn/a.ts"), [
    "lib/turn/a.ts imports lib/turn/b.ts imports lib/turn/c.ts imports lib/turn/a.ts: " +
    "move the shared part into a file of its own",
  ]);
  assertEquals([messages("lib/turn/d.ts"), messages("lib/turn/e.ts")], [[], []]);
});

Deno.test("findCircle: ends in a circle that does not contain the file", () => {
  const imports: Readonly<Record<string, string[]>> = { a: ["b"], b: ["c"], c: ["b"] };
  assertEquals(findCircle("a", "b", (file) => imports[file] ?? []), undefined);
  assertEquals(findCircle("b", "c", (file) => imports[file] ?? []), ["c", "b"]);
});

Deno.test("LAYERS: lists exactly the units that exist", async () => {
  const names = await Array.fromAsync(
    Deno.readDir(new URL("../../lib", import.meta.url)),
    ({ name }) => name,
  );
  const units = names.map((name) => name.replace(/\.ts$/, ""));
  assertEquals(LAYERS.flat().toSorted(), ["main", ...units].toSorted());
});
