/** What the doctor finds, in words: facts in, findings out, each with what to do about it. Pure. @module */

import type { AgentDescription } from "../acp/describe.ts";
import type { AgentSetup } from "../acp/start.ts";
import { NO_HOME } from "../config/data_dir.ts";
import { splitCommand } from "../config/kinds.ts";
import type { Config } from "../config/load.ts";
import { isLoopback } from "../http/guard.ts";

/** Characters of a key that is long enough not to be guessed. */
const KEY_CHARS = 16;
/** Models and modes that are named; there may be hundreds. */
const NAMED = 5;
/** Characters of a line; agents tell what they want. */
const MAX_LINE_CHARS = 600;

/** One thing that was checked. */
export interface Finding {
  readonly level: "ok" | "warn" | "fail";
  readonly text: string;
  /** What to do about it, where it is not fine. */
  readonly fix?: string;
}

/** What is found where nothing has to be tried: what was read, the switch, the key. */
export function configFindings(
  config: Config | undefined,
  mistakes: readonly string[],
  warnings: readonly string[],
): Finding[] {
  const found: Finding[] = mistakes.map((text) => ({
    level: "fail",
    text,
    fix: "Correct it, and run the doctor again: nothing else is checked before.",
  }));
  if (config) {
    const names = config.agents.map(({ name }) => name).join(", ");
    found.push({ level: "ok", text: `the configuration was read; its agents: ${names}` });
  }
  for (const text of warnings) {
    const fix = text === NO_HOME
      ? "VTUBER_DATA_DIR=none says that nothing is to be kept, and ends this warning."
      : "Correct it or take it out; --help lists every setting.";
    found.push({ level: "warn", text, fix });
  }
  return config ? [...found, enabledFinding(config), keyFinding(config)] : found;
}

function enabledFinding({ enabled }: Config): Finding {
  if (enabled) return { level: "ok", text: "VTUBER_ENABLED is set" };
  const fix = "Set VTUBER_ENABLED=true, or start it with --enabled.";
  return { level: "warn", text: "VTUBER_ENABLED is not set: the program ends instead of serving", fix };
}

function keyFinding({ authKey, listen }: Config): Finding {
  if (authKey !== undefined) {
    if (authKey.length >= KEY_CHARS) return { level: "ok", text: "VTUBER_AUTH_KEY is set, and long enough" };
    const fix = "Take a longer one, such as what `openssl rand -hex 24` prints.";
    return {
      level: "warn",
      text: `VTUBER_AUTH_KEY has less than ${KEY_CHARS} characters: it may be guessed`,
      fix,
    };
  }
  if (isLoopback(listen.hostname)) {
    const fix = "That is fine on a machine of your own; set VTUBER_AUTH_KEY if others use it too.";
    return { level: "warn", text: "no key: every program of this machine may use the agents", fix };
  }
  const fix = "Set VTUBER_AUTH_KEY, and take VTUBER_INSECURE out.";
  return { level: "warn", text: "no key: everyone who reaches this machine may use the agents", fix };
}

/** What stands in the way of listening at an address that nobody has. */
export const NO_SUCH_ADDRESS = "this machine has no such address";
/** The same, of a port. */
export const LOW_PORT = "only an administrator may use ports below 1024";
const ADDRESS_FIXES: ReadonlyMap<string, string> = new Map([
  [
    NO_SUCH_ADDRESS,
    "Give one that it has: 127.0.0.1 for itself, 0.0.0.0 for all that it has (GATEWAY_LISTEN or --listen).",
  ],
  [LOW_PORT, "Give a port from 1024 on: GATEWAY_LISTEN or --listen."],
]);

/** What is found of an address: `fault` is what stood in the way of listening there. */
export function addressFinding({ hostname, port }: Config["listen"], fault: string | undefined): Finding {
  const address = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
  if (fault === undefined) return { level: "ok", text: `${address} is free to listen on` };
  const fix = ADDRESS_FIXES.get(fault) ??
    "End the program that has it, or give another address: GATEWAY_LISTEN or --listen (port 0 takes a free one).";
  return { level: "fail", text: `${address} cannot be listened on: ${fault}`, fix };
}

/** What was found where an agent's program should be. */
export interface Program {
  readonly path: string;
  readonly isExecutable: boolean;
  /** What its first line says that runs it, where that was not found. */
  readonly missingInterpreter?: string;
}

/** What was found where an agent's folder should be. */
export interface Folder {
  /** Its whole path. */
  readonly path: string;
  /** Not a file. */
  readonly isFolder: boolean;
}

/** What is found of an agent's program, and of its folder. */
export function programFindings(
  { command, workingDir }: AgentSetup,
  program: Program | undefined,
  folder: Folder | undefined,
): Finding[] {
  const found: Finding[] = [];
  if (command === undefined) {
    found.push({
      level: "ok",
      text: "is the built-in demo agent (OPENAB_AGENT_COMMAND makes it a real one)",
    });
  } else if (program === undefined) {
    found.push({ level: "fail", text: `its program ${command} was not found`, fix: missingFix(command) });
  } else if (!program.isExecutable) {
    const fix = `Make it executable: chmod +x "${program.path}"`;
    found.push({ level: "fail", text: `its program ${program.path} is not executable`, fix });
  } else if (program.missingInterpreter !== undefined) {
    const { path, missingInterpreter } = program;
    const text =
      `its program ${path} is run by ${missingInterpreter}, as its first line says, which was not found`;
    found.push({
      level: "fail",
      text,
      fix: `Install ${missingInterpreter}, or correct the first line of ${path}.`,
    });
  } else {
    found.push({ level: "ok", text: `its program is ${program.path}` });
  }
  if (folder?.isFolder) return [...found, { level: "ok", text: `its folder is ${folder.path}` }];
  const give = "give one that exists: VTUBER_WORKING_DIR, or working_dir in config.toml.";
  const finding: Finding = folder
    ? { level: "fail", text: `its folder ${folder.path} is not a folder`, fix: `Instead, ${give}` }
    : { level: "fail", text: `its folder ${workingDir} does not exist`, fix: `Make it, or ${give}` };
  return [...found, finding];
}

function missingFix(command: string): string {
  const [program, ...args] = splitCommand(command) ?? [];
  if (program === undefined || args.length === 0) {
    return "Install it, or give its whole path: command in config.toml, or OPENAB_AGENT_COMMAND.";
  }
  return `Arguments go into args: command = ${JSON.stringify(program)}, args = ${listed(args)}. ` +
    "If it has no arguments, give its whole path.";
}

function listed(texts: readonly string[]): string {
  return `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;
}

/** What is found of an agent that was started, and opened a session. */
export function agentFindings(told: AgentDescription): Finding[] {
  const { agent, accepts, canResume, mcp, authMethods } = told;
  const who = agent ? `${agent.name} ${agent.version ?? ""}`.trim() : "it does not tell its name";
  const ways = authMethods.length > 0 ? `; its ways to log in: ${authMethods.join(", ")}` : "";
  const returns = canResume
    ? `come back (session/${canResume})`
    : "do not come back: it is told again what was said";
  const ok = (text: string): Finding => ({ level: "ok", text });
  return [
    ok(`started in ${Math.round(told.startedMs)} ms: ${who}, protocol version ${told.protocolVersion}`),
    ok(`opened a session: it needs no log-in, or has one${ways}`),
    ok(`takes pictures: ${yes(accepts.image)}, sounds: ${yes(accepts.audio)}`),
    ok(`sessions ${returns}; closes them: ${yes(told.canClose)}, deletes them: ${yes(told.canDelete)}`),
    ok(`reaches MCP servers by address: http ${yes(mcp.http)}, sse ${yes(mcp.sse)}`),
    ok(choice("model", told.model, told.models.map(({ id }) => id))),
    ok(choice("mode", told.mode, told.modes)),
    ...told.warnings.map((text): Finding => ({
      level: "warn",
      text,
      fix: "Correct its table in config.toml (model, mode, mcp_servers); what it offers stands above.",
    })),
  ];
}

function yes(is: boolean): string {
  return is ? "yes" : "no";
}

function choice(what: string, now: string | undefined, offered: readonly string[]): string {
  if (offered.length === 0) {
    return now ? `${what} now: ${now}; it offers no choice` : `it tells of no ${what}s`;
  }
  const more = offered.length > NAMED ? ", ..." : "";
  const list = `${offered.length} offered: ${offered.slice(0, NAMED).join(", ")}${more}`;
  return `${what} now: ${now ?? "not told"}; ${list}`;
}

/** What is found of an agent that could not be started, or opened no session. */
export function failedFinding({ command, args }: AgentSetup, failed: Failed): Finding {
  const { code, message, stderr, stray } = failed;
  if (code === "agent_auth_required") {
    return { level: "fail", text: "was started, and opens no session before a log-in", fix: message };
  }
  const said = stderr.length > 0 ? ` The last that it wrote to stderr: ${stderr.join(" / ")}` : "";
  if (stray === undefined) {
    const fix =
      "Run its command by hand, in its folder: it should wait there for input, and say nothing. If it " +
      "speaks to you, it may need an argument, such as acp or --acp.";
    return { level: "fail", text: `could not be used: ${message}${said}`, fix };
  }
  const fix = "Does it need an argument, such as acp or --acp? " +
    `Its command and args are ${JSON.stringify(command ?? "")} and ${listed(args)}.`;
  return { level: "fail", text: `writes what is no ACP: ${JSON.stringify(stray)}${said}`, fix };
}

/** How an agent failed. */
export interface Failed {
  readonly code: string | undefined;
  readonly message: string;
  /** The last lines of its stderr. */
  readonly stderr: readonly string[];
  /** What it wrote that is no ACP, if it said nothing else. */
  readonly stray: string | undefined;
}

/** The lines of a finding, about something if it is told. */
export function linesOf({ level, text, fix }: Finding, about?: string): string[] {
  const label = { ok: "ok  ", warn: "warn", fail: "FAIL" }[level];
  const lines = [`${label} ${oneLine(about ? `${about}: ${text}` : text)}`];
  return level === "ok" || !fix ? lines : [...lines, `     ${oneLine(fix)}`];
}

/** The last line. */
export function sumOf(findings: readonly Finding[]): string {
  const count = (level: Finding["level"]) => findings.filter((finding) => finding.level === level).length;
  const [oks, warnings, failures] = [count("ok"), count("warn"), count("fail")];
  const verdict = failures > 0
    ? "It would not work like this."
    : warnings > 0
    ? "It works; the warnings are worth a look."
    : "All is well.";
  return `${oks} ok, ${warnings} ${warnings === 1 ? "warning" : "warnings"}, ${failures} failed. ${verdict}`;
}

/** Text that moves no cursor, makes no line of its own, and ends. */
function oneLine(text: string): string {
  const line = text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();
  return line.length > MAX_LINE_CHARS ? line.slice(0, MAX_LINE_CHARS).toWellFormed() + "..." : line;
}
