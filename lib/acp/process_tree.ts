/**
 * Finds the processes that an agent started. Agents run their tools in sessions of their own, so that a signal to the
 * agent's process group misses the tools, which then outlive a killed agent.
 *
 * @module
 */

/** Environment variable that marks an agent's process and, by inheritance, its descendants. */
export const MARK_VARIABLE = "OAB_VTUBER_AGENT_MARK";

/** A process, distinguished from a later one with the same pid by its start time. */
export interface ProcessRef {
  readonly pid: number;
  readonly started: string;
}

/** A running process. */
export interface ProcessRow extends ProcessRef {
  readonly parent: number;
  readonly marked: boolean;
}

/** Prints every `/proc/PID/stat`, then the environments that hold the mark. A shell, since Deno denies foreign `/proc`. */
const LINUX_SCRIPT =
  `cat /proc/[0-9]*/stat 2>/dev/null; echo marked; grep -lF "$1" /proc/[0-9]*/environ 2>/dev/null; true`;

/** Lists the running processes. Marks are found on Linux only. Empty if processes cannot be listed. */
export async function listProcesses(mark: string): Promise<ProcessRow[]> {
  try {
    return Deno.build.os === "linux"
      ? parseLinux(await output("/bin/sh", ["-c", LINUX_SCRIPT, "sh", `${MARK_VARIABLE}=${mark}`]))
      : parsePs(await output("ps", ["-A", "-o", "pid=,ppid=,lstart="]));
  } catch {
    return [];
  }
}

async function output(command: string, args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(command, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    clearEnv: true,
    env: { PATH: "/usr/bin:/bin:/usr/sbin:/sbin" },
  }).output();
  return new TextDecoder().decode(stdout);
}

/** Parses lines of `/proc/PID/stat` and, after a line `marked`, paths `/proc/PID/environ` (proc(5)). Skips zombies. */
export function parseLinux(text: string): ProcessRow[] {
  const [stats = "", paths = ""] = text.split(/^marked$/m);
  const marked = new Set([...paths.matchAll(/^\/proc\/(\d+)\/environ$/gm)].map((match) => Number(match[1])));
  return stats.split("\n").flatMap((line) => {
    const pid = parseInt(line, 10);
    // The second field is the program's name in brackets, and may contain anything.
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    const [state, parent] = fields;
    const started = fields[19];
    if (!Number.isInteger(pid) || parent === undefined || started === undefined || state === "Z") return [];
    return [{ pid, parent: Number(parent), started, marked: marked.has(pid) }];
  });
}

/** Parses `ps -o pid=,ppid=,lstart=`. */
export function parsePs(text: string): ProcessRow[] {
  return [...text.matchAll(/^\s*(\d+)\s+(\d+)\s+(.+?)\s*$/gm)].map(([, pid, parent, started = ""]) => ({
    pid: Number(pid),
    parent: Number(parent),
    started,
    marked: false,
  }));
}

/** Finds the marked processes and all descendants of `root` and of marked processes, without `root` itself. */
export function findDescendants(root: number, rows: readonly ProcessRow[]): ProcessRef[] {
  const children = Map.groupBy(rows, (row) => row.parent);
  const found = new Map<number, ProcessRow>();
  const queue = [...rows.filter((row) => row.marked), ...(children.get(root) ?? [])];
  for (let row = queue.pop(); row !== undefined; row = queue.pop()) {
    if (row.pid === root || found.has(row.pid)) continue;
    found.set(row.pid, row);
    queue.push(...(children.get(row.pid) ?? []));
  }
  return [...found.values()].map(({ pid, started }) => ({ pid, started }));
}

/** Selects the earlier processes that are still among the rows. */
export function stillRunning(earlier: readonly ProcessRef[], rows: readonly ProcessRow[]): ProcessRef[] {
  const startOf = new Map(rows.map((row) => [row.pid, row.started]));
  return earlier.filter(({ pid, started }) => startOf.get(pid) === started);
}
