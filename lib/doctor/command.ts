/** The command `oab-vtuber doctor`: checks the configuration and this machine, tries each agent, prints a report. @module */

import { pooledMap } from "@std/async/pool";
import type { AgentConfig, AgentDeps } from "../acp/create_agent.ts";
import { AGENT_TIMEOUTS } from "../acp/handshake.ts";
import { type Config, ConfigError, type Loaded } from "../config/load.ts";
import { collectSecrets } from "../config/secrets.ts";
import { abortable } from "../core/abortable.ts";
import { settlesWithin } from "../core/deadline.ts";
import { AppError, messageOf, toAppError } from "../core/errors.ts";
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

/** The checks of the machine. */
const MACHINE_CHECKS = {
  checkAddress,
  checkCharacter: (character: string): Promise<unknown> => openCharacter(character),
  checkDataDir,
  agentChecks: (config: AgentConfig, deps: AgentDeps): AgentChecks => agentChecks(config, deps),
};

/** The parts of the program that the command needs. */
export interface DoctorCommandOptions {
  /** The configuration. @throws {ConfigError} with every mistake. */
  readonly loading: Promise<Loaded>;
  readonly machine: Pick<AgentDeps, "own" | "windows" | "programFolders" | "version">;
  /** Prints a line of the report. */
  print(line: string): void;
  /** Shows a line that is not part of the report to the person at the terminal, if there is one. */
  readonly notice?: ((line: string) => void) | undefined;
  /** Tests replace the checks of the machine. */
  readonly checks?: typeof MACHINE_CHECKS;
  /** Longest time for an agent to start and to open a session. */
  readonly agentMs?: number;
}

/**
 * Checks everything and prints the report: a line for each finding, a line with its fix, and the verdict. Agents are
 * tried a few at once and reported in order. Each wait has a limit.
 *
 * @returns Whether nothing failed.
 */
export async function runDoctorCommand(options: DoctorCommandOptions, signal: AbortSignal): Promise<boolean> {
  const { machine, print, checks = MACHINE_CHECKS } = options;
  const { config, mistakes, warnings } = await settleLoading(options.loading);
  // Without a configuration, the value of any variable with a secret name may be part of a mistake.
  const unread = {
    authKey: machine.own.VTUBER_AUTH_KEY?.trim(),
    agents: [],
    fileVariables: Object.keys(machine.own),
  };
  const redact = createRedactor(collectSecrets(config ?? unread, machine.own));
  const findings: Finding[] = [];
  const report = ({ level, text, fix }: Finding, about?: string) => {
    const finding = { level, text: redact(text), ...fix && { fix: redact(fix) } };
    findings.push(finding);
    for (const line of linesOf(finding, about)) print(line);
  };
  try {
    for (const finding of configFindings(config, mistakes, warnings)) report(finding);
    if (config) {
      const { listen, character, dataDir } = config;
      report(addressFinding(listen, await abortable(checks.checkAddress(listen), signal)));
      report(await abortable(dataFinding(dataDir, checks), signal));
      if (character) report(await abortable(characterFinding(character, checks), signal));
      for await (const { name, found } of tryAgents(config.agents, { ...options, checks, redact }, signal)) {
        for (const finding of found) report(finding, name);
      }
      signal.throwIfAborted();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    report(fail("stopped before everything was checked", "Run the doctor again, to the end."));
  }
  print(verdictOf(findings));
  return findings.every(({ level }) => level !== "fail");
}

async function settleLoading(
  loading: Promise<Loaded>,
): Promise<{ config?: Config; mistakes: readonly string[]; warnings: readonly string[] }> {
  try {
    return { ...await loading, mistakes: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { mistakes: error.mistakes, warnings: error.warnings };
  }
}

async function characterFinding(character: string, checks: typeof MACHINE_CHECKS): Promise<Finding> {
  try {
    await checks.checkCharacter(character);
    return ok("VTUBER_CHARACTER can be shown");
  } catch (error) {
    return fail(messageOf(error), "Correct it, or take it out: then the stage shows a drawn character.");
  }
}

async function dataFinding(folder: string | undefined, checks: typeof MACHINE_CHECKS): Promise<Finding> {
  if (folder === undefined) return ok("conversations are not kept on disk");
  try {
    return await checks.checkDataDir(folder);
  } catch (error) {
    return warn(
      `conversations are remembered only until the program ends: ${messageOf(error)}`,
      "Set VTUBER_DATA_DIR to a folder that can be written, or to none.",
    );
  }
}

interface TryOptions extends DoctorCommandOptions {
  readonly checks: typeof MACHINE_CHECKS;
  readonly redact: (text: string) => string;
}

/** Tries a few agents at once, and yields their findings in the order of the agents. */
async function* tryAgents(
  configs: readonly AgentConfig[],
  { checks, redact, machine, notice, agentMs = AGENT_MS }: TryOptions,
  signal: AbortSignal,
): AsyncGenerator<{ name: string; found: Finding[] }> {
  // The doctor refuses every permission, and its report takes the place of a log.
  const broker = new PermissionBroker({ timeoutMs: 1_000, canAnyoneAnswer: () => false });
  const agents = configs.map((config) =>
    checks.agentChecks(config, { ...machine, broker, log: NO_LOG, redact })
  );
  const kill = () => agents.forEach((agent) => agent.kill());
  globalThis.addEventListener("unload", kill);
  const names = configs.map(({ name }) => name).join(", ");
  notice?.(redact(`trying ${names}... (an agent that does not answer takes a minute or two)`));
  try {
    yield* pooledMap(MAX_CONCURRENT, agents, async (agent: AgentChecks) => ({
      name: agent.config.name,
      found: await tryAgent(agent, agentMs, signal),
    }));
  } finally {
    globalThis.removeEventListener("unload", kill);
  }
}

async function tryAgent(agent: AgentChecks, agentMs: number, signal: AbortSignal): Promise<Finding[]> {
  signal.throwIfAborted();
  const found = requirementFindings(agent.config, await agent.findRequirements());
  // A start would fail for the same reason.
  if (found.some(({ level }) => level === "fail")) return found;
  const late = new AbortController();
  const giveUp = () => late.abort(new AppError("agent_unavailable", tooSlow(agentMs, agent.observed.step)));
  const timer = setTimeout(giveUp, agentMs);
  const ended = AbortSignal.any([signal, late.signal]);
  const describing = agent.describe(ended);
  try {
    const description = await abortable(describing, ended);
    return [...found, ...agentFindings(description, agent.observed.login)];
  } catch (error) {
    signal.throwIfAborted();
    return [...found, diagnose(agent.config, toAppError(error, "agent_unavailable"), agent.observed)];
  } finally {
    clearTimeout(timer);
    // Leave no process behind.
    await settlesWithin(END_MS, describing.catch(() => {}));
  }
}
