/** What the doctor finds, in words: facts in, findings out, each with what to do about it. Pure. @module */

import type { AgentDescription } from "../acp/agent.ts";
import type { AgentConfig } from "../acp/create_agent.ts";
import { NO_HOME } from "../config/load.ts";
import { splitCommand } from "../config/parsers.ts";
import type { Config } from "../config/load.ts";
import { isLoopback } from "../http/access.ts";

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

/** What is found of the character of the stage: `fault` is why it cannot be shown. */
export function characterFinding(fault: string | undefined): Finding {
  if (fault === undefined) return { level: "ok", text: "VTUBER_CHARACTER can be shown" };
  return { level: "fail", text: fault, fix: "Correct it, or take it out: then a drawn character is shown." };
}

/** What stands in the way of listening at an address: a server of this program has it. */
export const ALREADY_RUNNING = "an oab-vtuber runs there already";
/** The same: another program has it. */
export const IN_USE = "another program listens there";
/** The same: nobody has it. */
export const NO_SUCH_ADDRESS = "this machine has no such address";
/** The same: its port is not for everybody. */
export const LOW_PORT = "only an administrator may use ports below 1024";
const FREE_ADDRESS = "give another address: GATEWAY_LISTEN or --listen (port 0 takes a free one).";
const ADDRESS_FIXES: ReadonlyMap<string, string> = new Map([
  [ALREADY_RUNNING, `That is fine if it is the one that you ask about. If not, end it, or ${FREE_ADDRESS}`],
  [IN_USE, `End the program that has it, or ${FREE_ADDRESS}`],
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
  const level = fault === ALREADY_RUNNING ? "warn" : "fail";
  const fix = ADDRESS_FIXES.get(fault) ?? "Give another address: GATEWAY_LISTEN or --listen.";
  return { level, text: `${address} cannot be listened on: ${fault}`, fix };
}

/** What was found where an agent's program should be. */
export interface Program {
  readonly path: string;
  readonly isExecutable: boolean;
  /** What its first line says that runs it, where that was not found. */
  readonly missingInterpreter?: string;
}

/** An MCP server that an agent is to start. */
export interface ServerProgram {
  readonly name: string;
  readonly command: string;
  /** Where its program is, if it was found. */
  readonly program: Program | undefined;
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
  { command, workingDir }: AgentConfig,
  program: Program | undefined,
  folder: Folder | undefined,
): Finding[] {
  const found: Finding[] = [];
  if (command === undefined) {
    found.push({
      level: "ok",
      text: "is the built-in demo agent (OPENAB_AGENT_COMMAND makes it a real one)",
    });
  } else {
    const where = "command in config.toml, or OPENAB_AGENT_COMMAND";
    const fault = programFault("its program", command, program, where);
    found.push(
      fault ? { level: "fail", ...fault } : { level: "ok", text: `its program is ${program?.path}` },
    );
  }
  if (folder?.isFolder) return [...found, { level: "ok", text: `its folder is ${folder.path}` }];
  const give = "give one that exists: VTUBER_WORKING_DIR, or working_dir in config.toml.";
  const finding: Finding = folder
    ? { level: "fail", text: `its folder ${folder.path} is not a folder`, fix: `Instead, ${give}` }
    : { level: "fail", text: `its folder ${workingDir} does not exist`, fix: `Make it, or ${give}` };
  return [...found, finding];
}

/** What is found of what an agent needs beside: variables that are not set, and programs of its MCP servers. */
export function needFindings(unset: readonly string[], servers: readonly ServerProgram[]): Finding[] {
  const variables = unset.map((name): Finding => ({
    level: "warn",
    text: `inherit_env names ${name}, which is not set here`,
    fix: "Set it before you start the program.",
  }));
  const programs = servers.flatMap(({ name, command, program }): Finding[] => {
    const where = `mcp_servers.${name}.command in config.toml`;
    const fault = programFault(`its MCP server ${name}: the program`, command, program, where);
    return fault ? [{ level: "warn", ...fault }] : [];
  });
  return [...variables, ...programs];
}

/** Why a program cannot be run, if that can be seen; `whose` begins the sentence, `where` says what names it. */
function programFault(
  whose: string,
  command: string,
  program: Program | undefined,
  where: string,
): { text: string; fix: string } | undefined {
  if (program === undefined) {
    return { text: `${whose} ${command} was not found`, fix: missingFix(command, where) };
  }
  const { path, isExecutable, missingInterpreter } = program;
  if (!isExecutable) {
    return { text: `${whose} ${path} is not executable`, fix: `Make it executable: chmod +x "${path}"` };
  }
  if (missingInterpreter === undefined) return undefined;
  return {
    text: `${whose} ${path} is run by ${missingInterpreter}, as its first line says, which was not found`,
    fix: `Install ${missingInterpreter}, or correct the first line of ${path}.`,
  };
}

function missingFix(command: string, where: string): string {
  const [program, ...args] = splitCommand(command) ?? [];
  if (program === undefined || args.length === 0) return `Install it, or give its whole path: ${where}.`;
  return `Arguments go into args: command = ${JSON.stringify(program)}, args = ${listed(args)}. ` +
    "If it has no arguments, give its whole path.";
}

/** Texts as a list of TOML. */
export function listed(texts: readonly string[]): string {
  return `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;
}

/**
 * What is found of an agent that was started, and opened a session.
 *
 * @param login The way to log in that was taken, if it asked for one.
 */
export function agentFindings(told: AgentDescription, login?: string): Finding[] {
  const { agent, accepts, canResume, mcp } = told;
  const who = agent ? `${agent.name} ${agent.version ?? ""}`.trim() : "it does not tell its name";
  const returns = canResume
    ? `come back (session/${canResume})`
    : "do not come back: it is told again what was said";
  const ok = (text: string): Finding => ({ level: "ok", text });
  return [
    ok(`started in ${Math.round(told.startedMs)} ms: ${who}, protocol version ${told.protocolVersion}`),
    ok(`opened a session${loginText(told.authMethods, login)}`),
    ok(`takes pictures: ${yes(accepts.image)}, sounds: ${yes(accepts.audio)}`),
    ok(`sessions ${returns}; closes them: ${yes(told.canClose)}, deletes them: ${yes(told.canDelete)}`),
    ok(`reaches MCP servers by address: http ${yes(mcp.http)}, sse ${yes(mcp.sse)}`),
    ok(choice("model", told.model, told.models.map(({ id }) => id))),
    ok(choice("mode", told.mode, told.modes)),
    ...told.warnings.map((text): Finding => ({
      level: "warn",
      text,
      fix: `Correct ${keyOf(text)} in its table of config.toml; what it offers stands above.`,
    })),
  ];
}

/** An agent that has ways to log in may ask for one later. */
function loginText(ways: readonly string[], taken: string | undefined): string {
  if (taken !== undefined) return ` after a log-in with what it was given: ${taken}`;
  if (ways.length === 0) return ": it needs no log-in, or has one";
  const later = "some agents, such as Claude, ask with the first message";
  return ` without asking for a log-in (${later}); its ways to log in: ${ways.join(", ")}`;
}

/** The key of an agent's table that a warning is about. */
function keyOf(warning: string): string {
  const server = /^The MCP server "(.*)" is left out/.exec(warning)?.[1];
  if (server !== undefined) return `mcp_servers.${server}`;
  return /\b(model|mode) "/.exec(warning)?.[1] ?? "model, mode or mcp_servers";
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
