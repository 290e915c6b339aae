/** The README says what the program does: its tables, its commands and its endpoints are checked against the code. @module */

import { assert, assertEquals } from "@std/assert";
import { SETTING_HELP } from "../lib/config/settings.ts";
import { errorResponse } from "../lib/http/envelope.ts";
import { Failure, FAILURE_CODES } from "../lib/turn/failure.ts";
import project from "../deno.json" with { type: "json" };
import { startApp } from "./app/app_under_test.ts";

const ROOT = new URL("../", import.meta.url);
const README = await Deno.readTextFile(new URL("README.md", ROOT));

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
    FAILURE_CODES.map((code) => [code, errorResponse(new Failure(code, "")).status]),
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
  await using app = await startApp();
  const response = await app.get("/");
  const { endpoints } = await response.json() as { endpoints: Record<string, string> };
  for (const endpoint of Object.values(endpoints)) {
    assert(README.includes(`\`${endpoint}\``), `README.md does not mention \`${endpoint}\``);
  }
});
