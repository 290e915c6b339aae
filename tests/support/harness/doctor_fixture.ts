/** What the doctor is tried on: a configuration and an agent that are well, but for what a test says. */

import type { AgentDescription } from "../../../lib/acp/agent.ts";
import type { AgentConfig } from "../../../lib/acp/create_agent.ts";
import { type Config, loadConfig } from "../../../lib/config/load.ts";
import { type DoctorAgent, type DoctorDeps, runDoctor } from "../../../lib/doctor/command.ts";
import type { AgentObservations } from "../../../lib/doctor/diagnosis.ts";
import type { Program } from "../../../lib/doctor/report.ts";
import { AppError } from "../../../lib/core/errors.ts";

export const KEY = "a-key-of-twenty-chars";
export const ENV = { HOME: "/home/mao", VTUBER_ENABLED: "true", VTUBER_AUTH_KEY: KEY };

export function configOf(
  env: Record<string, string> = {},
  toml = '[agent]\ncommand = "codex-acp"\n',
): Config {
  return loadConfig({ env: { ...ENV, ...env }, file: { path: "config.toml", text: toml } }).config;
}

export const TOLD: AgentDescription = {
  agent: { name: "codex", version: "1.2.3" },
  protocolVersion: 1,
  accepts: { image: true, audio: false },
  canResume: "load",
  canClose: true,
  canDelete: false,
  mcp: { http: true, sse: false },
  authMethods: [],
  model: "gpt-5",
  models: [{ id: "gpt-5", name: "GPT-5" }, { id: "gpt-5/high", name: "GPT-5 (high)" }],
  mode: "ask",
  modes: ["ask", "code"],
  warnings: [],
  startedMs: 124.6,
};
export const PROGRAM: Program = { path: "/usr/bin/codex-acp", isExecutable: true };

/** What is heard of an agent that says nothing. */
export const SILENT_AGENT: AgentObservations = {
  step: "start",
  login: undefined,
  how: undefined,
  stderr: [],
  stray: undefined,
  lastStray: undefined,
};

/** An agent whose parts are all well, but for those that are given. */
export function agentOf(config: AgentConfig, parts: Partial<DoctorAgent> = {}): DoctorAgent {
  return {
    config,
    unset: [],
    findProgram: () => Promise.resolve(PROGRAM),
    findFolder: () => Promise.resolve({ path: "/project", isFolder: true }),
    findServers: () => Promise.resolve([]),
    describe: () => Promise.resolve(TOLD),
    said: () => SILENT_AGENT,
    kill() {},
    ...parts,
  };
}

/** What the doctor prints of a configuration that is all well, but for the parts that are given. */
export async function examine(
  parts: Partial<DoctorDeps> & { agent?: Partial<DoctorAgent> } = {},
  signal?: AbortSignal,
): Promise<{ lines: string[]; isWell: boolean }> {
  const lines: string[] = [];
  const { config = configOf(), agent } = parts;
  const isWell = await runDoctor({
    print: (line) => lines.push(line),
    config,
    mistakes: [],
    warnings: [],
    agents: config.agents.map((one) => agentOf(one, agent)),
    secrets: [],
    listenFault: () => Promise.resolve(undefined),
    checkCharacter: () => Promise.resolve(),
    checkDataDir: () => Promise.resolve({ level: "ok", text: "conversations are kept in /data" }),
    ...parts,
  }, signal);
  return { lines, isWell };
}

export const failing = (
  code: "agent_unavailable" | "agent_auth_required",
  message: string,
  cause?: Error,
) =>
() => Promise.reject(new AppError(code, message, { cause }));
