/** The diagnosis of an agent that cannot be used: how far it came, how it failed, and what to do about it. Pure. @module */

import type { AgentConfig } from "../acp/create_agent.ts";
import type { AgentLifecycleEvent } from "../acp/lifecycle.ts";
import { PROTOCOL_VERSION } from "../acp/wire.ts";
import { describeCommand } from "../config/help.ts";
import type { AppError } from "../core/errors.ts";
import { fail, type Finding } from "./report.ts";

/** Last lines of an agent's stderr that are reported. */
const STDERR_LINES = 3;
/** Characters of a line of an agent that are reported. */
const LINE_CHARS = 100;

/** How far an agent came: it was started, it answered `initialize`, or it was asked to log in. */
export type Step = "start" | "session" | "login";

/** Observations of an agent while it was tried. */
export interface AgentObservations {
  readonly step: Step;
  /** The id of the log-in method that was used. */
  readonly login: string | undefined;
  /** How the agent's process ended by itself: `exited with code 1`. */
  readonly exit: string | undefined;
  /** The last lines of its stderr. */
  readonly stderr: readonly string[];
  /** The first line on stdout before `initialize` was answered, if that line was not ACP. */
  readonly invalidLine: string | undefined;
  /** The last line on stdout that was not ACP. */
  readonly lastInvalidLine: string | undefined;
}

/** The observations of an agent that did nothing yet. */
export const NOTHING_OBSERVED: AgentObservations = {
  step: "start",
  login: undefined,
  exit: undefined,
  stderr: [],
  invalidLine: undefined,
  lastInvalidLine: undefined,
};

/** Adds an event to the observations. */
export function observe(observed: AgentObservations, event: AgentLifecycleEvent): AgentObservations {
  switch (event.type) {
    case "ready":
      // Lines before the answer were only a greeting.
      return { ...observed, step: "session", invalidLine: undefined, lastInvalidLine: undefined };
    case "authenticating":
      return { ...observed, step: "login", login: event.methodId };
    case "stderr":
      return { ...observed, stderr: [...observed.stderr, cut(event.line)].slice(-STDERR_LINES) };
    case "invalid_line": {
      const line = cut(event.line);
      if (line.trim() === "") return observed;
      const isFirst = observed.step === "start" && observed.invalidLine === undefined;
      return { ...observed, invalidLine: isFirst ? line : observed.invalidLine, lastInvalidLine: line };
    }
    case "exited":
      return { ...observed, exit: event.status };
    default:
      return event satisfies never;
  }
}

function cut(line: string): string {
  return line.slice(0, LINE_CHARS).toWellFormed();
}

/** The requests that an agent does not get past at each step. */
const REQUESTS: Readonly<Record<Step, string>> = {
  start: "initialize",
  session: "session/new",
  login: "authenticate or session/new",
};

/** Describes an agent that did not get further in the time that it has. */
export function tooSlow(ms: number, step: Step): string {
  return `The agent did not get past ${REQUESTS[step]} in ${ms / 1000} seconds.`;
}

/** Reports on an agent that did not start, or opened no session. */
export function diagnose(agent: AgentConfig, error: AppError, observed: AgentObservations): Finding {
  const { code, reason, message } = error;
  const { step, exit } = observed;
  if (code === "agent_auth_required") {
    const text = `needs a log-in before it opens a session${exit ? `; it ${exit}` : ""}`;
    // Output before any attempt to log in does not explain the failure.
    return fail(step === "login" ? withOutput(text, observed) : text, message);
  }
  if (observed.invalidLine !== undefined) return notAcpFinding(agent, observed, observed.invalidLine);
  if (reason === "protocol_version") {
    return fail(message, `Install a version that speaks ACP ${PROTOCOL_VERSION}.`);
  }
  if (step === "start" && (reason === "program_not_found" || reason === "program_not_started")) {
    return fail(message, `Correct its command and args (now ${commandOf(agent)}).`);
  }
  const text = reason === "exited"
    ? `${exit ?? "closed its output"} ${ENDED[step]}`
    : step === "start"
    ? message
    : `opened no session: ${message}`;
  return fail(withOutput(text, observed), adviceFor(agent, step, reason));
}

const ENDED: Readonly<Record<Step, string>> = {
  start: "before it answered initialize",
  session: "while it opened a session",
  login: "during the log-in",
};

function notAcpFinding(agent: AgentConfig, observed: AgentObservations, first: string): Finding {
  const { lastInvalidLine: last, exit } = observed;
  const printed = [first, ...last === undefined || last === first ? [] : [last]].map((line) =>
    JSON.stringify(line)
  );
  const text = `is not an ACP agent: it printed ${printed.join(", and last ")}${exit ? `, and ${exit}` : ""}`;
  return fail(
    withOutput(text, { ...observed, lastInvalidLine: undefined }),
    `Does it need an argument, such as acp or --acp? Its start command is ${commandOf(agent)}.`,
  );
}

/** Appends the last lines that the agent printed. */
function withOutput(text: string, { stderr, lastInvalidLine }: AgentObservations): string {
  const output = [
    ...lastInvalidLine === undefined ? [] : [`Last line on stdout: ${JSON.stringify(lastInvalidLine)}.`],
    ...stderr.length === 0 ? [] : [`Last lines on stderr: ${stderr.join(" / ")}`],
  ];
  return output.length === 0 ? text : [/[.!?]$/.test(text) ? text : `${text}.`, ...output].join(" ");
}

function adviceFor({ mcpServers }: AgentConfig, step: Step, reason: AppError["reason"]): string {
  if (step === "start") {
    const download = reason === "timeout"
      ? " The first start may download the agent: then run the doctor again."
      : "";
    return "Run its command in a terminal, in its folder: it should print nothing and wait for input. Otherwise it may " +
      `need an argument, such as acp or --acp.${download}`;
  }
  const network = reason === "timeout" ? ", its network" : "";
  const servers = mcpServers.length > 0 ? ", its MCP servers" : "";
  return `It speaks ACP, so its command is right. Check its own configuration${network}${servers} and its log-in.`;
}

function commandOf({ command = "the demo agent", args }: AgentConfig): string {
  return describeCommand(command, args);
}
