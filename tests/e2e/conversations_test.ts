/** Conversations without a name: which requests belong together, with real agents. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createDataDir, createGate } from "../support/harness/data_dir_fixture.ts";
import {
  replyOf,
  script,
  type ServerProcess,
  startServer,
  testServer,
  until,
} from "../support/harness/server_process.ts";
import { answer, ChatClient, firstPrompt, question } from "../support/skins/chat_client.ts";

const TURNS = Array.from({ length: 10 }, (_, index) => index + 1);

/** Resolves when a streamed reply has this text. The reply can still be read. */
async function untilReply(reply: Response, text: string): Promise<void> {
  let stream = "";
  for await (const part of reply.clone().body!.pipeThrough(new TextDecoderStream())) {
    stream += part;
    if (stream.includes(text)) return;
  }
  throw new Error(`The reply does not have the text ${text}: ${stream}`);
}

/** Returns the prompts that the agent receives during some work. */
async function promptsDuring(server: ServerProcess, work: () => Promise<unknown>) {
  const before = (await server.prompts()).length;
  await work();
  return (await server.prompts()).slice(before);
}

Deno.test("ten turns are one session of the agent, and one more is opened in advance", async () => {
  await using server = await startServer();
  const client = new ChatClient();
  const replies = [];
  for (const turn of TURNS) replies.push(await client.send(server, question(turn)));
  assertEquals(
    replies.map(({ text, finish }) => [text, finish]),
    TURNS.map((turn) => [answer(turn), "stop"]),
  );
  const [conversation, ...others] = new Set(replies.map(({ conversation }) => conversation));
  assertEquals(others, []);
  assert(/^conv_[0-9a-f]{32}$/.test(conversation!));
  const prompts = await server.prompts();
  assertEquals(prompts.map(({ text }) => text), [firstPrompt(question(1)), ...TURNS.slice(1).map(question)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
  const methodsOf = (messages: Record<string, unknown>[]) =>
    messages.map(({ method }) => method).filter((method) =>
      /^(initialize|session\/(new|load|resume))$/.test(`${method}`)
    );
  const received = await server.receivedUntil((all) => methodsOf(all).length > 2);
  assertEquals(methodsOf(received), ["initialize", "session/new", "session/new"]);
  assertStringIncludes(server.log(), '"decision":"continue"');
});

testServer("conversations", {}, {
  async "a translator and a connection test between the turns get sessions of their own"(server) {
    const client = new ChatClient({ persona: "You are Mao." });
    const main = await client.send(server, question(1));
    const { sessionId } = (await server.prompts()).at(-1)!;
    const translator = { role: "system", content: "You are a professional subtitle translator." };
    const tester = "You are a connection test. Reply with a single short word.";
    for (const turn of [2, 3, 4]) {
      const caption = { role: "user", content: `Caption ${turn}` };
      const [translation, test, own] = await promptsDuring(server, async () => {
        const body = { messages: [translator, caption], stream: false, temperature: 0.3 };
        const translated = await server.post("/v1/chat/completions", body);
        await translated.body?.cancel();
        const tested = await new ChatClient({ persona: tester }).send(server, "Say hi");
        const ids = [translated.headers.get("x-session-id"), tested.conversation];
        assert(!ids.includes(main.conversation));
        const { text, conversation } = await client.send(server, question(turn));
        assertEquals([text, conversation], [answer(turn), main.conversation]);
      });
      assertEquals(own, { sessionId, text: question(turn) });
      assertEquals(translation!.text, firstPrompt(caption.content, translator.content));
      assertEquals(test!.text, firstPrompt("Say hi", tester));
      assert(![translation!.sessionId, test!.sessionId].includes(sessionId));
    }
  },

  async "an edited history and a regenerated reply start new sessions with the whole history"(server) {
    const client = new ChatClient();
    const main = await client.send(server, question(1));
    const { sessionId } = (await server.prompts()).at(-1)!;
    await client.send(server, question(2));
    // The reply repeats the session's prompts, so it differs in each session.
    const third = script({ recall: true });
    await client.send(server, third);

    const secondMessage = { role: "user", content: "Another second question." } as const;
    const edited = new ChatClient({ history: client.history.slice(0, 4).with(2, secondMessage) });
    const regenerated = new ChatClient({ history: client.history.slice(0, 4) });
    const conversations = new Set([main.conversation]);
    const [ofEdited, ofRegenerated] = await promptsDuring(server, async () => {
      const fork = await edited.send(server, question(7));
      assertEquals(fork.text, answer(7));
      conversations.add(fork.conversation).add((await regenerated.send(server, third)).conversation);
    });
    assertEquals(conversations.size, 3);
    assertEquals([ofEdited!.text, ofRegenerated!.text], [edited.transcript(), regenerated.transcript()]);
    assertEquals(new Set([sessionId, ofEdited!.sessionId, ofRegenerated!.sessionId]).size, 3);
    // Both the edited and the first conversation continue.
    const prompts = await promptsDuring(server, async () => {
      await edited.send(server, question(8));
      assertEquals((await client.send(server, question(4))).conversation, main.conversation);
    });
    assertEquals(prompts, [
      { sessionId: ofEdited!.sessionId, text: question(8) },
      { sessionId, text: question(4) },
    ]);
  },

  async "barge-in: the older reply ends properly, and the next prompt waits for the end of its turn"(server) {
    const client = new ChatClient({ persona: "You are interrupted." });
    await client.send(server, question(1));
    const { sessionId } = (await server.prompts()).at(-1)!;
    const hanging = `Tell me a story. ${script({ text: "Once upon " }, { hang: true })}`;
    const older = await client.start(server, hanging);
    await untilReply(older, "Once upon");
    assertEquals((await client.send(server, question(2))).text, answer(2));
    const { text, done, finish } = await replyOf(older);
    assertEquals([text, done, finish], ["Once upon \n", true, "error"]);
    const messages = (await server.received()).filter(({ params }) =>
      (params as { sessionId?: string })?.sessionId === sessionId
    );
    const methods = ["session/prompt", "session/prompt", "session/cancel", "session/prompt"];
    assertEquals(messages.map(({ method }) => method), methods);
  },

  async "barge-in: an agent that is slow to stop is waited for"(server) {
    const client = new ChatClient({ persona: "You are slow." });
    // The agent rejects a prompt before the end of this turn.
    const slow = script({ text: "I do not " }, { ignoreCancel: true }, { sleepMs: 400 }, { text: "stop." });
    const prompts = await promptsDuring(server, async () => {
      const older = await client.start(server, slow);
      await untilReply(older, "I do not");
      const newer = await client.send(server, question(2));
      assertEquals([newer.text, newer.finish], [answer(2), "stop"]);
      const { text, done } = await replyOf(older);
      assertEquals([text.startsWith("I do not"), done], [true, true]);
    });
    assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
  },
});

Deno.test("barge-in: an agent that ignores it loses the session, not the conversation, and disturbs no other one", async () => {
  await using gate = await createGate();
  await using server = await startServer();
  const [deaf, other] = ["You are deaf.", "You stream."].map((persona) => new ChatClient({ persona }));
  const streaming = await other!.start(server, script({ text: "One, " }, gate.step, { text: "two." }));
  await untilReply(streaming, "One");
  const endless = script({ ignoreCancel: true }, { text: "On and on" }, {
    tokens: 100_000,
    delayMs: 20,
    text: " and on",
  });
  const older = await deaf!.start(server, endless);
  await untilReply(older, "On and on");
  const newer = await deaf!.send(server, question(2));
  assertEquals([newer.text, newer.finish], [answer(2), "stop"]);
  assertStringIncludes(server.log(), "its session is given up");
  // The older reply has ended, while the other conversation streams on in the first process.
  assertEquals((await replyOf(older)).done, true);
  await gate.open();
  const { text, finish } = await replyOf(streaming);
  assertEquals([text, finish], ["One, two.\n", "stop"]);
  // Afterwards it continues in the second process.
  other!.history.push({ role: "assistant", content: text });
  assertEquals((await other!.send(server, question(3))).text, answer(3));
  assertEquals((await deaf!.send(server, question(4))).text, answer(4));
  const prompts = (await server.prompts()).map(({ text }) => text);
  assertEquals(prompts.filter((prompt) => prompt.endsWith(endless)).length, 1, "it is not run again");
  assertEquals((await server.received()).filter(({ method }) => method === "initialize").length, 2);
});

Deno.test("VTUBER_ON_BUSY=queue: a newer request waits for the running turn", async () => {
  await using server = await startServer({ env: { VTUBER_ON_BUSY: "queue" } });
  const named = { conversation_id: "talk" };
  const older = await server.chat(script({ text: "first" }, { sleepMs: 400 }, { text: " thing" }), named);
  const newer = await server.chat(script({ text: "second" }), named);
  assertEquals([(await replyOf(older)).text, (await replyOf(newer)).text], ["first thing\n", "second\n"]);
  assertEquals((await server.received()).filter(({ method }) => method === "session/cancel"), []);
});

Deno.test("VTUBER_SESSIONS: one session for everything (persistent), or one for each request (stateless)", async () => {
  for (const [mode, sessions] of [["persistent", 1], ["stateless", 3]] as const) {
    await using server = await startServer({ env: { VTUBER_SESSIONS: mode } });
    for (const turn of [1, 2, 3]) {
      const client = new ChatClient({ persona: `You are number ${turn}.` });
      assertEquals((await client.send(server, question(turn))).text, answer(turn));
    }
    const prompts = await server.prompts();
    assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, sessions, mode);
  }
});

Deno.test({
  name: "deno task dev: the demo agent, with conversations that are stored; SIGTERM leaves no process",
  // The executable has no tasks.
  ignore: Deno.env.has("OAB_VTUBER_EXECUTABLE"),
  async fn() {
    await using dataDir = await createDataDir();
    const project = new URL("../../", import.meta.url);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["task", "dev"],
      cwd: project,
      env: { GATEWAY_LISTEN: "127.0.0.1:0", VTUBER_DATA_DIR: `${dataDir.path}/data`, NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    try {
      let output = "";
      let url: string | undefined;
      while (url === undefined) {
        const { value, done } = await reader.read();
        assertEquals(done, false, output);
        output += value;
        url = /http:\/\/[\d.]+:\d+/.exec(output)?.[0];
      }
      const chat = async (content: string) => {
        const response = await fetch(`${url}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json", "x-session-id": "dev" },
          body: JSON.stringify({ messages: [{ role: "user", content }] }),
        });
        return (await response.json()).choices[0].message.content;
      };
      await chat("Hello!");
      assertStringIncludes(await chat("Do you know me?"), "this is turn 2");
      await until(async () => (await Deno.stat(`${dataDir.path}/data/conversations.db`)).isFile);
    } finally {
      child.kill("SIGTERM");
      assertEquals((await child.status).code, 0);
      await reader.cancel();
    }
  },
});
