/**
 * Finds the processes that an agent started. Agents run their tools in sessions of their own, so that a signal to the
 * agent's process group misses them, and a tool outlives an agent that is killed.
 *
 * @module
 */

/** The variable that marks an agent's process and, by inheritance, those that it starts. */
export const MARK_VARIABLE = "OAB_VTUBER_AGENT_MARK";

/** A process, told apart from a later one that was given the same number. */
export interface ProcessRef {
  readonly pid: number;
  readonly started: string;
}

/** A living process. */
export interface ProcessRow extends ProcessRef {
  readonly parent: number;
  readonly marked: boolean;
}

/** One shell call lists everything: this program may read no `/proc` of others itself. */
const LINUX =
  `cat /proc/[0-9]*/stat 2>/dev/null; echo marked; grep -lF "$1" /proc/[0-9]*/environ 2>/dev/null; true`;

/** The living processes, and which of them bear the mark (Linux only). Empty where it cannot be told. */
export async function listProcesses(mark: string): Promise<ProcessRow[]> {
  try {
    return Deno.build.os === "linux"
      ? parseLinux(await output("/bin/sh", ["-c", LINUX, "sh", `${MARK_VARIABLE}=${mark}`]))
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

/** Reads the lines of `/proc/PID/stat`, then, after a line `marked`, the paths of the marked ones. */
export function parseLinux(text: string): ProcessRow[] {
  const [stats = "", paths = ""] = text.split(/^marked$/m);
  const marked = new Set([...paths.matchAll(/^\/proc\/(\d+)\/environ$/gm)].map((match) => Number(match[1])));
  const rows: ProcessRow[] = [];
  for (const line of stats.split("\n")) {
    // The second field is the program's name in brackets, and may hold anything.
    const pid = parseInt(line, 10);
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    const [state, parent] = fields;
    const started = fields[19];
    if (!Number.isInteger(pid) || parent === undefined || started === undefined || state === "Z") continue;
    rows.push({ pid, parent: Number(parent), started, marked: marked.has(pid) });
  }
  return rows;
}

/** Reads `ps -o pid=,ppid=,lstart=`. */
export function parsePs(text: string): ProcessRow[] {
  return [...text.matchAll(/^\s*(\d+)\s+(\d+)\s+(.+?)\s*$/gm)].map(([, pid, parent, started = ""]) => ({
    pid: Number(pid),
    parent: Number(parent),
    started,
    marked: false,
  }));
}

/** Those of the rows that descend from `root` or a marked one, and the marked ones; not `root` itself. */
export function findDescendants(root: number, rows: readonly ProcessRow[]): ProcessRef[] {
  const children = Map.groupBy(rows, (row) => row.parent);
  const found = new Map<number, ProcessRow>();
  const look = [...rows.filter((row) => row.marked), ...(children.get(root) ?? [])];
  for (let row = look.pop(); row !== undefined; row = look.pop()) {
    if (row.pid === root || found.has(row.pid)) continue;
    found.set(row.pid, row);
    look.push(...(children.get(row.pid) ?? []));
  }
  return [...found.values()].map(({ pid, started }) => ({ pid, started }));
}

/** Those that were seen before and are still among the rows, the same process and not a later one of its number. */
export function stillRunning(seen: readonly ProcessRef[], rows: readonly ProcessRow[]): ProcessRef[] {
  const started = new Map(rows.map((row) => [row.pid, row.started]));
  return seen.filter(({ pid, started: then }) => started.get(pid) === then);
}
