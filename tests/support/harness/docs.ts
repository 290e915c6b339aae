/** Reads the docs: their pages, code blocks, tables and links. */

/** The folder of the project. */
export const ROOT = new URL("../../../", import.meta.url);

/** A code block of a Markdown text. */
export interface CodeBlock {
  readonly language: string;
  readonly text: string;
}

/** Reads a page by its path in the project, or a page of `.github/docs` by its name without `.md`. */
export function readPage(name: string): string {
  const path = name.includes(".") ? name : `.github/docs/${name}.md`;
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** The names of the pages in `.github/docs`, without the translations of the README. */
export const PAGE_NAMES: readonly string[] = [...Deno.readDirSync(new URL(".github/docs/", ROOT))]
  .map(({ name }) => name.replace(/\.md$/, ""))
  .filter((name) => !name.startsWith("README."))
  .sort();

/** The translations of the README. */
export const TRANSLATIONS: readonly string[] = [".github/docs/README.zh.md", ".github/docs/README.ja.md"];

/** Every document, by its path in the project. */
export const DOCUMENTS: readonly string[] = [
  "README.md",
  ".github/ARCHITECTURE.md",
  ".github/CONTRIBUTING.md",
  ...TRANSLATIONS,
  ...PAGE_NAMES.map((name) => `.github/docs/${name}.md`),
];

/** Returns the text between `<!-- name -->` and `<!-- /name -->`. */
export function partOf(page: string, name: string): string {
  const part = page.split(`<!-- ${name} -->`)[1]?.split(`<!-- /${name} -->`);
  if (part?.length !== 2) throw new Error(`The page has no part <!-- ${name} -->.`);
  return part[0]!;
}

/** Returns the text below a heading, until the next heading of the same or a higher level. */
export function sectionOf(page: string, heading: string): string {
  const [before, after] = page.split(`\n${heading}\n`);
  if (before === undefined || after === undefined) throw new Error(`The page has no heading "${heading}".`);
  const level = heading.indexOf(" ");
  return after.split(new RegExp(`\n#{1,${level}} `))[0]!;
}

/** Returns the code blocks, or those of one language, in order. */
export function codeBlocks(markdown: string, language?: string): CodeBlock[] {
  return [...markdown.matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```$/gm)]
    .map(([, language = "", text = ""]) => ({ language, text }))
    .filter((block) => language === undefined || block.language === language);
}

/** Returns the lines of the blocks of JSON lines, block by block, each with the type that it names. */
export function jsonLines(markdown: string): { type: string; line: string }[][] {
  return codeBlocks(markdown, "jsonl").map(({ text }) =>
    text.trim().split("\n").map((line) => ({ type: JSON.parse(line).type, line }))
  );
}

/** Returns the rows of the tables as cells, without their heads. */
export function tableRows(markdown: string): string[][] {
  const lines = markdown.split("\n");
  const isDivider = (line: string | undefined) => line !== undefined && /^\|[\s|:-]+\|$/.test(line.trim());
  return lines
    .filter((line, at) => line.startsWith("|") && !isDivider(line) && !isDivider(lines[at + 1]))
    .map((line) => line.trim().slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

/** Returns the first cells of the tables, without code marks. */
export function firstCells(markdown: string): string[] {
  return tableRows(markdown).map(([cell = ""]) => cell.replaceAll("`", ""));
}
