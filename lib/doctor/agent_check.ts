/** The doctor's trial of an agent: starts it as the server does, and says how far it came and how it failed. @module */

import { type AgentConfig, type AgentDeps, agentInvocation, createAgent } from "../acp/create_agent.ts";
import type { AgentLifecycleEvent } from "../acp/lifecycle.ts";
import { type AuthMethod, PROTOCOL_VERSION } from "../acp/wire.ts";
import { settlesWithin } from "../core/deadline.ts";
import { AppError, type ErrorReason, toAppError } from "../core/errors.ts";
import { checkRequirements } from "./checks.ts";
import { agentFindings, fail, type Finding } from "./report.ts";

/** Limits of a trial, in milliseconds. */
const LIMITS = {
  /** For an agent that prints only lines that are not ACP. */
  notAcpMs: 5_000,
  /** For an agent to end after it was given up. */
  endMs: 5_000,
};
/** Last lines of an agent's stderr that are reported. */
const STDERR_LINES = 3;
/** Characters of a line of stderr that are reported. */
const LINE_CHARS = 100;

/** Checks what an agent needs; if nothing is missing, starts it, opens a session, and ends it. */
export async function checkAgent(
  config: AgentConfig,
  deps: AgentDeps,
  signal: AbortSignal,
  limits: Partial<typeof LIMITS & { agentMs: number }> = {},
): Promise<Finding[]> {
  signal.throwIfAborted();
  // The start and the session have the same limit each.
  const { agentMs, notAcpMs, endMs } = { agentMs: 2 * config.startMs, ...LIMITS, ...limits };
  const found = await checkRequirements(config, deps);
  // A start would fail for the same reason.
  if (found.some(({ level }) => level === "fail")) return found;

  const observed: Observations = { isReady: false, exit: undefined, stderr: [], logIn: undefined };
  const late = AbortSignal.timeout(agentMs);
  let notAcpTimer: ReturnType<typeof setTimeout> | undefined;
  const agent = await createAgent(config, {
    ...deps,
    onLifecycle(event) {
      observe(observed, event);
      deps.onLifecycle?.(event);
      // Lines before the answer may be only a greeting.
      if (event.type === "ready") clearTimeout(notAcpTimer);
      else if (event.type === "invalid_line") notAcpTimer ??= setTimeout(() => agent.kill(), notAcpMs);
    },
  });
  const kill = () => agent.kill();
  globalThis.addEventListener("unload", kill);
  // Wait for the process, whose exit may explain an error.
  const described = agent.describe(AbortSignal.any([signal, late]))
    .finally(() => settlesWithin(endMs, agent[Symbol.asyncDispose]()));
  try {
    return [...found, ...agentFindings(await described)];
  } catch (error) {
    signal.throwIfAborted();
    const tooSlow = `The agent opened no session in ${agentMs / 1000} seconds.`;
    const reason = late.aborted
      ? new AppError("agent_unavailable", tooSlow)
      : toAppError(error, "agent_unavailable");
    return [...found, diagnose(reason, observed)];
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
  /** Its first way to log in that needs a terminal. */
  logIn: AuthMethod | undefined;
}

/** Adds an event to the observations. */
function observe(observed: Observations, event: AgentLifecycleEvent): void {
  switch (event.type) {
    case "ready":
      observed.isReady = true;
      observed.logIn = event.capabilities.authMethods.find(({ type }) => type === "terminal");
      break;
    case "stderr":
      observed.stderr.push(event.line.slice(0, LINE_CHARS).toWellFormed());
      if (observed.stderr.length > STDERR_LINES) observed.stderr.shift();
      break;
    case "exited":
      observed.exit = event.status;
      break;
    case "authenticating":
    case "invalid_line":
    case "permission":
    case "serving":
    case "unavailable":
      break;
    default:
      event satisfies never;
  }
}

const FIXES: Partial<Record<ErrorReason, string>> = {
  protocol_version: `Install a version that speaks ACP ${PROTOCOL_VERSION}.`,
  program_not_started: "Correct its command and args.",
  not_acp: "Correct its command and args: its program has to speak ACP on its input and output.",
};

/** Reports on an agent that did not start, or opened no session. */
function diagnose(
  { code, reason, message }: AppError,
  { isReady, exit, stderr, logIn }: Observations,
): Finding {
  if (code === "agent_auth_required") {
    return { ...fail("needs a log-in before it opens a session", message), logIn };
  }
  const withOutput = (text: string) => {
    if (stderr.length === 0) return text;
    return `${text.replace(/\.$/, "")}. Last lines on stderr: ${stderr.join(" / ")}`;
  };
  const ended = `${exit ?? "closed its output"} ${
    isReady ? "while it opened a session" : "before it answered initialize"
  }`;
  const advice = isReady
    ? "It speaks ACP, so its command is right. Check its own configuration, its network, its MCP servers and its log-in."
    : "Run its command in a terminal, in its folder: it should print nothing and wait for input. Otherwise it may need " +
      "an argument, such as acp or --acp. The first start may download the agent: then run the doctor again.";
  return fail(withOutput(reason === "exited" ? ended : message), reason && FIXES[reason] || advice);
}

/**
 * Logs in to an agent in this program's terminal: runs the agent's own command with the arguments and variables of the
 * method (ACP `AuthMethodTerminal`). @returns Whether the log-in succeeded.
 */
export async function logInAtTerminal(
  config: AgentConfig,
  deps: AgentDeps,
  method: AuthMethod,
  signal: AbortSignal,
): Promise<boolean> {
  const { command, args, cwd, env } = await agentInvocation(config, deps);
  const child = new Deno.Command(command, {
    args: [...args, ...method.args ?? []],
    cwd,
    env: { ...env, ...method.env },
    clearEnv: true,
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
    signal,
  }).spawn();
  return (await child.status).success;
}
