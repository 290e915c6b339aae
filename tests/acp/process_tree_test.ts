import { assert, assertEquals } from "@std/assert";
import {
  findDescendants,
  listProcesses,
  MARK_VARIABLE,
  parseLinux,
  parsePs,
  type ProcessRow,
  stillRunning,
} from "../../lib/acp/process_tree.ts";

/** A line of `/proc/PID/stat`: 52 fields, of which the 22nd is the start. */
function stat(
  pid: number,
  parent: number,
  options: { name?: string; state?: string; started?: string } = {},
) {
  const { name = "agent", state = "S", started = `${pid}00` } = options;
  const before = [state, parent, pid, pid, 0, -1, 4_194_304, ...Array(10).fill(1), 20, 0];
  return [`${pid} (${name})`, ...before.slice(0, 19), started, ...Array(30).fill(0)].join(" ");
}

/** Rows in brief: pid, parent, start, and whether it is marked. */
function rows(text: string): string[] {
  return parseLinux(text).map(({ pid, parent, started, marked }) =>
    `${pid} ${parent} ${started}${marked ? " marked" : ""}`
  );
}

Deno.test("parseLinux: the field of the start is the 22nd", () => {
  const real =
    "7 (cat) R 5 7 5 34816 7 4194304 99 0 0 0 1 2 0 0 20 0 1 0 123456 5792000 225 18446744073709551615 " +
    "1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";
  assertEquals(rows(`${real}\nmarked\n`), ["7 5 123456"]);
  assertEquals(rows(stat(7, 5, { started: "123456" })), ["7 5 123456"]);
});

for (
  const name of [
    "two words",
    "a) S 1",
    ")",
    "((",
    ") R 1 2 3 (x",
    "marked",
    "8 (x) S 1",
    "tmux: server",
    "😀 ä",
    "",
  ]
) {
  Deno.test(`parseLinux: a program called ${JSON.stringify(name)}`, () => {
    const text = [stat(6, 1), stat(7, 6, { name }), stat(8, 7), "marked", "/proc/7/environ", ""].join("\n");
    assertEquals(rows(text), ["6 1 600", "7 6 700 marked", "8 7 800"]);
  });
}

Deno.test("parseLinux: a name with a line break costs no other row", () => {
  const text = [stat(6, 1), stat(7, 6, { name: "a\nb" }), stat(8, 7), "marked", "/proc/8/environ", ""].join(
    "\n",
  );
  assertEquals(rows(text).filter((row) => !row.startsWith("7 ")), ["6 1 600", "8 7 800 marked"]);
});

Deno.test("parseLinux: the dead are not among the living", () => {
  const text = [
    stat(6, 1),
    stat(7, 6, { state: "Z" }),
    stat(8, 6, { state: "D" }),
    "marked",
    "/proc/7/environ",
  ];
  assertEquals(rows(text.join("\n")), ["6 1 600", "8 6 800"]);
});

Deno.test("parseLinux: what is not whole is passed over", () => {
  assertEquals(rows(""), []);
  assertEquals(rows("marked\n"), []);
  assertEquals(rows(["7 (cut) S 6 7", "", "?", stat(8, 1), "marked", "/proc/x/environ"].join("\n")), [
    "8 1 800",
  ]);
});

Deno.test("parseLinux: a mark is one process's own", () => {
  const text = [stat(7, 1), stat(77, 1), "marked", "/proc/77/environ", "/proc/777/environ", ""].join("\n");
  assertEquals(rows(text), ["7 1 700", "77 1 7700 marked"]);
});

Deno.test("parsePs: pid, parent and start", () => {
  const text =
    "    1     0 Fri Nov 21 03:31:00 2026\n  412     1 Fri Nov 21 04:00:01 2026    \n\n  PID  PPID STARTED\n";
  assertEquals(parsePs(text), [
    { pid: 1, parent: 0, started: "Fri Nov 21 03:31:00 2026", marked: false },
    { pid: 412, parent: 1, started: "Fri Nov 21 04:00:01 2026", marked: false },
  ]);
  assertEquals(parsePs(""), []);
});

const row = (pid: number, parent: number, marked = false): ProcessRow => ({
  pid,
  parent,
  marked,
  started: `at ${pid}`,
});

const TREES: readonly (readonly [string, readonly ProcessRow[], readonly number[]])[] = [
  ["nothing", [], []],
  ["not itself", [row(10, 1), row(20, 1)], []],
  ["children and theirs", [row(10, 1), row(11, 10), row(12, 11), row(13, 10), row(20, 1)], [11, 12, 13]],
  ["children whose parent is gone", [row(11, 10), row(12, 11)], [11, 12]],
  ["the marked, wherever they are", [row(10, 1, true), row(30, 1, true), row(40, 1)], [30]],
  ["children of the marked", [row(30, 1, true), row(31, 30), row(32, 31)], [30, 31, 32]],
  ["each once", [row(10, 1, true), row(11, 10, true), row(12, 11, true)], [11, 12]],
  ["a cycle", [row(11, 12), row(12, 11), row(13, 10), row(10, 13)], [13]],
  ["a cycle that is marked", [row(11, 12, true), row(12, 11)], [11, 12]],
  ["its own parent", [row(10, 10), row(11, 10), row(12, 12, true)], [11, 12]],
  ["itself as a child of a marked one", [row(10, 30), row(30, 1, true), row(11, 10)], [11, 30]],
];
for (const [name, rows, pids] of TREES) {
  Deno.test(`descendantsOf: ${name}`, () => {
    const found = findDescendants(10, rows);
    assertEquals(found.map(({ pid }) => pid).sort((a, b) => a - b), pids);
    for (const { pid, started } of found) assertEquals(started, `at ${pid}`);
  });
}

Deno.test("stillThere: the same process, not a later one of its number", () => {
  const seen = [{ pid: 1, started: "a" }, { pid: 2, started: "b" }, { pid: 3, started: "c" }];
  const now = [{ ...row(1, 0), started: "a" }, { ...row(2, 0), started: "later" }, row(4, 0)];
  assertEquals(stillRunning(seen, now), [{ pid: 1, started: "a" }]);
  assertEquals(stillRunning([], now), []);
  assertEquals(stillRunning(seen, []), []);
});

Deno.test({
  name: "listProcesses: this one is among them, under its parent, and unmarked",
  ignore: Deno.build.os === "windows",
  async fn() {
    const rows = await listProcesses(crypto.randomUUID());
    const self = rows.find(({ pid }) => pid === Deno.pid);
    assertEquals(self?.parent, Deno.ppid);
    assert(self !== undefined && self.started !== "");
    assertEquals(rows.filter(({ marked }) => marked), []);
  },
});

Deno.test({
  name: "listProcesses: a marked process and its child, also once it has left the tree",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const mark = crypto.randomUUID();
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
      // While a process becomes another program, no environment of it can be read.
      while (marked.length < 3) marked = (await listProcesses(mark)).filter((row) => row.marked);
      assertEquals(marked.map(({ pid }) => pid).includes(child.pid), true);
      assertEquals(findDescendants(child.pid, marked).length, marked.length - 1);
    } finally {
      for (const { pid } of (await listProcesses(mark)).filter((row) => row.marked)) {
        Deno.kill(pid, "SIGKILL");
      }
      await reader.cancel();
      await child.status;
    }
  },
});
