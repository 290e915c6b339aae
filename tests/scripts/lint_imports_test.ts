import { assertEquals } from "@std/assert";
import housePlugin, { createPlugin } from "../../scripts/lint_imports.ts";

interface Case {
  readonly name: string;
  readonly file: string;
  readonly source: string;
  readonly messages?: readonly string[];
}

const SIDEWAYS =
  "lib/openai/chat.ts may not import lib/acp/json_rpc.ts: sides never import each other; take a function from lib/app.ts";
const UPWARDS =
  "lib/turn/turn.ts may not import lib/http/sse.ts: imports go down (main > app, doctor > config > sides > http > " +
  "conversation > turn > core) and http stands above turn; take a function as a parameter";
const ENVIRONMENT =
  "lib/core/log.ts may not read the environment: only main.ts does; take the value as a parameter";

const CASES: readonly Case[] = [
  // Allowed.
  { name: "own folder", file: "lib/acp/agent.ts", source: `import { JsonRpcPeer } from "./peer.ts";` },
  { name: "a row below", file: "lib/openai/chat.ts", source: `import { sse } from "../http/sse.ts";` },
  {
    name: "the lowest row",
    file: "lib/turn/turn.ts",
    source: `import type { AppError } from "../core/errors.ts";`,
  },
  {
    name: "app imports sides",
    file: "lib/app.ts",
    source: `import "./openai/chat.ts"; import "./acp/agent.ts";`,
  },
  {
    name: "doctor imports its other file, and what is below",
    file: "lib/doctor/doctor.ts",
    source: `import "./report.ts"; import "../config/load.ts"; import "../acp/agent.ts";`,
  },
  {
    name: "main imports anything",
    file: "main.ts",
    source: `import "./lib/app.ts"; import "./lib/turn/turn.ts";`,
  },
  { name: "outside lib", file: "tests/e2e/chat_test.ts", source: `import "../../lib/app.ts";` },
  { name: "external", file: "lib/turn/turn.ts", source: `import { z } from "zod"; import "node:fs";` },
  {
    name: "a file of the root",
    file: "lib/config.ts",
    source: `import "../deno.json" with { type: "json" };`,
  },
  { name: "no literal", file: "lib/turn/turn.ts", source: `await import(name);` },
  { name: "plain export", file: "lib/turn/turn.ts", source: `export const path = "../http/sse.ts";` },
  { name: "assertions in tests", file: "tests/app/a_test.ts", source: `import "@std/assert";` },
  { name: "environment in main", file: "main.ts", source: `Deno.env.get("HOME");` },
  { name: "environment in scripts", file: "scripts/compile.ts", source: `Deno.env.get("HOME");` },
  { name: "another env", file: "lib/acp/process.ts", source: `const { env } = options; options.env;` },

  // Sideways and upwards, in every form of import.
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
  ].map((source) => ({ name: source, file: "lib/openai/chat.ts", source, messages: [SIDEWAYS] })),
  {
    name: "upwards",
    file: "lib/turn/turn.ts",
    source: `import { sse } from "../http/sse.ts";`,
    messages: [UPWARDS],
  },
  {
    name: "two faults",
    file: "lib/turn/turn.ts",
    source: `import "../http/sse.ts"; export * from "../http/sse.ts";`,
    messages: [UPWARDS, UPWARDS],
  },
  {
    name: "a side reads the configuration",
    file: "lib/acp/agent.ts",
    source: `import type { Config } from "../config.ts";`,
    messages: [
      "lib/acp/agent.ts may not import lib/config.ts: imports go down (main > app, doctor > config > sides > http > " +
      "conversation > turn > core) and config stands above acp; take a slice of options as a parameter",
    ],
  },
  {
    name: "app from below",
    file: "lib/config.ts",
    source: `import "./app.ts";`,
    messages: [
      "lib/config.ts may not import lib/app.ts: only main.ts imports lib/app.ts; take what you need as a parameter",
    ],
  },
  {
    name: "main from app",
    file: "lib/app.ts",
    source: `import "../main.ts";`,
    messages: [
      "lib/app.ts may not import main.ts: only main.ts imports main.ts; take what you need as a parameter",
    ],
  },
  {
    name: "app and doctor",
    file: "lib/app.ts",
    source: `import "./doctor.ts";`,
    messages: [
      "lib/app.ts may not import lib/doctor.ts: only main.ts imports lib/doctor.ts; take what you need as a parameter",
    ],
  },
  {
    name: "doctor from a side",
    file: "lib/acp/agent.ts",
    source: `import "../doctor/report.ts";`,
    messages: [
      "lib/acp/agent.ts may not import lib/doctor/report.ts: only main.ts imports lib/doctor/report.ts; " +
      "take what you need as a parameter",
    ],
  },
  {
    name: "a test's helper",
    file: "lib/acp/connection.ts",
    source: `import "../../tests/support/agents/scripted_agent.ts";`,
    messages: [
      "lib/acp/connection.ts may not import tests/support/agents/scripted_agent.ts: the program stands on lib/ alone; move it there",
    ],
  },
  {
    name: "an unlisted folder",
    file: "lib/acp/connection.ts",
    source: `import "../extras/list.ts";`,
    messages: [
      "lib/acp/connection.ts may not import lib/extras/list.ts: lib/extras stands in no row; " +
      "give it one in scripts/lint_imports.ts",
    ],
  },

  // Assertions and the environment.
  ...["@std/assert", "@std/assert/equals", "jsr:@std/assert@1", "npm:deno-std@1.4.0/assert/mod.js"].map((
    from,
  ) => ({
    name: from,
    file: "lib/turn/turn.ts",
    source: `import { assert } from "${from}";`,
    messages: [
      `lib/turn/turn.ts may not import ${from}: assertions belong to tests; throw a Failure instead`,
    ],
  })),
  ...[
    `Deno.env.get("HOME");`,
    `Deno["env"].toObject();`,
    `globalThis.Deno.env.get("HOME");`,
    `const { env } = Deno;`,
    `const { build, env: variables } = Deno;`,
  ].map((source) => ({ name: source, file: "lib/core/log.ts", source, messages: [ENVIRONMENT] })),
];

const ROOTS: readonly { readonly system: string; readonly root: string; path(file: string): string }[] = [
  { system: "Linux", root: "file:///srv/a%20house/", path: (file) => `/srv/a house/${file}` },
  {
    system: "Windows",
    root: "file:///C:/a/house/",
    path: (file) => `c:\\a\\house\\${file.replaceAll("/", "\\")}`,
  },
];

for (const { system, root, path } of ROOTS) {
  const plugin = createPlugin(root);
  for (const { name, file, source, messages = [] } of CASES) {
    Deno.test(`lint plugin, ${system}: ${file}: ${name}`, () => {
      const found = Deno.lint.runPlugin(plugin, path(file), source);
      assertEquals(found.map(({ message }) => message), messages);
    });
  }
}

Deno.test("lint plugin: absolute specifiers into the project count too", () => {
  const plugin = createPlugin("/srv/house");
  for (const specifier of ["file:///srv/house/lib/acp/json_rpc.ts", "/srv/house/lib/acp/json_rpc.ts"]) {
    const found = Deno.lint.runPlugin(plugin, "/srv/house/lib/openai/chat.ts", `import "${specifier}";`);
    assertEquals(found.map(({ message }) => message), [SIDEWAYS]);
  }
  assertEquals(
    Deno.lint.runPlugin(plugin, "/srv/house/lib/openai/chat.ts", `import "/srv/other/lib/x.ts";`),
    [],
  );
});

Deno.test("lint plugin: the exported one takes this project's own paths", () => {
  const own = (import.meta.filename ?? "").replace(
    /tests.scripts.lint_imports_test\.ts$/,
    "lib/openai/chat.ts",
  );
  for (const file of ["lib/openai/chat.ts", own]) {
    const found = Deno.lint.runPlugin(housePlugin, file, `import "../acp/json_rpc.ts";`);
    assertEquals(found.map(({ id, message }) => [id, message]), [["house/import-direction", SIDEWAYS]]);
  }
});
