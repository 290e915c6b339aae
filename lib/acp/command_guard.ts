/**
 * Keeps chat from triggering an agent's commands. Agents act on `/command`, `$skill`, `!shell` and `@file` in a prompt
 * without asking for permission, and the words of a prompt come from skins, viewers and transcripts.
 *
 * @module
 */

import { resolve } from "node:path";
import { cutCrowded } from "../core/text.ts";
import type { PromptBlock } from "../turn/agent.ts";

/** Command names that are remembered per agent. Beyond the limit every name counts as a command. */
const MAX_NAMES = 10_000;
/** `@` signs that are examined in one prompt. Beyond the limit every `@` is neutralised. */
const MAX_MENTIONS = 256;
/**
 * Signs that are examined in one prompt; of a text with more, the middle is left out. No model has room for as many.
 */
const MAX_SIGNS = 50_000;
/** Signs of a block that are examined in any case. */
const MIN_SIGNS = 100;
/** Characters after an `@` that are examined. */
const MAX_PATH_CHARS = 4_096;

/** The commands that an agent has announced in `available_commands_update`, in any session. */
export class AgentCommands {
  /** Whether the agent has announced its commands. */
  isKnown = false;
  readonly #names = new Set<string>();
  #isComplete = true;

  /** Adds announced names. Codex announces skills as `$name`, Gemini subcommands as `memory show`. */
  add(names: Iterable<string>): void {
    this.isKnown = true;
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

/** A command at the start of a block, after white space, control, format and other invisible characters. */
const FIRST_SIGN = /^[\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]*[/$!／＄！﹩﹗]/u;
/** `$name` anywhere, also as the text of a link, `[$name](path)`: Codex allows white space before the path. */
const SKILL = /(?<=(\[?))([$＄])(?=([\p{L}\p{N}_:-]+)(\]?))/gu;
/** `/name`, except inside a path or URL. */
const SLASH = /(?<![\w/.~\\:-])[/／]([\p{L}_][\p{L}\p{N}_:.-]*)(?![\p{L}\p{N}_:./-])/gu;
/** A path after an `@`, in quotes or with escaped spaces. */
const PATH = /^(?:"([^"]+)"|((?:\\.|[^\s\\"])+))/;
/** A sign whose surroundings are examined. */
const SIGN = /[@$＄/／`]/g;
/** Claude's subagents: `@agent-name` and `@"name (agent)"`. */
const SUBAGENT = /^agent-| \(agent\)$/;
/** A resource of an MCP server, `@server:address`, which Claude reads at the start of a word. */
const RESOURCE = /^[^\s:]+:\S/;
/** Code: a fenced block, or a span in backticks. */
const CODE = /(```[\s\S]*?(?:```|$)|`[^`\n]+`)/;

/**
 * Rewrites the text blocks of a finished prompt so that they read the same but trigger no command.
 *
 * - A block that begins with `/`, `$` or `!`, or a full-width form, is prefixed with `> `.
 * - `$name` becomes `$ name` if the agent announced the name, or has announced nothing yet and the name begins with a
 *   letter. `[$name]` always does.
 * - `/name` inside a block, but outside code, is put in backticks if the agent announced the name.
 * - `@path` becomes `@ path` if the path exists or is too long to look up, or if it names a subagent of
 *   Claude or a resource of an MCP server.
 *
 * A block that may trigger commands keeps its text, and loses its mark.
 *
 * @param pathExists Whether a path exists, seen from the session's working directory.
 * @param onPassed Called for each block that only its mark keeps from being rewritten.
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
  onPassed: () => void = () => {},
): PromptBlock[] {
  let mentions = 0;
  const isMention = (rest: string, startsWord: boolean): boolean => {
    if (++mentions > MAX_MENTIONS || startsWord && RESOURCE.test(rest)) return true;
    const [, quoted, plain] = PATH.exec(rest.slice(0, MAX_PATH_CHARS)) ?? [];
    const target = quoted ?? plain;
    if (target === undefined) return rest.length > MAX_PATH_CHARS;
    return SUBAGENT.test(target) || mentionedPaths(target).some(pathExists);
  };
  const neutralise = (text: string): string => {
    const safe = text
      .replace(SKILL, (sign, before, _sign, name, after) => {
        const isLink = before === "[" && after !== "";
        return isLink || mayBeSkill(name, commands) ? `${sign} ` : sign;
      })
      .replace(
        /@(?=\S)/g,
        (sign, offset: number, whole: string) =>
          isMention(whole.slice(offset + 1, offset + 2 + MAX_PATH_CHARS), !/\S/.test(whole[offset - 1] ?? ""))
            ? `${sign} `
            : sign,
      )
      .split(CODE).map((part, index) => index % 2 === 1 ? part : quoteCommands(part, commands)).join("");
    return FIRST_SIGN.test(text) ? `> ${safe}` : safe;
  };
  let signsLeft = MAX_SIGNS;
  return blocks.map((block) => {
    if (block.type !== "text") return block;
    const { text, count } = cutCrowded(block.text, SIGN, Math.max(signsLeft, MIN_SIGNS));
    signsLeft -= count;
    const safe = neutralise(text);
    if (block.mayCommand && safe !== block.text) onPassed();
    return { type: "text", text: block.mayCommand ? block.text : safe };
  });
}

/** Whether a path exists, seen from a directory. A path whose lookup fails counts as existing. */
export function pathExists(path: string, cwd: string, home: string | undefined): boolean {
  const isBelowHome = /^~(?=[/\\]|$)/.test(path);
  if (isBelowHome && home === undefined) return true;
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

function mayBeSkill(name: string, commands: Pick<AgentCommands, "isKnown" | "has">): boolean {
  if (!commands.isKnown) return /^\p{L}/u.test(name);
  // Codex takes the ASCII start of a name, as in `$skillを使って`.
  const [ascii = ""] = /^[\w:-]*/.exec(name) ?? [];
  return [name, ascii].some((word) => commands.has(word) || commands.has(withoutPunctuation(word)));
}

/** Removes the punctuation of a sentence from the end of a name. */
function withoutPunctuation(name: string): string {
  return name.replace(/(?<![.:-])[.:-]+$/, "");
}

/**
 * Lists the paths that agents may read after an `@`, also in quotes: with and without white space at the ends,
 * punctuation, line numbers (`#L10`) and escapes. Claude knows no escapes, and cuts at the last ASCII word character.
 */
function mentionedPaths(text: string): string[] {
  const [untilPunctuation = ""] = text.split(/[,;!?()[\]{}<>'`#:*，。；！？（）「」『』]/, 1);
  const [untilHash = ""] = text.split("#", 1);
  const [token = ""] = text.split(/\s/, 1);
  const [word = ""] = /^.*\w/.exec(token) ?? [];
  const [wordUntilHash = ""] = word.split("#", 1);
  const paths = [text, text.trim(), untilHash.trim(), word, wordUntilHash].concat(
    [text, untilPunctuation].map((path) => path.replace(/\\(.)/g, "$1")),
  );
  const withoutDots = paths.map((path) => path.replace(/(?<!\.)\.+$/, ""));
  return [...new Set([...paths, ...withoutDots])].filter((path) => path !== "");
}
