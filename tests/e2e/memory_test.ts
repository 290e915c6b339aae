/** Conversations that outlive their agent, their server and their open session; and conversations that are forgotten. */

import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { replayCommand } from "../support/agents/replayed_agent.ts";
import type { ScriptedAgentOptions } from "../support/agents/scripted_agent.ts";
import {
  agentPids,
  createDataDir,
  type DataDir,
  killProcess,
  listConversations,
} from "../support/harness/data_dir_fixture.ts";
import { repeatedRecording, replyIn, withoutResume } from "../support/harness/recorded_agents.ts";
import {
  type AgentMessage,
  countMethod,
  demoCommand,
  readAnswer,
  script,
  type ServerOptions,
  type ServerProcess,
  startServer,
} from "../support/harness/server_process.ts";
import { answer, ChatClient, firstPrompt, question } from "../support/skins/chat_client.ts";

const TURNS = Array.from({ length: 10 }, (_, index) => index + 1);

/** Starts a server with an agent that keeps its sessions, in a directory. */
function startIn(dataDir: DataDir, options: ServerOptions = {}): Promise<ServerProcess> {
  return startServer({ agent: dataDir.agent, dataDir: dataDir.path, ...options });
}

/** Lists the methods of the messages about a session. */
function methodsFor(messages: readonly AgentMessage[], sessionId: string): unknown[] {
  const idOf = ({ params }: AgentMessage) => (params as { sessionId?: string } | undefined)?.sessionId;
  return messages.filter((message) => idOf(message) === sessionId).map(({ method }) => method);
}

/** Runs turns 1 to 10 on three servers: kills the agent after turn 3, and ends servers by SIGTERM and SIGKILL. */
async function runWithRestarts(
  start: () => Promise<ServerProcess>,
  turn: (server: ServerProcess, number: number) => Promise<void>,
): Promise<ServerProcess> {
  for (const [turns, signal] of [[[1, 2, 3, 4, 5], "SIGTERM"], [[6, 7], "SIGKILL"]] as const) {
    await using server = await start();
    for (const number of turns) {
      await turn(server, number);
      if (number !== 3) continue;
      const [pid] = await agentPids(server, 1);
      await killProcess(pid!);
    }
    await server.end(signal);
  }
  const server = await start();
  for (const number of [8, 9, 10]) await turn(server, number);
  return server;
}
/** The turns before which {@linkcode runWithRestarts} replaces the agent. */
const AFTER_RESTART = [4, 6, 8];
/** Turns in which the agent repeats everything that it received in its session. */
const RECALL_TURNS = [5, 7, 9];

const AGENTS: readonly [name: string, agent: ScriptedAgentOptions, method: string | undefined][] = [
  ["resumes sessions", { resume: true, loadSession: true }, "session/resume"],
  ["loads sessions", { loadSession: true }, "session/load"],
  ["does neither", {}, undefined],
  ["has lost its sessions", { resume: true, forgetful: true }, undefined],
];

for (const [name, options, method] of AGENTS) {
  Deno.test(`an agent that ${name}: a conversation survives its agent and its servers`, async () => {
    await using dataDir = await createDataDir();
    const agent = { ...options, memory: `${dataDir.path}/sessions` };
    const client = new ChatClient();
    const transcripts: string[] = [];
    const conversations = new Set<string>();
    const textOf = (turn: number) =>
      RECALL_TURNS.includes(turn) ? `Question ${turn}? ${script({ recall: true })}` : question(turn);
    await using server = await runWithRestarts(() => startIn(dataDir, { agent }), async (server, turn) => {
      const response = client.start(server, textOf(turn));
      transcripts.push(client.transcript());
      const { text, finish, conversation } = await client.read(await response);
      conversations.add(conversation);
      assertEquals(finish, "stop");
      if (!RECALL_TURNS.includes(turn)) assertEquals(text, answer(turn));
      else for (const before of TURNS.slice(0, turn - 1)) assertStringIncludes(text, `Question ${before}?`);
    });
    assertEquals(conversations.size, 1);
    const prompts = await server.prompts();
    const needsTranscript = (turn: number) =>
      turn === 1 || method === undefined && AFTER_RESTART.includes(turn);
    assertEquals(
      prompts.map(({ text }) => text),
      TURNS.map((turn) => needsTranscript(turn) ? transcripts[turn - 1] : textOf(turn)),
    );
    const sessions = new Set(prompts.map(({ sessionId }) => sessionId));
    assertEquals(sessions.size, method === undefined ? 4 : 1);
    if (method === undefined) return;
    const resumed = (await server.received()).filter((message) => message.method === method);
    const ids = resumed.map(({ params }) => (params as { sessionId: string }).sessionId);
    assertEquals(ids, AFTER_RESTART.map(() => prompts[0]!.sessionId));
  });
}

Deno.test("the demo agent, which keeps nothing: its conversation survives its agent and its servers", async () => {
  await using dataDir = await createDataDir();
  const agent = demoCommand(["--token-ms", "0", "--step-ms", "0"]);
  const client = new ChatClient();
  await using server = await runWithRestarts(() => startIn(dataDir, { agent }), async (server, turn) => {
    const { text, finish } = await client.send(server, `What is ${turn} and ${turn}?`);
    assertEquals(finish, "stop");
    assertStringIncludes(text, `You said: "What is ${turn} and ${turn}?"`);
    // The demo agent counts the turns of its session.
    const first = [1, ...AFTER_RESTART].findLast((start) => start <= turn)!;
    assertStringIncludes(text, turn === first ? "[happy] Hello!" : `this is turn ${turn - first + 1}.`);
  });
  assertEquals((await listConversations(server)).map(({ turns }) => turns), [10]);
});

for (const recording of ["claude-load", "codex2-load"]) {
  for (const method of ["session/resume", "session/load"]) {
    Deno.test(`${recording}: its messages during ${method} reach no client`, async () => {
      await using dataDir = await createDataDir();
      const path = `${dataDir.path}/recording.ndjson`;
      const change = method === "session/load" ? withoutResume : undefined;
      await Deno.writeTextFile(path, repeatedRecording(recording, TURNS.length, change));
      const agent = replayCommand(path, { log: `${dataDir.path}/agent.jsonl` });
      const start = () => startIn(dataDir, { agent, env: { VTUBER_PERMISSIONS: "allow" } });
      const client = new ChatClient();
      const textOf = (turn: number) => `Please do it, for the ${turn}. time.`;
      await using server = await runWithRestarts(start, async (server, turn) => {
        assertEquals((await client.send(server, textOf(turn))).text.trim(), replyIn(recording).trim());
      });
      const prompts = await server.prompts();
      assertEquals(prompts.map(({ text }) => text), [firstPrompt(textOf(1)), ...TURNS.slice(1).map(textOf)]);
      assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
      assertEquals(countMethod(await server.received(), method), AFTER_RESTART.length);
    });
  }
}

Deno.test({
  name: "an agent whose exit the server notices only at the next turn is replaced in that turn",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using dataDir = await createDataDir();
    await using server = await startIn(dataDir);
    await server.logged('"message":"agent ready"');
    const client = new ChatClient();
    for (const turn of TURNS) {
      const [pid] = await agentPids(server, 1);
      // A stopped server finds the exit and the request at the same time when it continues.
      server.signal("SIGSTOP");
      await killProcess(pid!);
      const response = client.start(server, question(turn));
      // If the request takes longer than this pause, the server notices the exit first.
      await new Promise((resolve) => setTimeout(resolve, 20));
      server.signal("SIGCONT");
      const { text, finish } = await client.read(await response);
      assertEquals([text, finish], [answer(turn), "stop"]);
    }
  },
});

Deno.test("a reply whose end was read is stored, however soon the server is killed", async () => {
  await using dataDir = await createDataDir();
  const client = new ChatClient();
  for (const turn of [1, 3, 5]) {
    await using server = await startIn(dataDir);
    assertEquals((await client.send(server, question(turn))).text, answer(turn));
    const { body } = await client.start(server, question(turn + 1));
    let stream = "";
    for await (const piece of body!.pipeThrough(new TextDecoderStream())) {
      stream += piece;
      if (stream.includes("[DONE]")) break;
    }
    await server.end("SIGKILL");
    assertEquals(readAnswer(stream).text, answer(turn + 1));
    client.history.push({ role: "assistant", content: answer(turn + 1) });
  }
  await using server = await startIn(dataDir);
  await client.send(server, question(7));
  const prompts = await server.prompts();
  const expected = [firstPrompt(question(1)), ...[2, 3, 4, 5, 6, 7].map(question)];
  assertEquals(prompts.map(({ text }) => text), expected);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
});

Deno.test("two servers with one directory: the second says so and stores nothing", async () => {
  await using dataDir = await createDataDir();
  const clients = [1, 2].map((number) => new ChatClient({ persona: `You are number ${number}.` }));
  {
    await using first = await startIn(dataDir);
    await using second = await startIn(dataDir);
    await second.logged("another program uses");
    for (const turn of [1, 2]) {
      for (const [index, server] of [first, second].entries()) {
        assertEquals((await clients[index]!.send(server, question(turn))).text, answer(turn));
      }
    }
    assertEquals((await listConversations(second)).length, 1);
  }
  await using server = await startIn(dataDir);
  assertEquals((await listConversations(server)).length, 1);
  for (const client of clients) assertEquals((await client.send(server, question(3))).text, answer(3));
  const prompts = (await server.prompts()).slice(-2).map(({ text }) => text);
  assertEquals(prompts, [question(3), clients[1]!.transcript()]);
});

Deno.test("VTUBER_SESSION_TTL_HOURS: an idle session is closed, and resumed by the next turn", async () => {
  await using dataDir = await createDataDir();
  await using server = await startIn(dataDir, { env: { VTUBER_SESSION_TTL_HOURS: "0.001" } });
  const client = new ChatClient();
  const { conversation } = await client.send(server, question(1));
  const { sessionId } = (await server.prompts())[0]!;
  await server.receivedUntil((all) => methodsFor(all, sessionId).includes("session/close"));
  const listed = (await listConversations(server)).map(({ id, state, turns }) => [id, state, turns]);
  assertEquals(listed, [[conversation, "closed", 1]]);
  assertEquals((await client.send(server, question(2))).text, answer(2));
  const methods = methodsFor(await server.received(), sessionId);
  assertEquals(methods.slice(0, 4), ["session/prompt", "session/close", "session/resume", "session/prompt"]);
  assertEquals((await server.prompts()).at(-1)!.text, question(2));
});

Deno.test("VTUBER_MAX_SESSIONS: the session that is idle longest is closed, and every conversation continues", async () => {
  await using dataDir = await createDataDir();
  await using server = await startIn(dataDir, { env: { VTUBER_MAX_SESSIONS: "2" } });
  const clients = [1, 2, 3].map((number) => new ChatClient({ persona: `You are number ${number}.` }));
  for (const turn of [1, 2, 3]) {
    for (const client of clients) {
      assertEquals((await client.send(server, question(turn))).text, answer(turn));
    }
  }
  const used = [...new Set((await server.prompts()).map(({ sessionId }) => sessionId))];
  // The last close follows the turn that made it necessary.
  const received = await server.receivedUntil((all) => countMethod(all, "session/close") === 7);
  const again = ["session/close", "session/resume", "session/prompt"];
  assertEquals(used.map((id) => methodsFor(received, id)), [
    ["session/prompt", ...again, ...again, "session/close"],
    ["session/prompt", ...again, ...again],
    ["session/prompt", ...again, ...again],
  ]);
  const states = (await listConversations(server)).map(({ state }) => state);
  assertEquals(states, ["open", "open", "closed"]);
});

Deno.test("DELETE /v1/vtuber/sessions: the agent deletes the sessions, and nothing of them comes back", async () => {
  await using dataDir = await createDataDir();
  const agent = { ...dataDir.agent, delete: true };
  const client = new ChatClient();
  const other = new ChatClient({ persona: "You are somebody else." });
  let sessionId: string;
  const forget = (server: ServerProcess, path: string) =>
    fetch(`${server.url}/v1/vtuber/sessions${path}`, { method: "DELETE" });
  {
    await using server = await startIn(dataDir, { agent });
    const { conversation } = await client.send(server, question(1));
    const kept = await other.send(server, question(1));
    ({ sessionId } = (await server.prompts())[0]!);
    const response = await forget(server, `/${conversation}`);
    assertEquals([response.status, await response.json()], [200, { forgotten: 1 }]);
    await server.receivedTimes("session/delete", 1);
    const methods = methodsFor(await server.received(), sessionId);
    assertEquals(methods, ["session/prompt", "session/close", "session/delete"]);
    const again = await forget(server, `/${conversation}`);
    assertEquals([again.status, (await again.json()).error.code], [404, "not_found"]);
    assertEquals((await listConversations(server)).map(({ id }) => id), [kept.conversation]);
  }
  await using server = await startIn(dataDir, { agent });
  assertEquals((await client.send(server, question(2))).text, answer(2));
  const prompt = (await server.prompts()).at(-1)!;
  assertNotEquals(prompt.sessionId, sessionId);
  assertStringIncludes(prompt.text, `<user>\n${question(1)}\n</user>`);
  // A conversation whose session is closed is forgotten too, and deleted by the agent.
  assertEquals(await (await forget(server, "?all=true")).json(), { forgotten: 2 });
  assertEquals(await listConversations(server), []);
  await server.receivedTimes("session/delete", 3);
});

Deno.test("a key's conversations belong to it, and are there when the key is set again", async () => {
  await using dataDir = await createDataDir();
  const start = (key: string) => startIn(dataDir, { env: { VTUBER_AUTH_KEY: key } });
  const list = async (server: ServerProcess, key: string) =>
    (await listConversations(server, key)).map(({ id }) => id);
  const first = new ChatClient({ key: "the-first-key" });
  let conversation: string;
  {
    await using server = await start("the-first-key");
    ({ conversation } = await first.send(server, question(1)));
    await first.send(server, question(2));
  }
  {
    await using server = await start("the-second-key");
    assertEquals(await list(server, "the-second-key"), []);
    const second = new ChatClient({ key: "the-second-key", history: first.history });
    const reply = await second.send(server, question(3));
    assertNotEquals(reply.conversation, conversation);
    assertEquals((await server.prompts()).at(-1)!.text, second.transcript());
    assertEquals(await list(server, "the-second-key"), [reply.conversation]);
  }
  await using server = await start("the-first-key");
  assertEquals(await list(server, "the-first-key"), [conversation]);
  assertEquals((await first.send(server, question(3))).conversation, conversation);
  assertEquals((await server.prompts()).at(-1)!.text, question(3));
});

Deno.test("the stored file holds no text of a conversation, and only its owner can read it", async () => {
  await using dataDir = await createDataDir();
  const key = "the-key-of-this-server";
  await using server = await startServer({ dataDir: dataDir.path, env: { VTUBER_AUTH_KEY: key } });
  const client = new ChatClient({ key });
  for (const turn of [1, 2, 3]) await client.send(server, question(turn));
  const folder = `${dataDir.path}/data`;
  const assertMode = async (path: string, mode: number) => {
    if (Deno.build.os !== "windows") assertEquals((await Deno.stat(path)).mode! & 0o777, mode, path);
  };
  const check = async () => {
    const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
    assert(names.includes("conversations.db"));
    for (const name of names) {
      await assertMode(`${folder}/${name}`, 0o600);
      const bytes = new TextDecoder("latin1").decode(await Deno.readFile(`${folder}/${name}`)).toLowerCase();
      for (const secret of [key, "question", "answer", "happy", "begin each", "steps"]) {
        assert(!bytes.includes(secret), `${name}: ${secret}`);
      }
    }
  };
  await assertMode(folder, 0o700);
  await check();
  await server.end("SIGTERM");
  await check();
});

Deno.test("a directory that cannot be written is named in a warning, and the server works", async () => {
  await using dataDir = await createDataDir();
  await Deno.writeTextFile(`${dataDir.path}/file`, "");
  await Deno.mkdir(`${dataDir.path}/locked`, { mode: 0o500 });
  const folders = [`${dataDir.path}/file/data`];
  // Root may write everywhere.
  if (Deno.build.os !== "windows" && Deno.uid() !== 0) folders.push(`${dataDir.path}/locked`);
  for (const folder of folders) {
    await using server = await startServer({ env: { VTUBER_DATA_DIR: folder } });
    await server.logged("conversations and responses are kept only until this program ends");
    assertStringIncludes(server.log(), folder);
    const client = new ChatClient();
    for (const turn of [1, 2]) assertEquals((await client.send(server, question(turn))).text, answer(turn));
    const texts = (await server.prompts()).map(({ text }) => text);
    assertEquals(texts, [firstPrompt(question(1)), question(2)]);
  }
});

Deno.test("VTUBER_DATA_DIR=none: nothing is written, and conversations end with the server", async () => {
  await using dataDir = await createDataDir();
  const client = new ChatClient();
  for (const turns of [[1, 2], [3, 4]]) {
    await using server = await startServer({
      agent: { resume: true },
      dataDir: dataDir.path,
      env: { VTUBER_DATA_DIR: "none" },
    });
    for (const turn of turns) assertEquals((await client.send(server, question(turn))).text, answer(turn));
    const [first, second] = (await server.prompts()).slice(-2);
    assertStringIncludes(first!.text, "<system>");
    assertEquals(second!.text, question(turns[1]!));
  }
  const names = (await Array.fromAsync(Deno.readDir(dataDir.path))).map(({ name }) => name);
  assertEquals(names, ["agent.jsonl"]);
});
