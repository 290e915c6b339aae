/** The command `oab-vtuber doctor`: checks the configuration and this machine, tries each agent, prints a report. @module */

import { pooledMap } from "@std/async/pool";
import type { AgentConfig, AgentDeps } from "../acp/create_agent.ts";
import { type Config, ConfigError, type Loaded } from "../config/load.ts";
import { collectSecrets } from "../config/secrets.ts";
import { abortable } from "../core/abortable.ts";
import { NO_LOG } from "../core/log.ts";
import { createRedactor } from "../core/redact.ts";
import { spaceUnsafe } from "../core/unsafe_text.ts";
import { PermissionBroker } from "../turn/permission.ts";
import { checkAgent, logInAtTerminal } from "./agent_check.ts";
import { checkAddress, checkCharacter, checkDataDir, checkEmbeddings, checkTls } from "./checks.ts";
import { checkVoice } from "./voice_check.ts";
import { configFindings, fail, type Finding, linesOf, verdictOf } from "./report.ts";

/** Agents that are tried at once: fifty silent ones take a few minutes, and a small machine is not overloaded. */
export const MAX_CONCURRENT = 16;

/** The checks of the machine. */
const CHECKS = {
  checkAddress,
  checkCharacter,
  checkDataDir,
  checkEmbeddings,
  checkTls: (config: Config) => checkTls(config),
  checkVoice,
  checkAgent: (config: AgentConfig, deps: AgentDeps, signal: AbortSignal) => checkAgent(config, deps, signal),
  logInAtTerminal,
};

/** An agent that was tried. */
interface Trial {
  readonly agent: AgentConfig;
  readonly found: readonly Finding[];
}

/** The parts of the program that the command needs. */
export interface DoctorCommandOptions {
  /** The configuration. @throws {ConfigError} with every mistake. */
  readonly loading: Promise<Loaded>;
  readonly machine: Pick<AgentDeps, "own" | "windows" | "programFolders" | "version">;
  /** Prints a line of the report. */
  print(line: string): void;
  /** Shows a line that is not part of the report to the person at the terminal, if there is one. */
  readonly notice?: ((line: string) => void) | undefined;
  /** Asks the person at the terminal a question with yes or no, if there is one. */
  readonly confirm?: ((question: string) => Promise<boolean>) | undefined;
  /** Tests replace the checks of the machine. */
  readonly checks?: typeof CHECKS;
}

/**
 * Checks everything and prints the report: a line for each finding, a line with its fix, and the verdict. Agents are
 * tried a few at once and reported in order. Each wait has a limit, except for a person who logs in at the end.
 *
 * @returns Whether nothing failed.
 */
export async function runDoctorCommand(options: DoctorCommandOptions, signal: AbortSignal): Promise<boolean> {
  const { machine, print, notice, confirm, checks = CHECKS } = options;
  const { config, mistakes, warnings } = await settleLoading(options.loading);
  const unread = { authKey: machine.own.VTUBER_AUTH_KEY?.trim(), keys: [], agents: [] };
  const redact = createRedactor(collectSecrets(config ?? unread, machine.own));
  const findings: Finding[] = [];
  const report = ({ level, text, fix, lines }: Finding, about?: string) => {
    const finding = { level, text: redact(text), ...fix && { fix: redact(fix) }, ...lines && { lines } };
    findings.push(finding);
    for (const line of linesOf(finding, about)) print(line);
  };
  try {
    for (const finding of configFindings(config, mistakes, warnings)) report(finding);
    if (config) {
      const { listen, character, dataDir, keys, agents, embeddings } = config;
      report(await abortable(checks.checkAddress(listen), signal));
      if (config.tlsCert) report(await abortable(checks.checkTls(config), signal));
      report(await abortable(checks.checkDataDir(dataDir, keys), signal));
      if (character) report(await abortable(checks.checkCharacter(character), signal));
      if (embeddings) report(await checks.checkEmbeddings(embeddings, signal));
      for (const finding of await checks.checkVoice(config, { ...machine, redact }, signal)) report(finding);
      const names = agents.map(({ name }) => name).join(", ");
      notice?.(redact(`trying ${names}... (an agent that does not answer takes a few minutes)`));
      // The doctor refuses every permission, and its report takes the place of a log.
      const broker = new PermissionBroker(1_000, () => false);
      const deps = { ...machine, broker, log: NO_LOG, redact, canLogInAtTerminal: confirm !== undefined };
      const trials: AsyncIterable<Trial> = pooledMap(MAX_CONCURRENT, agents, async (agent: AgentConfig) => ({
        agent,
        found: await checks.checkAgent(agent, deps, signal),
      }));
      const waiting: Trial[] = [];
      for await (const { agent, found } of trials) {
        if (confirm && found.some(({ logIn }) => logIn)) waiting.push({ agent, found });
        else for (const finding of found) report(finding, agent.name);
      }
      // One after the other, and after the trials, because a log-in needs the terminal for itself.
      for (const { agent, found } of waiting) {
        const method = found.find(({ logIn }) => logIn)!.logIn!;
        const question = `The agent ${agent.name} needs a log-in. Log in now (${method.name || method.id})?`;
        const isWanted = await abortable(confirm!(spaceUnsafe(redact(question))), signal);
        const isLoggedIn = isWanted && await checks.logInAtTerminal(agent, deps, method, signal);
        const newest = isLoggedIn ? await checks.checkAgent(agent, deps, signal) : found;
        for (const finding of newest) report(finding, agent.name);
      }
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
