/** A configuration on which every check of the doctor succeeds, except for what a test replaces. */

import type { AgentDescription } from "../../../lib/acp/agent.ts";
import { type Config, loadConfig, type Loaded } from "../../../lib/config/load.ts";
import { type DoctorCommandOptions, runDoctorCommand } from "../../../lib/doctor/command.ts";
import { ok } from "../../../lib/doctor/report.ts";

export const KEY = "a-key-of-twenty-chars";
const ENV = { HOME: "/home/mao", VTUBER_ENABLED: "true", VTUBER_AUTH_KEY: KEY };

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

/** The checks of the machine, all successful. */
const CHECKS: NonNullable<DoctorCommandOptions["checks"]> = {
  checkAddress: () => Promise.resolve(ok("the address is free")),
  checkCharacter: () => Promise.resolve(ok("the character can be shown")),
  checkDataDir: () => Promise.resolve(ok("conversations are kept")),
  checkEmbeddings: () => Promise.resolve(ok("embeddings work")),
  checkVoice: () => Promise.resolve([ok("the voice works")]),
  checkTls: () => Promise.resolve(ok("https can be spoken")),
  checkAgent: () => Promise.resolve([ok("works")]),
  logInAtTerminal: () => Promise.resolve(false),
};

/** The parts of a run of the doctor that a test replaces. */
export interface Examination extends Partial<typeof CHECKS> {
  readonly loading?: Promise<Loaded>;
  readonly own?: Record<string, string>;
  readonly notice?: (line: string) => void;
  readonly confirm?: (question: string) => Promise<boolean>;
}

/** Runs the doctor on the configuration of {@linkcode configOf}. */
export async function examine(
  { loading = loaded(configOf()), own = {}, notice, confirm, ...checks }: Examination = {},
  signal: AbortSignal = new AbortController().signal,
): Promise<{ lines: string[]; isHealthy: boolean }> {
  const lines: string[] = [];
  const isHealthy = await runDoctorCommand({
    loading,
    machine: { own, windows: false, version: "0.0.0" },
    print: (line) => lines.push(line),
    notice,
    confirm,
    checks: { ...CHECKS, ...checks },
  }, signal);
  return { lines, isHealthy };
}

export function loaded(config: Config, warnings: readonly string[] = []): Promise<Loaded> {
  return Promise.resolve({ config, warnings });
}
