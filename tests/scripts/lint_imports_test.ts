import { assertEquals } from "@std/assert";
import plugin, { createPlugin, findCircle, LAYERS } from "../../scripts/lint_imports.ts";

const SIDEWAYS =
  "lib/openai/chat.ts may not import lib/acp/json_rpc.ts: units of one layer never import each other; " +
  "take a function as a parameter, from lib/server.ts";
const ORDER = "main > server > app, doctor > config > sides > speech, http > conversation > turn > core";
const FUNCTION = "take a function as a parameter, from lib/server.ts";
const UPWARDS =
  `lib/turn/turn.ts may not import lib/http/sse.ts: imports go down (${ORDER}) and http is above turn; ${FUNCTION}`;

const CASES: readonly [file: string, source: string, message?: string][] = [
  ["lib/acp/agent.ts", `import { JsonRpcPeer } from "./peer.ts";`],
  ["lib/openai/chat.ts", `import { sse } from "../http/sse.ts";`],
  ["lib/server.ts", `import "./openai/chat.ts";\nimport "./acp/agent.ts";`],
  ["main.ts", `import "./lib/app.ts";\nDeno.env.get("HOME");`],
  ["tests/e2e/chat_test.ts", `import "../../lib/app.ts";\nimport "@std/assert";`],
  ["lib/turn/turn.ts", `import { z } from "zod";`],
  ["lib/turn/turn.ts", `export const path = "../http/sse.ts";`],
  ["scripts/compile.ts", `Deno.env.get("HOME");`],
  ["lib/acp/process.ts", `const { env } = options; options.env;`],
  ...[
    `import { JsonRpcPeer } from "../acp/json_rpc.ts";`,
    `import type { JsonRpcPeer } from "../acp/json_rpc.ts";`,
    `import "../acp/json_rpc.ts";`,
    `export * from "../acp/json_rpc.ts";`,
    `const { JsonRpcPeer } = await import("../acp/json_rpc.ts");`,
    `type JsonRpcPeer = import("../acp/json_rpc.ts").JsonRpcPeer;`,
    `import {\n  JsonRpcPeer,\n} from "../acp/json_rpc.ts";`,
  ].map((source): [string, string, string] => ["lib/openai/chat.ts", source, SIDEWAYS]),
  ["lib/turn/turn.ts", `import "../http/sse.ts";`, UPWARDS],
  [
    "lib/acp/agent.ts",
    `import type { Config } from "../config/load.ts";`,
    `lib/acp/agent.ts may not import lib/config/load.ts: imports go down (${ORDER}) and config is above acp; ` +
    "take the options as a parameter",
  ],
  [
    "lib/acp/connection.ts",
    `import "../../tests/support/agents/scripted_agent.ts";`,
    "lib/acp/connection.ts may not import tests/support/agents/scripted_agent.ts: " +
    "the program uses lib/ only; move the file there",
  ],
  [
    "lib/acp/connection.ts",
    `import "../extras/list.ts";`,
    "lib/acp/connection.ts may not import lib/extras/list.ts: lib/extras is in no layer; " +
    "add it to LAYERS in scripts/lint_imports.ts",
  ],
  [
    "lib/turn/turn.ts",
    `import { assert } from "@std/assert";`,
    "lib/turn/turn.ts may not import @std/assert: assertions belong in tests; throw an AppError instead",
  ],
  [
    "lib/core/log.ts",
    `Deno.env.get("HOME");`,
    "lib/core/log.ts may not read the environment: only main.ts does; take the value as a parameter",
  ],
];
const empty = createPlugin("/srv/a project/", () => "");
for (const [file, source, message] of CASES) {
  Deno.test(`lint plugin: ${file}: ${source}`, () => {
    const found = Deno.lint.runPlugin(empty, `/srv/a project/${file}`, source);
    assertEquals(found.map(({ message }) => message), message === undefined ? [] : [message]);
  });
}

Deno.test("lint plugin: the exported plugin knows the project's own paths", () => {
  const own = import.meta.filename!.replace(/tests.scripts.lint_imports_test\.ts$/, "lib/openai/chat.ts");
  for (const file of ["lib/openai/chat.ts", own]) {
    const found = Deno.lint.runPlugin(plugin, file, `import "../acp/json_rpc.ts";`);
    assertEquals(found.map(({ id, message }) => [id, message]), [["structure/imports", SIDEWAYS]]);
  }
});

Deno.test("lint plugin: finds circles, of types too, but not in comments", () => {
  const sources: Readonly<Record<string, string>> = {
    "lib/turn/a.ts": `import type { B } from "./b.ts";`,
    "lib/turn/b.ts": `import {\n  C,\n} from "./c.ts";`,
    "lib/turn/c.ts": `export * from "./a.ts";`,
    "lib/turn/d.ts": `/**\n * import { E } from "./e.ts";\n */`,
    "lib/turn/e.ts": `import "./d.ts";`,
  };
  const plugin = createPlugin("/srv/", (file) => sources[file] ?? "");
  const messages = (file: string) =>
    Deno.lint.runPlugin(plugin, `/srv/${file}`, sources[file]!).map(({ message }) => message);
  assertEquals(messages("lib/turn/a.ts"), [
    "lib/turn/a.ts imports lib/turn/b.ts imports lib/turn/c.ts imports lib/turn/a.ts: " +
    "move the shared part into a file of its own",
  ]);
  assertEquals([messages("lib/turn/d.ts"), messages("lib/turn/e.ts")], [[], []]);
});

Deno.test("findCircle: ends in a circle that does not contain the file", () => {
  const imports: Readonly<Record<string, string[]>> = { a: ["b"], b: ["c"], c: ["b"] };
  assertEquals(findCircle("a", "b", (file) => imports[file] ?? []), undefined);
});

Deno.test("LAYERS: lists exactly the units that exist", async () => {
  const names = await Array.fromAsync(
    Deno.readDir(new URL("../../lib", import.meta.url)),
    ({ name }) => name,
  );
  const units = names.map((name) => name.replace(/\.ts$/, ""));
  assertEquals(LAYERS.flat().toSorted(), ["main", ...units].toSorted());
});
