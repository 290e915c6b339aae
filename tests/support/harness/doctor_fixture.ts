/** A configuration and an agent on which every check of the doctor succeeds, except for what a test replaces. */

import type { AgentDescription } from "../../../lib/acp/agent.ts";
import type { AgentConfig } from "../../../lib/acp/create_agent.ts";
import { type Config, loadConfig, type Loaded } from "../../../lib/config/load.ts";
import type { AgentChecks } from "../../../lib/doctor/checks.ts";
import { type DoctorCommandOptions, runDoctorCommand } from "../../../lib/doctor/command.ts";
import { NOTHING_OBSERVED } from "../../../lib/doctor/diagnosis.ts";
import type { AgentRequirements } from "../../../lib/doctor/report.ts";

export const KEY = "a-key-of-twenty-chars";
export const ENV = { HOME: "/home/mao", VTUBER_ENABLED: "true", VTUBER_AUTH_KEY: KEY };

export function configOf(
  env: Record<string, string> = {},
  text = '[agent]\ncommand = "codex-acp"\nargs = ["--quiet"]\n',
): Config {
  return loadConfig({ env: { ...ENV, ...env }, file: { path: "config.toml", text } }).config;
}

export const DESCRIPTION: AgentDescription = {
  agent: { name: "codex", version: "1.2.3" },
  protocolVersion: 1,
  promptCapabilities: { image: true, audio: false },
  resumeMethod: "load",
  canClose: true,
  canDelete: false,
  mcpTransports: { http: true, sse: false },
  authMethods: [],
  model: "gpt-5",
  models: [{ id: "gpt-5", name: "GPT-5" }, { id: "gpt-5/high", name: "GPT-5 (high)" }],
  mode: "ask",
  modes: ["ask", "code"],
  warnings: [],
  startedMs: 124.6,
};

export const REQUIREMENTS: AgentRequirements = {
  program: { path: "/usr/bin/codex-acp", isExecutable: true },
  folder: { path: "/project", isFolder: true },
  unsetVariables: [],
  servers: [],
};

export function checksOf(config: AgentConfig, parts: Partial<AgentChecks> = {}): AgentChecks {
  return {
    config,
    findRequirements: () => Promise.resolve(REQUIREMENTS),
    describe: () => Promise.resolve(DESCRIPTION),
    observed: NOTHING_OBSERVED,
    kill() {},
    ...parts,
  };
}

/** The checks of the machine, all successful. */
const CHECKS: NonNullable<DoctorCommandOptions["checks"]> = {
  checkAddress: () => Promise.resolve(undefined),
  checkCharacter: () => Promise.resolve(),
  checkDataDir: () => Promise.resolve({ level: "ok", text: "conversations are kept in /data" }),
  agentChecks: (config) => checksOf(config),
};

/** The parts of a run of the doctor that a test replaces. */
export interface Examination extends Partial<typeof CHECKS> {
  readonly loading?: Promise<Loaded>;
  readonly own?: Record<string, string>;
  readonly agentMs?: number;
  readonly notice?: (line: string) => void;
  /** Parts of the checks of each agent. */
  readonly agent?: Partial<AgentChecks>;
}

/** Runs the doctor on the configuration of {@linkcode configOf}. */
export async function examine(
  { loading, own = {}, agentMs, notice, agent, ...checks }: Examination = {},
  signal: AbortSignal = new AbortController().signal,
): Promise<{ lines: string[]; isHealthy: boolean }> {
  const lines: string[] = [];
  const isHealthy = await runDoctorCommand({
    loading: loading ?? loaded(configOf()),
    machine: { own, windows: false, version: "0.0.0" },
    print: (line) => lines.push(line),
    notice,
    checks: { ...CHECKS, agentChecks: (config) => checksOf(config, agent), ...checks },
    ...agentMs !== undefined && { agentMs },
  }, signal);
  return { lines, isHealthy };
}

export function loaded(config: Config, warnings: readonly string[] = []): Promise<Loaded> {
  return Promise.resolve({ config, warnings });
}
