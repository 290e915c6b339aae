import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { readAnswer, script, type Server, startServer } from "../support/harness/server_process.ts";
import { type Frame, get, EventStreamClient, watch } from "../support/harness/event_client.ts";

type Json = Record<string, unknown>;

async function notify(server: Server, body: unknown): Promise<{ status: number; body: Json }> {
  const response = await server.post("/v1/vtuber/notifications", body);
  return { status: response.status, body: await response.json() };
}

/** What a client gets that posts this back. */
async function postBack(server: Server, text: string, init?: RequestInit): Promise<string> {
  return readAnswer(await (await server.chat(text, {}, init)).text()).text;
}

async function prompts(server: Server): Promise<string[]> {
  return (await server.received()).filter(({ method }) => method === "session/prompt")
    .map(({ params }) => JSON.stringify(params));
}

function told({ type, text, urgency, tag, state }: Frame): unknown {
  return type === "notification" ? [text, urgency] : tag ?? state;
}

Deno.test("a text is said by everybody who wants to hear it, and is answered as it was when it comes back", async () => {
  await using server = await startServer();
  await using one = await watch(server);
  await using two = await watch(server, { events: ["agent_state", "emotion", "notification"] });
  await using deaf = await watch(server, { events: ["agent_state"] });
  await using listener = await EventStreamClient.open(server, "events=notification");
  const said = await notify(server, { text: "  [happy] The build is done. ", urgency: "high" });
  assertEquals([said.status, said.body.clients], [200, 3]);
  for (const watcher of [one, two]) {
    const from = watcher.frames.indexOf(await watcher.state("notification"));
    await watcher.state("idle", from);
    const frames = watcher.frames.slice(from);
    assertEquals(frames.map(told), ["notification", "happy", ["The build is done.", "high"], "idle"]);
    assert(frames.every(({ session_id, turn_id }) => session_id === undefined && turn_id === undefined));
  }
  assertEquals((await listener.until(([first]) => first)).text, "The build is done.");
  await deaf.ping();
  assertEquals(deaf.of("notification"), []);

  // Each of those who were told may post it back, in its own form, and is told the same.
  const reply = "[happy] The build is done.\n";
  assertEquals(await postBack(server, "The build is done."), reply);
  const init = { headers: { "x-session-id": "talk" } };
  const parts = await server.post("/v1/chat/completions", {
    messages: [
      { role: "system", content: "You are Ani." },
      { role: "user", content: "Hello." },
      { role: "assistant", content: "Hi." },
      { role: "user", content: [{ type: "text", text: " The build is done.\n" }] },
    ],
  }, init);
  assertEquals(parts.headers.get("x-session-id"), "talk");
  assertEquals((await parts.json()).choices[0].message.content, reply);
  assertEquals(await postBack(server, "The build is done."), reply);
  assertEquals(await prompts(server), [], "no agent was asked");
  assertStringIncludes(await postBack(server, "The build is done."), "You said");
  assertEquals((await prompts(server)).length, 1, "nobody is left who was told");
});

Deno.test("where nobody listens, nothing is prepared", async () => {
  await using server = await startServer();
  assertEquals((await notify(server, { text: "Anybody?" })).body, { said: "Anybody?", clients: 0 });
  assertStringIncludes(await postBack(server, "Anybody?"), "You said");
});

Deno.test("what is not a tag is said as it is", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["notification", "emotion"] });
  for (
    const text of ["Line one\nLine two", "[unknown] word", '{"a": "b"}', "👩‍💻 こんにちは", "x".repeat(4_000)]
  ) {
    const from = watcher.frames.length;
    assertEquals((await notify(server, { text })).body.clients, 1);
    const frame = await watcher.first("notification", undefined, from);
    assertEquals([frame.text, frame.urgency], [text, "normal"]);
    assertEquals(await postBack(server, text), `${text}\n`);
  }
  assertEquals(watcher.of("emotion"), []);
  const from = watcher.frames.length;
  await notify(server, { text: "[wave] [happy]" });
  assertEquals((await watcher.first("notification", undefined, from)).text, "[wave]");
  // Nothing but a tag is left as it is: an empty text would be nothing to post back.
  await notify(server, { text: "[happy]" });
  await watcher.first("notification", ({ text }) => text === "[happy]", from);
  assertEquals(await prompts(server), []);
});

Deno.test("a notification that comes while a turn runs does not hide what the agent does", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  const response = await server.chat(script({ text: "." }, { hang: true }));
  await watcher.state("thinking");
  await notify(server, { text: "By the way." });
  await watcher.first("notification");
  assertEquals((await get(server, "/v1/vtuber/state")).state, "thinking");
  watcher.send({ type: "interrupt" });
  await response.text();
  await watcher.untilTurnEnds();
  assertEquals(watcher.states, ["idle", "thinking", "idle"]);
});

Deno.test("a turn takes the place of a notification's state, and is not ended with it", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  await notify(server, { text: "First." });
  const response = await server.chat(script({ sleepMs: 2_500 }, { text: "Second." }));
  await response.text();
  await watcher.untilTurnEnds();
  assertEquals(watcher.states, ["idle", "notification", "idle", "thinking", "attention", "idle"]);
});

Deno.test("notifications that follow each other are one state", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  // Both are there before the state of the first is over.
  await Promise.all([notify(server, { text: "One." }), notify(server, { text: "Two." })]);
  await watcher.until((frames) => frames.filter(({ type }) => type === "notification").length === 2);
  await watcher.until((frames) => frames.at(-1)!.state === "idle");
  assertEquals(watcher.states, ["idle", "notification", "idle"]);
});

Deno.test("a notification after a turn is shown for its own time, and ended once", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  await (await server.chat(script({ text: "." }))).text();
  await watcher.state("attention");
  await notify(server, { text: "One." });
  const shown = watcher.frames.indexOf(await watcher.state("notification"));
  const idle = await watcher.state("idle", shown);
  assertEquals(idle.turn_id, undefined, "the turn's end does not end what came after it");
});

Deno.test("mode agent: the agent's words are said, and nothing of its turn but what it does", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["*", "say"] });
  const from = watcher.frames.length;
  const tool = { tool: { id: "t", title: "date", kind: "read" } };
  const text = script(
    { text: "[sad] It is " },
    tool,
    { toolUpdate: { id: "t", status: "completed" } },
    { text: "late." },
  );
  const { status, body } = await notify(server, { text, mode: "agent", urgency: "low" });
  assertEquals([status, body], [200, { said: "It is late.", clients: 1 }]);
  assertEquals((await prompts(server)).length, 1);
  await watcher.until((frames) =>
    frames.at(-1)!.state === "idle" && frames.some(({ type }) => type === "notification")
  );
  assertEquals(watcher.frames.slice(from).map(({ type, state, status }) => state ?? status ?? type), [
    "thinking",
    "pending",
    "working",
    "done",
    "thinking",
    "idle",
    "notification",
    "emotion",
    "notification",
    "idle",
  ]);
  const { text: words, urgency } = watcher.of("notification")[0]!;
  assertEquals([words, urgency], ["It is late.", "low"]);
  assertEquals(await postBack(server, "It is late."), "[sad] It is late.\n");
  assertEquals((await prompts(server)).length, 1);
});

Deno.test("mode agent: an agent with nothing to say says nothing", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  for (
    const steps of [
      [{ text: "[silent]" }],
      [{ text: " [Silent] \n" }],
      [{ text: "[sil" }, { text: "ent]" }],
      [{ thought: "Hm." }],
    ]
  ) {
    const { status, body } = await notify(server, { text: script(...steps), mode: "agent" });
    assertEquals([status, body], [200, { said: null, clients: 0 }]);
  }
  await watcher.ping();
  assertEquals(watcher.of("notification"), []);
  assertEquals(new Set(watcher.states), new Set(["idle", "thinking"]), "and is not celebrated");
});

Deno.test("mode agent: a turn that fails, or that nobody waits for", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  const failed = await notify(server, {
    text: script({ text: "It" }, { error: { code: -32603, message: "no" } }),
    mode: "agent",
  });
  assertEquals([failed.status, (failed.body.error as Json).code], [502, "agent_error"]);
  const client = new AbortController();
  const from = watcher.frames.length;
  const left = server.post(
    "/v1/vtuber/notifications",
    { text: script({ text: "It" }, { hang: true }), mode: "agent" },
    { signal: client.signal },
  ).catch(() => "left");
  await watcher.state("thinking", from);
  client.abort();
  assertEquals(await left, "left");
  await server.receivedUntil((all) => all.some(({ method }) => method === "session/cancel"));
  await watcher.state("idle", from);
  const interrupted = notify(server, { text: script({ text: "It" }, { hang: true }), mode: "agent" });
  const again = watcher.frames.length;
  await watcher.state("thinking", again);
  watcher.send({ type: "interrupt" });
  assertEquals(((await interrupted).body.error as Json).code, "turn_cancelled");
  assertEquals(watcher.of("notification"), []);
});

Deno.test("a wrong notification is refused, by the name of its field", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  const cases: [unknown, string | null][] = [
    [{}, "text"],
    [{ text: "" }, "text"],
    [{ text: " \n" }, "text"],
    [{ text: 5 }, "text"],
    [{ text: null }, "text"],
    [{ text: "x".repeat(4_001) }, "text"],
    [{ text: "a", urgency: "HIGH!" }, "urgency"],
    [{ text: "a", urgency: null }, "urgency"],
    [{ text: "a", mode: "shout" }, "mode"],
    [[], null],
    ["{", null],
  ];
  for (const [sent, param] of cases) {
    const { status, body } = await notify(server, sent);
    const error = body.error as Json;
    assertEquals([status, error.param], [400, param], JSON.stringify(sent));
    if (param) assertStringIncludes(String(error.message), `"${param}"`);
  }
  const read = await fetch(`${server.url}/v1/vtuber/notifications`);
  assertEquals([read.status, read.headers.get("allow")], [405, "POST, OPTIONS"]);
  await read.body?.cancel();
  await watcher.ping();
  assertEquals([watcher.of("notification"), watcher.states], [[], ["idle"]]);
  assertEquals(await prompts(server), []);
});
