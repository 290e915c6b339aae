/** The form of the pages: length, links, and the commands that they name. */

import { assert, assertEquals } from "@std/assert";
import {
  codeBlocks,
  DOCUMENTS,
  PAGE_NAMES,
  readPage,
  ROOT,
  tableRows,
  TRANSLATIONS,
} from "../support/harness/docs.ts";
import project from "../../deno.json" with { type: "json" };

const README = readPage("README.md");

/** The headings of a page as the anchors that GitHub makes of them. */
function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading.toLowerCase().replace(/[^\p{L}\p{N}\- _]/gu, "").replaceAll(" ", "-")
  );
}

Deno.test("README: at most 200 lines and 14 KB", () => {
  assert(README.split("\n").length <= 200, `${README.split("\n").length} lines`);
  assert(new TextEncoder().encode(README).length <= 14 * 1024);
});

Deno.test("README: one block has the command that serves and the command that tests", () => {
  const blocks = codeBlocks(README, "sh").map(({ text }) => text);
  assert(blocks.includes("npx -y deno@2.9.6 task dev\nnpx -y deno@2.9.6 task test\n"));
});

Deno.test("ARCHITECTURE: at most 150 lines", () => {
  const lines = readPage(".github/ARCHITECTURE.md").trimEnd().split("\n").length;
  assert(lines <= 150, `${lines} lines`);
});

Deno.test("ARCHITECTURE and CONTRIBUTING: the files that they name exist", async () => {
  const files: string[] = ["main.ts"];
  for (const folder of ["lib", "scripts", "tests"]) {
    for await (const path of walk(folder)) files.push(path);
  }
  for (const path of [".github/ARCHITECTURE.md", ".github/CONTRIBUTING.md"]) {
    for (const [, name = ""] of readPage(path).matchAll(/`([\w/]+\.ts)`/g)) {
      assert(files.some((file) => `/${file}`.endsWith(`/${name}`)), `${path} names ${name}`);
    }
  }
});

async function* walk(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* walk(path);
    else yield path;
  }
}

Deno.test("CONTRIBUTING: at most 80 lines", () => {
  const lines = readPage(".github/CONTRIBUTING.md").trimEnd().split("\n").length;
  assert(lines <= 80, `${lines} lines`);
});

for (const name of PAGE_NAMES) {
  Deno.test(`${name}.md: ends by saying how it was tried`, () => {
    const last = readPage(name).trimEnd().split("\n\n").at(-1)!;
    assert(/^(Tried: .*\b\d{4}-\d{2}|Not tried: )/s.test(last), last);
  });

  Deno.test(`${name}.md: the README links to it`, () => {
    assert(README.includes(`(.github/docs/${name}.md)`));
  });
}

for (const path of DOCUMENTS) {
  const page = readPage(path);

  Deno.test(`${path}: its links and anchors exist`, async () => {
    for (const [, link = ""] of page.matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      // The page of releases is beside the repository's files.
      if (/^(\.\.\/)+releases$/.test(link)) continue;
      const [file = "", anchor] = link.split("#");
      const target = new URL(file, new URL(path, ROOT));
      assert((await Deno.stat(target)).isFile, link);
      if (anchor === undefined) continue;
      assert(anchorsOf(await Deno.readTextFile(target)).includes(anchor), link);
    }
  });

  Deno.test(`${path}: its tasks exist`, () => {
    for (const [, name = ""] of page.matchAll(/(?:\bdeno(?:@[\d.]+)? |`)task ([a-z]+)/g)) {
      assert(name in project.tasks, name);
    }
  });
}

Deno.test("docs: the sections of the benchmark that they name exist", async () => {
  const names = DOCUMENTS.flatMap((path) => [...readPage(path).matchAll(/--only ([a-z]+)/g)])
    .map(([, name = ""]) => name);
  assert(names.length > 0);
  // An unknown name lists the sections.
  const args = ["run", "--no-check", "--no-prompt", "--allow-all", "tests/bench/main.ts", "--only", "?"];
  const { stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, stdin: "null" }).output();
  const sections = /only (.+)\./.exec(new TextDecoder().decode(stderr))![1]!.split(", ");
  for (const name of names) assert(sections.includes(name), name);
});

/** The part of the README that is translated. */
const TRANSLATED = README.split("\n## Endpoints\n")[0]!;

for (const path of TRANSLATIONS) {
  const page = readPage(path);

  Deno.test(`${path}: has every command of the README`, () => {
    for (const { text } of codeBlocks(TRANSLATED, "sh")) {
      for (const command of text.trim().split("\n")) assert(page.includes(command), command);
    }
  });

  Deno.test(`${path}: its tables have the README's agents, skins and settings`, () => {
    const codes = (markdown: string) => tableRows(markdown).map((row) => row.join().match(/`[^`]+`/g));
    assertEquals(codes(page), codes(TRANSLATED));
  });
}
