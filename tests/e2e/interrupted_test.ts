/** Conversations whose turns are cut short: by the agent, by the server, by the skin. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { end, makeGate, makeHome } from "../support/harness/data_dir_fixture.ts";
import { readAnswer, script, type Server, startServer } from "../support/harness/server_process.ts";
import { answer, opening, promptsOf, question, Talker } from "../support/skins/chat_client.ts";
import { watch } from "../support/harness/event_client.ts";

async function promptsTo(server: Server) {
  return promptsOf(await server.received());
}

Deno.test("an agent that is killed in a turn: the next one is told what was lost, in the same session", async () => {
  await using home = await makeHome();
  const agent = { resume: true, memory: `${home.path}/sessions` };
  await using server = await startServer({ agent, home: home.path });
  const skin = new Talker();
  await skin.say(server, question(1));
  const lost = `Question 2? ${script({ text: "Half an " }, { kill: true })}`;
  const heard = await skin.say(server, lost);
  assertEquals(heard.finish, "error");
  assertStringIncludes(heard.text, "Half an ");
  const next = await skin.say(server, question(3));
  assertEquals([next.text, next.finish], [answer(3), "stop"]);
  const prompts = await promptsTo(server);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
  // It may not have kept what it was given.
  assertStringIncludes(prompts[2]!.text, "Question 2?");
  assertEquals(prompts[2]!.text.endsWith(question(3)), true);
  assertEquals(prompts[2]!.text.includes("Question 1?"), false);
  assertEquals((await skin.say(server, question(4))).text, answer(4));
  assertEquals((await promptsTo(server)).at(-1)!.text, question(4));
});

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  Deno.test(`a server that is ended by ${signal} in a turn: the conversation goes on with the next one`, async () => {
    await using home = await makeHome();
    const agent = { resume: true, memory: `${home.path}/sessions` };
    const env = { VTUBER_SHUTDOWN_GRACE_SECS: "0" };
    const skin = new Talker();
    let conversation: string;
    const long = `Question 2? ${script({ text: "Once upon " }, { hang: true })}`;
    {
      await using server = await startServer({ agent, home: home.path, env });
      ({ conversation } = await skin.say(server, question(1)));
      const response = await skin.begin(server, long);
      assertEquals(response.status, 200);
      const cut = response.text().catch(() => "cut");
      await server.receivedUntil((all) => promptsOf(all).length === 2);
      await end(server, signal);
      // Where the server could still say it, it was said.
      if (signal === "SIGTERM") {
        const { text, done } = readAnswer(await cut);
        assertStringIncludes(text, "shutting down");
        assertEquals(done, true);
      } else assertEquals(await cut, "cut");
    }
    await using server = await startServer({ agent, home: home.path, env });
    const next = await skin.say(server, question(3));
    assertEquals([next.text, next.conversation], [answer(3), conversation]);
    const prompts = await promptsTo(server);
    assertEquals(prompts.map(({ text }) => text), [opening(question(1)), long, question(3)]);
    assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
  });
}

Deno.test("a turn that ends while the server does is remembered as answered", async () => {
  await using home = await makeHome();
  const agent = { resume: true, memory: `${home.path}/sessions` };
  const skin = new Talker();
  await using gate = await makeGate();
  const slow = `Question 1? ${script({ text: "It takes " }, gate.step, { text: "a while to say." })}`;
  {
    const env = { VTUBER_SHUTDOWN_GRACE_SECS: "600" };
    await using server = await startServer({ agent, home: home.path, env });
    const response = await skin.begin(server, slow);
    const ended = end(server, "SIGTERM");
    await server.logged('"message":"shutting down"');
    await gate.open();
    assertEquals((await skin.hear(response)).text, "It takes a while to say.\n");
    await ended;
  }
  await using server = await startServer({ agent, home: home.path });
  assertEquals((await skin.say(server, question(2))).text, answer(2));
  const prompts = await promptsTo(server);
  assertEquals(prompts.map(({ text }) => text), [opening(slow), question(2)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
});

Deno.test("a skin that hangs up in a turn goes on in the same session", async () => {
  await using server = await startServer();
  const skin = new Talker();
  const { conversation } = await skin.say(server, question(1));
  const long = `Question 2? ${script({ text: "Once upon " }, { hang: true })}`;
  const response = await skin.begin(server, long);
  await response.body!.cancel();
  const next = await skin.say(server, question(3));
  assertEquals([next.text, next.conversation], [answer(3), conversation]);
  const prompts = await promptsTo(server);
  assertEquals(prompts.map(({ text }) => text), [opening(question(1)), long, question(3)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
});

Deno.test("what an agent says after it was cancelled reaches no later turn of the conversation", async () => {
  await using server = await startServer();
  const skin = new Talker();
  await skin.say(server, question(1));
  for (const turn of [2, 4, 6, 8]) {
    const late = script({ text: "Once upon " }, { hang: true }, { afterAnswer: [{ text: "LATE" }] });
    const older = await skin.begin(server, `Question ${turn}? ${late}`);
    const newer = await skin.say(server, question(turn + 1));
    assertEquals([newer.text, newer.finish], [answer(turn + 1), "stop"]);
    assertEquals(readAnswer(await older.text()).text.includes("LATE"), false);
  }
});

Deno.test("a skin whose persona changes begins anew, and one that names its conversation is told the new persona", async () => {
  await using server = await startServer();
  const skin = new Talker();
  const first = await skin.say(server, question(1));
  const changed = new Talker({ persona: "You are somebody else now." });
  changed.history.push(...skin.history);
  const second = await changed.say(server, question(2));
  assertEquals(first.conversation === second.conversation, false);

  const named = (persona: string, content: string) =>
    server.post("/v1/chat/completions", {
      conversation_id: "mao",
      messages: [{ role: "system", content: persona }, { role: "user", content }],
    }).then((response) => response.json());
  await named("You are Mao.", question(1));
  await named("You are Mao.", question(2));
  await named("You are tired, Mao.", question(3));
  const prompts = (await promptsTo(server)).slice(2);
  assertEquals(prompts.map(({ text }) => text), [
    opening(question(1), "You are Mao."),
    question(2),
    opening(question(3), "You are tired, Mao."),
  ]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
});

Deno.test("watchers are told the same conversation as the skin, also after a restart", async () => {
  await using home = await makeHome();
  const agent = { resume: true, memory: `${home.path}/sessions` };
  const skin = new Talker();
  const seen = new Set<string>();
  for (const turn of [1, 2]) {
    await using server = await startServer({ agent, home: home.path });
    await using watcher = await watch(server, { events: ["agent_state", "emotion", "say"] });
    const { conversation } = await skin.say(server, question(turn));
    seen.add(conversation);
    await watcher.ping();
    const told = [...watcher.of("emotion"), ...watcher.of("say"), await watcher.state("thinking")];
    for (const type of ["emotion", "say"]) assertEquals(watcher.of(type).length > 0, true, type);
    for (const { session_id } of told) assertEquals(session_id, conversation);
  }
  assertEquals(seen.size, 1);
});
