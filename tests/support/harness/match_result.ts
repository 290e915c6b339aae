import { assertEquals } from "@std/assert";
import type { Turn } from "../../../lib/turn/turn.ts";
import type { World } from "./conversation_model.ts";

/** What must hold once all has ended. */
export function checkWorld(world: World): void {
  assertEquals(world.wrongs, []);
  assertEquals([world.slots.running, world.conversations.running.size], [0, 0], "slots, running turns");
  for (const agent of world.agents) {
    assertEquals(agent.overlaps, [], "two prompts at once in one session");
    assertEquals(agent.running.length, 0, "prompts that never ended");
    const open = agent.sessions.filter(({ closed }) => !closed.aborted).map(({ id }) => id);
    assertEquals(open, [], "sessions that were left open");
    for (const [id, told] of agent.told) {
      const twice = [...told].filter(([mark, count]) =>
        mark[0] === "q" && count > 1 && !world.repeated.has(mark)
      );
      assertEquals(twice, [], `${id} was told twice`);
    }
  }
  checkCircles(world);
  checkHeard(world);
}

/** Nobody shares a session with somebody else. */
function checkCircles(world: World): void {
  const circles = new Map<string, string>();
  for (const { turn, circle } of world.calls) {
    if (turn === undefined) continue;
    const known = circles.get(turn.sessionId) ?? circle;
    circles.set(turn.sessionId, known);
    assertEquals(circle, known, `${turn.sessionId} serves two circles`);
  }
}

/** Nobody hears another's words, and whoever stays hears one end. */
function checkHeard(world: World): void {
  const speakers = new Map<string, Turn>();
  for (const { question: { mark }, heard, turn, isLeft } of world.calls) {
    const words = new Set(heard.text.split(" ").filter((word) => word !== ""));
    assertEquals(
      [...words].filter((word) => !word.endsWith(`x${mark}`)),
      [],
      `${mark} heard another's text`,
    );
    assertEquals(words.size <= 1, true, `${mark} heard two prompts: ${[...words]}`);
    for (const word of words) {
      assertEquals(speakers.get(word) ?? turn, turn, `two turns heard ${word}`);
      speakers.set(word, turn!);
    }
    if (turn === undefined) assertEquals(heard.events, [], `${mark} never began`);
    else if (!isLeft) heard.assertWhole();
  }
}
