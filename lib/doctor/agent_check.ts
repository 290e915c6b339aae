/** The doctor's trial of an agent: starts it as the server does, and says how far it came and how it failed. @module */

import { type AgentConfig, type AgentDeps, createAgent } from "../acp/create_agent.ts";
import { AGENT_TIMEOUTS } from "../acp/handshake.ts";
import type { AgentLifecycleEvent } from "../acp/lifecycle.ts";
import { PROTOCOL_VERSION } from "../acp/wire.ts";
import { describeCommand } from "../config/help.ts";
import { settlesWithin } from "../core/deadline.ts";
import { AppError, type ErrorReason, toAppError } from "../core/errors.ts";
import { checkRequirements } from "./checks.ts";
import { agentFindings, fail, type Finding } from "./report.ts";

/** Limits of a trial, in milliseconds. */
const LIMITS = {
  /** For an agent to start and to open a session: more than the limit of each of the two. */
  agentMs: 2 * AGENT_TIMEOUTS.setupMs,
  /** For an agent that prints only lines that are not ACP. */
  notAcpMs: 5_000,
  /** For an agent to end after it was given up. */
  endMs: 5_000,
};
/** Last lines of an agent's stderr that are reported. */
const STDERR_LINES = 3;
/** Characters of a line of an agent that are reported. */
const LINE_CHARS = 100;

/** Checks what an agent needs; if nothing is missing, starts it, opens a session, and ends it. */
export async function checkAgent(
  config: AgentConfig,
  deps: AgentDeps,
  signal: AbortSignal,
  limits: Partial<typeof LIMITS> = {},
): Promise<Finding[]> {
  signal.throwIfAborted();
  const { agentMs, notAcpMs, endMs } = { ...LIMITS, ...limits };
  const found = await checkRequirements(config, deps);
  // A start would fail for the same reason.
  if (found.some(({ level }) => level === "fail")) return found;

  const observed: Observations = { isReady: false, exit: undefined, stderr: [], invalidLine: undefined };
  const late = AbortSignal.timeout(agentMs);
  const notAcp = new AbortController();
  let notAcpTimer: ReturnType<typeof setTimeout> | undefined;
  const agent = await createAgent(config, {
    ...deps,
    onLifecycle(event) {
      observe(observed, event);
      deps.onLifecycle?.(event);
      if (observed.invalidLine === undefined) clearTimeout(notAcpTimer);
      else notAcpTimer ??= setTimeout(() => notAcp.abort(), notAcpMs);
    },
  });
  const kill = () => agent.kill();
  globalThis.addEventListener("unload", kill);
  const ended = AbortSignal.any([signal, late, notAcp.signal]);
  // Wait for the process, whose exit may explain an error.
  const described = agent.describe(ended)
    .finally(() => settlesWithin(endMs, agent[Symbol.asyncDispose]()));
  try {
    return [...found, ...agentFindings(await described)];
  } catch (error) {
    signal.throwIfAborted();
    const tooSlow = `The agent opened no session in ${agentMs / 1000} seconds.`;
    const reason = late.aborted
      ? new AppError("agent_unavailable", tooSlow)
      : toAppError(error, "agent_unavailable");
    return [...found, diagnose(config, reason, observed)];
  } finally {
    clearTimeout(notAcpTimer);
    globalThis.removeEventListener("unload", kill);
  }
}

/** Observations of an agent while it was tried. */
interface Observations {
  /** The agent answered `initialize`. */
  isReady: boolean;
  /** How the agent's process ended by itself: `exited with code 1`. */
  exit: string | undefined;
  /** The last lines of its stderr. */
  stderr: string[];
  /** The first line on stdout that was not ACP, if `initialize` was not answered after it. */
  invalidLine: string | undefined;
}

/** Adds an event to the observations. */
function observe(observed: Observations, event: AgentLifecycleEvent): void {
  switch (event.type) {
    case "ready":
      observed.isReady = true;
      // Lines before the answer were only a greeting.
      observed.invalidLine = undefined;
      break;
    case "stderr":
      observed.stderr = [...observed.stderr, cut(event.line)].slice(-STDERR_LINES);
      break;
    case "invalid_line":
      if (!observed.isReady && event.line.trim() !== "") observed.invalidLine ??= cut(event.line);
      break;
    case "exited":
      observed.exit = event.status;
      break;
    case "authenticating":
      break;
    default:
      event satisfies never;
  }
}

function cut(line: string): string {
  return line.slice(0, LINE_CHARS).toWellFormed();
}

const FIXES: Partial<Record<ErrorReason, string>> = {
  protocol_version: `Install a version that speaks ACP ${PROTOCOL_VERSION}.`,
  program_not_started: "Correct its command and args.",
};

/** Reports on an agent that did not start, or opened no session. */
function diagnose(
  { command, args }: AgentConfig,
  { code, reason, message }: AppError,
  { isReady, exit, stderr, invalidLine }: Observations,
): Finding {
  if (code === "agent_auth_required") return fail("needs a log-in before it opens a session", message);
  const withOutput = (text: string) => {
    if (stderr.length === 0) return text;
    return `${text.replace(/\.$/, "")}. Last lines on stderr: ${stderr.join(" / ")}`;
  };
  if (invalidLine !== undefined) {
    const printed = `it printed ${JSON.stringify(invalidLine)}${exit ? `, and ${exit}` : ""}`;
    const start = describeCommand(command ?? "the demo agent", args);
    return fail(
      withOutput(`is not an ACP agent: ${printed}`),
      `Does it need an argument, such as acp or --acp? Its start command is ${start}.`,
    );
  }
  const ended = `${exit ?? "closed its output"} ${
    isReady ? "while it opened a session" : "before it answered initialize"
  }`;
  const advice = isReady
    ? "It speaks ACP, so its command is right. Check its own configuration, its network, its MCP servers and its log-in."
    : "Run its command in a terminal, in its folder: it should print nothing and wait for input. Otherwise it may need " +
      "an argument, such as acp or --acp. The first start may download the agent: then run the doctor again.";
  return fail(withOutput(reason === "exited" ? ended : message), reason && FIXES[reason] || advice);
}
