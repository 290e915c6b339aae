/** Conversations with a turn that is cut short: the agent dies, or the server ends. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createDataDir, createGate } from "../support/harness/data_dir_fixture.ts";
import {
  readAnswer,
  replyOf,
  script,
  type ServerProcess,
  startServer,
} from "../support/harness/server_process.ts";
import { answer, ChatClient, firstPrompt, question } from "../support/skins/chat_client.ts";

Deno.test("an agent that is killed inside a turn: the next prompt repeats the lost message, in the same session", async () => {
  await using dataDir = await createDataDir();
  await using server = await startServer({ agent: dataDir.agent, dataDir: dataDir.path });
  const client = new ChatClient();
  await client.send(server, question(1));
  const lost = await client.send(server, `Question 2? ${script({ text: "Half an " }, { kill: true })}`);
  assertEquals(lost.finish, "error");
  assertStringIncludes(lost.text, "Half an ");
  for (const turn of [3, 4]) {
    const { text, finish } = await client.send(server, question(turn));
    assertEquals([text, finish], [answer(turn), "stop"]);
  }
  const prompts = await server.prompts();
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
  const texts = prompts.map(({ text }) => text);
  assertStringIncludes(texts[2]!, "Question 2?");
  assertEquals([texts[2]!.endsWith(question(3)), texts[2]!.includes("Question 1?")], [true, false]);
  assertEquals(texts[3], question(4));
});

/** Sends only the newest message of a named conversation. */
const say = (server: ServerProcess, content: string) => server.chat(content, { conversation_id: "mao" });

Deno.test("a message on which the agent dies: it is sent twice, and then the conversation goes on without it", async () => {
  await using dataDir = await createDataDir();
  await using server = await startServer({ agent: dataDir.agent, dataDir: dataDir.path });
  assertEquals((await replyOf(say(server, question(1)))).text, answer(1));
  // The directive of the fatal message is the last one in each prompt that has it.
  for (const fatal of [`Boom. ${script({ kill: true })}`, "Are you there?"]) {
    assertEquals((await replyOf(say(server, fatal))).finish, "error");
  }
  for (const turn of [3, 4]) assertEquals((await replyOf(say(server, question(turn)))).text, answer(turn));
  const prompts = await server.prompts();
  assertEquals(prompts.filter(({ text }) => text.includes("Boom.")).length, 2);
  assertStringIncludes(prompts.at(-2)!.text, "[a message was left out]\n\nAre you there?");
  assertEquals(prompts.at(-1)!.text, question(4));
});

Deno.test("an agent that ignores a cancel: the next message is served elsewhere, and other conversations go on", async () => {
  await using dataDir = await createDataDir();
  await using server = await startServer({ agent: dataDir.agent, dataDir: dataDir.path });
  const other = new ChatClient({ persona: "You are somebody else." });
  const long = other.start(server, script({ tokens: 80, delayMs: 100 }, { text: "The end." }));
  const deaf = await say(
    server,
    `Question 1? ${script({ ignoreCancel: true }, { tokens: 200, delayMs: 100 })}`,
  );
  const next = await replyOf(say(server, question(2)));
  assertEquals([next.text, next.finish], [answer(2), "stop"]);
  assertEquals((await replyOf(deaf)).finish, "error");
  assertStringIncludes((await other.read(await long)).text, "The end.");
  assertEquals((await replyOf(say(server, question(3)))).text, answer(3));
  const prompts = await server.prompts();
  assertEquals(prompts.filter(({ text }) => text.includes("Question 1?")).length, 1);
});

Deno.test("an agent that asks a question: the reply ends with it, and the next message answers it", async () => {
  await using server = await startServer();
  const properties = { branch: { type: "string", title: "Branch", enum: ["main", "next"] } };
  const params = {
    mode: "form",
    message: "Which branch?",
    requestedSchema: { properties, required: ["branch"] },
  };
  const asking = script({ text: "I will deploy it." }, { request: { method: "elicitation/create", params } });
  const first = await replyOf(say(server, asking));
  assertMatch(first.text, /^I will deploy it\. ?\n\nWhich branch\?\n- main\n- next\n$/);
  assertEquals(first.finish, "stop");
  const second = await replyOf(say(server, "next"));
  assertStringIncludes(second.text, '"content":{"branch":"next"}');
  assertEquals(second.finish, "stop");
  assertEquals((await replyOf(say(server, question(3)))).text, answer(3));
  assertEquals((await server.prompts()).length, 2);
});

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  Deno.test(`a server that ends by ${signal} inside a turn: its conversation continues after the restart`, async () => {
    await using dataDir = await createDataDir();
    const env = { VTUBER_SHUTDOWN_GRACE_SECS: "0" };
    const start = () => startServer({ agent: dataDir.agent, dataDir: dataDir.path, env });
    const client = new ChatClient();
    let conversation: string;
    const long = `Question 2? ${script({ text: "Once upon " }, { hang: true })}`;
    {
      await using server = await start();
      ({ conversation } = await client.send(server, question(1)));
      const stream = (await client.start(server, long)).text().catch(() => "cut");
      // The end of any turn waits until everything before it is stored, also the state of the running turn.
      await new ChatClient({ persona: "You are somebody else." }).send(server, question(9));
      await server.end(signal);
      if (signal === "SIGTERM") {
        const { text, done } = readAnswer(await stream);
        assertStringIncludes(text, "shutting down");
        assertEquals(done, true);
      } else assertEquals(await stream, "cut");
    }
    await using server = await start();
    const next = await client.send(server, question(3));
    assertEquals([next.text, next.conversation], [answer(3), conversation]);
    const prompts = await server.prompts();
    const own = prompts.filter(({ sessionId }) => sessionId === prompts[0]!.sessionId);
    assertEquals(own.map(({ text }) => text), [firstPrompt(question(1)), long, question(3)]);
  });
}

Deno.test("a turn that ends during the shutdown is stored as answered", async () => {
  await using dataDir = await createDataDir();
  const client = new ChatClient();
  await using gate = await createGate();
  const slow = `Question 1? ${script({ text: "It takes " }, gate.step, { text: "a while to say." })}`;
  const start = () =>
    startServer({ agent: dataDir.agent, dataDir: dataDir.path, env: { VTUBER_SHUTDOWN_GRACE_SECS: "600" } });
  {
    await using server = await start();
    const response = await client.start(server, slow);
    const ended = server.end("SIGTERM");
    await server.logged('"message":"shutting down"');
    await gate.open();
    assertEquals((await client.read(response)).text, "It takes a while to say.\n");
    await ended;
  }
  await using server = await start();
  assertEquals((await client.send(server, question(2))).text, answer(2));
  const prompts = await server.prompts();
  assertEquals(prompts.map(({ text }) => text), [firstPrompt(slow), question(2)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
});
