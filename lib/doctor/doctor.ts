/** `oab-vtuber doctor`: tries a configuration as it would be used, and says how to fix what does not work. @module */

import type { AgentDescription } from "../acp/describe.ts";
import type { AgentSetup } from "../acp/start.ts";
import type { Config } from "../config/load.ts";
import {
  addressFinding,
  agentFindings,
  configFindings,
  failedFinding,
  type Finding,
  type Folder,
  linesOf,
  type Program,
  programFindings,
  sumOf,
} from "./report.ts";
import { within } from "../ops/lifetime.ts";
import { hiderOf } from "../ops/secrets.ts";
import { orAbort } from "../turn/abort.ts";
import { asFailure, Failure, messageOf } from "../turn/failure.ts";

/** How long an agent may take to start and to open a session. */
const AGENT_MS = 60_000;
/** How long it may take to end, once it was given up. */
const END_MS = 5_000;
/** Agents that are tried at once. */
const AT_ONCE = 4;

/** Characters of a line of an agent that are told: less than those that a log is given of it. */
const SAID_CHARS = 100;

/** What an agent wrote while it was tried. */
export interface Said {
  /** The last lines of its stderr. */
  readonly stderr: readonly string[];
  /** The first line that is no ACP, if it had said nothing else before. */
  readonly stray: string | undefined;
}

/** An agent, and the ways to try it. */
export interface DoctorAgent {
  readonly config: AgentSetup;
  /** Where its program is, if it was found. */
  findProgram(): Promise<Program | undefined>;
  /** What is where its folder should be, if anything is. */
  findFolder(): Promise<Folder | undefined>;
  /**
   * Starts it, opens a session, and ends it.
   *
   * @throws {Failure} that says what to do.
   */
  describe(signal: AbortSignal): Promise<AgentDescription>;
  /** What it wrote so far. */
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
  readonly mistakes: readonly string[];
  readonly warnings: readonly string[];
  /** Those of the configuration. */
  readonly agents: readonly DoctorAgent[];
  /** What is never printed. */
  readonly secrets: readonly string[];
  /** What stands in the way of listening there, if anything does. */
  listenFault(listen: Config["listen"]): Promise<string | undefined>;
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
      await inOrder(deps.agents, (agent) => checkAgent(agent, { ...deps, hide }, signal), (found, place) => {
        for (const finding of found) tell(finding, deps.agents[place]?.config.name);
      });
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
  const [program, folder] = await Promise.all([agent.findProgram(), agent.findFolder()]);
  const found = programFindings(agent.config, program, folder);
  // It would only fail for the same reason.
  if (found.some(({ level }) => level === "fail")) return found;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(tooSlow(agentMs)), agentMs);
  const givenUp = signal ? AbortSignal.any([signal, late.signal]) : late.signal;
  const describing = agent.describe(givenUp);
  try {
    return [...found, ...agentFindings(await orAbort(describing, givenUp))];
  } catch (error) {
    signal?.throwIfAborted();
    const { code, message } = asFailure(error, "agent_unavailable");
    const { stderr, stray } = agent.said();
    // A secret that is cut is not found any more.
    const told = (line: string) => hide(line).slice(0, SAID_CHARS).toWellFormed();
    const said = { stderr: stderr.map(told), stray: stray && told(stray) };
    return [...found, failedFinding(agent.config, { code, message, ...said })];
  } finally {
    clearTimeout(timer);
    // What it started is to be gone.
    await within(END_MS, describing.catch(() => {}));
  }
}

function tooSlow(ms: number): Failure {
  return new Failure(
    "agent_unavailable",
    `It opened no session within ${ms / 1000} seconds; the first start of an agent may download it.`,
  );
}

/** Works on a few items at once, and takes the results in the order of the items. */
async function inOrder<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
  take: (result: R, place: number) => void,
): Promise<void> {
  const begun: Promise<R>[] = [];
  const begin = (item: T) => {
    const working = work(item);
    // Whoever waits for it hears of it.
    working.catch(() => {});
    begun.push(working);
  };
  for (const item of items.slice(0, AT_ONCE)) begin(item);
  try {
    for (let place = 0; place < begun.length; place++) {
      take(await begun[place]!, place);
      const next = items[begun.length];
      if (next !== undefined) begin(next);
    }
  } finally {
    await Promise.allSettled(begun);
  }
}

function hidden({ level, text, fix }: Finding, hide: (text: string) => string): Finding {
  return fix === undefined ? { level, text: hide(text) } : { level, text: hide(text), fix: hide(fix) };
}
