/** The processor time, memory and heap of processes. @module */

import v8 from "node:v8";
import vm from "node:vm";

/** Collects the garbage of this test, and returns its heap in bytes. */
export function ownHeapBytes(): number {
  v8.setFlagsFromString("--expose-gc");
  vm.runInNewContext("gc")();
  return Deno.memoryUsage().heapUsed;
}

/** Collects the garbage of a Deno process with `--inspect=127.0.0.1:PORT`, and returns its heap in megabytes. */
export async function heapMb(port: number): Promise<number> {
  const [target] = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const closed = Promise.withResolvers<void>();
  socket.onerror = () => reject(new Error("the inspector does not answer"));
  socket.onclose = () => {
    reject(new Error("the inspector has left"));
    closed.resolve();
  };
  socket.onopen = () => {
    socket.send('{"id":1,"method":"HeapProfiler.collectGarbage"}');
    socket.send('{"id":2,"method":"Runtime.getHeapUsage"}');
  };
  socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(data);
    if (id === 2) resolve(Number(result.usedSize) / 1e6);
  };
  try {
    return await promise;
  } finally {
    socket.close();
    await closed.promise;
  }
}

/** Finds a port that is free now. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** A clock tick of `/proc/PID/stat`: Linux tells programs that there are 100 a second. */
const TICK_MICROS = 10_000;

/**
 * Returns the processor time of a process, of its main thread, or of this thread, so far; undefined on systems that do
 * not tell.
 */
export function cpuMicros(task: number | `${number}/task/${number}` | "thread-self"): number | undefined {
  const stat = read(`/proc/${task}/stat`);
  // User and system time are fields 14 and 15; field 2, in parentheses, may contain spaces.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields && (Number(fields[11]) + Number(fields[12])) * TICK_MICROS;
}

/** Returns the resident memory of a process in MiB, now or at most so far; undefined on systems that do not tell. */
export function residentMiB(pid: number, when: "now" | "most" = "now"): number | undefined {
  const name = when === "now" ? "VmRSS" : "VmHWM";
  const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(read(`/proc/${pid}/status`) ?? "")?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) / 1024;
}

function read(path: string): string | undefined {
  try {
    return Deno.build.os === "linux" ? Deno.readTextFileSync(path) : undefined;
  } catch {
    return undefined;
  }
}
