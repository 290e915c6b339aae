import { AcpAgent, type AcpAgentOptions } from "../../../lib/acp/agent.ts";
import { type AgentProcess, launch, type LaunchOptions, type StopTimes } from "../../../lib/acp/process.ts";
import type { PromptBlock, Session } from "../../../lib/turn/agent.ts";
import {
  agentCommand,
  directive,
  type FakeAgentOptions,
  type Json,
  readEntries,
  type Step,
} from "../agents/scripted_agent.ts";
import { Heard, soon } from "./turn_recorder.ts";
import { LogRecorder } from "./json_rpc_harness.ts";
import { NO_BROKER } from "./no_broker.ts";

/** So short that a child that does not obey is not waited for. */
export const SHORT: StopTimes = { endMs: 30, termMs: 30 };
/** So long that a child that obeys is never hurried, however slow the machine. */
export const PATIENT: StopTimes = { endMs: 60_000, termMs: 60_000 };

/** What a Deno child needs of this process's environment to find its cache, and nothing else. */
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

/** A child that runs this code. */
export function evalCommand(code: string): LaunchOptions {
  return {
    command: Deno.execPath(),
    args: ["eval", "--no-config", "--no-lock", code],
    cwd: Deno.cwd(),
    env: bareEnvironment(),
  };
}

/** The scripted agent as a child. */
export function scriptedLaunch(options: FakeAgentOptions = {}, env: Record<string, string> = {}): LaunchOptions {
  return { ...agentCommand(options), cwd: Deno.cwd(), env: { ...bareEnvironment(), ...env } };
}

/** Whether a process lives; one that is dead but not yet buried does not. */
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

/** Resolves when a process is gone: there is no event for that, so it is looked at again and again. */
export async function untilGone(pid: number): Promise<void> {
  const looking = async () => {
    while (await isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await soon(looking(), `the end of process ${pid}`, 30_000);
}

/** The prompt that makes the scripted agent do this. */
export function script(...steps: Step[]): PromptBlock[] {
  return [{ type: "text", text: directive(...steps) }];
}

/** The process ids that the scripted agent told of. */
export function pidsIn(text: string): number[] {
  return [...text.matchAll(/pid:(\d+)/g)].map((match) => Number(match[1]));
}

/** An {@linkcode AcpAgent} over children that run the scripted agent, with a file of what they got. */
export class ScriptedAgentHarness implements AsyncDisposable {
  readonly recorder = new LogRecorder();
  readonly processes: AgentProcess[] = [];
  readonly agent: AcpAgent;
  /** How the agent behaves from its next start on. */
  options: FakeAgentOptions;
  /** The time; it stands still unless the test moves it. */
  nowMs = 0;
  readonly #logFile = Deno.makeTempFileSync({ prefix: "fake-agent-" });

  constructor(
    options: FakeAgentOptions = {},
    more: Partial<AcpAgentOptions> & { stopTimes?: StopTimes } = {},
  ) {
    const { stopTimes = PATIENT, ...rest } = more;
    this.options = options;
    this.agent = new AcpAgent({
      name: "fake",
      program: "agent",
      launch: () => {
        const link = launch(
          scriptedLaunch({ log: this.#logFile, ...this.options }),
          this.recorder.log,
          stopTimes,
        );
        this.processes.push(link);
        return link;
      },
      cwd: Deno.cwd(),
      permissions: "ask",
      broker: NO_BROKER,
      version: "1",
      variables: new Set(),
      log: this.recorder.log,
      timeouts: { setupMs: 60_000, resumeMs: 60_000, cancelMs: 60_000 },
      now: () => this.nowMs,
      ...rest,
    });
  }

  /** What the agents got, in order; also `eof` and `signal`. */
  get received(): Json[] {
    return readEntries(Deno.readTextFileSync(this.#logFile));
  }

  /** How often something of this method came. */
  count(method: string): number {
    return this.received.filter((message) => message.method === method).length;
  }

  /** The methods that came, but those of making sessions ahead. */
  get methods(): unknown[] {
    return this.received.flatMap(({ method }) =>
      method === undefined || method === "session/new" ? [] : [method]
    );
  }

  /** Runs a whole turn in a session. */
  async runTurn(session: Session, ...steps: Step[]): Promise<Heard> {
    const heard = new Heard();
    await session.prompt(script(...steps), heard.reader);
    await heard.last();
    return heard;
  }

  /** Begins a turn in a session. */
  async startTurn(session: Session, ...steps: Step[]): Promise<{ heard: Heard; cancel: () => void }> {
    const heard = new Heard();
    const prompting = await session.prompt(script(...steps), heard.reader);
    return { heard, cancel: () => prompting.cancel() };
  }

  /** Ends the agent; then none of its processes lives. */
  async [Symbol.asyncDispose](): Promise<void> {
    await soon(this.agent[Symbol.asyncDispose](), "the agent's end");
    await soon(Promise.all(this.processes.map((link) => link.exited)), "the processes' end");
    await Deno.remove(this.#logFile);
  }
}
