/** What the doctor finds of an agent that could not be used: how far it came, what it said, what to do. Pure. @module */

import type { AgentConfig } from "../acp/create_agent.ts";
import { PROTOCOL_VERSION } from "../acp/wire.ts";
import { type Finding, listed } from "./report.ts";

/** How far an agent came: it was started, it answered `initialize`, or it was asked to log in. */
export type Step = "start" | "session" | "login";

/** What was heard of an agent while it was tried. */
export interface AgentObservations {
  readonly step: Step;
  /** The way to log in that was taken, if it asked for one. */
  readonly login: string | undefined;
  /** How it ended, if it did so by itself: `exited with code 1`. */
  readonly how: string | undefined;
  /** The last lines of its stderr. */
  readonly stderr: readonly string[];
  /** The first line that is no ACP, if it had said nothing else before. */
  readonly stray: string | undefined;
  /** The last line that is no ACP, since it is ready if it is. */
  readonly lastStray: string | undefined;
}

/** How an agent failed. */
export interface AgentFailure extends AgentObservations {
  readonly code: string | undefined;
  readonly message: string;
  /** It ended while something was asked of it. */
  readonly hasEnded: boolean;
}

/** What it is asked for at each step. */
const ASKED: Readonly<Record<Step, string>> = {
  start: "initialize",
  session: "session/new",
  login: "authenticate, or session/new",
};

/** What is said of an agent that came no further in the time that it has. */
export function tooSlow(ms: number, step: Step): string {
  return `In ${ms / 1000} seconds it came no further than ${ASKED[step]}.`;
}

const DOUBLED = /^The agent could not be used: /;
const IS_LATE = /\b[\d.]+ seconds\b/;
const OTHER_VERSION = /speaks version .* of the Agent Client Protocol/;
const NOT_STARTED = /^The agent's program ".*" (could not be started|was not found)/s;

/** What is found of an agent that could not be started, or opened no session. */
export function diagnose(agent: AgentConfig, failed: AgentFailure): Finding {
  const { code, stray, step } = failed;
  if (code === "agent_auth_required") return loginFinding(failed);
  if (stray !== undefined) return strayFinding(agent, failed, stray);
  const message = failed.message.replace(DOUBLED, "");
  if (OTHER_VERSION.test(message)) {
    const fix = `Install a version of it that speaks ACP ${PROTOCOL_VERSION}.`;
    return fail(`could not be used: ${message}`, fix);
  }
  if (step === "start" && NOT_STARTED.test(message)) {
    return fail(`could not be used: ${message}`, `Correct its command and args: ${commandOf(agent)}.`);
  }
  const told = failed.hasEnded
    ? endedText(failed)
    : `${step === "start" ? "could not be used" : "opened no session"}: ${message}`;
  return fail(withWords(told, failed), adviceOf(agent, failed));
}

function fail(text: string, fix: string): Finding {
  return { level: "fail", text, fix };
}

function loginFinding(failed: AgentFailure): Finding {
  const { how, step, message } = failed;
  const text = `was started, and opens no session before a log-in${how === undefined ? "" : `; it ${how}`}`;
  // Where no log-in was tried, what it wrote has nothing to do with that.
  return fail(step === "login" ? withWords(text, failed) : text, message);
}

function strayFinding(agent: AgentConfig, { stderr, lastStray, how }: AgentFailure, stray: string): Finding {
  const more = lastStray === undefined || lastStray === stray ? "" : `, at last ${JSON.stringify(lastStray)}`;
  const text = `writes what is no ACP: ${JSON.stringify(stray)}${more}${
    how === undefined ? "" : `, and ${how}`
  }`;
  return fail(
    withWords(text, { stderr, lastStray: undefined }),
    `Does it need an argument, such as acp or --acp? Its command and args are ${commandOf(agent)}.`,
  );
}

function endedText({ step, how }: AgentFailure): string {
  const when = {
    start: "before it answered initialize",
    session: "while it opened a session",
    login: "in its log-in",
  };
  return `ended ${when[step]}${how === undefined ? "" : `: it ${how}`}.`;
}

/** A text, and behind it the last that the agent wrote. */
function withWords(text: string, { stderr, lastStray }: Pick<AgentFailure, "stderr" | "lastStray">): string {
  const words = [
    ...lastStray === undefined ? [] : [`It wrote what is no ACP: ${JSON.stringify(lastStray)}.`],
    ...stderr.length === 0 ? [] : [`The last that it wrote to stderr: ${stderr.join(" / ")}`],
  ];
  if (words.length === 0) return text;
  return [/[.!?]$/.test(text) ? text : `${text}.`, ...words].join(" ");
}

function adviceOf({ mcpServers }: AgentConfig, { step, message, hasEnded }: AgentFailure): string {
  const isLate = IS_LATE.test(message) && !hasEnded;
  if (step === "start") {
    const download = isLate ? " Its first start may download it: then run the doctor again." : "";
    return "Run its command by hand, in its folder: it should wait there for input, and say nothing. If it " +
      `speaks to you, it may need an argument, such as acp or --acp.${download}`;
  }
  const servers = mcpServers.length > 0 ? ", and at its MCP servers" : "";
  return isLate
    ? `It speaks ACP, so its command is right. Look at its own configuration, its log-in and its network${servers}.`
    : `It speaks ACP, and what it says stands above: look at its own configuration and log-in${servers}.`;
}

function commandOf({ command, args }: AgentConfig): string {
  return `${JSON.stringify(command ?? "")} and ${listed(args)}`;
}
