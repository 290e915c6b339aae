/**
 * Finds and ends the processes that a child process started. Agents run their tools in sessions of their own, so that a
 * signal to the agent's process group misses the tools, which then outlive a killed agent.
 *
 * @module
 */

/**
 * Environment variable that marks a child process and, by inheritance, its descendants. Its value is `PID.START.ID`:
 * the process id and start time of this program, and an id of the child.
 */
export const MARK_VARIABLE = "OAB_VTUBER_AGENT_MARK";

/** A process, distinguished from a later one with the same pid by its start time. */
export interface ProcessRef {
  readonly pid: number;
  readonly started: string;
}

/** A running process. */
export interface ProcessRow extends ProcessRef {
  readonly parent: number;
  /** The value of {@linkcode MARK_VARIABLE}. */
  readonly mark?: string | undefined;
  /** Whether a marked process is in another PID namespace (a container), where other process ids hold. */
  readonly isForeign?: boolean;
}

/**
 * Prints every `/proc/PID/stat`, then the own PID namespace, and the namespace and mark of each marked process. A
 * shell, since Deno denies foreign `/proc`.
 */
const LINUX_SCRIPT = `cat /proc/[0-9]*/stat 2>/dev/null; echo "marks $(readlink /proc/self/ns/pid)"
for file in $(grep -lsF "$1=" /proc/[0-9]*/environ); do
  echo "$file $(readlink "\${file%environ}ns/pid") $(tr '\\0' '\\n' 2>/dev/null <"$file" | grep "^$1=")"
done 2>/dev/null; true`;

/** Lists the running processes. Marks are found on Linux only. Empty if processes cannot be listed. */
export async function listProcesses(): Promise<ProcessRow[]> {
  try {
    return Deno.build.os === "linux"
      ? parseLinux(await output("/bin/sh", ["-c", LINUX_SCRIPT, "sh", MARK_VARIABLE]))
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

/** Names this process in the marks of its children: `PID.START`. `undefined` where start times cannot be told apart. */
export async function findServerRef(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return undefined;
  const stat = await output("/bin/sh", ["-c", "cat /proc/$PPID/stat"]).catch(() => "");
  const [self] = parseLinux(stat);
  return self && `${self.pid}.${self.started}`;
}

/** Parses the lines of `/proc/PID/stat` (proc(5)) and of the marks. Skips zombies. */
export function parseLinux(text: string): ProcessRow[] {
  const [stats = "", marks = ""] = text.split(/^marks /m);
  const namespace = marks.slice(0, marks.indexOf("\n"));
  const pattern = new RegExp(`^/proc/(\\d+)/environ (\\S*) ${MARK_VARIABLE}=(.+)$`, "gm");
  const marked = new Map(
    [...marks.matchAll(pattern)].map(([, pid, other, mark]) =>
      [Number(pid), { mark, isForeign: other !== namespace }] as const
    ),
  );
  return stats.split("\n").flatMap((line) => {
    const pid = parseInt(line, 10);
    // The second field is the program's name in brackets, and may contain anything.
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    const [state, parent] = fields;
    const started = fields[19];
    if (!Number.isInteger(pid) || parent === undefined || started === undefined || state === "Z") return [];
    return [{ pid, parent: Number(parent), started, ...marked.get(pid) }];
  });
}

/** Parses `ps -o pid=,ppid=,lstart=`. */
export function parsePs(text: string): ProcessRow[] {
  return [...text.matchAll(/^\s*(\d+)\s+(\d+)\s+(.+?)\s*$/gm)].map(([, pid, parent, started = ""]) => ({
    pid: Number(pid),
    parent: Number(parent),
    started,
  }));
}

/** Finds the processes with this mark and all descendants of `root` and of these, without `root` itself. */
export function findDescendants(root: number, mark: string, rows: readonly ProcessRow[]): ProcessRef[] {
  const found = withDescendants(rows.filter((row) => row.mark === mark || row.parent === root), rows);
  return found.filter(({ pid }) => pid !== root);
}

/** Finds the marked processes whose server is gone, with all their descendants. */
export function findOrphans(rows: readonly ProcessRow[]): ProcessRef[] {
  const running = new Set(rows.map(({ pid, started }) => `${pid}.${started}`));
  const isOrphan = ({ mark = "", isForeign }: ProcessRow) => {
    const server = /^\d+\.\d+(?=\.)/.exec(mark)?.[0];
    return server !== undefined && !isForeign && !running.has(server);
  };
  return withDescendants(rows.filter(isOrphan), rows);
}

function withDescendants(roots: readonly ProcessRow[], rows: readonly ProcessRow[]): ProcessRef[] {
  const children = Map.groupBy(rows, (row) => row.parent);
  const found = new Map<number, ProcessRow>();
  const queue = [...roots];
  for (let row = queue.pop(); row !== undefined; row = queue.pop()) {
    if (found.has(row.pid)) continue;
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

/** Sends a signal to a process, if it still runs. */
export function sendSignal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch {
    // The process has ended already.
  }
}

/** Sends a signal to the process group of a child that was spawned `detached`; on Windows to the child. */
export function signalGroup(pid: number, name: Deno.Signal): void {
  sendSignal(Deno.build.os === "windows" ? pid : -pid, name);
}

/**
 * Kills a child's process group, and its descendants that have left the group.
 *
 * @param seen Descendants that were found earlier: the parent of an orphan cannot be found any more.
 */
export async function killTree(pid: number, mark: string, seen: readonly ProcessRef[] = []): Promise<void> {
  if (Deno.build.os === "windows") return await taskkill(pid);
  signalGroup(pid, "SIGKILL");
  const processes = await listProcesses();
  for (const found of [...findDescendants(pid, mark, processes), ...stillRunning(seen, processes)]) {
    sendSignal(found.pid, "SIGKILL");
  }
}

/** Kills a process and its descendants on Windows. */
async function taskkill(pid: number): Promise<void> {
  await new Deno.Command("taskkill", {
    args: ["/PID", String(pid), "/T", "/F"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output().catch(() => {});
}
