/** The doctor as a person calls it: on this machine, until it is done or told to stop. @module */

import type { AgentDescription } from "../acp/agent.ts";
import type { AgentConfig, AgentDeps } from "../acp/create_agent.ts";
import { AGENT_TIMES } from "../acp/handshake.ts";
import { ClosedError } from "../acp/json_rpc.ts";
import { type Config, ConfigError, type Loaded } from "../config/load.ts";
import { collectSecrets } from "../config/secrets.ts";
import { abortable } from "../core/abortable.ts";
import { AppError, messageOf, toAppError } from "../core/errors.ts";
import { settlesWithin } from "../core/deadline.ts";
import { onSignals } from "../core/lifetime.ts";
import { NO_LOG } from "../core/log.ts";
import { createRedactor } from "../core/redact.ts";
import { openCharacter } from "../stage/character.ts";
import { PermissionBroker } from "../turn/permission.ts";
import { checkDataDir, doctorAgent, listenFault } from "./checks.ts";
import { type AgentFailure, type AgentObservations, diagnose, tooSlow } from "./diagnosis.ts";
import { inOrder } from "./in_order.ts";
import {
  addressFinding,
  agentFindings,
  characterFinding,
  configFindings,
  type Finding,
  type Folder,
  linesOf,
  needFindings,
  type Program,
  programFindings,
  type ServerProgram,
  sumOf,
} from "./report.ts";

/** What a visit needs. */
export interface DoctorCommandOptions {
  /** @throws {ConfigError} with every mistake. */
  readonly loading: Promise<Loaded>;
  readonly around: Pick<AgentDeps, "own" | "windows" | "programFolders" | "version">;
  readonly atTerminal: boolean;
  print(line: string): void;
  /** Writes a line for whoever waits at the terminal. */
  notice(line: string): void;
  /** Ends the program at once, as somebody asked a second time. */
  exit(): void;
}

/** Tries what is configured, and says how to mend it. @returns Whether nothing failed. */
export async function runDoctorCommand(visit: DoctorCommandOptions): Promise<boolean> {
  const { loading, around, atTerminal, print, notice, exit } = visit;
  let loaded: Loaded | undefined;
  let wrong: Pick<ConfigError, "mistakes" | "warnings"> = { mistakes: [], warnings: [] };
  try {
    loaded = await loading;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    wrong = error;
  }
  const config = loaded?.config;
  const secrets = config ? collectSecrets(config, around.own) : ownSecrets(around.own);
  // There is nobody to ask, and nothing to log: what there is to say is printed.
  const broker = new PermissionBroker({ timeoutMs: 1_000, canAnyoneAnswer: () => false });
  const surroundings = { ...around, broker, log: NO_LOG, redact: createRedactor(secrets) };
  const agents = (config?.agents ?? []).map((agent) => doctorAgent(agent, surroundings));
  const kill = () => agents.forEach((agent) => agent.kill());
  globalThis.addEventListener("unload", kill);
  const asked = new AbortController();
  using _signals = onSignals({
    atTerminal,
    stop: () => asked.abort(),
    exit() {
      kill();
      exit();
    },
  });
  return await runDoctor({
    print,
    notice: atTerminal ? notice : undefined,
    config,
    mistakes: wrong.mistakes,
    warnings: loaded?.warnings ?? wrong.warnings,
    agents,
    secrets,
    listenFault,
    checkCharacter: openCharacter,
    checkDataDir,
  }, asked.signal);
}

/** What must not be seen of a configuration that could not be read: all that its variables' names say is secret. */
function ownSecrets(own: AgentDeps["own"]): string[] {
  const authKey = own.VTUBER_AUTH_KEY?.trim();
  return collectSecrets({ authKey, agents: [], fileVariables: Object.keys(own) }, own);
}

/**
 * How long an agent may take to start and to open a session: more than each of the two may, since what they say of an
 * agent that is silent is more precise.
 */
const AGENT_MS = 2 * AGENT_TIMES.setupMs;
/** How long it may take to end, once it was given up. */
const END_MS = 5_000;
/** Agents that are tried at once: fifty silent ones take a few minutes, and a small machine is not overrun. */
export const AT_ONCE = 16;

/** Characters of a line of an agent that are told: less than those that a log is given of it. */
const SAID_CHARS = 100;

/** An agent, and the ways to try it. */
export interface DoctorAgent {
  readonly config: AgentConfig;
  /** The variables that it should inherit, and that are not set. */
  readonly unset: readonly string[];
  /** Where its program is, if it was found. */
  findProgram(): Promise<Program | undefined>;
  /** What is where its folder should be, if anything is. */
  findFolder(): Promise<Folder | undefined>;
  /** Where the programs of its MCP servers are. */
  findServers(): Promise<readonly ServerProgram[]>;
  /**
   * Starts it, opens a session, and ends it.
   *
   * @throws {AppError} that says what to do.
   */
  describe(signal: AbortSignal): Promise<AgentDescription>;
  /** What was heard of it so far. */
  said(): AgentObservations;
  /** Ends its processes at once, as far as that can be done without waiting; it starts no more. */
  kill(): void;
}

/** What the doctor works with. */
export interface DoctorDeps {
  /** Writes a line. */
  print(line: string): void;
  /** The configuration; nothing if it has mistakes. */
  readonly config: Config | undefined;
  /** Writes a line for whoever waits, which is no part of what was found. */
  readonly notice?: ((line: string) => void) | undefined;
  readonly mistakes: readonly string[];
  readonly warnings: readonly string[];
  /** Those of the configuration. */
  readonly agents: readonly DoctorAgent[];
  /** What is never printed. */
  readonly secrets: readonly string[];
  /** What stands in the way of listening there, if anything does. */
  listenFault(listen: Config["listen"]): Promise<string | undefined>;
  /** Opens the character that is set. @throws {Error} with a sentence for the user, if it cannot be shown. */
  checkCharacter(character: string): Promise<unknown>;
  /** Whether conversations can be remembered there. @throws {Error} if nothing can be kept. */
  checkDataDir(folder: string): Promise<Finding>;
  readonly agentMs?: number;
}

/**
 * Checks everything, and prints a line for each thing that was checked, what to do if it is not fine, and the sum.
 * Agents are tried a few at once, and told of in order. It always ends: each is waited for with a limit.
 *
 * @returns Whether nothing failed.
 */
export async function runDoctor(deps: DoctorDeps, signal?: AbortSignal): Promise<boolean> {
  const { config } = deps;
  const redact = createRedactor(deps.secrets);
  const findings: Finding[] = [];
  const tell = (finding: Finding, about?: string) => {
    findings.push(finding);
    for (const line of linesOf(hidden(finding, redact), about)) deps.print(line);
  };
  try {
    for (const finding of configFindings(config, deps.mistakes, deps.warnings)) tell(finding);
    if (config) {
      tell(addressFinding(config.listen, await abortable(deps.listenFault(config.listen), signal)));
      tell(await abortable(dataFinding(config, deps), signal));
      if (config.character) tell(await abortable(checkCharacter(config.character, deps), signal));
      const names = deps.agents.map(({ config }) => config.name).join(", ");
      deps.notice?.(redact(`trying ${names}... (a silent one takes a minute or two)`));
      await inOrder(
        deps.agents,
        AT_ONCE,
        (agent) => checkAgent(agent, { ...deps, redact }, signal),
        (found, place) => {
          for (const finding of found) tell(finding, deps.agents[place]?.config.name);
        },
      );
      signal?.throwIfAborted();
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
    const fix = "Run the doctor again, to the end.";
    tell({ level: "fail", text: "stopped before everything was checked", fix });
  }
  deps.print(sumOf(findings));
  return findings.every(({ level }) => level !== "fail");
}

async function checkCharacter(character: string, deps: DoctorDeps): Promise<Finding> {
  try {
    await deps.checkCharacter(character);
    return characterFinding(undefined);
  } catch (error) {
    return characterFinding(messageOf(error));
  }
}

async function dataFinding({ dataDir }: Config, { checkDataDir }: DoctorDeps): Promise<Finding> {
  if (dataDir === undefined) return { level: "ok", text: "conversations are not kept on disk" };
  try {
    return await checkDataDir(dataDir);
  } catch (error) {
    const fix = "Set VTUBER_DATA_DIR to a folder that can be written, or to none.";
    const text = `conversations are remembered only until the program ends: ${messageOf(error)}`;
    return { level: "warn", text, fix };
  }
}

async function checkAgent(
  agent: DoctorAgent,
  { agentMs = AGENT_MS, redact }: { readonly agentMs?: number; redact(text: string): string },
  signal?: AbortSignal,
): Promise<Finding[]> {
  const [program, folder, servers] = await Promise.all([
    agent.findProgram(),
    agent.findFolder(),
    agent.findServers(),
  ]);
  const found = [
    ...programFindings(agent.config, program, folder),
    ...needFindings(agent.unset, servers),
  ];
  // It would only fail for the same reason.
  if (found.some(({ level }) => level === "fail")) return found;
  const late = new AbortController();
  const giveUp = () => new AppError("agent_unavailable", tooSlow(agentMs, agent.said().step));
  const timer = setTimeout(() => late.abort(giveUp()), agentMs);
  const givenUp = signal ? AbortSignal.any([signal, late.signal]) : late.signal;
  const describing = agent.describe(givenUp);
  try {
    return [...found, ...agentFindings(await abortable(describing, givenUp), agent.said().login)];
  } catch (error) {
    signal?.throwIfAborted();
    return [...found, diagnose(agent.config, failedOf(error, agent.said(), redact))];
  } finally {
    clearTimeout(timer);
    // What it started is to be gone.
    await settlesWithin(END_MS, describing.catch(() => {}));
  }
}

/** How an agent failed: what was thrown, and what was heard of it, without secrets and cut to a length. */
export function failedOf(
  error: unknown,
  said: AgentObservations,
  redact = (text: string) => text,
): AgentFailure {
  const { code, message, cause } = toAppError(error, "agent_unavailable");
  // A secret that is cut is not found any more.
  const told = (line: string) => redact(line).slice(0, SAID_CHARS).toWellFormed();
  const { stderr, stray, lastStray } = said;
  return {
    ...said,
    code,
    message,
    hasEnded: cause instanceof ClosedError,
    stderr: stderr.map(told),
    stray: stray && told(stray),
    lastStray: lastStray && told(lastStray),
  };
}

function hidden({ level, text, fix }: Finding, redact: (text: string) => string): Finding {
  return fix === undefined ? { level, text: redact(text) } : { level, text: redact(text), fix: redact(fix) };
}
