/** The command `oab-vtuber doctor`: checks the configuration and this machine, tries each agent, prints a report. @module */

import { pooledMap } from "@std/async/pool";
import type { AgentDeps } from "../acp/create_agent.ts";
import { AGENT_TIMEOUTS } from "../acp/handshake.ts";
import { type Config, ConfigError, type Loaded } from "../config/load.ts";
import { collectSecrets } from "../config/secrets.ts";
import { abortable } from "../core/abortable.ts";
import { settlesWithin } from "../core/deadline.ts";
import { AppError, messageOf, toAppError } from "../core/errors.ts";
import { onSignals } from "../core/lifetime.ts";
import { NO_LOG } from "../core/log.ts";
import { createRedactor } from "../core/redact.ts";
import { openCharacter } from "../stage/character.ts";
import { PermissionBroker } from "../turn/permission.ts";
import { type AgentChecks, agentChecks, checkAddress, checkDataDir } from "./checks.ts";
import { diagnose, tooSlow } from "./diagnosis.ts";
import {
  addressFinding,
  agentFindings,
  configFindings,
  fail,
  type Finding,
  linesOf,
  type ListenProblem,
  ok,
  requirementFindings,
  verdictOf,
  warn,
} from "./report.ts";

/** Longest time for an agent to start and to open a session: more than the limit of each of the two. */
const AGENT_MS = 2 * AGENT_TIMEOUTS.setupMs;
/** Longest time for an agent to end after it was given up. */
const END_MS = 5_000;
/** Agents that are tried at once: fifty silent ones take a few minutes, and a small machine is not overloaded. */
export const MAX_CONCURRENT = 16;

/** The parts of the program that the command needs. */
export interface DoctorCommandOptions {
  /** The configuration. @throws {ConfigError} with every mistake. */
  readonly loading: Promise<Loaded>;
  readonly machine: Pick<AgentDeps, "own" | "windows" | "programFolders" | "version">;
  readonly atTerminal: boolean;
  print(line: string): void;
  /** Shows a line that is not part of the report to the person at the terminal. */
  notice(line: string): void;
  /** Ends the program at once. Called when a second signal asks for the end. */
  exit(): void;
}

/** Runs the command. @returns Whether nothing failed. */
export async function runDoctorCommand(options: DoctorCommandOptions): Promise<boolean> {
  const { machine, atTerminal, print, notice, exit } = options;
  const { config, mistakes, warnings } = await settleLoading(options.loading);
  const secrets = collectSecrets(config ?? unreadConfig(machine.own), machine.own);
  // The doctor refuses every permission, and its report takes the place of a log.
  const broker = new PermissionBroker({ timeoutMs: 1_000, canAnyoneAnswer: () => false });
  const deps = { ...machine, broker, log: NO_LOG, redact: createRedactor(secrets) };
  const agents = (config?.agents ?? []).map((agent) => agentChecks(agent, deps));
  const kill = () => agents.forEach((agent) => agent.kill());
  globalThis.addEventListener("unload", kill);
  const stop = new AbortController();
  using _signals = onSignals({
    atTerminal,
    stop: () => stop.abort(),
    exit() {
      kill();
      exit();
    },
  });
  return await runDoctor({
    print,
    notice: atTerminal ? notice : undefined,
    config,
    mistakes,
    warnings,
    agents,
    secrets,
    checkAddress,
    checkCharacter: openCharacter,
    checkDataDir,
  }, stop.signal);
}

async function settleLoading(
  loading: Promise<Loaded>,
): Promise<Pick<DoctorDeps, "config" | "mistakes" | "warnings">> {
  try {
    return { ...await loading, mistakes: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: undefined, mistakes: error.mistakes, warnings: error.warnings };
  }
}

/** Without a configuration, the value of any variable with a secret name may be part of a mistake. */
function unreadConfig(own: AgentDeps["own"]) {
  return { authKey: own.VTUBER_AUTH_KEY?.trim(), agents: [], fileVariables: Object.keys(own) };
}

/** The parts of the doctor; tests replace the checks of the machine. */
export interface DoctorDeps {
  print(line: string): void;
  readonly notice?: ((line: string) => void) | undefined;
  /** The configuration; `undefined` if it has mistakes. */
  readonly config: Config | undefined;
  readonly mistakes: readonly string[];
  readonly warnings: readonly string[];
  /** The agents of the configuration. */
  readonly agents: readonly AgentChecks[];
  /** Texts that are never printed. */
  readonly secrets: readonly string[];
  checkAddress(listen: Config["listen"]): Promise<ListenProblem | Error | undefined>;
  /** @throws {Error} with a sentence for the user if the character cannot be shown. */
  checkCharacter(character: string): Promise<unknown>;
  /** @throws {Error} if nothing can be kept in the folder. */
  checkDataDir(folder: string): Promise<Finding>;
  readonly agentMs?: number;
}

/**
 * Checks everything and prints the report: a line for each finding, a line with its fix, and the verdict. Agents are
 * tried a few at once and reported in order. Each wait has a limit.
 *
 * @returns Whether nothing failed.
 */
export async function runDoctor(deps: DoctorDeps, signal?: AbortSignal): Promise<boolean> {
  const { config, agents } = deps;
  const redact = createRedactor(deps.secrets);
  const findings: Finding[] = [];
  const report = ({ level, text, fix }: Finding, about?: string) => {
    const finding = { level, text: redact(text), ...fix && { fix: redact(fix) } };
    findings.push(finding);
    for (const line of linesOf(finding, about)) deps.print(line);
  };
  try {
    for (const finding of configFindings(config, deps.mistakes, deps.warnings)) report(finding);
    if (config) {
      report(addressFinding(config.listen, await abortable(deps.checkAddress(config.listen), signal)));
      report(await abortable(dataFinding(config, deps), signal));
      if (config.character) report(await abortable(characterFinding(config.character, deps), signal));
      const names = agents.map(({ config }) => config.name).join(", ");
      deps.notice?.(redact(`trying ${names}... (an agent that does not answer takes a minute or two)`));
      const tried: AsyncIterable<{ name: string; found: Finding[] }> = pooledMap(
        MAX_CONCURRENT,
        agents,
        async (agent: AgentChecks) => ({
          name: agent.config.name,
          found: await tryAgent(agent, deps.agentMs ?? AGENT_MS, signal),
        }),
      );
      for await (const { name, found } of tried) for (const finding of found) report(finding, name);
      signal?.throwIfAborted();
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
    report(fail("stopped before everything was checked", "Run the doctor again, to the end."));
  }
  deps.print(verdictOf(findings));
  return findings.every(({ level }) => level !== "fail");
}

async function characterFinding(character: string, { checkCharacter }: DoctorDeps): Promise<Finding> {
  try {
    await checkCharacter(character);
    return ok("VTUBER_CHARACTER can be shown");
  } catch (error) {
    return fail(messageOf(error), "Correct it, or take it out: then the stage shows a drawn character.");
  }
}

async function dataFinding({ dataDir }: Config, { checkDataDir }: DoctorDeps): Promise<Finding> {
  if (dataDir === undefined) return ok("conversations are not kept on disk");
  try {
    return await checkDataDir(dataDir);
  } catch (error) {
    return warn(
      `conversations are remembered only until the program ends: ${messageOf(error)}`,
      "Set VTUBER_DATA_DIR to a folder that can be written, or to none.",
    );
  }
}

async function tryAgent(agent: AgentChecks, agentMs: number, signal?: AbortSignal): Promise<Finding[]> {
  signal?.throwIfAborted();
  const found = requirementFindings(agent.config, await agent.findRequirements());
  // A start would fail for the same reason.
  if (found.some(({ level }) => level === "fail")) return found;
  const late = new AbortController();
  const giveUp = () => late.abort(new AppError("agent_unavailable", tooSlow(agentMs, agent.observed.step)));
  const timer = setTimeout(giveUp, agentMs);
  const ended = signal ? AbortSignal.any([signal, late.signal]) : late.signal;
  const describing = agent.describe(ended);
  try {
    const description = await abortable(describing, ended);
    return [...found, ...agentFindings(description, agent.observed.login)];
  } catch (error) {
    signal?.throwIfAborted();
    return [...found, diagnose(agent.config, toAppError(error, "agent_unavailable"), agent.observed)];
  } finally {
    clearTimeout(timer);
    // Leave no process behind.
    await settlesWithin(END_MS, describing.catch(() => {}));
  }
}
