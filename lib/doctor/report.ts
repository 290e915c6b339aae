/** The doctor's report: facts become findings, each with what to do about it, and findings become lines. Pure. @module */

import type { AgentDescription } from "../acp/agent.ts";
import type { AgentConfig } from "../acp/create_agent.ts";
import { describeCommand } from "../config/help.ts";
import { type Config, NO_HOME } from "../config/load.ts";
import { splitCommand } from "../config/parsers.ts";
import { isLoopback } from "../http/access.ts";

/** Characters of a key that is too long to be guessed. */
const SAFE_KEY_CHARS = 16;
/** Models and modes that are listed; an agent may have hundreds. */
const MAX_LISTED = 5;
/** Characters of a line; agents choose their texts freely. */
const MAX_LINE_CHARS = 600;

/** The result of one check. */
export interface Finding {
  readonly level: "ok" | "warn" | "fail";
  readonly text: string;
  /** Advice on what to do. */
  readonly fix?: string;
}

/** Makes a {@linkcode Finding} that needs nothing to be done. */
export const ok = (text: string): Finding => ({ level: "ok", text });
/** Makes a {@linkcode Finding} about something that works, but perhaps not as it should. */
export const warn = (text: string, fix: string): Finding => ({ level: "warn", text, fix });
/** Makes a {@linkcode Finding} about something that does not work. */
export const fail = (text: string, fix: string): Finding => ({ level: "fail", text, fix });

/** Reports what was loaded, whether the server is enabled, and its key. */
export function configFindings(
  config: Config | undefined,
  mistakes: readonly string[],
  warnings: readonly string[],
): Finding[] {
  const found = mistakes.map((text) =>
    fail(text, "Correct it and run the doctor again. Nothing else was checked.")
  );
  if (config) {
    found.push(
      ok(`the configuration was loaded; its agents: ${config.agents.map(({ name }) => name).join(", ")}`),
    );
  }
  for (const text of warnings) {
    const fix = text === NO_HOME
      ? "VTUBER_DATA_DIR=none ends this warning: then conversations are not kept on purpose."
      : "Correct it or take it out. --help lists every setting.";
    found.push(warn(text, fix));
  }
  return config ? [...found, enabledFinding(config), keyFinding(config)] : found;
}

function enabledFinding({ enabled }: Config): Finding {
  return enabled ? ok("VTUBER_ENABLED is set") : warn(
    "VTUBER_ENABLED is not set: the program would not serve",
    "Set VTUBER_ENABLED=true, or pass --enabled.",
  );
}

function keyFinding({ authKey, listen }: Config): Finding {
  if (authKey !== undefined) {
    return authKey.length >= SAFE_KEY_CHARS ? ok("VTUBER_AUTH_KEY is set and long enough") : warn(
      `VTUBER_AUTH_KEY has fewer than ${SAFE_KEY_CHARS} characters: it could be guessed`,
      "Take a longer key, such as what `openssl rand -hex 24` prints.",
    );
  }
  return isLoopback(listen.hostname)
    ? warn(
      "there is no key: every program on this machine can use the agents",
      "This is fine on a machine of your own. Set VTUBER_AUTH_KEY if others use it too.",
    )
    : warn(
      "there is no key: everyone who reaches this machine can use the agents",
      "Set VTUBER_AUTH_KEY, and take VTUBER_INSECURE out.",
    );
}

/** The known reasons why an address cannot be listened on. */
export type ListenProblem = "already_running" | "in_use" | "no_such_address" | "low_port";

const OTHER_ADDRESS = "choose another address with GATEWAY_LISTEN or --listen (port 0 takes a free one).";
const LISTEN_PROBLEMS: Readonly<Record<ListenProblem, readonly [text: string, fix: string]>> = {
  already_running: [
    "is in use by another oab-vtuber",
    `This is fine if it is the server that you are asking about. Otherwise stop it, or ${OTHER_ADDRESS}`,
  ],
  in_use: ["is in use by another program", `Stop that program, or ${OTHER_ADDRESS}`],
  no_such_address: [
    "is not an address of this machine",
    "Choose 127.0.0.1 for this machine only, or 0.0.0.0 for all of its addresses (GATEWAY_LISTEN or --listen).",
  ],
  low_port: [
    "cannot be listened on: ports below 1024 need administrator rights",
    "Choose a port from 1024 on (GATEWAY_LISTEN or --listen).",
  ],
};

/** Reports whether an address can be listened on. */
export function addressFinding(
  { hostname, port }: Config["listen"],
  problem: ListenProblem | Error | undefined,
): Finding {
  const address = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
  if (problem === undefined) return ok(`${address} is free to listen on`);
  if (problem instanceof Error) {
    return fail(`${address} cannot be listened on: ${problem.message}`, `Correct it, or ${OTHER_ADDRESS}`);
  }
  const [text, fix] = LISTEN_PROBLEMS[problem];
  return (problem === "already_running" ? warn : fail)(`${address} ${text}`, fix);
}

/** A program that was found. */
export interface Program {
  readonly path: string;
  readonly isExecutable: boolean;
  /** The interpreter in the first line of a script, if that interpreter was not found. */
  readonly missingInterpreter?: string;
}

/** The things that an agent needs on this machine; `undefined` is not found. */
export interface AgentRequirements {
  readonly program: Program | undefined;
  /** The agent's folder, as an absolute path without links. */
  readonly folder: { readonly path: string; readonly isFolder: boolean } | undefined;
  /** The variables that the agent should inherit and that are not set. */
  readonly unsetVariables: readonly string[];
  /** The programs of the agent's MCP servers. */
  readonly servers: readonly { name: string; command: string; program: Program | undefined }[];
}

/** Reports whether an agent has what it needs: a program and a folder, and if possible its variables and MCP servers. */
export function requirementFindings(
  { command, workingDir }: AgentConfig,
  { program, folder, unsetVariables, servers }: AgentRequirements,
): Finding[] {
  return [
    command === undefined
      ? ok("is the built-in demo agent (OPENAB_AGENT_COMMAND sets a real one)")
      : programFault(fail, "program", command, program, "command in config.toml, or OPENAB_AGENT_COMMAND") ??
        ok(`program: ${program?.path}`),
    folderFinding(workingDir, folder),
    ...unsetVariables.map((name) =>
      warn(`inherit_env names ${name}, which is not set here`, "Set it before you start the program.")
    ),
    ...servers.flatMap(({ name, command, program }) => {
      const setting = `mcp_servers.${name}.command in config.toml`;
      return programFault(warn, `MCP server ${name}: program`, command, program, setting) ?? [];
    }),
  ];
}

function folderFinding(workingDir: string, folder: AgentRequirements["folder"]): Finding {
  const setting = "set VTUBER_WORKING_DIR, or working_dir in config.toml, to a folder that exists.";
  if (folder === undefined) return fail(`folder ${workingDir} does not exist`, `Make it, or ${setting}`);
  return folder.isFolder
    ? ok(`folder: ${folder.path}`)
    : fail(`folder ${folder.path} is not a folder`, `Instead, ${setting}`);
}

/** Reports why a program cannot be run, if that is visible; `setting` names the place where it is configured. */
function programFault(
  report: typeof fail,
  subject: string,
  command: string,
  program: Program | undefined,
  setting: string,
): Finding | undefined {
  if (program === undefined) {
    const [name, ...args] = splitCommand(command) ?? [];
    if (name === undefined || args.length === 0) {
      return report(`${subject} ${command} was not found`, `Install it, or give its whole path: ${setting}.`);
    }
    return report(
      `${subject} ${describeCommand(name, args)} was not found`,
      `Put the arguments into args, with command = ${
        JSON.stringify(name)
      }. If they are part of the program's name, ` +
        "give its whole path.",
    );
  }
  const { path, isExecutable, missingInterpreter } = program;
  if (!isExecutable) {
    return report(`${subject} ${path} is not executable`, `Make it executable: chmod +x "${path}"`);
  }
  return missingInterpreter === undefined ? undefined : report(
    `${subject} ${path} needs ${missingInterpreter}, which was not found`,
    `Install ${missingInterpreter}, or correct the first line of ${path}.`,
  );
}

/**
 * Reports on an agent that started and opened a session.
 *
 * @param login The id of the log-in method that was used, if the agent asked for a log-in.
 */
export function agentFindings(description: AgentDescription, login?: string): Finding[] {
  const { agent, promptCapabilities: { image, audio }, resumeMethod, mcpTransports: { http, sse } } =
    description;
  const name = agent ? `${agent.name} ${agent.version ?? ""}`.trim() : "does not tell its name";
  const resume = resumeMethod
    ? `can be resumed (session/${resumeMethod})`
    : "cannot be resumed: a new session gets the history";
  return [
    ok(
      `started in ${
        Math.round(description.startedMs)
      } ms: ${name}, protocol version ${description.protocolVersion}`,
    ),
    ok(`opened a session${loginText(description.authMethods, login)}`),
    ok(`accepts images: ${yes(image)}, audio: ${yes(audio)}`),
    ok(
      `sessions ${resume}; closes them: ${yes(description.canClose)}, deletes them: ${
        yes(description.canDelete)
      }`,
    ),
    ok(`connects to MCP servers over http: ${yes(http)}, sse: ${yes(sse)}`),
    ok(choiceText("model", description.model, description.models.map(({ id }) => id))),
    ok(choiceText("mode", description.mode, description.modes)),
    ...description.warnings.map(({ setting, name, text }) => {
      const key = setting === "mcp_servers" ? `mcp_servers.${name}` : setting;
      return warn(
        text,
        `Correct ${key} in the agent's table of config.toml. The lines above list what it offers.`,
      );
    }),
  ];
}

/** Some agents that have log-in methods ask for a log-in only with the first message. */
function loginText(methods: readonly string[], used: string | undefined): string {
  if (used !== undefined) return ` after a log-in with ${used}`;
  if (methods.length === 0) return "; it needs no log-in, or has one";
  return " without a log-in (some agents, such as Claude, ask for it with the first message); its log-in methods: " +
    methods.join(", ");
}

function yes(is: boolean): string {
  return is ? "yes" : "no";
}

function choiceText(kind: string, current: string | undefined, offered: readonly string[]): string {
  if (offered.length === 0) return `${current ? `${kind}: ${current}; ` : ""}offers no ${kind} choice`;
  const more = offered.length > MAX_LISTED ? ", ..." : "";
  return `${kind}: ${current ?? "unknown"}; ${offered.length} offered: ${
    offered.slice(0, MAX_LISTED).join(", ")
  }${more}`;
}

/** Formats a finding as a line, and a line with its fix; `about` names its subject. */
export function linesOf({ level, text, fix }: Finding, about?: string): string[] {
  const label = { ok: "ok  ", warn: "warn", fail: "FAIL" }[level];
  const lines = [`${label} ${oneLine(about ? `${about}: ${text}` : text)}`];
  return fix ? [...lines, `     ${oneLine(fix)}`] : lines;
}

/** Formats the last line: the counts and the verdict. */
export function verdictOf(findings: readonly Finding[]): string {
  const count = (level: Finding["level"]) => findings.filter((finding) => finding.level === level).length;
  const [oks, warnings, failures] = [count("ok"), count("warn"), count("fail")];
  const verdict = failures > 0
    ? "Correct what failed: the program does not work like this."
    : warnings > 0
    ? "The program works. Read the warnings."
    : "All is well.";
  return `${oks} ok, ${warnings} ${warnings === 1 ? "warning" : "warnings"}, ${failures} failed. ${verdict}`;
}

/** Removes control characters and line breaks, and cuts a text that is too long. */
function oneLine(text: string): string {
  const line = text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();
  return line.length > MAX_LINE_CHARS ? line.slice(0, MAX_LINE_CHARS).toWellFormed() + "..." : line;
}
