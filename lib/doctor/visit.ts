/** The doctor as a person calls it: on this machine, until it is done or told to stop. @module */

import type { AgentSurroundings } from "../acp/start.ts";
import { ConfigError, type Loaded } from "../config/load.ts";
import { secretsOf } from "../config/secrets.ts";
import { onSignals } from "../ops/lifetime.ts";
import { SILENT } from "../ops/log.ts";
import { hiderOf } from "../ops/secrets.ts";
import { openCharacter } from "../stage/character.ts";
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
  /** Writes a line for whoever waits at the terminal. */
  notice(line: string): void;
  /** Ends the program at once, as somebody asked a second time. */
  exit(): void;
}

/** Tries what is configured, and says how to mend it. @returns Whether nothing failed. */
export async function visitDoctor(visit: Visit): Promise<boolean> {
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
  const secrets = config ? secretsOf(config, around.own) : ownSecrets(around.own);
  // There is nobody to ask, and nothing to log: what there is to say is printed.
  const desk = new PermissionDesk({ timeoutMs: 1_000, isSomeoneThere: () => false });
  const surroundings = { ...around, desk, log: SILENT, hide: hiderOf(secrets) };
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
function ownSecrets(own: AgentSurroundings["own"]): string[] {
  const authKey = own.VTUBER_AUTH_KEY?.trim();
  return secretsOf({ authKey, agents: [], fileVariables: Object.keys(own) }, own);
}
