import { assertEquals } from "@std/assert";
import { TurnState } from "../../lib/events/turn_state.ts";
import type { ToolCallId, TurnEvent } from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { Random } from "../support/harness/random.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { answered, asks, briefOf, Stage } from "../support/harness/events_fixture.ts";

const SEEDS = Array.from({ length: 60 }, (_, seed) => seed);
const ENDS: readonly TurnEvent[] = [
  { type: "end", reason: "end_turn" },
  { type: "end", reason: "cancelled" },
  { type: "end", reason: "refusal" },
  { type: "failure", failure: new AppError("agent_crashed", "Gone.") },
];

/** What an agent may do in a turn, each tool at most once from its start to its end. */
function* chance(random: Random, steps: number): Generator<TurnEvent> {
  const open: { id: ToolCallId; isSubagent: boolean }[] = [];
  const asked: string[] = [];
  for (let i = 0; i < steps; i++) {
    const tool = (
      id: ToolCallId,
      status: "pending" | "in_progress" | "completed" | "failed",
      isSubagent: boolean,
    ) => ({ type: "tool", tool: { id, title: id, kind: "edit", status, isSubagent } }) as const;
    switch (random.below(6)) {
      case 0:
      case 1: {
        const next = { id: `t${i}` as ToolCallId, isSubagent: random.below(3) === 0 };
        open.push(next);
        yield tool(next.id, random.pick(["pending", "in_progress"]), next.isSubagent);
        break;
      }
      case 2: {
        const [ending] = open.splice(random.below(open.length || 1), 1);
        if (ending) yield tool(ending.id, random.pick(["completed", "failed"]), ending.isSubagent);
        break;
      }
      case 3:
        if (open.length > 0) {
          const { id, isSubagent } = random.pick(open);
          yield tool(id, "in_progress", isSubagent);
        }
        break;
      case 4:
        asked.push(`p${i}`);
        yield asks(`p${i}`);
        break;
      default: {
        const [id] = asked.splice(random.below(asked.length || 1), 1);
        if (id !== undefined) yield answered(id);
      }
    }
  }
  for (const id of asked) yield answered(id);
}

Deno.test("TurnWatch: whatever an agent does, no state is told twice, and each tool starts once and ends once", () => {
  for (const seed of SEEDS) {
    const random = new Random(seed);
    const watch = new TurnState({ session_id: "mao", turn_id: "1" });
    const events = [...chance(random, 40), random.pick(ENDS)];
    const told = [...watch.begun(), ...events.flatMap((event) => watch.heard(event)), ...watch.rest()];
    const states = told.flatMap((event) =>
      event.type === "agent_state" ? [`${event.state} ${event.detail?.subagent_count ?? 0}`] : []
    );
    assertEquals([states[0], states.at(-1)], ["thinking 0", "idle 0"], `seed ${seed}`);
    assertEquals(
      states.filter((state, i) => state === states[i - 1] || state === "idle 0").length,
      1,
      `seed ${seed}`,
    );
    const tools = told.map(briefOf).filter((brief) => brief.startsWith("tool "));
    const begun = tools.filter((brief) => /(pending|running)$/.test(brief)).map((brief) =>
      brief.split(" ")[1]
    );
    const ended = tools.filter((brief) => /(done|failed)$/.test(brief)).map((brief) => brief.split(" ")[1]);
    assertEquals([new Set(begun).size, new Set(ended).size], [begun.length, ended.length], `seed ${seed}`);
    assertEquals(begun.toSorted(), ended.toSorted(), `seed ${seed}`);
  }
});

Deno.test("Hub: however turns run into each other, each begins thinking and ends idle, once", async () => {
  for (const seed of SEEDS) {
    const random = new Random(seed);
    using stage = new Stage({ holdMs: 0 });
    const watcher = stage.join();
    const running: { turn: Turn; prompt: MemoryPrompt; events: Iterator<TurnEvent> }[] = [];
    for (let step = 0; step < 60 || running.length > 0; step++) {
      if (step < 60 && running.length < 4 && random.below(5) === 0) {
        running.push({ ...await stage.begin(`c${step % 3}`), events: chance(random, 10) });
      }
      const at = random.below(running.length || 1);
      const { turn, prompt, events } = running[at] ?? {};
      const next = events?.next();
      if (next?.done === false) prompt?.emit(next.value);
      if (next?.done) {
        const end = random.pick(ENDS);
        if (end.type === "end" && end.reason === "cancelled") turn?.cancel();
        prompt?.emit(end);
        running.splice(at, 1);
      }
      if (random.below(10) === 0) await settled();
    }
    while (stage.hub.snapshot.sessions.length > 0) await settled();
    const states = watcher.frames.slice(1).filter(({ type }) => type === "agent_state");
    for (const [id, own = []] of Map.groupBy(states, ({ turn_id }) => turn_id)) {
      const briefs = own.map(briefOf);
      assertEquals(
        [briefs[0], briefs.indexOf("state idle")],
        ["state thinking", briefs.length - 1],
        `${seed} ${id}`,
      );
    }
    const last = states.at(-1);
    assertEquals([last?.state ?? "idle", stage.hub.snapshot.state, stage.hub.permissions], [
      "idle",
      "idle",
      [],
    ]);
  }
});
