/** A real server process for end-to-end tests: from source, or the executable that OAB_VTUBER_EXECUTABLE names. */

import {
  agentCommand,
  type ChildCommand,
  directive,
  type ScriptedAgentOptions,
  readEntries,
  type Step,
} from "../agents/scripted_agent.ts";

/** How a server is started. */
export interface ServerOptions {
  /** The fake agent's options, or another program, or `demo`. */
  readonly agent?: ScriptedAgentOptions | ChildCommand | "demo";
  readonly env?: Record<string, string>;
  readonly args?: readonly string[];
  /**
   * A folder that outlives it: what it remembers (`data`) and what its agent received (`agent.jsonl`). A later server
   * with the same one goes on from there. Without it there is one that ends with the server.
   */
  readonly home?: string;
}

/** A running server. */
export interface Server extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  /** What it wrote to stderr so far. */
  log(): string;
  /** Resolves once its log holds this text. */
  logged(text: string): Promise<void>;
  /** What the fake agent received so far. */
  received(): Promise<Record<string, unknown>[]>;
  /** Resolves to what the agent received, once that fits. */
  receivedUntil(fits: (messages: Record<string, unknown>[]) => boolean): Promise<Record<string, unknown>[]>;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** Posts a streamed chat request with one user message. */
  chat(content: string, more?: Record<string, unknown>, init?: RequestInit): Promise<Response>;
  signal(name: Deno.Signal): void;
  readonly exited: Promise<Deno.CommandStatus>;
}

const ROOT = new URL("../../../", import.meta.url).pathname;

/** How to run the program with these arguments. */
export function programCommand(args: readonly string[]): ChildCommand {
  const executable = Deno.env.get("OAB_VTUBER_EXECUTABLE");
  if (executable) return { command: `${ROOT}${executable}`, args: [...args] };
  const permissions = ["--allow-net", "--allow-env", "--allow-read", "--allow-write", "--allow-run"];
  return {
    command: Deno.execPath(),
    args: ["run", "--quiet", "--no-prompt", ...permissions, `${ROOT}main.ts`, ...args],
  };
}

/** How the program starts its demo agent: agents get no cache of Deno's, and need none for this. */
export function demoCommand(args: readonly string[]): ChildCommand {
  if (Deno.env.get("OAB_VTUBER_EXECUTABLE")) return programCommand(["demo-agent", ...args]);
  const source = `${ROOT}lib/demo/agent.ts`;
  return {
    command: Deno.execPath(),
    args: ["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", source, ...args],
  };
}

/** Starts a server on a free port, and waits until it listens. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const { agent = {}, home = await Deno.makeTempDir() } = options;
  const agentLog = `${home}/agent.jsonl`;
  await Deno.writeTextFile(agentLog, "", { append: true });
  const env: Record<string, string> = {
    VTUBER_ENABLED: "true",
    GATEWAY_LISTEN: "127.0.0.1:0",
    VTUBER_LOG: "debug",
    VTUBER_DATA_DIR: `${home}/data`,
    ...agent === "demo" ? {} : { OPENAB_AGENT_COMMAND: commandLine(agent, agentLog) },
    ...options.env,
  };
  const program = programCommand(options.args ?? []);
  const child = new Deno.Command(program.command, {
    args: program.args,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stdout = follow(child.stdout);
  const stderr = follow(child.stderr);
  await Promise.race([stdout.until((text) => /http:\/\/[\d.]+:\d+/.test(text)), child.status]);
  const url = /http:\/\/[\d.]+:\d+/.exec(stdout.text())?.[0];
  if (url === undefined) throw new Error(`The server did not start:\n${stdout.text()}\n${stderr.text()}`);

  const received = async () => readEntries(await Deno.readTextFile(agentLog));
  const post = (path: string, body: unknown, init: RequestInit = {}) =>
    fetch(url + path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...init,
      headers: { "content-type": "application/json", ...init.headers },
    });
  let ended = false;
  child.status.then(() => ended = true);

  return {
    url,
    pid: child.pid,
    log: stderr.text,
    logged: (text) => stderr.until((log) => log.includes(text)),
    received,
    async receivedUntil(fits) {
      // The agent logs a message before it acts on it; the file is all that tells.
      for (;;) {
        const messages = await received();
        if (fits(messages)) return messages;
        if (ended) throw new Error(`The server ended:\n${stderr.text()}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    post,
    chat: (content, more, init) =>
      post("/v1/chat/completions", { stream: true, messages: [{ role: "user", content }], ...more }, init),
    signal(name) {
      try {
        child.kill(name);
      } catch {
        // It has just ended.
      }
    },
    exited: child.status,
    async [Symbol.asyncDispose]() {
      if (!ended) child.kill("SIGTERM");
      await child.status;
      await Promise.all([stdout.done, stderr.done]);
      if (options.home === undefined) await Deno.remove(home, { recursive: true });
      if (stderr.text().includes("uncaught error")) throw new Error(`An uncaught error in the server:\n${stderr.text()}`);
    },
  };
}

/** The text of a prompt that makes the fake agent do these steps. */
export function script(...steps: Step[]): string {
  return directive(...steps);
}

/** The pieces of content, the finish reason and the rest of a streamed answer. */
export function readAnswer(text: string) {
  const data = text.split("\n\n").filter((event) => event.startsWith("data: ")).map((event) =>
    event.slice(6)
  );
  const chunks = data.filter((item) => item !== "[DONE]").map((item) => JSON.parse(item));
  const choices = chunks.flatMap((chunk) => chunk.choices ?? []);
  return {
    chunks,
    text: choices.map((choice) => choice.delta?.content ?? choice.text ?? "").join(""),
    finish: choices.find((choice) => choice.finish_reason)?.finish_reason as string | undefined,
    error: chunks.find((chunk) => chunk.error)?.error,
    done: data.at(-1) === "[DONE]",
  };
}

/** Whether a process lives. */
export function isAlive(pid: number): boolean {
  try {
    Deno.kill(pid, "SIGCONT");
    return true;
  } catch {
    return false;
  }
}

/** Resolves once the condition holds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!await condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

function commandLine(agent: ScriptedAgentOptions | ChildCommand, log: string): string {
  const { command, args } = "command" in agent ? agent : agentCommand({ log, ...agent });
  return [command, ...args].map((word) => word.includes('"') ? `'${word}'` : `"${word}"`).join(" ");
}

function follow(stream: ReadableStream<Uint8Array>) {
  let text = "";
  let waiting: (() => void)[] = [];
  const wake = () => {
    for (const resolve of waiting) resolve();
    waiting = [];
  };
  const done = (async () => {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      text += piece;
      wake();
    }
    wake();
  })();
  let over = false;
  done.then(() => over = true);
  return {
    text: () => text,
    done,
    async until(fits: (text: string) => boolean): Promise<void> {
      while (!fits(text)) {
        if (over) throw new Error(`It ended without saying that:\n${text}`);
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    },
  };
}
