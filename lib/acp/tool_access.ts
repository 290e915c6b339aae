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
/** Folders of a path that are looked up. The place of a longer one is not known. */
const MAX_FOLDERS = 64;
/** Depth of the input that is examined. */
const MAX_DEPTH = 8;

/** What a tool call shows of itself. */
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

/** Names of input fields that hold a command or a change. */
const UNSAFE_FIELD = /^(commands?|cmd|script|shell|argv|code|patch|diff|(old|new)_?(str|string|text))$/i;
/** Names of input fields that hold a path or a URL. */
const PATH_FIELD = /path|file|dir|folder|root|cwd|glob|ur[il]/i;
/** The start of a text that is a path or a URL in every field. */
const PATH_START = /^(~|\.{1,2}([/\\]|$)|[/\\]|[a-z]:[/\\]|[a-z][a-z0-9+.-]+:\/\/)/i;

/** Nothing that was shown. */
export const NO_ACCESS: ToolAccess = { isUnsafe: false, targets: [] };
const UNSAFE: ToolAccess = { isUnsafe: true, targets: [] };

/** Reads what a tool call shows: texts of `rawInput`, paths of `locations`, changes and links of `content`. */
export function accessOf({ rawInput, locations, content }: Partial<ToolFields>): ToolAccess {
  let isUnsafe = false;
  let chars = 0;
  const targets: Target[] = [];
  const add = (text: string, isPath: boolean) => {
    chars += text.length;
    if (targets.length >= MAX_TARGETS || chars > MAX_TARGET_CHARS) isUnsafe = true;
    else if (text !== "") targets.push({ text, isPath: isPath || PATH_START.test(text) });
  };
  const walk = (value: unknown, field: string, depth: number): void => {
    if (isUnsafe || value === null || value === undefined || value === "") return;
    if (UNSAFE_FIELD.test(field) || depth > MAX_DEPTH) isUnsafe = true;
    else if (typeof value === "string") add(value, PATH_FIELD.test(field));
    else if (Array.isArray(value)) { for (const item of value) walk(item, field, depth + 1); }
    else if (typeof value === "object") {
      for (const [name, item] of Object.entries(value)) walk(item, name, depth + 1);
    }
  };
  walk(rawInput, "", 0);
  for (const location of listOf(locations)) walk(fieldOf(location, "path"), "path", 0);
  for (const item of listOf(content)) {
    // A `diff` is a change, a `terminal` a command.
    if (fieldOf(item, "type") !== "content") isUnsafe = true;
    const block = fieldOf(item, "content");
    walk(fieldOf(block, "uri") ?? fieldOf(fieldOf(block, "resource"), "uri"), "uri", 0);
  }
  return isUnsafe ? UNSAFE : { isUnsafe, targets };
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
    for (const { text, isPath } of targets) {
      // No path has a line break. A field that is named like one cannot be judged.
      if (!isPath && text.includes("\n")) continue;
      const place = placeOf(text, root, home);
      if (place) places.add(place);
    }
  } catch {
    return undefined;
  }
  return [...places];
}

/** @throws If the place cannot be found out. */
function placeOf(text: string, root: string, home: string | undefined): Place | undefined {
  const isUrl = /^[a-z][a-z0-9+.-]+:\/\//i.test(text);
  if (isUrl && !/^file:/i.test(text)) {
    const { protocol, host } = new URL(text);
    if (host === "") throw new TypeError("The URL has no host");
    return `host ${/^https?:$/.test(protocol) ? "" : `${protocol}//`}${host}`;
  }
  const path = isUrl ? fileURLToPath(text) : withHome(text, home);
  if (path.split(/[/\\]/).length > MAX_FOLDERS) throw new TypeError("The path is too long");
  const real = realPath(isAbsolute(path) ? path : `${root}${sep}${path}`);
  if (real === root || real.startsWith(root.endsWith(sep) ? root : root + sep)) return undefined;
  return `folder ${isDirectory(real) ? real : dirname(real)}`;
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
 * and texts in `content` (types `diff` and `content`), and the paths in `locations`.
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
  if (texts.length === 0) texts.push(inputText(rawInput));
  return texts.join("\n");
}

/** Formats the lines of a change, each with a sign. */
function signed(sign: "-" | "+", text: unknown): string {
  if (typeof text !== "string" || text === "") return "";
  return text.replace(/\n$/, "").split("\n").map((line) => `${sign} ${line}`).join("\n");
}

/** Formats the input of a tool whose fields are not known. */
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
