/** Random inputs of three kinds. `FUZZ_SEED=7 FUZZ_INPUTS=1 deno test --allow-all tests/fuzz` plays one again. */

import { assertEquals } from "@std/assert";
import { fuzz } from "./fuzzer.ts";

const SEED = Number(Deno.env.get("FUZZ_SEED") ?? 1);
const INPUTS = Number(Deno.env.get("FUZZ_INPUTS") ?? 2_000);

Deno.test(`fuzz: ${INPUTS} requests, agents and sockets from seed ${SEED} on: no 500, no hang, no lag`, async () => {
  const { findings } = await fuzz({ seed: SEED, inputs: INPUTS });
  assertEquals(findings, []);
});
