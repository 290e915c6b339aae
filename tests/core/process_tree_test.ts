import { assert, assertEquals } from "@std/assert";
import {
  findDescendants,
  findOrphans,
  findServerRef,
  listProcesses,
  MARK_VARIABLE,
  parseLinux,
  parsePs,
  type ProcessRow,
  stillRunning,
} from "../../lib/core/process_tree.ts";

/** Builds a line of `/proc/PID/stat`: 52 fields, of which the 22nd is the start time. */
function stat(pid: number, parent: number, { name = "agent", state = "S" } = {}): string {
  const before = [state, parent, pid, pid, 0, -1, 4_194_304, ...Array(10).fill(1), 20, 0];
  return [`${pid} (${name})`, ...before.slice(0, 19), `${pid}00`, ...Array(30).fill(0)].join(" ");
}

/** Parses the lines into rows in brief: pid, parent, start time, mark. */
function rowsOf(...lines: string[]): string[] {
  return parseLinux(lines.join("\n")).map(({ pid, parent, started, mark, isForeign }) =>
    [pid, parent, started, mark, isForeign ? "foreign" : undefined].filter(Boolean).join(" ")
  );
}

const MARKS = "marks pid:[1]";
const marked = (pid: number | string, namespace = "pid:[1]") =>
  `/proc/${pid}/environ ${namespace} ${MARK_VARIABLE}=m${pid}`;

const REAL_STAT =
  "7 (cat) R 5 7 5 34816 7 4194304 99 0 0 0 1 2 0 0 20 0 1 0 123456 5792000 225 18446744073709551615 " +
  "1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";

for (
  const [name, lines, expected] of [
    ["reads the 22nd field as the start time", [REAL_STAT, MARKS, ""], ["7 5 123456"]],
    [
      "skips zombies",
      [stat(6, 1), stat(7, 6, { state: "Z" }), stat(8, 6, { state: "D" }), MARKS, marked(7)],
      ["6 1 600", "8 6 800"],
    ],
    [
      "skips malformed lines",
      ["7 (cut) S 6 7", "", "?", stat(8, 1), MARKS, marked("x"), "/proc/8/environ pid:[1] "],
      ["8 1 800"],
    ],
    [
      "matches marks by the whole pid",
      [stat(7, 1), stat(77, 1), MARKS, marked(77), marked(777), ""],
      ["7 1 700", "77 1 7700 m77"],
    ],
    [
      "tells marked processes of another PID namespace",
      [stat(6, 1), stat(7, 1), MARKS, marked(6), marked(7, "pid:[2]")],
      ["6 1 600 m6", "7 1 700 m7 foreign"],
    ],
    ...["two words", "a) S 1", ") R 1 2 3 (x", "marked", ""].map((name) =>
      [
        `reads a program named ${JSON.stringify(name)}`,
        [stat(6, 1), stat(7, 6, { name }), MARKS, marked(7), ""],
        ["6 1 600", "7 6 700 m7"],
      ] as const
    ),
  ] as const
) {
  Deno.test(`parseLinux: ${name}`, () => assertEquals(rowsOf(...lines), [...expected]));
}

Deno.test("parsePs: reads pid, parent and start time", () => {
  const text =
    "    1     0 Fri Nov 21 03:31:00 2026\n  412     1 Fri Nov 21 04:00:01 2026    \n\n  PID  PPID STARTED\n";
  assertEquals(parsePs(text), [
    { pid: 1, parent: 0, started: "Fri Nov 21 03:31:00 2026" },
    { pid: 412, parent: 1, started: "Fri Nov 21 04:00:01 2026" },
  ]);
  assertEquals(parsePs(""), []);
});

const row = (pid: number, parent: number, isMarked = false): ProcessRow => ({
  pid,
  parent,
  mark: isMarked ? "mark" : undefined,
  started: `at ${pid}`,
});

for (
  const [name, rows, pids] of [
    ["not the root", [row(10, 1), row(20, 1)], []],
    ["children and grandchildren", [row(10, 1), row(11, 10), row(12, 11), row(13, 10), row(20, 1)], [
      11,
      12,
      13,
    ]],
    ["descendants of an exited root", [row(11, 10), row(12, 11)], [11, 12]],
    ["marked rows anywhere", [row(10, 1, true), row(30, 1, true), row(40, 1)], [30]],
    ["descendants of marked rows", [row(30, 1, true), row(31, 30), row(32, 31)], [30, 31, 32]],
    ["each row once", [row(10, 1, true), row(11, 10, true), row(12, 11, true)], [11, 12]],
    ["rows in a cycle", [row(11, 12), row(12, 11), row(13, 10), row(10, 13)], [13]],
    ["the marked parent of the root", [row(10, 30), row(30, 1, true), row(11, 10)], [11, 30]],
  ] as const
) {
  Deno.test(`findDescendants: finds ${name}`, () => {
    const others = [{ ...row(90, 1), mark: "another" }];
    const found = findDescendants(10, "mark", [...rows, ...others]);
    assertEquals(found.map(({ pid }) => pid).sort((a, b) => a - b), [...pids]);
    for (const { pid, started } of found) assertEquals(started, `at ${pid}`);
  });
}

Deno.test("findOrphans: finds the agents whose server is gone, with their descendants, and no others", () => {
  const process = (pid: number, parent: number, started: string, mark?: string, isForeign?: boolean) => ({
    pid,
    parent,
    started,
    mark,
    isForeign,
  });
  const rows = [
    process(10, 1, "100"),
    process(11, 10, "110", "10.100.of-a-running-server"),
    process(20, 1, "200", "12.120.of-a-server-that-is-gone"),
    process(21, 20, "210", "12.120.of-a-server-that-is-gone"),
    process(22, 21, "220"),
    process(30, 1, "300", "10.99.of-a-server-whose-pid-was-given-to-another"),
    process(40, 1, "400", "7.70.in-a-container", true),
    process(50, 1, "500", "0b0e7a3c-older-mark-without-a-server"),
    process(60, 1, "600"),
  ];
  assertEquals(findOrphans(rows).map(({ pid }) => pid).sort(), [20, 21, 22, 30]);
});

Deno.test("findServerRef: names this process", { ignore: Deno.build.os !== "linux" }, async () => {
  const self = (await listProcesses()).find(({ pid }) => pid === Deno.pid)!;
  assertEquals(await findServerRef(), `${self.pid}.${self.started}`);
});

Deno.test("stillRunning: selects the same processes, not later ones with the same pid", () => {
  const earlier = [{ pid: 1, started: "a" }, { pid: 2, started: "b" }, { pid: 3, started: "c" }];
  const now = [{ ...row(1, 0), started: "a" }, { ...row(2, 0), started: "later" }, row(4, 0)];
  assertEquals(stillRunning(earlier, now), [{ pid: 1, started: "a" }]);
  assertEquals(stillRunning([], now), []);
  assertEquals(stillRunning(earlier, []), []);
});

Deno.test("listProcesses: lists this process unmarked, with its parent", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const rows = await listProcesses();
  const self = rows.find(({ pid }) => pid === Deno.pid);
  assertEquals(self?.parent, Deno.ppid);
  assert(self !== undefined && self.started !== "");
});

Deno.test("listProcesses: finds marked processes that have left the process tree", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const mark = crypto.randomUUID();
  const listMarked = async () => (await listProcesses()).filter((row) => row.mark === mark);
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", "setsid sleep 60 >/dev/null & sleep 60 >/dev/null & echo; wait"],
    clearEnv: true,
    env: { PATH: "/usr/bin:/bin", [MARK_VARIABLE]: mark },
    stdout: "piped",
    stdin: "null",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.getReader();
  try {
    await reader.read();
    let marked: ProcessRow[] = [];
    // During exec the environment of a process cannot be read.
    while (marked.length < 3) marked = await listMarked();
    assertEquals(marked.map(({ pid }) => pid).includes(child.pid), true);
    assertEquals(findDescendants(child.pid, mark, marked).length, marked.length - 1);
    assertEquals(marked.map(({ isForeign }) => isForeign), [false, false, false]);
  } finally {
    for (const { pid } of await listMarked()) Deno.kill(pid, "SIGKILL");
    await reader.cancel();
    await child.status;
  }
});
