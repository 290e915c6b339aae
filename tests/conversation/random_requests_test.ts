import { assertEquals } from "@std/assert";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { ConversationModel, type ModelRules } from "../support/harness/conversation_model.ts";
import { Random } from "../support/harness/random.ts";

const RUNS = 750;
const STEPS = 50;

const KINDS: Readonly<Record<string, Pick<ModelRules, "mode" | "isNamed">>> = {
  auto: { mode: "auto", isNamed: false },
  named: { mode: "auto", isNamed: true },
  persistent: { mode: "persistent", isNamed: false },
  stateless: { mode: "stateless", isNamed: false },
};

for (const [kind, { mode, isNamed }] of Object.entries(KINDS)) {
  Deno.test(`registry: ${RUNS} runs of random requests, ${kind}: nothing is mixed up, lost or leaked`, async () => {
    const seen: Record<string, number> = {};
    const count = (what: string, number = 1) => seen[what] = (seen[what] ?? 0) + number;
    for (let seed = 1; seed <= RUNS; seed++) {
      const rules = {
        mode,
        isNamed,
        onBusy: BUSY_MODES[seed % 3]!,
        resumes: seed % 2 === 0,
        answersCancels: seed % 4 < 2,
        isIdleShort: seed % 5 === 0,
        turnsPerDay: seed % 7 < 4 ? 5 : 1_000,
      };
      const model = new ConversationModel(new Random(seed), rules);
      try {
        for (let step = 0; step < STEPS; step++) await model.step();
        await model.end();
        model.check();
      } catch (error) {
        throw new Error(`seed ${seed}, ${JSON.stringify(rules)}`, { cause: error });
      }
      count("resumed", model.resumed);
      count("interrupted", model.interrupted);
      count("spent", Number(model.counted === rules.turnsPerDay));
      for (const { turn, recorder, hasLeft } of model.calls) {
        count(turn ? "started" : "refused");
        if (hasLeft) count("left");
        count(recorder.summaries.at(-1)?.replace(/^failure .*/, "failed") ?? "silent");
      }
    }
    // The runs prove something only if all of this happened often.
    const rare = mode === "stateless" ? ["end cancelled", "resumed"] : [];
    for (
      const what of [
        "started",
        "refused",
        "left",
        "failed",
        "end end_turn",
        "end cancelled",
        "resumed",
        "interrupted",
        "spent",
      ]
    ) {
      assertEquals(
        (seen[what] ?? 0) >= RUNS / 4 || rare.includes(what),
        true,
        `${what} only ${seen[what]} times`,
      );
    }
  });
}
