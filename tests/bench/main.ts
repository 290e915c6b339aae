/**
 * `deno task bench [--quick] [--only SECTION] [--runs N] [--against DIR]`: measures the server beside a bare relay of the
 * same tokens. The figures of one machine mean little; their ratios, and the milliseconds that the server adds, do.
 *
 * `--against` also measures the server of another checkout (a folder with a `main.ts`), in the same alternating runs.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { fanOut } from "./fanout.ts";
import { keys } from "./keys.ts";
import { killAll } from "./programs.ts";
import { formatTable, type Row } from "./report.ts";
import { speech } from "./speech.ts";
import { upstream } from "./upstream.ts";
import { first, flood, idle, paced, type Scale, type Section, start, together } from "./sections.ts";

const SECTIONS: Readonly<Record<string, Section>> = {
  flood,
  paced,
  first,
  together,
  idle,
  start,
  fanout: fanOut,
  keys,
  speech,
  upstream,
};

/** About four minutes on two slow cores, with three runs of two programs. */
const FULL: Scale = {
  runs: 3,
  floodTokens: 150_000,
  pacedMs: 2_000,
  firstTokens: 50,
  starts: 5,
  warmUpTurns: 500,
  settleMs: 1_000,
  fanOut: { floodFrames: 150_000, pacedMs: 1_300 },
};
/** About a minute. */
const QUICK: Scale = {
  runs: 1,
  floodTokens: 60_000,
  pacedMs: 600,
  firstTokens: 20,
  starts: 2,
  warmUpTurns: 150,
  settleMs: 250,
  fanOut: { floodFrames: 40_000, pacedMs: 800 },
};

/** Longest time of one run of two programs. */
const LIMIT_MS = 100_000;
const EXIT_USAGE = 2;
const EXIT_INTERRUPTED = 130;

const { values: { quick, only, runs, against } } = parseArgs({
  args: Deno.args,
  options: {
    quick: { type: "boolean" },
    only: { type: "string" },
    runs: { type: "string" },
    against: { type: "string" },
  },
});
if (only !== undefined && !(only in SECTIONS)) {
  fail(`There is no section "${only}", only ${Object.keys(SECTIONS).join(", ")}.`);
}
if (runs !== undefined && !/^[1-9]\d*$/.test(runs)) fail("--runs: must be a number from 1.");
const scale = { ...quick ? QUICK : FULL, ...runs === undefined ? {} : { runs: Number(runs) } };

const rows: Row[] = [];
const notes: string[] = [];
const note = (text: string) => void notes.push(text);
const limitMs = LIMIT_MS * Math.max(scale.runs, FULL.runs) * (against === undefined ? 1 : 1.5);
setTimeout(() => stop(0, `stopped after ${limitMs / 1000} seconds; the rest was not measured`), limitMs);
for (const signal of Deno.build.os === "windows" ? ["SIGINT"] as const : ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => stop(EXIT_INTERRUPTED, "interrupted"));
}

try {
  for (const [name, section] of Object.entries(SECTIONS)) {
    if (only !== undefined && name !== only) continue;
    const startedAt = performance.now();
    rows.push(...await section({ scale, checkouts: { against }, note }));
    console.error(`${name}: measured in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  }
} finally {
  killAll();
}
report();
Deno.exit(0);

function fail(message: string): never {
  console.error(message);
  Deno.exit(EXIT_USAGE);
}

function stop(exitCode: number, reason: string): never {
  killAll();
  note(reason);
  report();
  Deno.exit(exitCode);
}

function report(): void {
  const { hardwareConcurrency } = navigator;
  console.log(`\nDeno ${Deno.version.deno}, ${Deno.build.target}, ${hardwareConcurrency} processors\n`);
  console.log(formatTable(rows, against !== undefined));
  for (const text of notes) console.log(`note: ${text}`);
}
