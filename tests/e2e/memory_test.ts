/** What outlives an agent, a server, and the time for which a session is kept open; and what is forgotten. */

import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import type { ScriptedAgentOptions } from "../support/agents/scripted_agent.ts";
import { replayCommand } from "../support/agents/replayed_agent.ts";
import { agentsOf, end, killed, makeHome, sessionsOf } from "../support/harness/data_dir_fixture.ts";
import { repeated, spoken, withoutResume } from "../support/harness/recorded_agents.ts";
import {
  demoCommand,
  readAnswer,
  script,
  type Server,
  startServer,
} from "../support/harness/server_process.ts";
import { answer, opening, promptsOf, question, Talker } from "../support/skins/chat_client.ts";

const TEN = Array.from({ length: 10 }, (_, index) => index + 1);
/** The turns in which the agent is asked what it was told before in its session. */
const RECALLED = [7, 9];

function words(turn: number): string {
  return RECALLED.includes(turn) ? `Question ${turn}? ${script({ recall: true })}` : question(turn);
}

const AGENTS: readonly [name: string, agent: ScriptedAgentOptions, method: string | undefined][] = [
  ["resumes sessions", { resume: true, loadSession: true }, "session/resume"],
  ["loads sessions", { loadSession: true }, "session/load"],
  ["does neither", {}, undefined],
  ["has lost them", { resume: true, forgetful: true }, undefined],
];

for (const [name, options, method] of AGENTS) {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    Deno.test(`an agent that ${name}: nobody notices that it is killed, and the server restarted by ${signal}`, async () => {
      await using home = await makeHome();
      const agent = { ...options, memory: `${home.path}/sessions` };
      const skin = new Talker();
      const transcripts: string[] = [];
      const talk = async (server: Server, turn: number) => {
        const answering = skin.begin(server, words(turn));
        transcripts.push(skin.transcript());
        const { text, finish, conversation } = await skin.hear(await answering);
        assertEquals(finish, "stop");
        if (!RECALLED.includes(turn)) assertEquals(text, answer(turn));
        else for (const before of TEN.slice(0, turn - 1)) assertStringIncludes(text, `Question ${before}?`);
        return conversation;
      };
      const conversations = new Set<string>();
      {
        await using server = await startServer({ agent, home: home.path });
        for (const turn of TEN.slice(0, 5)) conversations.add(await talk(server, turn));
        const [pid] = await agentsOf(server, 1);
        await killed(pid!);
        for (const turn of [6, 7]) conversations.add(await talk(server, turn));
        await end(server, signal);
      }
      await using server = await startServer({ agent, home: home.path });
      for (const turn of [8, 9, 10]) conversations.add(await talk(server, turn));
      assertEquals(conversations.size, 1);

      const received = await server.received();
      const prompts = promptsOf(received);
      const isTold = (turn: number) => turn === 1 || method === undefined && [6, 8].includes(turn);
      assertEquals(
        prompts.map(({ text }) => text),
        TEN.map((turn) => isTold(turn) ? transcripts[turn - 1] : words(turn)),
      );
      const used = prompts.map(({ sessionId }) => sessionId);
      const [first] = used;
      if (method === undefined) {
        assertEquals(new Set(used).size, 3);
      } else {
        assertEquals(new Set(used).size, 1);
        const back = received.filter((message) => message.method === method);
        assertEquals(back.map(({ params }) => (params as { sessionId: string }).sessionId), [first, first]);
      }
    });
  }
}

Deno.test({
  name: "an agent whose end is noticed no sooner than the next turn is not missed",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using home = await makeHome();
    const agent = { resume: true, memory: `${home.path}/sessions` };
    await using server = await startServer({ agent, home: home.path });
    const skin = new Talker();
    for (const turn of TEN) {
      const [pid] = await agentsOf(server, 1);
      // It finds the end of its agent and the request at the same time.
      server.signal("SIGSTOP");
      await killed(pid!);
      const answering = skin.begin(server, question(turn));
      // Should the request be slower than that, the end is merely noticed before it.
      await new Promise((resolve) => setTimeout(resolve, 20));
      server.signal("SIGCONT");
      const { text, finish } = await skin.hear(await answering);
      assertEquals([text, finish], [answer(turn), "stop"]);
    }
  },
});

Deno.test("a turn whose end was read is remembered, however soon the server is killed", async () => {
  await using home = await makeHome();
  const agent = { resume: true, memory: `${home.path}/sessions` };
  const skin = new Talker();
  for (const turn of TEN.filter((turn) => turn % 2 === 1)) {
    await using server = await startServer({ agent, home: home.path });
    assertEquals((await skin.say(server, question(turn))).text, answer(turn));
    const { body } = await skin.begin(server, question(turn + 1));
    let seen = "";
    for await (const piece of body!.pipeThrough(new TextDecoderStream())) {
      seen += piece;
      if (seen.includes("[DONE]")) break;
    }
    await end(server, "SIGKILL");
    assertEquals(readAnswer(seen).text, answer(turn + 1));
    skin.history.push({ role: "assistant", content: answer(turn + 1) });
  }
  const received = (await Deno.readTextFile(`${home.path}/agent.jsonl`)).trim().split("\n").map((line) =>
    JSON.parse(line)
  );
  const prompts = promptsOf(received);
  assertEquals(prompts.map(({ text }) => text), [opening(question(1)), ...TEN.slice(1).map(question)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
});

Deno.test("the demo agent, which keeps nothing: its conversations outlive it, and the server", async () => {
  await using home = await makeHome();
  const agent = demoCommand(["--token-ms", "0", "--step-ms", "0"]);
  const skin = new Talker();
  const talk = async (server: Server, turns: number[], greeting: (turn: number) => string) => {
    for (const turn of turns) {
      const { text, finish } = await skin.say(server, `What is ${turn} and ${turn}?`);
      assertEquals(finish, "stop");
      assertStringIncludes(text, greeting(turn));
      assertStringIncludes(text, `You said: "What is ${turn} and ${turn}?"`);
    }
  };
  /** It counts the turns of its session. */
  const since = (first: number) => (turn: number) =>
    turn === first ? "[happy] Hello!" : `this is turn ${turn - first + 1}.`;
  {
    await using server = await startServer({ agent, home: home.path });
    await talk(server, [1, 2, 3, 4, 5], since(1));
    const [pid] = await agentsOf(server, 1);
    await killed(pid!);
    await talk(server, [6, 7], since(6));
    await end(server, "SIGKILL");
  }
  await using server = await startServer({ agent, home: home.path });
  await talk(server, [8, 9, 10], since(8));
  assertEquals((await sessionsOf(server)).map(({ turns }) => turns), [10]);
});

Deno.test("two servers with one folder: a later one knows the conversations of both", async () => {
  await using home = await makeHome();
  const agent = { resume: true, memory: `${home.path}/sessions` };
  const skins = [1, 2].map((number) => new Talker({ persona: `You are number ${number}.` }));
  const start = () => startServer({ agent, home: home.path });
  const conversations: string[] = [];
  {
    await using one = await start();
    await using two = await start();
    for (const turn of [1, 2]) {
      for (const [index, server] of [one, two].entries()) {
        const heard = await skins[index]!.say(server, question(turn));
        assertEquals(heard.text, answer(turn));
        conversations[index] = heard.conversation;
      }
    }
  }
  await using server = await start();
  for (const [index, skin] of skins.entries()) {
    const heard = await skin.say(server, question(3));
    assertEquals([heard.text, heard.conversation], [answer(3), conversations[index]!]);
  }
  assertEquals(promptsOf(await server.received()).slice(-2).map(({ text }) => text), [
    question(3),
    question(3),
  ]);
});

for (const recording of ["claude-load", "codex2-load"]) {
  for (const method of ["session/resume", "session/load"]) {
    Deno.test(`${recording}: what it says as it comes back by ${method} reaches no skin`, async () => {
      await using home = await makeHome();
      const path = `${home.path}/recording.ndjson`;
      const change = method === "session/load" ? withoutResume : undefined;
      await Deno.writeTextFile(path, repeated(recording, TEN.length, change));
      const agent = replayCommand(path, { log: `${home.path}/agent.jsonl` });
      const start = () => startServer({ agent, home: home.path, env: { VTUBER_PERMISSIONS: "allow" } });
      const said = TEN.map((turn) => `Please do it, for the ${turn}. time.`);
      const skin = new Talker();
      const talk = async (server: Server, from: number, to: number) => {
        for (const words of said.slice(from - 1, to)) {
          assertEquals((await skin.say(server, words)).text.trim(), spoken(recording).trim());
        }
      };
      {
        await using server = await start();
        await talk(server, 1, 5);
        const [pid] = await agentsOf(server, 1);
        await killed(pid!);
        await talk(server, 6, 7);
        await end(server, "SIGKILL");
      }
      await using server = await start();
      await talk(server, 8, 10);
      const received = await server.received();
      const prompts = promptsOf(received);
      assertEquals(prompts.map(({ text }) => text), [opening(said[0]!), ...said.slice(1)]);
      assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
      assertEquals(received.filter((message) => message.method === method).length, 2);
    });
  }
}

Deno.test("an idle session is closed after its time, and brought back by the next turn", async () => {
  await using home = await makeHome();
  const agent = { resume: true, memory: `${home.path}/sessions` };
  const env = { VTUBER_SESSION_TTL_HOURS: "0.001" };
  await using server = await startServer({ agent, env });
  const skin = new Talker();
  const { conversation } = await skin.say(server, question(1));
  const [listed] = await sessionsOf(server);
  assertEquals([listed!.id, listed!.state, listed!.turns], [conversation, "open", 1]);
  const { sessionId } = promptsOf(await server.received())[0]!;
  await server.receivedUntil((all) => about(all, sessionId).includes("session/close"));
  assertEquals((await sessionsOf(server)).map(({ id, state }) => [id, state]), [[conversation, "closed"]]);
  assertEquals((await skin.say(server, question(2))).text, answer(2));
  const received = await server.received();
  assertEquals(about(received, sessionId), [
    "session/prompt",
    "session/close",
    "session/resume",
    "session/prompt",
  ]);
  assertEquals(promptsOf(received).at(-1)!.text, question(2));
});

Deno.test("VTUBER_MAX_SESSIONS: beyond it the longest idle is closed, and every conversation goes on", async () => {
  await using home = await makeHome();
  const agent = { resume: true, memory: `${home.path}/sessions` };
  await using server = await startServer({ agent, env: { VTUBER_MAX_SESSIONS: "2" } });
  const skins = [1, 2, 3].map((number) => new Talker({ persona: `You are number ${number}.` }));
  for (const turn of [1, 2, 3]) {
    for (const skin of skins) assertEquals((await skin.say(server, question(turn))).text, answer(turn));
  }
  const used = [...new Set(promptsOf(await server.received()).map(({ sessionId }) => sessionId))];
  assertEquals(used.length, 3);
  // The last close comes a moment after the turn that made it necessary.
  const received = await server.receivedUntil((all) => methodsOf(all, "session/close").length === 7);
  const back = ["session/close", "session/resume", "session/prompt"];
  assertEquals(used.map((id) => about(received, id)), [
    ["session/prompt", ...back, ...back, "session/close"],
    ["session/prompt", ...back, ...back],
    ["session/prompt", ...back, ...back],
  ]);
  const states = (await sessionsOf(server)).map(({ state }) => state);
  assertEquals(states, ["open", "open", "closed"]);
});

for (const [name, options] of [["deletes", { delete: true }], ["only closes", {}]] as const) {
  Deno.test(`a conversation that is forgotten, with an agent that ${name} sessions`, async () => {
    await using home = await makeHome();
    const agent = { ...options, resume: true, memory: `${home.path}/sessions` };
    const skin = new Talker();
    const other = new Talker({ persona: "You are somebody else." });
    let sessionId: string;
    {
      await using server = await startServer({ agent, home: home.path });
      const { conversation } = await skin.say(server, question(1));
      const kept = await other.say(server, question(1));
      ({ sessionId } = promptsOf(await server.received())[0]!);
      const forget = (id: string) => fetch(`${server.url}/v1/vtuber/sessions/${id}`, { method: "DELETE" });
      const response = await forget(conversation);
      assertEquals([response.status, await response.json()], [200, { forgotten: 1 }]);
      const ending = "delete" in options ? ["session/close", "session/delete"] : ["session/close"];
      const received = await server.receivedUntil((all) => about(all, sessionId).includes(ending.at(-1)!));
      assertEquals(about(received, sessionId), ["session/prompt", ...ending]);
      const again = await forget(conversation);
      assertEquals([again.status, (await again.json()).error.code], [404, "not_found"]);
      assertEquals((await sessionsOf(server)).map(({ id }) => id), [kept.conversation]);
    }
    await using server = await startServer({ agent, home: home.path });
    const heard = await skin.say(server, question(2));
    assertEquals(heard.text, answer(2));
    const { text, ...prompted } = promptsOf(await server.received()).at(-1)!;
    assertNotEquals(prompted.sessionId, sessionId);
    assertStringIncludes(text, `<user>\n${question(1)}\n</user>`);
    // One that was closed is forgotten as well, by the agent too.
    const second = (await server.received()).length;
    const response = await fetch(`${server.url}/v1/vtuber/sessions?all=true`, { method: "DELETE" });
    assertEquals(await response.json(), { forgotten: 2 });
    assertEquals(await sessionsOf(server), []);
    if ("delete" in options) {
      const received = await server.receivedUntil((all) =>
        methodsOf(all.slice(second), "session/delete").length === 2
      );
      assertEquals(methodsOf(received, "session/delete").length, 3);
    }
  });
}

Deno.test("nothing that was said can be read in the file, which is its owner's only", async () => {
  await using home = await makeHome();
  const key = "the-key-of-this-house";
  await using server = await startServer({ home: home.path, env: { VTUBER_AUTH_KEY: key } });
  const skin = new Talker({ key });
  for (const turn of TEN.slice(0, 3)) await skin.say(server, question(turn));
  const folder = `${home.path}/data`;
  const check = async () => {
    const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
    assert(names.includes("conversations.db"));
    for (const name of names) {
      if (Deno.build.os !== "windows") {
        assertEquals((await Deno.stat(`${folder}/${name}`)).mode! & 0o777, 0o600);
      }
      const bytes = new TextDecoder("latin1").decode(await Deno.readFile(`${folder}/${name}`)).toLowerCase();
      for (const secret of [key, "question", "answer", "happy", "begin each", "steps"]) {
        assert(!bytes.includes(secret), `${name}: ${secret}`);
      }
    }
  };
  if (Deno.build.os !== "windows") assertEquals((await Deno.stat(folder)).mode! & 0o777, 0o700);
  await check();
  await end(server, "SIGTERM");
  await check();
});

Deno.test("a file that is no database is set aside, with a warning", async () => {
  await using home = await makeHome();
  await Deno.mkdir(`${home.path}/data`);
  const garbage = crypto.getRandomValues(new Uint8Array(20_000));
  await Deno.writeFile(`${home.path}/data/conversations.db`, garbage);
  const agent = { resume: true };
  const skin = new Talker();
  {
    await using server = await startServer({ agent, home: home.path });
    await server.logged("it was set aside and a new one begun");
    await skin.say(server, question(1));
  }
  const names = (await Array.fromAsync(Deno.readDir(`${home.path}/data`))).map(({ name }) => name);
  const aside = names.find((name) => name.startsWith("conversations.db.corrupt-"));
  assertEquals(await Deno.readFile(`${home.path}/data/${aside}`), garbage);
  await using server = await startServer({ agent, home: home.path });
  await skin.say(server, question(2));
  assertEquals(promptsOf(await server.received()).at(-1)!.text, question(2));
});

Deno.test("where nothing can be kept, it is said, and the server works", async () => {
  await using home = await makeHome();
  await Deno.writeTextFile(`${home.path}/file`, "");
  await Deno.mkdir(`${home.path}/locked`, { mode: 0o500 });
  const folders = [`${home.path}/file/data`];
  // Whoever may do everything is not kept out.
  if (Deno.build.os !== "windows" && Deno.uid() !== 0) folders.push(`${home.path}/locked`);
  for (const folder of folders) {
    await using server = await startServer({ env: { VTUBER_DATA_DIR: folder } });
    await server.logged("conversations are remembered only until this program ends");
    assertStringIncludes(server.log(), folder);
    const skin = new Talker();
    for (const turn of [1, 2]) assertEquals((await skin.say(server, question(turn))).text, answer(turn));
    const prompts = promptsOf(await server.received());
    assertEquals(prompts.map(({ text }) => text), [opening(question(1)), question(2)]);
  }
});

Deno.test("VTUBER_DATA_DIR=none: nothing is written, and nothing outlives the server", async () => {
  await using home = await makeHome();
  const skin = new Talker();
  const start = () =>
    startServer({ agent: { resume: true }, home: home.path, env: { VTUBER_DATA_DIR: "none" } });
  for (const turns of [[1, 2], [3, 4]]) {
    await using server = await start();
    for (const turn of turns) assertEquals((await skin.say(server, question(turn))).text, answer(turn));
    const [first, second] = promptsOf(await server.received()).slice(-2);
    assertStringIncludes(first!.text, "<system>");
    assertEquals(second!.text, question(turns[1]!));
  }
  const names = (await Array.fromAsync(Deno.readDir(home.path))).map(({ name }) => name);
  assertEquals(names, ["agent.jsonl"]);
});

/** The methods by which an agent was asked about a session, in order. */
function about(messages: readonly Record<string, unknown>[], sessionId: string): unknown[] {
  return messages.filter(({ params }) =>
    (params as { sessionId?: string } | undefined)?.sessionId === sessionId
  )
    .map(({ method }) => method);
}

function methodsOf(messages: readonly Record<string, unknown>[], method: string): unknown[] {
  return messages.filter((message) => message.method === method);
}
