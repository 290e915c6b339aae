import { assertEquals } from "@std/assert";
import { Stage } from "../support/harness/events_fixture.ts";

Deno.test("Hub: what is said is told to those who ask for it by name, without tags and code", async () => {
  using stage = new Stage();
  const [named, all, silent] = [stage.join(["say"]), stage.join(["*"]), stage.join()];
  const { turn, prompt } = await stage.begin("mao");
  for (const piece of ["[ha", "ppy] Hi", " there [1", "]\n```js\n[x]\n", "```\nBye [sad]"]) prompt.say(piece);
  prompt.end();
  const said = named.frames.map(({ text }) => text).join("");
  assertEquals(said, " Hi there [1]\nBye ");
  for (const { type, session_id, turn_id } of named.frames) {
    assertEquals([type, session_id, turn_id], ["say", "mao", turn.id]);
  }
  for (const { briefs } of [all, silent]) {
    assertEquals(briefs.some((brief) => brief.startsWith("say")), false);
  }
});

Deno.test("Hub: what is held back of what is said comes before the end of the turn", async () => {
  using stage = new Stage();
  const watcher = stage.join(["say", "agent_state"]);
  const { prompt } = await stage.begin();
  prompt.say("as said [1]");
  prompt.end();
  assertEquals(watcher.briefs.slice(2), ["say as said ", "say [1]", "state attention"]);
});

Deno.test("Hub: who comes late hears the rest of what is said", async () => {
  using stage = new Stage();
  const { prompt } = await stage.begin();
  prompt.say("One. ");
  const first = stage.join(["say"]);
  prompt.say("Two. ");
  const second = stage.join();
  stage.hub.changeSubscription(second.client, ["say"]);
  second.news();
  first.client.detach();
  prompt.say("Three.");
  prompt.end();
  assertEquals([first.briefs, second.briefs], [["say Two. "], ["say Three."]]);
});

Deno.test("Hub: who comes to listen in the middle of a block of code hears none of it, and what comes after", async () => {
  using stage = new Stage();
  const { prompt } = await stage.begin();
  prompt.say("Look:\n```js\nlet a;\n");
  const watcher = stage.join(["say"]);
  prompt.say("let b;\n```\nThat was it.\n");
  prompt.end();
  assertEquals(watcher.frames.map(({ text }) => text).join(""), "That was it.\n");
});
