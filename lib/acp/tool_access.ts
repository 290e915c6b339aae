/**
 * Finds what a tool call would touch, as far as the agent shows it: commands, changes, folders and hosts. Describes it
 * for people.
 *
 * @module
 */

import { basename, dirname, isAbsolute, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { ToolFields } from "./wire.ts";

/** Texts of one tool call that are examined, and their characters. A tool call with more counts as unsafe. */
const MAX_TARGETS = 50;
const MAX_TARGET_CHARS = 16 * 1024;
/** Folders of one path that are looked up. A longer path has no known place. */
const MAX_FOLDERS = 64;
/** Folders of all paths of one tool call that are looked up. */
const MAX_ALL_FOLDERS = 500;
/** Characters of a detail. A longer one is shown with its middle left out, and nobody can allow its request. */
export const MAX_DETAIL_CHARS = 64 * 1024;
/** Characters of a field's name that are examined. */
const MAX_NAME_CHARS = 100;
/** Folders in the working directory that the other paths of a tool call may start from. */
const MAX_BASES = 3;
/** Values of the input that are examined, and their depth. */
const MAX_VALUES = 1_000;
const MAX_DEPTH = 8;

/** The commands, changes, paths and addresses that a tool call shows. */
export interface ToolAccess {
  /** It has a command or a change, or shows too much to be examined: a person has to see it, whatever its kind is. */
  readonly isUnsafe: boolean;
  /** Texts that may be paths or URLs. Empty if the tool call is unsafe anyway. */
  readonly targets: readonly Target[];
}

interface Target {
  readonly text: string;
  /** The text is a path or a URL by its field or form; any other text may still be read as a path. */
  readonly isPath: boolean;
}

/** Names of input fields that hold a command or a change: a word of `snake_case` or `camelCase`. */
const UNSAFE_FIELD =
  /(?:^|_)(?:commands?|cmds?|(?:command|cmd)line|scripts?|shell|bash|powershell|exec|argv|code|sql|patch|diff|(?:old|new)_?(?:str|string|text|content|lines?))(?:_|$)/;
/** Names of input fields that hold a path or a URL. */
const PATH_FIELD = /path|file|dir|folder|root|cwd|glob|ur[il]/i;
/** The start of a text that is a path or a URL in every field. */
const PATH_START = /^(~|\.{1,2}([/\\]|$)|[/\\]|[a-z]:[/\\]|[a-z][a-z0-9+.-]+:\/\/)/i;

/** Characters around the paths of a list, of a command's arguments, or of a pattern with alternatives. */
const SEPARATORS = /[\s,;|"'`<>(){}[\]=]+/;
/** A colon before a path, as in `HEAD:/etc`, but not behind a drive's letter. */
const COLON = /(?<=[\w.-]{2}):+(?=[/~.])/;
/** A URL. `file:/etc` and `https:host` are URLs too. */
const URL_FORM = /^(?:(?:file|https?|wss?|ftp):(?=\S)|[a-z][a-z0-9+.-]+:\/\/)/i;
/** A text that may be a path or a URL. */
const PATH_FORM = /^(?:~|\.\.?$)|[/\\]/;
/**
 * Paths that agents read in different ways: variables, `..` behind a wildcard, which may stand for no folder, and `..`
 * with the separator of another system.
 */
const AMBIGUOUS = /^\$[A-Z_]|\$\{|^%\w+%|[*?].*\.\.(?:[/\\]|$)/;
const FOREIGN_PARENT = /\.\.\\|\\\.\.(?:[/\\]|$)/;

/** Nothing that was shown. */
export const NO_ACCESS: ToolAccess = { isUnsafe: false, targets: [] };
const UNSAFE: ToolAccess = { isUnsafe: true, targets: [] };

/** Reads what a tool call shows: texts of `rawInput`, paths of `locations`, changes and links of `content`. */
export function accessOf({ rawInput, locations, content }: Partial<ToolFields>): ToolAccess {
  let isUnsafe = false;
  let chars = 0;
  const targets: Target[] = [];
  const add = (text: string, isNamedPath: boolean) => {
    chars += text.length;
    if (targets.length >= MAX_TARGETS || chars > MAX_TARGET_CHARS) isUnsafe = true;
    if (isUnsafe) return;
    for (const part of partsOf(text)) {
      const isPath = isNamedPath || part === text && PATH_START.test(text);
      if (isPath || part === text || PATH_FORM.test(part)) targets.push({ text: part, isPath });
    }
    if (targets.length > MAX_TARGETS) isUnsafe = true;
  };
  const examine = (value: unknown, name: string) => {
    const isWhole = visitTexts(value, (text, field) => {
      if (isUnsafeField(field)) isUnsafe = true;
      else add(text, PATH_FIELD.test(field));
    }, name);
    if (!isWhole) isUnsafe = true;
  };
  // Input in words may be a command.
  const isWords = typeof rawInput === "string" && /\S\s+\S/.test(rawInput) &&
    parseNested(rawInput) === undefined;
  examine(rawInput, isWords ? "command" : "");
  for (const location of listOf(locations)) examine(fieldOf(location, "path"), "path");
  for (const item of listOf(content)) {
    // A `diff` is a change, a `terminal` a command.
    if (fieldOf(item, "type") !== "content") isUnsafe = true;
    examine(uriOf(fieldOf(item, "content")), "uri");
  }
  return isUnsafe ? UNSAFE : { isUnsafe, targets };
}

/**
 * Calls `onText` for each text of an input, and for each name of a field that looks like a path. JSON in a text is
 * visited too. Texts, numbers and booleans inside of a command or a change keep the name of its field.
 *
 * @returns Whether everything was visited: not if the input is too large or too deep.
 */
function visitTexts(input: unknown, onText: (text: string, field: string) => void, name = ""): boolean {
  let values = 0;
  const visit = (value: unknown, field: string, depth: number): boolean => {
    if (value === null || value === undefined || value === "") return true;
    if (++values > MAX_VALUES || depth > MAX_DEPTH) return false;
    const json = typeof value === "string" ? parseNested(value) : undefined;
    if (json !== undefined) return visit(json, field, depth + 1);
    if (Array.isArray(value)) return value.every((item) => visit(item, field, depth + 1));
    if (typeof value === "object") {
      for (const key in value) {
        if (PATH_FORM.test(key)) onText(key, "path");
        if (!visit(fieldOf(value, key), isUnsafeField(field) ? field : key, depth + 1)) return false;
      }
    } else if (typeof value === "string" || isUnsafeField(field)) onText(String(value), field);
    return true;
  };
  return visit(input, name, 0);
}

function isUnsafeField(name: string): boolean {
  return UNSAFE_FIELD.test(
    name.slice(0, MAX_NAME_CHARS).replace(/([a-z\d])([A-Z])/g, "$1_$2").replace(/[^A-Za-z\d]+/g, "_")
      .toLowerCase(),
  );
}

/** Lists a text and the parts of it that an agent may take for paths of their own. */
function partsOf(text: string): Set<string> {
  const parts = text.split(SEPARATORS).flatMap((part) => URL_FORM.test(part) ? part : part.split(COLON));
  // Some agents take `@/etc` for a path, and `!/etc` for a pattern.
  return new Set([text, ...parts.map((part) => part.replace(/^[@!^+-]+/, ""))].filter((part) => part !== ""));
}

/** Parses a list or an object that an agent gives as JSON in a string. */
function parseNested(text: string): unknown {
  if (!/^\s*[{[]/.test(text) || text.length > MAX_TARGET_CHARS) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Adds what a tool call showed before to what it shows now. */
export function mergeAccess(earlier: ToolAccess, now: ToolAccess): ToolAccess {
  if (now.targets.length === 0 && earlier.isUnsafe === now.isUnsafe) return earlier;
  const isNew = (target: Target) =>
    !earlier.targets.some(({ text, isPath }) => text === target.text && (isPath || !target.isPath));
  const targets = [...earlier.targets, ...now.targets.filter(isNew)];
  const chars = targets.reduce((sum, { text }) => sum + text.length, 0);
  const isUnsafe = earlier.isUnsafe || now.isUnsafe || targets.length > MAX_TARGETS ||
    chars > MAX_TARGET_CHARS;
  return isUnsafe ? UNSAFE : { isUnsafe, targets };
}

/** A directory or a host outside of the working directory. */
export type Place = `folder ${string}` | `host ${string}`;

/**
 * Lists the places outside of the working directory that a tool call names, after resolving links and `..`.
 *
 * @returns `undefined` if it names no path and no URL, or one whose place cannot be found out.
 */
export function outsidePlaces(
  { targets }: ToolAccess,
  cwd: string,
  home: string | undefined,
): Place[] | undefined {
  if (!targets.some(({ isPath }) => isPath)) return undefined;
  const places = new Set<Place>();
  try {
    const root = Deno.realPathSync(cwd);
    const folders = targets.reduce((sum, { text }) => sum + text.split(/[/\\]/).length, 0);
    if (folders > MAX_ALL_FOLDERS) return undefined;
    const bases = basesOf(targets, root, home);
    for (const { text, isPath } of targets) {
      // A text with a line break is no path, unless its field or its form says so.
      if (!isPath && text.includes("\n")) continue;
      const mayBePath = isPath || PATH_FORM.test(text);
      if (mayBePath && (AMBIGUOUS.test(text) || sep === "/" && FOREIGN_PARENT.test(text))) return undefined;
      for (const base of bases) {
        const place = placeOf(text, base, root, home);
        if (place) places.add(place);
      }
    }
  } catch {
    return undefined;
  }
  return [...places];
}

/**
 * Lists the directories that a relative path may start from: the working directory, and those in it that the tool call
 * names, because a link in one of them may lead outside.
 *
 * @throws If there are too many.
 */
function basesOf(targets: readonly Target[], root: string, home: string | undefined): Set<string> {
  const bases = new Set([root]);
  for (const { text } of targets) {
    if (URL_FORM.test(text)) continue;
    const real = realPath(fromRoot(withHome(text, home), root));
    if (isInside(real, root) && isDirectory(real)) bases.add(real);
    if (bases.size > 1 + MAX_BASES) throw new TypeError("The tool call names too many folders");
  }
  return bases;
}

/** @throws If the place cannot be found out. */
function placeOf(text: string, base: string, root: string, home: string | undefined): Place | undefined {
  const isUrl = URL_FORM.test(text);
  if (isUrl && !/^file:/i.test(text)) {
    const { protocol, host } = new URL(text);
    if (host === "") throw new TypeError("The URL has no host");
    return `host ${/^https?:$/.test(protocol) ? "" : `${protocol}//`}${host}`;
  }
  const path = isUrl ? fileURLToPath(new URL(text)) : withHome(text, home);
  const real = realPath(fromRoot(path, base));
  if (isInside(real, root)) return undefined;
  return `folder ${isDirectory(real) ? real : dirname(real)}`;
}

function fromRoot(path: string, root: string): string {
  if (path.split(/[/\\]/).length > MAX_FOLDERS) throw new TypeError("The path is too long");
  return isAbsolute(path) ? path : `${root}${sep}${path}`;
}

function isInside(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
}

function withHome(path: string, home: string | undefined): string {
  if (!path.startsWith("~")) return path;
  if (home === undefined || !/^~([/\\]|$)/.test(path)) throw new TypeError("The home directory is not known");
  return home + path.slice(1);
}

/** Resolves links and `..` in the order of the kernel: `..` behind a link is the parent of its target. */
function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    // A link whose target does not exist could be pointed anywhere.
    if (isLink(path)) throw error;
    return join(realPath(dirname(path)), basename(path));
  }
}

function isLink(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSymlink;
  } catch {
    return false;
  }
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

/**
 * Describes what a tool call would do, as far as the agent shows it: the command and address in `rawInput`, the changes
 * and texts in `content` (types `diff` and `content`), the paths in `locations`, and all other texts of the input that
 * a person has to see.
 */
export function detailOf({ rawInput, content, locations }: Partial<ToolFields>): string {
  const command = fieldOf(rawInput, "command");
  const lines = [Array.isArray(command) ? command.join(" ") : command];
  for (const item of listOf(content)) {
    if (fieldOf(item, "type") === "diff") {
      lines.push(
        fieldOf(item, "path"),
        signed("-", fieldOf(item, "oldText")),
        signed("+", fieldOf(item, "newText")),
      );
    } else lines.push(fieldOf(fieldOf(item, "content"), "text"));
  }
  for (const location of listOf(locations)) {
    const path = fieldOf(location, "path");
    if (!lines.includes(path)) lines.push(path);
  }
  lines.push(fieldOf(rawInput, "url"));
  const texts = lines.filter((line) => typeof line === "string" && line !== "");
  if (texts.length === 0) return inputText(rawInput);
  const shown = texts.join("\n");
  // A person cannot allow it anyway.
  if (shown.length > MAX_DETAIL_CHARS) return shown;
  const links = listOf(content).map((item) => uriOf(fieldOf(item, "content")));
  const input = Array.isArray(command) ? { ...rawInput as Record<string, unknown>, command: "" } : rawInput;
  return [shown, ...hiddenTexts([input, links], shown)].join("\n");
}

/** Names of input fields that only explain the tool call. */
const EXPLANATION = /^(?:description|reason|justification|explanation|title)$/i;

/**
 * Lists the texts of an input that are not shown yet, but that a person has to see: commands and changes, paths, and
 * everything of more than one word. Long input is listed as JSON.
 */
function hiddenTexts(input: unknown, shown: string): string[] {
  const lines = new Set(
    shown.split("\n").flatMap((line) => [line.trim(), line.replace(/^[+-] /, "").trim()]),
  );
  const hidden = new Set<string>();
  const isWhole = visitTexts(input, (text, field) => {
    const isTelling = isUnsafeField(field) || PATH_FIELD.test(field) || PATH_FORM.test(text) ||
      /\S\s+\S/.test(text);
    if (!isTelling || EXPLANATION.test(field)) return;
    const isShown = text.length <= MAX_DETAIL_CHARS &&
      text.split("\n").map((line) => line.trim()).every((line) => line === "" || lines.has(line));
    if (!isShown) hidden.add(field === "" ? text : `${field}: ${text}`);
  });
  return isWhole ? [...hidden] : [inputText(input)];
}

/** Returns the address of a link or an embedded resource. */
function uriOf(block: unknown): unknown {
  return fieldOf(block, "uri") ?? fieldOf(fieldOf(block, "resource"), "uri");
}

/** Formats the lines of a change, each with a sign. */
function signed(sign: "-" | "+", text: unknown): string {
  if (typeof text !== "string" || text === "") return "";
  return text.replace(/\n$/, "").split("\n").map((line) => `${sign} ${line}`).join("\n");
}

/** Formats a whole input as one text. */
function inputText(rawInput: unknown): string {
  if (typeof rawInput === "string") return rawInput;
  if (rawInput === undefined || rawInput === null) return "";
  const text = JSON.stringify(rawInput);
  return text === "{}" || text === "[]" ? "" : text;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
