import { AcpAgent, type AcpAgentOptions } from "../../../lib/acp/agent.ts";
import { type AgentProcess, launch, type LaunchOptions, type StopTimes } from "../../../lib/acp/process.ts";
import type { PromptBlock, Session } from "../../../lib/turn/agent.ts";
import { type Json, readEntries } from "../agents/agent_io.ts";
import { directive, type Step } from "../agents/agent_steps.ts";
import { agentCommand, type ScriptedAgentOptions } from "../agents/scripted_agent.ts";
import { TurnRecorder, waitFor } from "./turn_recorder.ts";
import { agentOptions, LogRecorder } from "./json_rpc_harness.ts";

/** So short that a test hardly waits for a child that does not obey. */
export const SHORT: StopTimes = { endMs: 30, termMs: 30 };
/** So long that a child that obeys is never killed, however slow the machine. */
export const PATIENT: StopTimes = { endMs: 60_000, termMs: 60_000 };

/** Selects the variables that a Deno child needs to find its cache. */
export function bareEnvironment(): Record<string, string> {
  const names = [
    "PATH",
    "HOME",
    "DENO_DIR",
    "XDG_CACHE_HOME",
    "LOCALAPPDATA",
    "USERPROFILE",
    "SYSTEMROOT",
    "TEMP",
  ];
  return Object.fromEntries(names.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  }));
}

/** Makes the launch of a child that runs this code. */
export function evalCommand(code: string): LaunchOptions {
  return {
    command: Deno.execPath(),
    args: ["eval", "--no-config", "--no-lock", code],
    cwd: Deno.cwd(),
    env: bareEnvironment(),
  };
}

/** Makes the launch of the scripted agent. */
export function scriptedLaunch(
  options: ScriptedAgentOptions = {},
  env: Record<string, string> = {},
): LaunchOptions {
  return { ...agentCommand(options), cwd: Deno.cwd(), env: { ...bareEnvironment(), ...env } };
}

/** Whether a process runs. A zombie does not. */
export async function isRunning(pid: number): Promise<boolean> {
  try {
    if (Deno.build.os !== "linux") {
      Deno.kill(pid, "SIGCONT");
      return true;
    }
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}

/** Resolves when a process is gone. The system has no event for that, so the process is polled. */
export async function untilGone(pid: number): Promise<void> {
  const poll = async () => {
    while (await isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await waitFor(poll(), `the end of process ${pid}`, 30_000);
}

/** Makes the prompt that has the scripted agent run these steps. */
export function script(...steps: Step[]): PromptBlock[] {
  return [{ type: "text", text: directive(...steps) }];
}

/** Reads the process ids that the scripted agent sent as text. */
export function pidsIn(text: string): number[] {
  return [...text.matchAll(/pid:(\d+)/g)].map((match) => Number(match[1]));
}

/** An {@linkcode AcpAgent} over child processes that run the scripted agent and record what they receive. */
export class ScriptedAgentHarness implements AsyncDisposable {
  readonly recorder = new LogRecorder();
  readonly processes: AgentProcess[] = [];
  readonly agent: AcpAgent;
  /** Options of the agent from its next start on. */
  options: ScriptedAgentOptions;
  /** The time; it stands still unless the test moves it. */
  nowMs = 0;
  readonly #logFile = Deno.makeTempFileSync({ prefix: "fake-agent-" });

  constructor(
    options: ScriptedAgentOptions = {},
    more: Partial<AcpAgentOptions> & { stopTimes?: StopTimes } = {},
  ) {
    const { stopTimes = PATIENT, ...rest } = more;
    this.options = options;
    const launchScripted = () => {
      const options = scriptedLaunch({ log: this.#logFile, ...this.options });
      const process = launch(options, this.recorder.log, stopTimes);
      this.processes.push(process);
      return process;
    };
    this.agent = new AcpAgent({
      ...agentOptions(this.recorder, launchScripted),
      cwd: Deno.cwd(),
      permissions: "ask",
      now: () => this.nowMs,
      ...rest,
    });
  }

  /** Messages that the agents received, in order; also `eof` and `signal`. */
  get received(): Json[] {
    return readEntries(Deno.readTextFileSync(this.#logFile));
  }

  /** Number of received messages of a method. */
  count(method: string): number {
    return this.received.filter((message) => message.method === method).length;
  }

  /** Runs a whole turn in a session. */
  async runTurn(session: Session, ...steps: Step[]): Promise<TurnRecorder> {
    const heard = new TurnRecorder();
    await session.prompt(script(...steps), heard.reader);
    await heard.lastSummary();
    return heard;
  }

  /** Starts a turn in a session. */
  async startTurn(session: Session, ...steps: Step[]): Promise<{ heard: TurnRecorder; cancel: () => void }> {
    const heard = new TurnRecorder();
    const prompt = await session.prompt(script(...steps), heard.reader);
    return { heard, cancel: () => prompt.cancel() };
  }

  /** Ends the agent and its processes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await waitFor(this.agent[Symbol.asyncDispose](), "the agent's end");
    await waitFor(Promise.all(this.processes.map(({ exited }) => exited)), "the processes' end");
    await Deno.remove(this.#logFile);
  }
}
