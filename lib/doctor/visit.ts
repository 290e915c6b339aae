/** The doctor as a person calls it: on this machine, until it is done or told to stop. @module */

import type { AgentSurroundings } from "../acp/start.ts";
import { ConfigError, type Loaded } from "../config/load.ts";
import { secretsOf } from "../config/secrets.ts";
import { onSignals } from "../ops/lifetime.ts";
import { SILENT } from "../ops/log.ts";
import { PermissionDesk } from "../turn/permission.ts";
import { runDoctor } from "./doctor.ts";
import { checkDataDir, doctorAgent, listenFault } from "./probe.ts";

/** What a visit needs. */
export interface Visit {
  /** @throws {ConfigError} with every mistake. */
  readonly loading: Promise<Loaded>;
  readonly around: Pick<AgentSurroundings, "own" | "windows" | "programFolders" | "version">;
  readonly atTerminal: boolean;
  print(line: string): void;
  /** Ends the program at once, as somebody asked a second time. */
  exit(): void;
}

/** Tries what is configured, and says how to mend it. @returns Whether nothing failed. */
export async function visitDoctor({ loading, around, atTerminal, print, exit }: Visit): Promise<boolean> {
  let loaded: Loaded | undefined;
  let mistakes: readonly string[] = [];
  try {
    loaded = await loading;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    mistakes = error.mistakes;
  }
  const config = loaded?.config;
  // There is nobody to ask, and nothing to log: what there is to say is printed.
  const desk = new PermissionDesk({ timeoutMs: 1_000, isSomeoneThere: () => false });
  const surroundings = { ...around, desk, log: SILENT };
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
    config,
    mistakes,
    warnings: loaded?.warnings ?? [],
    agents,
    secrets: config ? secretsOf(config, around.own) : [],
    listenFault,
    checkDataDir,
  }, asked.signal);
}
