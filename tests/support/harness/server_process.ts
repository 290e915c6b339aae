/** A real server process: from source, or the executable that OAB_VTUBER_EXECUTABLE names. @module */

import { assert } from "@std/assert";
import { type ChildCommand, readEntries } from "../agents/agent_io.ts";
import { residentMiB } from "./inspector.ts";
import { agentCommand, type ScriptedAgentOptions } from "../agents/scripted_agent.ts";

import { directive } from "../agents/agent_steps.ts";

export { directive as script };

/** How a server is started. */
export interface ServerOptions {
  /** Options of the scripted agent, another program, or the demo agent. */
  readonly agent?: ScriptedAgentOptions | ChildCommand | "demo";
  readonly env?: Record<string, string>;
  readonly args?: readonly string[];
  /** Starts the server in a terminal of its own, on Linux. Signals then go to the terminal: SIGKILL closes it. */
  readonly atTerminal?: boolean;
  /**
   * Directory that outlives the server: its conversations (`data`) and the messages to its agent (`agent.jsonl`).
   * Default: a new one that is removed with the server.
   */
  readonly dataDir?: string;
  /** Port of an inspector, which only the program from source can have. */
  readonly inspectorPort?: number;
}

/** A message that an agent received. */
export type AgentMessage = Record<string, unknown>;

/** A prompt that an agent received. */
export interface ReceivedPrompt {
  readonly sessionId: string;
  /** All texts of the prompt, a line apart. */
  readonly text: string;
}

/** A running server. */
export interface ServerProcess extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  readonly exited: Promise<Deno.CommandStatus>;
  /** Resolves to the standard output once it contains this text. */
  printed(text: string): Promise<string>;
  /** The log so far. */
  log(): string;
  /** Resolves once the log contains this text. */
  logged(text: string): Promise<void>;
  /** The messages that the agent received so far. */
  received(): Promise<AgentMessage[]>;
  /** Resolves to the messages that the agent received, once they match. */
  receivedUntil(matches: (messages: AgentMessage[]) => boolean): Promise<AgentMessage[]>;
  /** Resolves once the agent has received so many messages of a method. */
  receivedTimes(method: string, count: number): Promise<void>;
  /** The prompts that the agent received so far. */
  prompts(): Promise<ReceivedPrompt[]>;
  /** Resolves to the parsed response of `GET path`. */
  // deno-lint-ignore no-explicit-any
  get(path: string, init?: RequestInit): Promise<any>;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** Posts a streamed chat request with one user message. */
  chat(content: string, fields?: Record<string, unknown>, init?: RequestInit): Promise<Response>;
  signal(name: Deno.Signal): void;
  /** Sends a signal and resolves once the process has ended. */
  end(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
}

/** Longest wait for anything, in milliseconds. */
const TIMEOUT_MS = 120_000;
const POLL_MS = 20;
const MAX_RESIDENT_MIB = 400;
const ROOT = new URL("../../../", import.meta.url).pathname;

/** Builds the command that runs the program with these arguments, perhaps in a terminal of its own. */
export function programCommand(args: readonly string[], atTerminal = false): ChildCommand {
  if (atTerminal) {
    const { command, args: all } = programCommand(args);
    return { command: "script", args: ["--quiet", "--command", [command, ...all].join(" "), "/dev/null"] };
  }
  const executable = Deno.env.get("OAB_VTUBER_EXECUTABLE");
  if (executable) return { command: `${ROOT}${executable}`, args: [...args] };
  const permissions = ["--allow-net", "--allow-env", "--allow-read", "--allow-write", "--allow-run"];
  return {
    command: Deno.execPath(),
    args: ["run", "--quiet", "--no-prompt", ...permissions, `${ROOT}main.ts`, ...args],
  };
}

/** Runs the program to its end. The variables here would otherwise be taken from the machine that runs the test. */
export async function runProgram(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number; out: string; err: string }> {
  const program = programCommand(args);
  const { code, stdout, stderr } = await new Deno.Command(program.command, {
    args: program.args,
    env: { VTUBER_ENABLED: "true", VTUBER_AUTH_KEY: "", OPENAB_CONFIG: "", ...env },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

/** Builds the command that runs the demo agent, without Deno's cache, as the server does. */
export function demoCommand(args: readonly string[]): ChildCommand {
  if (Deno.env.get("OAB_VTUBER_EXECUTABLE")) return programCommand(["demo-agent", ...args]);
  const source = `${ROOT}lib/demo/agent.ts`;
  return {
    command: Deno.execPath(),
    args: ["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", source, ...args],
  };
}

/** Starts a server on a free port and waits until it listens. */
export async function startServer(options: ServerOptions = {}): Promise<ServerProcess> {
  const { agent = {}, dataDir = await Deno.makeTempDir() } = options;
  const agentLog = `${dataDir}/agent.jsonl`;
  await Deno.writeTextFile(agentLog, "", { append: true });
  const program = programCommand(options.args ?? [], options.atTerminal);
  const { inspectorPort } = options;
  const inspect = inspectorPort === undefined ? [] : [`--inspect=127.0.0.1:${inspectorPort}`];
  const child = new Deno.Command(program.command, {
    args: program.args.toSpliced(1, 0, ...inspect),
    env: {
      VTUBER_ENABLED: "true",
      GATEWAY_LISTEN: "127.0.0.1:0",
      VTUBER_LOG: "debug",
      VTUBER_DATA_DIR: `${dataDir}/data`,
      ...agent === "demo" ? {} : { OPENAB_AGENT_COMMAND: commandLine(agent, agentLog) },
      ...options.env,
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stdout = new Output(child.stdout);
  const stderr = new Output(child.stderr);
  let hasExited = false;
  const exited = child.status.finally(() => hasExited = true);
  const urlOf = (text: string) => /https?:\/\/[\d.]+:\d+/.exec(text)?.[0];
  await stdout.until((text) => urlOf(text) !== undefined).catch((cause) => {
    throw new Error(`The server did not start:\n${stderr.text}`, { cause });
  });
  const url = urlOf(stdout.text)!;

  const received = async () => readEntries(await Deno.readTextFile(agentLog));
  const receivedUntil = (matches: (messages: AgentMessage[]) => boolean) =>
    until(() => {
      if (hasExited) throw new Error(`The server ended:\n${stderr.text}`);
      return received();
    }, matches);
  const post = (path: string, body: unknown, init: RequestInit = {}) =>
    fetch(url + path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...init,
      headers: { "content-type": "application/json", ...init.headers },
    });
  const signal = (name: Deno.Signal) => {
    try {
      child.kill(name);
    } catch {
      // The process has already ended.
    }
  };

  return {
    url,
    pid: child.pid,
    exited,
    async printed(text) {
      await stdout.until((output) => output.includes(text));
      return stdout.text;
    },
    log: () => stderr.text,
    logged: (text) => stderr.until((log) => log.includes(text)),
    received,
    receivedUntil,
    receivedTimes: async (method, count) => {
      await receivedUntil((messages) => countMethod(messages, method) >= count);
    },
    prompts: async () => promptsOf(await received()),
    get: async (path, init) => (await fetch(url + path, init)).json(),
    post,
    chat: (content, fields, init) =>
      post("/v1/chat/completions", { stream: true, messages: [{ role: "user", content }], ...fields }, init),
    signal,
    async end(name) {
      signal(name);
      await exited;
    },
    async [Symbol.asyncDispose]() {
      signal("SIGTERM");
      await exited;
      await Promise.all([stdout.done, stderr.done]);
      if (options.dataDir === undefined) await Deno.remove(dataDir, { recursive: true });
      if (stderr.text.includes("uncaught error")) {
        throw new Error(`An uncaught error in the server:\n${stderr.text}`);
      }
    },
  };
}

/** Declares a test whose steps share one server, which takes half a second to start. */
export function testServer(
  name: string,
  options: ServerOptions,
  steps: Readonly<Record<string, (server: ServerProcess) => Promise<void>>>,
): void {
  Deno.test(name, async (t) => {
    await using server = await startServer(options);
    for (const [stepName, step] of Object.entries(steps)) await runStep(t, stepName, () => step(server));
  });
}

/**
 * Runs a step of a test whose steps share a server. The server's pipes are read during every step, so a step cannot be
 * checked for leaks by itself: the test is, at its end. Deno runs steps at once only without any of the three checks.
 */
export function runStep(t: Deno.TestContext, name: string, fn: () => Promise<void>): Promise<boolean> {
  return t.step({ name, fn, sanitizeOps: false, sanitizeResources: false, sanitizeExit: false });
}

/** A prompt in answer to which the scripted agent asks for a permission, between two texts. */
export function askingToClean(): string {
  const toolCall = { toolCallId: "p", title: "Clean", kind: "execute", rawInput: { command: "rm -r build" } };
  const options = ["reject", "allow"].map((name) => ({ optionId: name, name, kind: `${name}_once` }));
  return directive(
    { text: "Let me." },
    { permission: { toolCall, options } },
    { toolUpdate: { id: "p", status: "completed" } },
    { text: " Done." },
  );
}

/** Names the conversation of a request. */
export function inConversation(name: string): RequestInit {
  return { headers: { "x-session-id": name } };
}

/** Counts the messages of a method. */
export function countMethod(messages: readonly AgentMessage[], method: string): number {
  return messages.filter((message) => message.method === method).length;
}

/** Selects the prompts among the messages that an agent received. */
export function promptsOf(messages: readonly AgentMessage[]): ReceivedPrompt[] {
  return messages.filter(({ method }) => method === "session/prompt").map(({ params }) => {
    const { sessionId, prompt } = params as { sessionId: string; prompt: { text?: string }[] };
    return { sessionId, text: prompt.map(({ text }) => text ?? "").join("\n") };
  });
}

/** Reads a streamed reply to its end: its text, its finish reason and its chunks. */
export async function replyOf(
  response: Response | Promise<Response>,
): Promise<ReturnType<typeof readAnswer>> {
  return readAnswer(await (await response).text());
}

/** Parses a streamed reply: its text, its finish reason and its chunks. */
export function readAnswer(stream: string) {
  const data = stream.split("\n\n").filter((event) => event.startsWith("data: "))
    .map((event) => event.slice("data: ".length));
  const chunks = data.filter((item) => item !== "[DONE]").map((item) => JSON.parse(item));
  const choices = chunks.flatMap((chunk) => chunk.choices ?? []);
  return {
    chunks,
    text: choices.map((choice) => choice.delta?.content ?? choice.text ?? "").join(""),
    finish: choices.find((choice) => choice.finish_reason)?.finish_reason as string | undefined,
    done: data.at(-1) === "[DONE]",
  };
}

/** Asserts that the server uses little memory, on systems that tell. */
export function assertBoundedMemory({ pid }: ServerProcess): void {
  const resident = residentMiB(pid) ?? 0;
  assert(resident < MAX_RESIDENT_MIB, `${resident} MiB`);
}

/** Sends SIGTERM until the process ends, because one right after another counts as the same. Returns the exit code. */
export async function terminateAgain(server: ServerProcess): Promise<number> {
  let code: number | undefined;
  server.exited.then((status) => code = status.code);
  await until(() => {
    if (code === undefined) server.signal("SIGTERM");
    return code !== undefined;
  });
  return code!;
}

/** Whether a process runs. */
export function isAlive(pid: number): boolean {
  try {
    Deno.kill(pid, "SIGCONT");
    return true;
  } catch {
    return false;
  }
}

/** Polls until the value matches (by default: until it is true) and returns the value. */
export async function until<T>(
  read: () => T | Promise<T>,
  matches: (value: T) => boolean = Boolean,
): Promise<T> {
  const end = performance.now() + TIMEOUT_MS;
  for (;;) {
    const value = await read();
    if (matches(value)) return value;
    if (performance.now() > end) throw new Error(`The last value was ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function commandLine(agent: ScriptedAgentOptions | ChildCommand, log: string): string {
  const { command, args } = "command" in agent ? agent : agentCommand({ log, ...agent });
  return [command, ...args].map((word) => word.includes('"') ? `'${word}'` : `"${word}"`).join(" ");
}

/** The text that a process writes. */
class Output {
  text = "";
  /** Resolves when the process has closed its output. */
  readonly done: Promise<void>;
  #hasEnded = false;
  #change = Promise.withResolvers<void>();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.done = this.#read(stream);
  }

  /** Resolves once the text matches; rejects if it ends before. */
  async until(matches: (text: string) => boolean): Promise<void> {
    while (!matches(this.text)) {
      if (this.#hasEnded) throw new Error(`The output ended:\n${this.text}`);
      await this.#change.promise;
    }
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      this.text += piece;
      this.#notify();
    }
    this.#hasEnded = true;
    this.#notify();
  }

  #notify(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}
