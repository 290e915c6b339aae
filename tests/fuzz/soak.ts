/**
 * `deno task soak [--minutes N] [--seed N]`: fuzzes the program in rounds, each with a server of its own, until the time is
 * up; then makes many responses. Ends with code 1 at the first fault, or if the heap has grown.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { fuzz } from "./fuzzer.ts";
import { loadWithResponses } from "./response_load.ts";
import { fuzzWav } from "./wav_input.ts";

const DEFAULT_MINUTES = 5;
const MAX_MINUTES = 120;
const INPUTS_PER_ROUND = 3_000;
/** Mutated recordings for the parser, before the first round. */
const WAV_INPUTS = 1_000_000;
/** Rounds after which caches are full and code is compiled. */
const WARM_UP_ROUNDS = 2;
/** Responses after the rounds, for each minute of them. */
const RESPONSES_PER_MINUTE = 4_000;
/** Largest growth of the heap after these rounds, collected, in bytes. */
const MAX_GROWTH_BYTES = 20e6;
const EXIT_FAULT = 1;
const EXIT_USAGE = 2;

const { values } = parseArgs({ options: { minutes: { type: "string" }, seed: { type: "string" } } });
const minutes = Number(values.minutes ?? DEFAULT_MINUTES);
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
if (!(minutes > 0 && minutes <= MAX_MINUTES) || !Number.isSafeInteger(firstSeed)) {
  console.error(`--minutes is a number up to ${MAX_MINUTES}, --seed a whole number.`);
  Deno.exit(EXIT_USAGE);
}
const collect = (globalThis as { gc?: () => void }).gc;
const wav = fuzzWav(firstSeed, WAV_INPUTS);
console.log(`${WAV_INPUTS} mutated WAV files: ${wav.accepted} read, ${wav.refused} refused, no fault`);
const endAt = performance.now() + minutes * 60_000;
const statuses = new Map<string, number>();
let [inputs, maxLagMs, maxHealthMs, rounds] = [0, 0, 0, 0];
let warmHeap: number | undefined;
let heap = 0;
for (let seed = firstSeed; performance.now() < endAt; seed += INPUTS_PER_ROUND) {
  const report = await fuzz({ seed, inputs: INPUTS_PER_ROUND });
  rounds++;
  inputs += report.inputs;
  maxLagMs = Math.max(maxLagMs, report.maxLagMs);
  maxHealthMs = Math.max(maxHealthMs, report.maxHealthMs);
  for (const [status, count] of report.statuses) statuses.set(status, (statuses.get(status) ?? 0) + count);
  collect?.();
  const memory = Deno.memoryUsage();
  heap = memory.heapUsed;
  if (rounds === WARM_UP_ROUNDS) warmHeap = heap;
  console.log(
    `seeds ${seed} to ${seed + INPUTS_PER_ROUND - 1}: loop lag ${report.maxLagMs.toFixed(0)} ms, ` +
      `/health ${report.maxHealthMs.toFixed(0)} ms, heap ${(heap / 1e6).toFixed(1)} MB, ` +
      `memory ${(memory.rss / 1e6).toFixed(0)} MB`,
  );
  if (report.findings.length === 0) continue;
  for (const finding of report.findings) console.error(finding);
  Deno.exit(EXIT_FAULT);
}
for (const [status, count] of [...statuses].sort()) console.log(`${status}: ${count}`);
const growth = warmHeap === undefined ? 0 : heap - warmHeap;
console.log(
  `${inputs} inputs in ${rounds} rounds: no fault, loop lag at most ${maxLagMs.toFixed(0)} ms, ` +
    `/health at most ${maxHealthMs.toFixed(0)} ms, the heap grew by ${(growth / 1e6).toFixed(1)} MB`,
);
if (growth > MAX_GROWTH_BYTES) {
  console.error(`The heap grew by more than ${MAX_GROWTH_BYTES / 1e6} MB.`);
  Deno.exit(EXIT_FAULT);
}
const responses = Math.max(RESPONSES_PER_MINUTE, Math.ceil(RESPONSES_PER_MINUTE * minutes));
const responseGrowthMb = await loadWithResponses(responses);
console.log(
  `${responses} responses: no fault, the heap of the server grew by ${responseGrowthMb.toFixed(1)} MB`,
);
