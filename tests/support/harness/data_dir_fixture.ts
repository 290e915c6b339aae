/** Directories that outlive a server, and the processes that a server starts. @module */

import type { Step } from "../agents/agent_steps.ts";
import type { ScriptedAgentOptions } from "../agents/scripted_agent.ts";
import { type ServerProcess, until } from "./server_process.ts";

/** A directory that is removed at the end of its scope. Create it before the servers that use it. */
export interface DataDir extends AsyncDisposable {
  readonly path: string;
  /** Options of a scripted agent that keeps its sessions in this directory. */
  readonly agent: ScriptedAgentOptions;
}

/** Creates a directory for the `dataDir` of servers. */
export async function createDataDir(): Promise<DataDir> {
  const path = await Deno.makeTempDir();
  return {
    path,
    agent: { resume: true, memory: `${path}/sessions` },
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

/** Holds an agent inside a turn until the test opens it. Create it before the server. */
export interface Gate extends AsyncDisposable {
  /** The step of the script at which the agent waits. */
  readonly step: Step;
  open(): Promise<void>;
}

/** Creates a gate. */
export async function createGate(): Promise<Gate> {
  const { path, [Symbol.asyncDispose]: dispose } = await createDataDir();
  return {
    step: { waitFor: `${path}/open` },
    open: () => Deno.writeTextFile(`${path}/open`, ""),
    [Symbol.asyncDispose]: dispose,
  };
}

/** Finds an address on which servers can listen one after the other: systems do not assign ports this low. */
export function reusableAddress(): string {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return `127.0.0.1:${port}`;
    } catch {
      // The port is in use.
    }
  }
}

/** Resolves to the process ids of a server's agents, once there are so many. */
export async function agentPids({ pid }: ServerProcess, count: number): Promise<number[]> {
  return await until(() => childrenOf(pid), (children) => children.length === count);
}

/** Kills a process and waits until it has ended, also if its parent has not noticed. */
export async function killProcess(pid: number): Promise<void> {
  Deno.kill(pid, "SIGKILL");
  // A zombie with running threads (`l`) still has its pipes open.
  await until(async () => /^\s*(Z[^l]*)?$/.test(await ps("-o", "stat=", "-p", `${pid}`)));
}

/** Lists the child processes, but not the shell with which a server looks for what an agent left behind. */
async function childrenOf(parent: number): Promise<number[]> {
  const rows = (await ps("-A", "-o", "pid=,ppid=,args=")).split("\n");
  return rows.flatMap((row) => {
    const [, pid, ppid, args = ""] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(row) ?? [];
    return Number(ppid) === parent && !/^\/bin\/sh -c cat |^\S*ps |defunct/.test(args) ? [Number(pid)] : [];
  });
}

async function ps(...args: string[]): Promise<string> {
  return new TextDecoder().decode((await new Deno.Command("ps", { args }).output()).stdout);
}

/** A conversation in the list of `/v1/vtuber/sessions`. */
export interface ListedConversation {
  readonly id: string;
  readonly agent: string;
  readonly state: string;
  readonly turns: number;
}

/** Lists the conversations of a server. */
export async function listConversations(server: ServerProcess, key = ""): Promise<ListedConversation[]> {
  const headers = { authorization: `Bearer ${key}` };
  return (await server.get("/v1/vtuber/sessions", { headers })).sessions;
}
