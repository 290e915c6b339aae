/** The reference pages are those that `deno task docs` makes, and their configuration files can be used. */

import { assert, assertEquals } from "@std/assert";
import { KEY_SETTINGS } from "../../lib/config/keys.ts";
import { type Config, loadConfig } from "../../lib/config/load.ts";
import { SETTING_HELP } from "../../lib/config/settings.ts";
import { SPEECH_SETTINGS } from "../../lib/config/speech.ts";
import { EMBEDDINGS_SETTINGS } from "../../lib/config/upstreams.ts";
import { ERROR_STATUS } from "../../lib/core/errors.ts";
import { sha256 } from "../../lib/http/access.ts";
import { PARTS, replacePart } from "../../scripts/docs.ts";
import { startApp } from "../support/harness/app_harness.ts";
import {
  type CodeBlock,
  codeBlocks,
  DOCUMENTS,
  firstCells,
  PAGE_NAMES,
  partOf,
  readPage,
  sectionOf,
} from "../support/harness/docs.ts";

/** The variables of a user, and those that configuration files refer to. */
const ENV = {
  HOME: "/home/me",
  ISSUES_TOKEN: "token",
  STAGE_KEY: "oab_key-of-the-stage",
  VTUBER_ENABLED: "true",
};
const CONFIGURATION = readPage("configuration");
const KEYS = readPage("keys");

function load(text: string): { config: Config; warnings: readonly string[] } {
  return loadConfig({ env: ENV, file: { path: "config.toml", text } });
}

for (const { page, name, generate } of PARTS) {
  Deno.test(`${page}: its generated part is up to date`, async () => {
    const text = readPage(page.replace(".md", ""));
    assertEquals(text, replacePart(text, name, await generate()), "run: deno task docs");
  });
}

Deno.test("configuration.md: has every setting", () => {
  const names = firstCells(partOf(CONFIGURATION, "settings"));
  assertEquals(names, SETTING_HELP.map(({ env }) => env));
});

Deno.test("errors.md: has every error", () => {
  assertEquals(firstCells(partOf(readPage("errors"), "errors")).sort(), Object.keys(ERROR_STATUS).sort());
});

Deno.test("http-api.md: has every endpoint that GET / lists", async () => {
  await using app = startApp();
  const { endpoints } = await (await app.get("/")).json() as { endpoints: Record<string, string> };
  const documented = firstCells(partOf(readPage("http-api"), "endpoints"));
  for (const endpoint of Object.values(endpoints)) assert(documented.includes(endpoint), endpoint);
});

Deno.test("README: its endpoints and settings are in the reference", () => {
  const settings = SETTING_HELP.map(({ env }) => env);
  for (const name of firstCells(sectionOf(readPage("README.md"), "## Settings"))) {
    assert(settings.includes(name), name);
  }
  const endpoints = firstCells(partOf(readPage("http-api"), "endpoints"));
  for (const cell of firstCells(sectionOf(readPage("README.md"), "## Endpoints"))) {
    for (const endpoint of cell.split(", ")) assert(endpoints.includes(endpoint), endpoint);
  }
});

Deno.test("docs: every variable that a page names is a setting", () => {
  const settings = [...SETTING_HELP.map(({ env }) => env), "OPENAB_CONFIG"];
  // The architecture shows how a new setting is added.
  for (const path of DOCUMENTS.filter((path) => path !== ".github/ARCHITECTURE.md")) {
    for (const [name] of readPage(path).matchAll(/\b(VTUBER|OPENAB|GATEWAY)_[A-Z_]+\b/g)) {
      assert(settings.includes(name), `${path} names ${name}`);
    }
  }
});

Deno.test("docs: every configuration file loads without a mistake or a warning", () => {
  const files = PAGE_NAMES.flatMap((name) => codeBlocks(readPage(name), "toml"));
  assert(files.length > 0);
  for (const { text } of files) assertEquals(load(text).warnings, [], text);
});

Deno.test("configuration.md: its first file says what the text says", () => {
  const { agents } = load(codeBlocks(CONFIGURATION, "toml")[0]!.text).config;
  assertEquals(agents.map(({ name }) => name), ["openab", "codex"]);
  const [own, codex] = agents;
  assertEquals(own?.mcpServers, [
    {
      name: "files",
      command: "npx",
      args: ["-y", "@modelcontextprotocol/server-filesystem", "/home/me/notes"],
      env: [{ name: "LOG_LEVEL", value: "warn" }],
    },
    {
      type: "http",
      name: "issues",
      url: "https://mcp.example.com/issues",
      headers: [{ name: "Authorization", value: "Bearer token" }],
    },
  ]);
  assertEquals([own?.mode, own?.env.GIT_CONFIG_GLOBAL], ["plan", "/home/me/agent.gitconfig"]);
  assertEquals([codex?.model, codex?.permissions], ["gpt-5", "deny"]);
});

Deno.test("configuration.md: explains every key of an agent's table", () => {
  // The name is the table's, settings hold for every agent, and keys have tables of their own.
  const elsewhere = ["name", "startMs", "isSessionLimitSet", "keyPermissions"];
  const keys = Object.keys(load("").config.agents[0]!).filter((key) => !elsewhere.includes(key));
  const snakeCase = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  assertEquals(firstCells(partOf(CONFIGURATION, "agent")).sort(), keys.map(snakeCase).sort());
});

Deno.test("configuration.md: explains every key of [embeddings]", () => {
  assertEquals(firstCells(partOf(CONFIGURATION, "embeddings")), EMBEDDINGS_SETTINGS.slice());
});

Deno.test("voice.md: explains every key of [speech]", () => {
  assertEquals(firstCells(partOf(readPage("voice"), "speech")), SPEECH_SETTINGS.slice());
});

Deno.test("keys.md: explains every key of a key's table", () => {
  assertEquals(firstCells(partOf(KEYS, "key")).sort(), KEY_SETTINGS.toSorted());
});

Deno.test("keys.md: its example of a new key has the hash of the key", () => {
  const [{ text }] = codeBlocks(KEYS, "text") as [CodeBlock];
  const [, key = "", table = ""] = /^(oab_.*)$[^]*^(\[keys[^]*)/m.exec(text)!;
  assertEquals(load(table).config.keys.map((key) => key.sha256), [sha256(key)]);
});

Deno.test("docs: every block of JSON is JSON", () => {
  for (const path of DOCUMENTS) {
    for (const { language, text } of codeBlocks(readPage(path))) {
      if (language === "json") JSON.parse(text);
      if (language === "jsonl") { for (const line of text.trim().split("\n")) JSON.parse(line); }
    }
  }
});
