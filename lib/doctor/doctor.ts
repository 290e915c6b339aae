/** `oab-vtuber doctor`: tries a configuration as it would be used, and says how to fix what does not work. @module */

import type { AgentDescription } from "../acp/describe.ts";
import { ClosedError } from "../acp/rpc.ts";
import { AGENT_TIMES } from "../acp/setup.ts";
import type { AgentSetup } from "../acp/start.ts";
import type { Config } from "../config/load.ts";
import { type Failed, failedFinding, type Said, tooSlow } from "./failed.ts";
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
import { within } from "../ops/lifetime.ts";
import { hiderOf } from "../ops/secrets.ts";
import { orAbort } from "../turn/abort.ts";
import { asFailure, Failure, messageOf } from "../turn/failure.ts";

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
  readonly config: AgentSetup;
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
   * @throws {Failure} that says what to do.
   */
  describe(signal: AbortSignal): Promise<AgentDescription>;
  /** What was heard of it so far. */
  said(): Said;
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
  const hide = hiderOf(deps.secrets);
  const findings: Finding[] = [];
  const tell = (finding: Finding, about?: string) => {
    findings.push(finding);
    for (const line of linesOf(hidden(finding, hide), about)) deps.print(line);
  };
  try {
    for (const finding of configFindings(config, deps.mistakes, deps.warnings)) tell(finding);
    if (config) {
      tell(addressFinding(config.listen, await orAbort(deps.listenFault(config.listen), signal)));
      tell(await orAbort(dataFinding(config, deps), signal));
      if (config.character) tell(await orAbort(checkCharacter(config.character, deps), signal));
      const names = deps.agents.map(({ config }) => config.name).join(", ");
      deps.notice?.(hide(`trying ${names}... (a silent one takes a minute or two)`));
      await inOrder(
        deps.agents,
        AT_ONCE,
        (agent) => checkAgent(agent, { ...deps, hide }, signal),
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
  { agentMs = AGENT_MS, hide }: { readonly agentMs?: number; hide(text: string): string },
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
  const giveUp = () => new Failure("agent_unavailable", tooSlow(agentMs, agent.said().step));
  const timer = setTimeout(() => late.abort(giveUp()), agentMs);
  const givenUp = signal ? AbortSignal.any([signal, late.signal]) : late.signal;
  const describing = agent.describe(givenUp);
  try {
    return [...found, ...agentFindings(await orAbort(describing, givenUp), agent.said().login)];
  } catch (error) {
    signal?.throwIfAborted();
    return [...found, failedFinding(agent.config, failedOf(error, agent.said(), hide))];
  } finally {
    clearTimeout(timer);
    // What it started is to be gone.
    await within(END_MS, describing.catch(() => {}));
  }
}

/** How an agent failed: what was thrown, and what was heard of it, without secrets and cut to a length. */
export function failedOf(error: unknown, said: Said, hide = (text: string) => text): Failed {
  const { code, message, cause } = asFailure(error, "agent_unavailable");
  // A secret that is cut is not found any more.
  const told = (line: string) => hide(line).slice(0, SAID_CHARS).toWellFormed();
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

function hidden({ level, text, fix }: Finding, hide: (text: string) => string): Finding {
  return fix === undefined ? { level, text: hide(text) } : { level, text: hide(text), fix: hide(fix) };
}
