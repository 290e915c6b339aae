/** A folder that outlives a server, and the processes that a server has. @module */

import type { Step } from "../agents/scripted_agent.ts";
import { type Server, until } from "./server_process.ts";

/** A folder that a test removes when it is done. */
export interface Home extends AsyncDisposable {
  readonly path: string;
}

/** Makes one. Whoever uses it makes it before the servers that live in it. */
export async function makeHome(): Promise<Home> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Where an agent waits in a turn until the test lets it go on. */
export interface Gate extends AsyncDisposable {
  /** The step of its script. */
  readonly step: Step;
  open(): Promise<void>;
}

/** Makes one. Whoever uses it makes it before the server. */
export async function makeGate(): Promise<Gate> {
  const folder = await Deno.makeTempDir();
  return {
    step: { waitFor: `${folder}/open` },
    open: () => Deno.writeTextFile(`${folder}/open`, ""),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/**
 * An address at which a server can be started again and again. One that the system chooses may be given to somebody
 * else meanwhile; systems choose none that is as low as this.
 */
export function lastingAddress(): string {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return `127.0.0.1:${port}`;
    } catch {
      // Somebody has it.
    }
  }
}

/** Ends a server without asking it, or by asking it, and waits until it has ended. */
export async function end(server: Server, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
  server.signal(signal);
  await server.exited;
}

/** The numbers of the agent processes of a server, once there are so many. */
export async function agentsOf(server: Server, count: number): Promise<number[]> {
  let found: number[] = [];
  await until(async () => {
    found = await childrenOf(server.pid);
    return found.length === count;
  });
  return found;
}

/** Kills a process, and waits until it has ended, whether or not whoever started it knows. */
export async function killed(pid: number): Promise<void> {
  Deno.kill(pid, "SIGKILL");
  await until(async () => {
    const { stdout } = await new Deno.Command("ps", { args: ["-o", "stat=", "-p", String(pid)] }).output();
    // One whose threads live on (`l`) still has its pipes open.
    return /^\s*(Z[^l]*)?$/.test(new TextDecoder().decode(stdout));
  });
}

/** A conversation as it is listed. */
export interface Listed {
  readonly id: string;
  readonly agent: string;
  readonly state: string;
  readonly turns: number;
}

/** The conversations that a server without a key lists. */
export async function sessionsOf(server: Server): Promise<Listed[]> {
  const response = await fetch(`${server.url}/v1/vtuber/sessions`);
  return (await response.json()).sessions;
}

/** A server also starts a shell that looks for what an agent left behind; that is none of its agents. */
async function childrenOf(parent: number): Promise<number[]> {
  const { stdout } = await new Deno.Command("ps", { args: ["-A", "-o", "pid=,ppid=,args="] }).output();
  const rows = new TextDecoder().decode(stdout).split("\n");
  return rows.flatMap((row) => {
    const [, pid, ppid, args = ""] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(row) ?? [];
    return Number(ppid) === parent && !/^\/bin\/sh -c cat |^\S*ps |defunct/.test(args) ? [Number(pid)] : [];
  });
}
