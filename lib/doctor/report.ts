/** The doctor's report: facts become findings, each with what to do about it, and findings become lines. Pure. @module */

import type { AgentDescription } from "../acp/agent.ts";
import type { AuthMethod } from "../acp/wire.ts";
import { isShort, SAFE_KEY_CHARS, serverKeys } from "../config/keys.ts";
import type { Config } from "../config/load.ts";
import { spaceUnsafe } from "../core/unsafe_text.ts";
import { isLoopback } from "../http/access.ts";
import type { Scope } from "../turn/caller.ts";

/** Models and modes that are listed; an agent may have hundreds. */
const MAX_LISTED = 5;
/** Scopes that a leaked key should not have, and how many scopes a key with one of them can have without a warning. */
const POWERFUL_SCOPES: readonly Scope[] = ["commands", "admin"];
const MAX_POWERFUL = 3;
/** Characters of a line; agents choose their texts freely. */
const MAX_LINE_CHARS = 600;

/** The result of one check. */
export interface Finding {
  readonly level: "ok" | "warn" | "fail";
  readonly text: string;
  /** Advice on what to do. */
  readonly fix?: string;
  /** Lines to copy, such as into a file. */
  readonly lines?: readonly string[];
  /** A way to log in that needs a terminal, and would mend this. */
  readonly logIn?: AuthMethod | undefined;
}

/** Makes a {@linkcode Finding} that needs nothing to be done. */
export const ok = (text: string): Finding => ({ level: "ok", text });
/** Makes a {@linkcode Finding} about something that works, but perhaps not as it should. */
export const warn = (text: string, fix: string): Finding => ({ level: "warn", text, fix });
/** Makes a {@linkcode Finding} about something that does not work. */
export const fail = (text: string, fix: string): Finding => ({ level: "fail", text, fix });

/** Reports the mistakes and warnings of the configuration; and if it was loaded, whether it is enabled, and its key. */
export function configFindings(
  config: Config | undefined,
  mistakes: readonly string[],
  warnings: readonly string[],
): Finding[] {
  const found = [
    ...mistakes.map((text) => fail(text, "Correct it and run the doctor again. Nothing else was checked.")),
    ...warnings.map((text) => warn(text, "Correct it or take it out. --help lists every setting.")),
  ];
  if (config === undefined) return found;
  const enabled = config.enabled ? ok("VTUBER_ENABLED is set") : warn(
    "VTUBER_ENABLED is not set: the program would not serve",
    "Set VTUBER_ENABLED=true, or pass --enabled.",
  );
  const agents = config.agents.map(({ name }) => name).join(", ");
  return [
    ok(`the configuration was loaded; its agents: ${agents}`),
    ...found,
    enabled,
    ...keyFindings(config),
  ];
}

/** Reports on the keys, but for what the warnings of the configuration say of open addresses. */
function keyFindings(config: Config): Finding[] {
  const keys = serverKeys(config);
  if (keys.length === 0) {
    if (!isLoopback(config.listen.hostname)) return [];
    return [warn(
      "there is no key: every program on this machine can use the agents",
      "This is fine on a machine of your own. If others use it too, make a key with `oab-vtuber key new`.",
    )];
  }
  const found: Finding[] = [];
  const long = keys.filter((key) => !isShort(key)).map(({ label }) => label);
  if (long.length === 1) found.push(ok(`${long[0]} is set and long enough`));
  if (long.length > 1) found.push(ok(`${long.length} keys are set and long enough: ${list(long)}`));
  const short = isLoopback(config.listen.hostname) ? keys.filter(isShort).map(({ label }) => label) : [];
  if (short.length > 0) {
    found.push(warn(
      `fewer than ${SAFE_KEY_CHARS} characters, which could be guessed: ${list(short)}`,
      "Make a longer key with `oab-vtuber key new`.",
    ));
  }
  const readable = config.keys.filter(({ plain, variables }) =>
    plain !== undefined && variables.length === 0
  );
  if (readable.length > 0) {
    found.push(warn(
      `plain keys in the file, which agents may be able to read: ${list(readable.map(({ label }) => label))}`,
      "Put key_sha256 in their place: `oab-vtuber key new NAME` prints it with a new key.",
    ));
  }
  for (const { label, caller: { scopes } } of config.keys) {
    const strong = POWERFUL_SCOPES.filter((scope) => scopes.has(scope));
    if (strong.length === 0 || scopes.size <= MAX_POWERFUL) continue;
    found.push(warn(
      `${label} has ${strong.join(" and ")} among its ${scopes.size} scopes`,
      `Make a key of its own for what needs ${
        strong.join(" or ")
      }, and take it out of the scopes of this key.`,
    ));
  }
  return found;
}

/** Lists names, the first of them if there are many. */
function list(names: readonly string[]): string {
  const more = names.length > MAX_LISTED ? ` and ${names.length - MAX_LISTED} more` : "";
  return names.slice(0, MAX_LISTED).join(", ") + more;
}

/** Reports on an agent that started and opened a session. */
export function agentFindings(description: AgentDescription): Finding[] {
  const { agent, promptCapabilities: { image, audio }, protocolVersion, resumeMethod } = description;
  const name = agent ? `${agent.name} ${agent.version ?? ""}`.trim() : "does not tell its name";
  const startedMs = Math.round(description.startedMs);
  const logIn = description.authMethods.length === 0
    ? "it needs no log-in, or has one"
    : "some agents, such as Claude, ask for a log-in only with the first message; its log-in methods: " +
      description.authMethods.join(", ");
  const resume = resumeMethod
    ? `can be resumed (session/${resumeMethod})`
    : "cannot be resumed: a new session gets the history";
  return [
    ok(`started in ${startedMs} ms: ${name}, protocol version ${protocolVersion}`),
    ok(`opened a session; ${logIn}`),
    ok(`accepts images: ${image ? "yes" : "no"}, audio: ${audio ? "yes" : "no"}`),
    ok(`sessions ${resume}`),
    ok(choiceText("model", description.model, description.models.map(({ id }) => id))),
    ok(choiceText("mode", description.mode, description.modes)),
    ...description.warnings.map(({ setting, name, text }) => {
      const key = setting === "mcp_servers" ? `mcp_servers.${name}` : setting;
      return warn(text, `Correct ${key} in the agent's table of config.toml.`);
    }),
  ];
}

function choiceText(kind: string, current: string | undefined, offered: readonly string[]): string {
  if (offered.length === 0) return `offers no ${kind} choice`;
  const more = offered.length > MAX_LISTED ? ", ..." : "";
  const listed = offered.slice(0, MAX_LISTED).join(", ");
  return `${kind}: ${current ?? "unknown"}; ${offered.length} offered: ${listed}${more}`;
}

/** Formats a finding as a line, and a line with its fix; `about` names its subject. */
export function linesOf({ level, text, fix, lines: more = [] }: Finding, about?: string): string[] {
  const label = { ok: "ok  ", warn: "warn", fail: "FAIL" }[level];
  const lines = [`${label} ${oneLine(about ? `${about}: ${text}` : text)}`];
  return [...lines, ...fix ? [fix, ...more] : more].map((line, index) =>
    index === 0 ? line : `     ${oneLine(line)}`
  );
}

/** Formats the last line: the counts and the verdict. */
export function verdictOf(findings: readonly Finding[]): string {
  const count = (level: Finding["level"]) => findings.filter((finding) => finding.level === level).length;
  const [oks, warnings, failures] = [count("ok"), count("warn"), count("fail")];
  let verdict = "All is well.";
  if (warnings > 0) verdict = "The program works. Read the warnings.";
  if (failures > 0) verdict = "Correct what failed: the program does not work like this.";
  return `${oks} ok, ${warnings} ${warnings === 1 ? "warning" : "warnings"}, ${failures} failed. ${verdict}`;
}

/** Removes unsafe characters and line breaks, and cuts a text that is too long. */
function oneLine(text: string): string {
  const line = spaceUnsafe(text).trim();
  return line.length > MAX_LINE_CHARS ? line.slice(0, MAX_LINE_CHARS).toWellFormed() + "..." : line;
}
