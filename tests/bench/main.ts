/**
 * `deno task bench [--quick] [--only NAME]`: the server beside a bare relay of the same tokens, from one run. The
 * figures of one machine say little; their ratios, and the milliseconds that are added, say what the server costs.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { killAll } from "./program.ts";
import { FULL, QUICK, SECTIONS } from "./sections.ts";
import { FOOTNOTE, type Row, table } from "./table.ts";

/** When it is ended, whatever it does. */
const LIMIT_MS = 300_000;
const EXIT_USAGE = 2;
const EXIT_INTERRUPTED = 130;

const { values: { quick, only } } = parseArgs({
  args: Deno.args,
  options: { quick: { type: "boolean" }, only: { type: "string" } },
});
const names = Object.keys(SECTIONS);
if (only !== undefined && !names.includes(only)) {
  console.error(`There is no section "${only}", only ${names.join(", ")}.`);
  Deno.exit(EXIT_USAGE);
}

const rows: Row[] = [];
const notes: string[] = [];
const note = (text: string) => void notes.push(text);
const stopped = (exitCode: number, why: string) => {
  killAll();
  note(why);
  report();
  Deno.exit(exitCode);
};
setTimeout(
  () => stopped(0, `stopped after ${LIMIT_MS / 1000} seconds: what is missing was not measured`),
  LIMIT_MS,
);
Deno.addSignalListener("SIGINT", () => stopped(EXIT_INTERRUPTED, "interrupted"));
if (Deno.build.os !== "windows") {
  Deno.addSignalListener("SIGTERM", () => stopped(EXIT_INTERRUPTED, "interrupted"));
}

try {
  for (const [name, section] of Object.entries(SECTIONS)) {
    if (only !== undefined && name !== only) continue;
    const startedAt = performance.now();
    rows.push(...await section(quick ? QUICK : FULL, note));
    console.error(`${name}: measured in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  }
} finally {
  killAll();
}
report();
Deno.exit(0);

function report(): void {
  console.log(
    `\nDeno ${Deno.version.deno}, ${Deno.build.target}, ${navigator.hardwareConcurrency} processors\n`,
  );
  const text = table(rows);
  console.log(text);
  if (text.includes("over*")) console.log(`\n${FOOTNOTE}`);
  for (const said of notes) console.log(`note: ${said}`);
}
