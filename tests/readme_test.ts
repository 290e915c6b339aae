/**
 * The documents say what the program does: their tables, commands, endpoints, events and files are checked against the
 * code. The README's example is run in `tests/e2e/readme_example_test.ts`.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { dataDirOf } from "../lib/config/load.ts";
import { loadConfig } from "../lib/config/load.ts";
import { SETTING_HELP } from "../lib/config/settings.ts";
import { SESSION_MODES } from "../lib/conversation/resolve.ts";
import { BUSY_MODES } from "../lib/conversation/turn_queue.ts";
import {
  addressFinding,
  agentFindings,
  configFindings,
  type Finding,
  linesOf,
  programFindings,
  sumOf,
} from "../lib/doctor/report.ts";
import { AGENT_STATES, type Answer, EVENT_NAMES, URGENCIES } from "../lib/events/wire.ts";
import { type Command, NOTIFICATION_MODES, parseCommand } from "../lib/events/wire.ts";
import { emotionWords } from "../lib/turn/emotion.ts";
import { errorResponse } from "../lib/http/error_response.ts";
import { AppError, ERROR_CODES } from "../lib/core/errors.ts";
import project from "../deno.json" with { type: "json" };
import { startApp } from "./support/harness/app_harness.ts";
import { saying } from "./support/agents/memory_agent.ts";

const ROOT = new URL("../", import.meta.url);
const README = await Deno.readTextFile(new URL("README.md", ROOT));

/** Every command, and every answer that is no event: a new one does not compile until it stands here. */
const COMMANDS: Readonly<Record<Command["type"], true>> = {
  hello: true,
  subscribe: true,
  ping: true,
  permission_response: true,
  interrupt: true,
};
const ANSWERS: Readonly<Record<Answer["type"], true>> = {
  hello: true,
  subscribed: true,
  pong: true,
  interrupted: true,
  error: true,
};

/** A code block of a Markdown text. */
interface Block {
  readonly language: string;
  readonly text: string;
}

/** The settings as the README's table has them, before `deno fmt` widens its columns. */
function settingsTable(): string {
  const rows = SETTING_HELP.map(({ env, flag, isSwitch, default: fallback, help }) => [
    `\`${env}\``,
    flag === undefined ? "" : `\`--${flag}${isSwitch ? "" : " VALUE"}\``,
    fallback === "" ? "" : `\`${fallback}\``,
    help.replaceAll("|", "\\|"),
  ]);
  return [["variable", "flag", "default", "meaning"], ["---", "---", "---", "---"], ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}

/** The rows of a Markdown table, head first, as their cells; how wide they are makes no difference. */
function rowsOf(table: string): string[][] {
  return table.split("\n")
    .filter((line) => line.trimStart().startsWith("|") && !/^[\s|:-]+$/.test(line))
    .map((line) => line.trim().slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

/** What stands between `<!-- name -->` and `<!-- /name -->`. */
function marked(name: string): string {
  const [, after] = README.split(`<!-- ${name} -->`);
  const [inside, rest] = after?.split(`<!-- /${name} -->`) ?? [];
  if (inside === undefined || rest === undefined) {
    throw new Error(`README.md has no part between <!-- ${name} --> and <!-- /${name} -->`);
  }
  return inside;
}

/** The fenced code blocks, in order. */
function blocksOf(markdown: string): Block[] {
  return [...markdown.matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```$/gm)]
    .map(([, language = "", text = ""]) => ({ language, text }));
}

/** The objects of the blocks of JSON lines between `<!-- name -->` and `<!-- /name -->`, block by block. */
function jsonBlocks(name: string): { type: string; line: string }[][] {
  return blocksOf(marked(name)).filter(({ language }) => language === "jsonl").map(({ text }) =>
    text.trim().split("\n").map((line) => ({ type: JSON.parse(line).type, line }))
  );
}

/** What loads the README's files: the variables that they name, and those of a user. */
const ENV = { HOME: "/home/me", ISSUES_TOKEN: "token", VTUBER_ENABLED: "true" };

/** The rows of a table between `<!-- name -->` and `<!-- /name -->`, as their first cells without code marks. */
function firstCells(name: string): string[] {
  return rowsOf(marked(name)).slice(1).map(([cell = ""]) => cell.replaceAll("`", ""));
}

/** The files of a folder and of those in it. */
function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesIn(`${folder}${name}/`) : [folder + name]
  );
}

Deno.test("the README's table of settings is the program's", () => {
  const table = settingsTable();
  assertEquals(
    rowsOf(marked("settings")),
    rowsOf(table),
    "put this between <!-- settings --> and <!-- /settings --> in README.md, then run `deno fmt README.md`:" +
      `\n\n${table}\n`,
  );
});

Deno.test("the README explains every error, with its status", () => {
  const [, ...rows] = rowsOf(marked("errors"));
  const told = Object.fromEntries(
    rows.map(([code = "", status]) => [code.replaceAll("`", ""), Number(status)]),
  );
  const real = Object.fromEntries(
    ERROR_CODES.map((code) => [code, errorResponse(new AppError(code, "")).status]),
  );
  assertEquals(
    told,
    real,
    "the table between <!-- errors --> and <!-- /errors --> in README.md is not the program's",
  );
  for (const [code, , meaning, remedy] of rows) {
    assert(meaning && remedy, `README.md does not say what ${code} means and what to do`);
  }
});

Deno.test("the README begins with the two commands that need nothing else", () => {
  const [picture, first] = blocksOf(README);
  assertEquals(picture?.language, "text", "only the picture may stand before the two commands");
  assertEquals(first, {
    language: "sh",
    text: "npx -y deno@2.9.6 task dev\nnpx -y deno@2.9.6 task test\n",
  });
});

Deno.test("the documents name only tasks that there are", async () => {
  for (const path of ["README.md", ".github/ARCHITECTURE.md", ".github/CONTRIBUTING.md"]) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    for (const [, name = ""] of text.matchAll(/\bdeno(?:@[\d.]+)? task ([a-z]+)/g)) {
      assert(name in project.tasks, `${path} names the task ${name}, which deno.json does not have`);
    }
  }
});

Deno.test("the README mentions every endpoint that GET / lists", async () => {
  await using app = startApp();
  const response = await app.get("/");
  const { endpoints } = await response.json() as { endpoints: Record<string, string> };
  for (const endpoint of Object.values(endpoints)) {
    assert(README.includes(`\`${endpoint}\``), `README.md does not mention \`${endpoint}\``);
  }
});

Deno.test("the README shows every event, in an example that is JSON", () => {
  const shown = new Set(jsonBlocks("events").flat().map(({ type }) => type));
  assertEquals([...shown].sort(), [...EVENT_NAMES].sort());
  for (const name of EVENT_NAMES) {
    assert(marked("events").includes(`**\`${name}\`**`), `README.md does not explain the event ${name}`);
  }
});

Deno.test("the README shows every command, with what comes back", () => {
  const blocks = jsonBlocks("commands");
  const sent = new Set<string>();
  const told = new Set<string>();
  for (const [command, ...answers] of blocks) {
    sent.add(parseCommand(command!.line).type);
    assert(answers.length > 0, `README.md shows no answer to ${command!.line}`);
    for (const { type } of answers) told.add(type);
  }
  assertEquals([...sent].sort(), Object.keys(COMMANDS).sort());
  const isEvent = (type: string) => (EVENT_NAMES as readonly string[]).includes(type);
  assertEquals([...told].filter((type) => !isEvent(type)).sort(), Object.keys(ANSWERS).sort());
  for (const name of sent) {
    assert(marked("commands").includes(`**\`${name}\`**`), `README.md does not explain the command ${name}`);
  }
});

Deno.test("every block of JSON lines in the README is JSON", () => {
  for (const { language, text } of blocksOf(README)) {
    if (language !== "jsonl") continue;
    for (const line of text.trim().split("\n")) JSON.parse(line);
  }
});

Deno.test("the README's table of states has them all, and its words are those that are used", () => {
  const [, table = ""] = README.split("\n### States\n");
  const rows = rowsOf(table.split("\n### ")[0] ?? "").slice(1);
  assertEquals(rows.map(([state = ""]) => state.replaceAll("`", "")).sort(), [...AGENT_STATES].sort());
  for (const word of [...URGENCIES, ...NOTIFICATION_MODES]) {
    assert(README.includes(`\`${word}\``), `README.md does not mention \`${word}\``);
  }
  const emotions = README.split("\n### Emotions\n")[1]?.split("\n### ")[0] ?? "";
  const { plain, face, act } = emotionWords();
  for (const word of new Set([...plain, ...face, ...act])) {
    assert(new RegExp(`\\b${word}\\b`).test(emotions), `README.md does not name the emotion ${word}`);
  }
});

Deno.test("what the documents link to within themselves is there", async () => {
  for (const path of ["README.md", ".github/ARCHITECTURE.md", ".github/CONTRIBUTING.md"]) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
      heading.toLowerCase().replace(/[^\w\- ]/g, "").replaceAll(" ", "-")
    );
    for (const [, anchor = ""] of text.matchAll(/\]\(#([^)]+)\)/g)) {
      assert(headings.includes(anchor), `${path} links to #${anchor}, which is no heading`);
    }
  }
});

Deno.test("the files that the documents link to are there", async () => {
  for (const path of ["README.md", ".github/ARCHITECTURE.md", ".github/CONTRIBUTING.md"]) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    for (const [, link = ""] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      // A page of the site where the project lies.
      if (link === "../../releases") continue;
      assert((await Deno.stat(new URL(link, new URL(path, ROOT)))).isFile, `${path} links to ${link}`);
    }
  }
});

Deno.test("the documents name only sections of the benchmark that there are", async () => {
  const { SECTIONS } = await import("./bench/sections.ts");
  for (const path of ["README.md", ".github/CONTRIBUTING.md"]) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    const named = [...text.matchAll(/--only ([a-z]+)/g)].map(([, name = ""]) => name);
    assert(named.length > 0, `${path} does not say how one section is run`);
    for (const name of named) assert(name in SECTIONS, `${path} names the section ${name}`);
  }
});

Deno.test("the README's configuration files are read without a mistake or a warning", () => {
  const files = blocksOf(README).filter(({ language }) => language === "toml");
  assert(files.length > 0, "README.md shows no configuration file");
  for (const { text } of files) {
    assertEquals(loadConfig({ env: ENV, file: { path: "config.toml", text } }).warnings, [], text);
  }
});

Deno.test("the README's first configuration file says what its text says of it", () => {
  const file = blocksOf(README).find(({ language }) => language === "toml");
  const { config } = loadConfig({ env: ENV, file: { path: "config.toml", text: file?.text ?? "" } });
  assertEquals(config.agents.map(({ name }) => name), ["openab", "codex"]);
  const [own, codex] = config.agents;
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
  assertEquals([codex?.model, codex?.processes, codex?.permissions], ["gpt-5", 2, "deny"]);
});

Deno.test("the README explains every key of an agent's table", () => {
  const { config } = loadConfig({ env: ENV });
  const keys = Object.keys(config.agents[0]!).filter((key) => key !== "name");
  const snake = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  assertEquals(firstCells("agent").sort(), keys.map(snake).sort());
});

Deno.test("the README's list of conversations has the fields of a real one", async () => {
  await using app = startApp({ sessions: "auto", script: saying("Hello.") });
  await (await app.chat()).body?.cancel();
  const real = await (await app.get("/v1/vtuber/sessions")).json();
  const [shown] = blocksOf(marked("sessions"));
  const fields = ({ sessions }: { sessions: object[] }) => sessions.map((each) => Object.keys(each));
  const told = JSON.parse(shown?.text ?? "");
  assertEquals(Object.keys(told), Object.keys(real));
  assertEquals(fields(told)[0], fields(real)[0]);
  for (const each of fields(told)) assertEquals(each, fields(told)[0]);
});

Deno.test("each way in which the README names a conversation does, and the first of two counts", async () => {
  await using app = startApp({ sessions: "auto", script: saying("Hello.") });
  const ways = firstCells("names");
  const call = async (...names: [way: string, name: string][]) => {
    const headers: Record<string, string> = {};
    const body: Record<string, unknown> = {};
    for (const [way, name] of names) {
      const said = way.replace("mao", name);
      if (said.startsWith("{")) Object.assign(body, JSON.parse(said));
      else headers[said.split(": ")[0]!] = said.split(": ")[1]!;
    }
    const response = await app.chat(body, { headers });
    await response.body?.cancel();
    return response.headers.get("x-session-id");
  };
  for (const [place, way] of ways.entries()) {
    assertEquals(await call([way, "kai"]), "kai", way);
    const next = ways[place + 1];
    if (next) assertEquals(await call([next, "second"], [way, "first"]), "first", `${way} before ${next}`);
  }
});

Deno.test("each line with which the README forgets a conversation does", async () => {
  await using app = startApp({ sessions: "auto", script: saying("Hello.") });
  const lines = [...README.matchAll(/^curl -X DELETE "?http:\/\/[\d.:]+(\S+?)"?$/gm)];
  assertEquals(lines.length, 3);
  for (const [line, address = ""] of lines) {
    await (await app.chat({ conversation_id: "mao" })).text();
    const response = await app.send(address, { method: "DELETE" });
    assertEquals(await response.text(), '{"forgotten":1}', line);
    assertEquals(await (await app.get("/v1/vtuber/sessions")).json(), { sessions: [] }, line);
  }
});

Deno.test("the README explains every choice about conversations", () => {
  const memory = README.split("\n## Memory\n")[1]?.split("\n## ")[0] ?? "";
  const cells = rowsOf(memory).map(([cell = ""]) => cell);
  for (const word of [...SESSION_MODES, ...BUSY_MODES]) {
    assert(cells.includes(`\`${word}\``), `README.md does not explain ${word}`);
  }
});

Deno.test("the README shows what the doctor says", () => {
  const { config } = loadConfig({ env: ENV });
  const demo = agentFindings({
    agent: { name: "oab-vtuber-demo", version: "1" },
    protocolVersion: 1,
    accepts: { image: true, audio: false },
    canResume: "resume",
    canClose: true,
    canDelete: true,
    mcp: { http: false, sse: false },
    authMethods: [],
    model: undefined,
    models: [],
    mode: undefined,
    modes: [],
    warnings: [],
    startedMs: 58,
  });
  const agent = config.agents[0]!;
  const folder = { path: "/home/me", isFolder: true };
  const kept = `conversations are remembered in ${config.dataDir}: 0 so far`;
  const general: Finding[] = [
    ...configFindings(config, [], []),
    addressFinding(config.listen, undefined),
    { level: "ok", text: kept },
  ];
  const own = [...programFindings(agent, undefined, folder), ...demo];
  const [missing] = programFindings({ ...agent, command: "codex-acp" }, undefined, folder);
  const lines = [
    ...general.flatMap((finding) => linesOf(finding)),
    ...own.flatMap((finding) => linesOf(finding, "openab")),
    sumOf([...general, ...own]),
  ];
  const [well, broken] = blocksOf(marked("doctor"));
  assertEquals(well?.text.trimEnd().split("\n"), lines);
  assertEquals(broken?.text.trimEnd().split("\n"), linesOf(missing!, "codex"));
});

Deno.test("the README names the folder of each system", () => {
  for (const os of ["linux", "darwin", "windows"]) {
    const folder = dataDirOf(undefined, os, { HOME: "~", LOCALAPPDATA: "%LOCALAPPDATA%" });
    assert(README.includes(`\`${folder}\``), `README.md does not name ${folder}`);
  }
});
