/**
 * Keeps chat from triggering an agent's commands. Agents act on `/command`, `$skill`, `!shell` and `@file` in a prompt
 * without asking for permission, and the words of a prompt come from skins, viewers and transcripts.
 *
 * @module
 */

import { resolve } from "node:path";
import type { PromptBlock } from "../turn/agent.ts";

/** Command names that are remembered per agent. Beyond the limit every name counts as a command. */
const MAX_NAMES = 10_000;
/** Path lookups for one prompt. Beyond the limit every `@` is neutralised. */
const MAX_LOOKUPS = 256;

/** The commands that an agent has announced in `available_commands_update`, in any session. */
export class AgentCommands {
  readonly #names = new Set<string>();
  #isKnown = false;
  #isComplete = true;

  /** Whether the agent has announced its commands. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Adds announced names. Codex announces skills as `$name`, Gemini subcommands as `memory show`. */
  add(names: Iterable<string>): void {
    this.#isKnown = true;
    for (const name of names) {
      const [word = ""] = name.replace(/^[/$]/, "").toLowerCase().split(/\s/, 1);
      if (word === "" || this.#names.has(word)) continue;
      if (this.#names.size >= MAX_NAMES) this.#isComplete = false;
      else this.#names.add(word);
    }
  }

  /** Whether the agent has a command of this name, in any case, or may have one. */
  has(name: string): boolean {
    return !this.#isComplete || this.#names.has(name.toLowerCase());
  }
}

/** A command at the start of a block, behind white space, control, format and other invisible characters. */
const FIRST_SIGN = /^[\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]*[/$!／＄！﹩﹗]/u;
/** `$name` anywhere, also as the text of a link: `[$name](path)`. */
const SKILL = /(?<=(\[?))([$＄])(?=([\p{L}\p{N}_:-]+)((?:\]\()?))/gu;
/** `/name`, except inside a path or URL. */
const SLASH = /(?<![\w/.~\\:-])[/／]([\p{L}_][\p{L}\p{N}_:.-]*)(?![\p{L}\p{N}_:./-])/gu;
/** `@path`, in quotes or with escaped spaces. */
const FILE = /@(?="([^"\n]+)"|((?:\\.|[^\s\\"])+))/g;
/** Code: a fenced block, or a span in backticks. */
const CODE = /(```[\s\S]*?(?:```|$)|`[^`\n]+`)/;

/**
 * Rewrites the text blocks of a finished prompt so that they read the same but trigger no command.
 *
 * - A block that begins with `/`, `$` or `!`, or a full-width form, is prefixed with `> `.
 * - `$name` becomes `$ name`. Until the agent has announced its commands, every name counts.
 * - `/name` outside code is put in backticks.
 * - `@path` becomes `@ path` if the path exists.
 *
 * @param pathExists Whether a path exists, seen from the session's working directory.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { AgentCommands, neutraliseCommands } from "./command_guard.ts";
 * const blocks = neutraliseCommands([{ type: "text", text: "/allow-all on" }], new AgentCommands(), () => false);
 * assertEquals(blocks, [{ type: "text", text: "> /allow-all on" }]);
 * ```
 */
export function neutraliseCommands(
  blocks: readonly PromptBlock[],
  commands: Pick<AgentCommands, "isKnown" | "has">,
  pathExists: (path: string) => boolean,
): PromptBlock[] {
  let lookups = 0;
  const mayExist = (path: string) => ++lookups > MAX_LOOKUPS || pathExists(path);
  const neutralise = (text: string): string => {
    const safe = text
      .replace(SKILL, (sign, before, _sign, name, after) => {
        const isLink = before === "[" && after !== "";
        return isLink || isSkill(name, commands) ? `${sign} ` : sign;
      })
      .replace(FILE, (found, quoted, plain) => pathsIn(quoted, plain).some(mayExist) ? "@ " : found)
      .split(CODE).map((part, index) => index % 2 === 1 ? part : quoteCommands(part, commands)).join("");
    return FIRST_SIGN.test(text) ? `> ${safe}` : safe;
  };
  return blocks.map((block) => block.type === "text" ? { ...block, text: neutralise(block.text) } : block);
}

/** Whether a path exists, seen from a directory. A path whose lookup fails counts as existing. */
export function pathExists(path: string, cwd: string, home: string | undefined): boolean {
  const isBelowHome = home !== undefined && /^~(?=[/\\]|$)/.test(path);
  try {
    Deno.lstatSync(isBelowHome ? home + path.slice(1) : resolve(cwd, path));
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory);
  }
}

function quoteCommands(text: string, commands: Pick<AgentCommands, "has">): string {
  return text.replace(SLASH, (found, name: string) => {
    const word = withoutPunctuation(name);
    if (!commands.has(word)) return found;
    return "`/" + word + "`" + name.slice(word.length);
  });
}

function isSkill(name: string, commands: Pick<AgentCommands, "isKnown" | "has">): boolean {
  if (!commands.isKnown) return /^\p{L}/u.test(name);
  return commands.has(name) || commands.has(withoutPunctuation(name));
}

/** Removes the punctuation of a sentence from the end of a name. */
function withoutPunctuation(name: string): string {
  return name.replace(/[.:-]+$/, "");
}

/** Lists the paths that agents may read after an `@`: with and without punctuation, line numbers and escapes. */
function pathsIn(quoted: string | undefined, plain: string): string[] {
  if (quoted !== undefined) return [quoted];
  const unescaped = plain.replace(/\\(.)/g, "$1");
  const [shortest = ""] = plain.split(/[,;!?()[\]{}<>'`#:*，。；！？（）「」『』]/, 1);
  const candidates = [unescaped, shortest.replace(/\\(.)/g, "$1")];
  return [...new Set(candidates.flatMap((path) => [path, path.replace(/\.+$/, "")]))].filter((path) =>
    path !== ""
  );
}
