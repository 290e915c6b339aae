/** Single turns of a real agent process: its output, its death, its silence, and clients that hang up. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  assertBoundedMemory,
  countMethod,
  inConversation,
  replyOf,
  script,
  type ServerProcess,
  startServer,
  testServer,
  until,
} from "../support/harness/server_process.ts";

/** Hangs up a running turn; returns the milliseconds until the agent received the cancel. */
async function hangUp(server: ServerProcess, stream: boolean): Promise<number> {
  const request = new AbortController();
  const received = await server.received();
  const prompts = countMethod(received, "session/prompt");
  const cancels = countMethod(received, "session/cancel");
  const init = { signal: request.signal };
  const reply = server.chat(script({ text: "first " }, { hang: true }), { stream }, init)
    .then(async (response) => {
      // The first token of a stream arrives although the turn never ends.
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; !text.includes("first ");) text += (await reader.read()).value;
      request.abort();
      return await reader.read();
    }).catch(() => "hung up");
  await server.receivedTimes("session/prompt", prompts + 1);
  const startedAt = performance.now();
  if (!stream) request.abort();
  assertEquals(await reply, "hung up");
  await server.receivedTimes("session/cancel", cancels + 1);
  return performance.now() - startedAt;
}

testServer("turns", { env: { VTUBER_DEFAULT_MODEL: "猫" } }, {
  async "a hang-up cancels the agent's turn within a second, streamed or not"(server) {
    for (const stream of [true, false]) {
      let fastestMs = await hangUp(server, stream);
      // Repeated because the machine may be slow for a moment.
      for (let tries = 1; fastestMs >= 1_000 && tries < 20; tries++) {
        fastestMs = Math.min(fastestMs, await hangUp(server, stream));
      }
      assert(fastestMs < 1_000, `${fastestMs} ms`);
    }
  },

  async "hang-ups at any moment of a stream do not disturb later turns"(server) {
    for (let round = 0; round < 40; round++) {
      const response = await server.chat(script({ tokens: 200 }));
      const reader = response.body!.getReader();
      for (let reads = round % 4; reads > 0; reads--) await reader.read();
      await reader.cancel();
    }
    assertEquals((await replyOf(server.chat(script({ text: "still here" })))).text, "still here\n");
  },

  async "an agent that is killed inside a turn: one sentence in the stream, and a new agent for the next turn"(
    server,
  ) {
    const killed = await replyOf(server.chat(script({ text: "Half a " }, { kill: true })));
    assertEquals(killed.text, "Half a \nSorry, my agent stopped unexpectedly. Please try again.\n");
    assertEquals([killed.finish, killed.done], ["error", true]);
    const next = await replyOf(server.chat(script({ text: "Back." })));
    assertEquals([next.text, next.finish], ["Back.\n", "stop"]);
  },

  async "text that the agent sends right behind its answer belongs to the turn"(server) {
    const conversation = inConversation("late");
    const steps = script({ text: "one" }, { afterAnswer: [{ text: ", late" }] });
    assertEquals((await replyOf(server.chat(steps, {}, conversation))).text, "one, late\n");
    assertEquals((await replyOf(server.chat(script({ text: "two" }), {}, conversation))).text, "two\n");
  },

  async "names of conversations and models may be in any script"(server) {
    const response = await server.chat("hi", { conversation_id: "会話 1", model: "モデル" });
    assertEquals(response.headers.get("x-session-id"), encodeURIComponent("会話 1"));
    assertEquals(response.headers.get("x-resolved-model"), encodeURIComponent("猫"));
    assertEquals((await replyOf(response)).chunks[0].model, "モデル");
  },
});

Deno.test("VTUBER_SESSIONS=stateless: the session of each turn is closed", async () => {
  await using server = await startServer({ env: { VTUBER_SESSIONS: "stateless" } });
  const response = await server.chat(script({ text: "[happy] Hel" }, { text: "" }, { text: "lo" }));
  assertEquals(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const { text, finish, done } = await replyOf(response);
  assertEquals([response.status, text, finish, done], [200, "[happy] Hello\n", "stop", true]);
  await server.receivedTimes("session/close", 1);
});

Deno.test("a silent agent: heartbeats, and a tool that takes longer than OpenAB's pause of 1.5 s", async () => {
  for (
    const [mode, heartbeat] of [["chunk", '"delta":{}'], ["comment", ": waiting for agent\n\n"]] as const
  ) {
    await using server = await startServer({ env: { VTUBER_HEARTBEAT: mode, VTUBER_HEARTBEAT_SECS: "0.1" } });
    const response = await server.chat(script(
      { text: "I look. " },
      { tool: { id: "t", title: "look", kind: "read", status: "in_progress" } },
      { sleepMs: mode === "chunk" ? 1_700 : 500 },
      { toolUpdate: { id: "t", status: "completed" } },
      { text: "I saw." },
    ));
    const stream = await response.text();
    assert(stream.split(heartbeat).length > 3, stream);
    assertStringIncludes(stream, "I saw.");
  }
});

Deno.test("VTUBER_REPLY_TIMEOUT_SECS: a silent agent fails its turn, which ends only when the agent has stopped", async () => {
  await using server = await startServer({
    env: { VTUBER_REPLY_TIMEOUT_SECS: "0.2", VTUBER_MAX_IN_FLIGHT: "1" },
  });
  const { text, finish } = await replyOf(server.chat(script({ hang: true })));
  assertEquals([text, finish], ["Sorry, that took too long, so I stopped.\n", "error"]);
  await server.receivedTimes("session/cancel", 1);
  await until(async () => (await replyOf(server.chat("free again"))).done);
});

Deno.test("a client that does not read delays only itself, in bounded memory", async () => {
  await using server = await startServer();
  const stalled = await server.chat(script({ tokens: 600_000, text: "x".repeat(100) }));
  await server.receivedTimes("session/cancel", 1);
  assertEquals((await replyOf(server.chat(script({ tokens: 50, text: "y" })))).text, "y".repeat(50) + "\n");
  assertBoundedMemory(server);
  await stalled.body!.cancel();
});
