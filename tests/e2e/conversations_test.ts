/** Conversations that no skin names: which requests are one, over real sockets and with real agents. */

import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import OpenAI from "npm:openai@7.55.0";
import { replayCommand } from "../support/agents/replayed_agent.ts";
import { makeHome } from "../support/harness/data_dir_fixture.ts";
import { repeated, spoken } from "../support/harness/recorded_agents.ts";
import {
  demoCommand,
  readAnswer,
  script,
  type Server,
  startServer,
  until,
} from "../support/harness/server_process.ts";
import { answer, opening, PERSONA, promptsOf, question, Talker } from "../support/skins/chat_client.ts";

const TEN = Array.from({ length: 10 }, (_, index) => index + 1);

async function promptsTo(server: Server) {
  return promptsOf(await server.received());
}

/** How often it started the agent and opened, or brought back, a session: one more than are used is made ahead. */
async function openedBy(server: Server, used: number): Promise<Record<string, number>> {
  const opening = /^(initialize|session\/(new|load|resume))$/;
  const received = await server.receivedUntil((all) =>
    all.filter(({ method }) => method === "session/new").length > used
  );
  const methods = received.map(({ method }) => String(method)).filter((method) => opening.test(method));
  return Object.fromEntries(methods.map((each) => [each, methods.filter((other) => other === each).length]));
}

Deno.test("ten turns of a skin are one session of the agent, and each prompt is what its user said then", async () => {
  await using server = await startServer();
  const skin = new Talker();
  const heard = [];
  for (const turn of TEN) heard.push(await skin.say(server, question(turn)));
  assertEquals(heard.map(({ text, finish }) => [text, finish]), TEN.map((turn) => [answer(turn), "stop"]));
  assertEquals(new Set(heard.map(({ conversation }) => conversation)).size, 1);
  assert(/^conv_[0-9a-f]{32}$/.test(heard[0]!.conversation));
  const prompts = await promptsTo(server);
  assertEquals(prompts.map(({ text }) => text), [opening(question(1)), ...TEN.slice(1).map(question)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
  assertEquals(await openedBy(server, 1), { "initialize": 1, "session/new": 2 });
  assertStringIncludes(server.log(), '"decision":"continue"');
});

Deno.test("ten turns of a skin are one session of the demo agent", async () => {
  await using home = await makeHome();
  const { command, args } = demoCommand(["--token-ms", "0", "--step-ms", "0"]);
  const demo = [command, ...args].map((word) => `'${word}'`).join(" ");
  // What the demo agent is told is seen on its way.
  const agent = { command: "sh", args: ["-c", `tee -a ${home.path}/agent.jsonl | ${demo}`] };
  await using server = await startServer({ agent, home: home.path });
  const skin = new Talker();
  for (const turn of TEN) {
    const { text, finish } = await skin.say(server, `What is ${turn} and ${turn}?`);
    assertEquals(finish, "stop");
    assertStringIncludes(
      text,
      turn === 1 ? "[happy] Hello!" : `[happy] We have met before: this is turn ${turn}.`,
    );
    assertStringIncludes(text, `You said: "What is ${turn} and ${turn}?"`);
  }
  const prompts = await promptsTo(server);
  const said = TEN.map((turn) => `What is ${turn} and ${turn}?`);
  assertEquals(prompts.map(({ text }) => text), [opening(said[0]!), ...said.slice(1)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
});

for (const recording of ["claude-tools", "gemini-tools", "codex2-tools", "claude-load", "codex2-load"]) {
  Deno.test(`${recording}, its turn repeated: ten turns of a skin are one session`, async () => {
    await using home = await makeHome();
    const path = `${home.path}/recording.ndjson`;
    await Deno.writeTextFile(path, repeated(recording, TEN.length));
    const agent = replayCommand(path, { log: `${home.path}/agent.jsonl` });
    await using server = await startServer({ agent, home: home.path, env: { VTUBER_PERMISSIONS: "allow" } });
    const skin = new Talker();
    const said = TEN.map((turn) => `Please do it, for the ${turn}. time.`);
    const heard = [];
    for (const words of said) heard.push(await skin.say(server, words));
    assertEquals(new Set(heard.map(({ text }) => text.trim())), new Set([spoken(recording).trim()]));
    const prompts = await promptsTo(server);
    assertEquals(prompts.map(({ text }) => text), [opening(said[0]!), ...said.slice(1)]);
    assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
  });
}

Deno.test("a conversation goes on when the skin sends only the end of its history", async () => {
  await using server = await startServer();
  const skin = new Talker({ window: 6 });
  const turns = Array.from({ length: 12 }, (_, index) => index + 1);
  for (const turn of turns) assertEquals((await skin.say(server, question(turn))).text, answer(turn));
  const prompts = await promptsTo(server);
  assertEquals(prompts.map(({ text }) => text), [opening(question(1)), ...turns.slice(1).map(question)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
});

Deno.test("a translator and a connection test in between leave the conversation alone", async () => {
  await using server = await startServer();
  const skin = new Talker();
  const main = await skin.say(server, question(1));
  const translator = { role: "system", content: "You are a professional subtitle translator." };
  const others: string[] = [];
  for (const turn of [2, 3, 4]) {
    const translated = await server.post("/v1/chat/completions", {
      model: "hermes-agent",
      messages: [translator, { role: "user", content: `Caption ${turn}` }],
      stream: false,
      temperature: 0.3,
    });
    assertEquals(translated.status, 200);
    others.push(translated.headers.get("x-session-id")!);
    await translated.body?.cancel();
    const test = new Talker({ persona: "You are a connection test. Reply with a single short word." });
    others.push((await test.say(server, "Say hi")).conversation);
    const { text, conversation } = await skin.say(server, question(turn));
    assertEquals([text, conversation], [answer(turn), main.conversation]);
  }
  assert(!others.includes(main.conversation));
  const prompts = await promptsTo(server);
  const [first] = prompts;
  const own = prompts.filter(({ sessionId }) => sessionId === first!.sessionId);
  assertEquals(own.map(({ text }) => text), [opening(question(1)), ...[2, 3, 4].map(question)]);
  assertEquals(
    prompts.filter((prompt) => !own.includes(prompt)).map(({ text }) => text).sort(),
    [2, 3, 4].flatMap((turn) => [
      opening("Say hi", "You are a connection test. Reply with a single short word."),
      opening(`Caption ${turn}`, translator.content),
    ]).sort(),
  );
});

Deno.test("a history that was edited, and an answer that is asked for again, are told to a new session as a whole", async () => {
  await using server = await startServer();
  const skin = new Talker();
  const main = await skin.say(server, question(1));
  await skin.say(server, question(2));
  // What it answers depends on what it heard: no two sessions say the same.
  const third = script({ recall: true });
  await skin.say(server, third);

  const edited = new Talker();
  edited.history.push(
    ...skin.history.slice(0, 2),
    { role: "user", content: "Another second question." },
    ...skin.history.slice(3, 4),
  );
  const fork = await edited.say(server, question(7));
  assertEquals(fork.text, answer(7));

  const again = new Talker();
  again.history.push(...skin.history.slice(0, 4));
  const regenerated = await again.say(server, third);

  assertEquals(new Set([main, fork, regenerated].map(({ conversation }) => conversation)).size, 3);
  const prompts = await promptsTo(server);
  assertEquals(new Set(prompts.slice(3).map(({ sessionId }) => sessionId)).size, 2);
  assertEquals(prompts[3]!.text, edited.transcript());
  assertEquals(prompts[4]!.text, again.transcript());
  // Whoever edits goes on with what they edited, and the first conversation is still there.
  const later = await edited.say(server, question(8));
  const back = await skin.say(server, question(4));
  assertEquals([later.conversation, back.conversation], [fork.conversation, main.conversation]);
  assertEquals((await promptsTo(server)).slice(5), [
    { sessionId: prompts[3]!.sessionId, text: question(8) },
    { sessionId: prompts[0]!.sessionId, text: question(4) },
  ]);
});

Deno.test("two skins that say the same at first do not meet", async () => {
  await using server = await startServer();
  const [one, two] = [new Talker(), new Talker()];
  const first = await one.say(server, question(1));
  assertNotEquals((await two.say(server, question(1))).conversation, first.conversation);
});

Deno.test("a key's conversations are nobody else's, and are there when it comes back", async () => {
  await using home = await makeHome();
  const agent = { loadSession: true };
  const skin = (key: string, history: Talker["history"] = []) => {
    const made = new Talker({ key });
    made.history.push(...history);
    return made;
  };
  const start = (key: string) => startServer({ agent, home: home.path, env: { VTUBER_AUTH_KEY: key } });
  const list = async (server: Server, key: string) => {
    const headers = { authorization: `Bearer ${key}` };
    const response = await fetch(`${server.url}/v1/vtuber/sessions`, { headers });
    return (await response.json()).sessions.map(({ id }: { id: string }) => id);
  };
  const mine = skin("the-first-key");
  let conversation: string;
  {
    await using server = await startServer({
      agent,
      home: home.path,
      env: { VTUBER_AUTH_KEY: "the-first-key" },
    });
    conversation = (await mine.say(server, question(1))).conversation;
    await mine.say(server, question(2));
  }
  {
    await using server = await start("the-second-key");
    assertEquals(await list(server, "the-second-key"), []);
    const theirs = skin("the-second-key", mine.history);
    const heard = await theirs.say(server, question(3));
    assertNotEquals(heard.conversation, conversation);
    assertEquals((await promptsTo(server)).at(-1)!.text, theirs.transcript());
    assertEquals(await list(server, "the-second-key"), [heard.conversation]);
  }
  await using server = await start("the-first-key");
  assertEquals(await list(server, "the-first-key"), [conversation]);
  assertEquals((await mine.say(server, question(3))).conversation, conversation);
  assertEquals((await promptsTo(server)).at(-1)!.text, question(3));
});

Deno.test("barge-in: the older answer ends properly, is cancelled, and the next prompt waits for its end", async () => {
  await using server = await startServer();
  const skin = new Talker();
  await skin.say(server, question(1));
  const older = await skin.begin(
    server,
    `Tell me a story. ${script({ text: "Once upon " }, { hang: true })}`,
  );
  assertEquals(older.status, 200);
  const newer = await skin.say(server, question(2));
  assertEquals(newer.text, answer(2));
  const { text, done, finish } = readAnswer(await older.text());
  assertEquals([text, done, finish], ["Once upon \n", true, "stop"]);

  const received = await server.received();
  const { sessionId } = promptsOf(received)[0]!;
  const ours = received.filter(({ params }) => (params as { sessionId?: string })?.sessionId === sessionId);
  assertEquals(ours.map(({ method }) => method), [
    "session/prompt",
    "session/prompt",
    "session/cancel",
    "session/prompt",
  ]);
  assertEquals(promptsOf(ours).at(-1)!.text, question(2));
});

Deno.test("barge-in: an agent that takes its time to stop is waited for", async () => {
  await using server = await startServer();
  const skin = new Talker();
  // It goes on until its time is up, and a prompt before that would be refused by it.
  const slow = script({ text: "I do not " }, { ignoreCancel: true }, { sleepMs: 400 }, { text: "stop." });
  const older = await skin.begin(server, slow);
  const newer = await skin.say(server, question(2));
  assertEquals([newer.text, newer.finish], [answer(2), "stop"]);
  const { text, done } = readAnswer(await older.text());
  assertEquals([text.startsWith("I do not"), done], [true, true]);
  assertEquals(new Set((await promptsTo(server)).map(({ sessionId }) => sessionId)).size, 1);
});

Deno.test("barge-in: many in a row, and only the last is answered whole", async () => {
  await using server = await startServer();
  const skin = new Talker();
  await skin.say(server, question(1));
  const answers: Promise<string>[] = [];
  for (const turn of TEN.slice(1, 9)) {
    const response = await skin.begin(server, `Story ${turn}. ${script({ text: "Once " }, { hang: true })}`);
    answers.push(response.text());
  }
  assertEquals((await skin.say(server, question(10))).text, answer(10));
  for (const text of await Promise.all(answers)) assertEquals(readAnswer(text).done, true);
  assertEquals(new Set((await promptsTo(server)).map(({ sessionId }) => sessionId)).size, 1);
});

Deno.test("VTUBER_ON_BUSY=queue: a newer request waits for its turn", async () => {
  await using server = await startServer({ env: { VTUBER_ON_BUSY: "queue" } });
  const named = { conversation_id: "talk" };
  const older = await server.chat(script({ text: "first" }, { sleepMs: 400 }, { text: " thing" }), named);
  const newer = await server.chat(script({ text: "second" }), named);
  assertEquals(readAnswer(await older.text()).text, "first thing\n");
  assertEquals(readAnswer(await newer.text()).text, "second\n");
  assertEquals((await server.received()).filter(({ method }) => method === "session/cancel"), []);
});

Deno.test("VTUBER_ON_BUSY=reject: a newer request is told when to come again, and the older goes on", async () => {
  await using server = await startServer({ env: { VTUBER_ON_BUSY: "reject" } });
  const named = { conversation_id: "talk" };
  const client = new AbortController();
  const older = await server.chat(script({ text: "first" }, { hang: true }), named, {
    signal: client.signal,
  });
  const refused = await server.chat("second", named);
  assertEquals([refused.status, Number(refused.headers.get("retry-after")) > 0], [409, true]);
  const { error } = await refused.json();
  assertEquals([error.code, error.type], ["session_busy", "invalid_request_error"]);
  const received = await server.receivedUntil((all) => promptsOf(all).length > 0);
  assertEquals(promptsOf(received).length, 1);
  client.abort();
  await older.text().catch(() => {});
});

Deno.test("openai: its retries get through a busy conversation", async () => {
  await using server = await startServer({ env: { VTUBER_ON_BUSY: "reject" } });
  const headers = { "x-session-id": "talk" };
  const running = await server.chat(script({ text: "first" }, { hang: true }), {}, { headers });
  // More than it usually makes: there is room when the agent has ended, however long a slow machine takes.
  const openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "anything", maxRetries: 20 });
  const waiting = openai.chat.completions.create({
    model: "m",
    messages: [{ role: "user", content: script({ text: "at last" }) }],
  }, { headers });
  await server.logged("session_busy");
  await running.body!.cancel();
  assertEquals((await waiting).choices[0]?.message.content, "at last\n");
  assertEquals((await promptsTo(server)).length, 2);
});

Deno.test("VTUBER_SESSIONS=persistent is one session for whatever is said; stateless one for each request", async () => {
  for (const [mode, sessions] of [["persistent", 1], ["stateless", 3]] as const) {
    await using server = await startServer({ env: { VTUBER_SESSIONS: mode } });
    for (const turn of [1, 2, 3]) {
      assertEquals(
        (await new Talker({ persona: `${PERSONA} ${turn}` }).say(server, question(turn))).text,
        answer(turn),
      );
    }
    const prompts = await promptsTo(server);
    assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, sessions, mode);
    assertEquals(await openedBy(server, sessions), { "initialize": 1, "session/new": sessions + 1 }, mode);
  }
});

Deno.test({
  name: "deno task dev remembers",
  // It is about the source.
  ignore: Deno.env.has("OAB_VTUBER_EXECUTABLE"),
  async fn() {
    await using home = await makeHome();
    const project = new URL("../../", import.meta.url);
    const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", project)));
    const [, ...args] = tasks.dev.command.split(" ");
    const child = new Deno.Command(Deno.execPath(), {
      args,
      cwd: project,
      env: { GATEWAY_LISTEN: "127.0.0.1:0", VTUBER_DATA_DIR: `${home.path}/data`, NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    try {
      let printed = "";
      let url: string | undefined;
      while (url === undefined) {
        const { value, done } = await reader.read();
        assertEquals(done, false, printed);
        printed += value;
        url = /http:\/\/[\d.]+:\d+/.exec(printed)?.[0];
      }
      const talk = (content: string) =>
        fetch(`${url}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json", "x-session-id": "dev" },
          body: JSON.stringify({ messages: [{ role: "user", content }] }),
        }).then((response) => response.json());
      await talk("Hello!");
      const { choices } = await talk("Do you know me?");
      assertStringIncludes(choices[0].message.content, "this is turn 2");
      await until(async () => (await Deno.stat(`${home.path}/data/conversations.db`)).isFile);
    } finally {
      // Whoever restarts it on changes waits for changes when it ends.
      child.kill("SIGKILL");
      await child.status;
      await reader.cancel();
    }
  },
});
