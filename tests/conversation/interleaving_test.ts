import { assertEquals } from "@std/assert";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { Random } from "../support/harness/random.ts";
import type { WorldRules } from "../support/harness/call_fixture.ts";
import { checkWorld } from "../support/harness/match_result.ts";
import { World } from "../support/harness/conversation_model.ts";

const RUNS = 750;
const STEPS = 50;

/** Which requests are one conversation. */
const KINDS: Readonly<Record<string, Pick<WorldRules, "mode" | "isNamed">>> = {
  auto: { mode: "auto", isNamed: false },
  named: { mode: "auto", isNamed: true },
  persistent: { mode: "persistent", isNamed: false },
  stateless: { mode: "stateless", isNamed: false },
};

for (const [kind, { mode, isNamed }] of Object.entries(KINDS)) {
  Deno.test(`Conversations: ${RUNS} runs of callers and agents at random, ${kind}: no mix-up, no loss, no leak`, async () => {
    const seen = {
      begun: 0,
      refused: 0,
      left: 0,
      failed: 0,
      answered: 0,
      cancelled: 0,
      resumed: 0,
      interrupted: 0,
    };
    for (let seed = 1; seed <= RUNS; seed++) {
      const rules = {
        mode,
        isNamed,
        onBusy: BUSY_MODES[seed % 3]!,
        resumes: seed % 2 === 0,
        answersCancels: seed % 4 < 2,
        isIdleShort: seed % 5 === 0,
      };
      const world = new World(new Random(seed), rules);
      try {
        for (let step = 0; step < STEPS; step++) await world.step();
        await world.end();
        checkWorld(world);
      } catch (error) {
        throw new Error(`seed ${seed}, ${JSON.stringify(rules)}`, { cause: error });
      }
      seen.resumed += world.resumed;
      seen.interrupted += world.interrupted;
      for (const { turn, heard, isLeft } of world.calls) {
        turn ? seen.begun++ : seen.refused++;
        if (isLeft) seen.left++;
        const last = heard.briefs.at(-1) ?? "";
        if (last === "end cancelled") seen.cancelled++;
        if (last === "end end_turn") seen.answered++;
        if (last.startsWith("failure ")) seen.failed++;
      }
    }
    // The runs are worth something only if all of this happened often.
    const rare = mode === "stateless" ? ["cancelled", "resumed"] : [];
    for (const [what, count] of Object.entries(seen)) {
      assertEquals(count >= RUNS / 4 || rare.includes(what), true, `${what} only ${count} times`);
    }
  });
}
