import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { Json } from "../support/agents/scripted_agent.ts";
import { soon } from "../support/harness/turn_recorder.ts";
import { AT_ONCE, DemoClient } from "../support/harness/demo_client.ts";
import { wrongMessages } from "../support/harness/acp_schema.ts";

Deno.test("demo agent: says what it is", async () => {
  await using client = new DemoClient();
  const answer = await client.peer.request("initialize", { protocolVersion: 1 }) as Json;
  assertEquals(answer.protocolVersion, 1);
  const { loadSession, promptCapabilities } = answer.agentCapabilities as Json;
  assertEquals([loadSession, (promptCapabilities as Json).image], [true, true]);
});

Deno.test("demo agent: greets, thinking first, and says what was said to it", async () => {
  await using client = new DemoClient();
  const sessionId = await client.session();
  assertEquals(await client.prompt(sessionId, "Good morning!"), { stopReason: "end_turn" });
  assertMatch(client.text(), /^\[happy\] Hello! I am the demo agent\. You said: "Good morning!"\./);
  assert(client.text("agent_thought_chunk").length > 0);
  assertEquals(client.updates[0]?.sessionUpdate, "agent_thought_chunk");
  assert(client.of("agent_message_chunk").length > 10);
});

Deno.test("demo agent: remembers the session, and each by itself", async () => {
  await using client = new DemoClient();
  const [one, other] = [await client.session(), await client.session()];
  assert(one !== other);
  await client.prompt(one, "Hello");
  await client.prompt(one, "Hello");
  assertStringIncludes(client.text(), "We have met before: this is turn 2.");
  client.updates.length = 0;
  await client.prompt(other, "Hello");
  assertStringIncludes(client.text(), "Hello! I am the demo agent.");
});

Deno.test("demo agent: of a transcript it hears what was said last", async () => {
  await using client = new DemoClient();
  const transcript = "<system>\nThink hard, make a plan.\n</system>\n\n<user>\nrun a tool\n</user>\n\nHi";
  await client.prompt(await client.session(), transcript);
  assertStringIncludes(client.text(), 'You said: "Hi".');
});

Deno.test("demo agent: a long word is shortened, whole characters only", async () => {
  await using client = new DemoClient();
  await client.prompt(await client.session(), "😀".repeat(1_000));
  assertMatch(client.text(), /"(😀){120}\.\.\."/u);
});

Deno.test("demo agent: thinks", async () => {
  await using client = new DemoClient();
  await client.prompt(await client.session(), "Please think");
  assertStringIncludes(client.text("agent_thought_chunk"), "what a thought looks like");
  assertStringIncludes(client.text(), "[curious]");
});

Deno.test("demo agent: plans, step by step", async () => {
  await using client = new DemoClient();
  await client.prompt(await client.session(), "Make a plan");
  const statuses = client.of("plan").map(({ entries }) => (entries as Json[]).map(({ status }) => status));
  assertEquals(statuses, [
    ["in_progress", "pending", "pending"],
    ["completed", "in_progress", "pending"],
    ["completed", "completed", "in_progress"],
    ["completed", "completed", "completed"],
  ]);
});

/** What became of the tool. */
const toolStatuses = (client: DemoClient) =>
  [...client.of("tool_call"), ...client.of("tool_call_update")].map(({ status }) => status);

for (const kind of ["allow_once", "allow_always"]) {
  Deno.test(`demo agent: runs a tool if it may: ${kind}`, async () => {
    await using client = new DemoClient();
    client.choose(kind);
    assertEquals(await client.prompt(await client.session(), "Run a tool"), { stopReason: "end_turn" });
    assertEquals(toolStatuses(client), ["pending", "in_progress", "completed"]);
    assertMatch(client.text(), /it is \d\d:\d\d UTC/);
  });
}

for (
  const [name, decide] of [
    ["refused", (client: DemoClient) => client.choose("reject_once")],
    ["left undecided", () => {}],
  ] as const
) {
  Deno.test(`demo agent: runs no tool if it was ${name}`, async () => {
    await using client = new DemoClient();
    decide(client);
    assertEquals(await client.prompt(await client.session(), "use the tool"), { stopReason: "end_turn" });
    assertEquals(toolStatuses(client), ["pending", "failed"]);
    assertStringIncludes(client.text(), "[sad]");
  });
}

Deno.test("demo agent: takes pictures, and tells what it can tell of them", async () => {
  await using client = new DemoClient();
  const picture = { type: "image", mimeType: "image/png", data: "A".repeat(4_096) };
  const sessionId = await client.session();
  await client.prompt(sessionId, "think of a plan:", picture);
  assertStringIncludes(client.text(), "I got a picture: image/png of about 3 KiB.");
  await client.prompt(sessionId, picture, { ...picture, mimeType: "image/webp" });
  assertStringIncludes(
    client.text(),
    "I got 2 pictures: image/png of about 3 KiB, image/webp of about 3 KiB.",
  );
});

Deno.test("demo agent: a cancel ends the turn in the middle, and the next one runs", async () => {
  await using client = new DemoClient();
  const sessionId = await client.session();
  client.hear = () => {
    client.hear = () => {};
    client.peer.notify("session/cancel", { sessionId });
  };
  assertEquals(await client.prompt(sessionId, "Hello"), { stopReason: "cancelled" });
  assertEquals(client.text(), "");
  assertEquals(await client.prompt(sessionId, "Hello"), { stopReason: "end_turn" });
});

Deno.test("demo agent: a cancel ends a turn that waits, at once", async () => {
  await using client = new DemoClient({ ...AT_ONCE, stepMs: 3_600_000 });
  const sessionId = await client.session();
  client.hear = () => client.peer.notify("session/cancel", { sessionId });
  assertEquals(await client.prompt(sessionId, "Make a plan"), { stopReason: "cancelled" });
});

Deno.test("demo agent: a cancel while it asks for a permission", async () => {
  await using client = new DemoClient();
  const sessionId = await client.session();
  client.decide = () => {
    client.peer.notify("session/cancel", { sessionId });
    return { outcome: { outcome: "cancelled" } };
  };
  assertEquals(await client.prompt(sessionId, "Run a tool"), { stopReason: "cancelled" });
  assertEquals(client.text(), "");
});

Deno.test("demo agent: a cancel of nothing, and of a session that is not there", async () => {
  await using client = new DemoClient();
  const sessionId = await client.session();
  client.peer.notify("session/cancel", { sessionId });
  client.peer.notify("session/cancel", { sessionId: "another" });
  client.peer.notify("unheard/of", {});
  assertEquals(await client.prompt(sessionId, "Hello"), { stopReason: "end_turn" });
});

/** Why the demo agent refused. */
async function refusal(answer: Promise<unknown>): Promise<number> {
  const error: RpcError = await assertRejects(() => soon(answer, "a refusal"), RpcError);
  return error.code;
}

Deno.test("demo agent: one prompt at a time in a session, several sessions at once", async () => {
  await using client = new DemoClient({ ...AT_ONCE, stepMs: 3_600_000 });
  const [one, other] = [await client.session(), await client.session()];
  const turns = [client.prompt(one, "Make a plan"), client.prompt(other, "Make a plan")];
  assertEquals(await refusal(client.prompt(one, "Hello")), RPC.invalidParams);
  for (const sessionId of [one, other]) client.peer.notify("session/cancel", { sessionId });
  assertEquals(await Promise.all(turns), [{ stopReason: "cancelled" }, { stopReason: "cancelled" }]);
});

Deno.test("demo agent: load replays what was said, before it answers", async () => {
  await using client = new DemoClient();
  const sessionId = await client.session();
  for (const text of ["think", "Hi"]) await client.prompt(sessionId, text);
  const spoken = client.text();
  client.updates.length = 0;
  const heard = client.peer.request("session/load", { sessionId, cwd: "/", mcpServers: [] }).then(() =>
    client.updates.length
  );
  assertEquals(await heard, 4);
  assertEquals(client.updates.map(({ sessionUpdate }) => sessionUpdate), [
    "user_message_chunk",
    "agent_message_chunk",
    "user_message_chunk",
    "agent_message_chunk",
  ]);
  assertEquals([client.text("user_message_chunk"), client.text()], ["thinkHi", spoken]);
});

Deno.test("demo agent: close ends the session and what runs in it; resume and load bring it back", async () => {
  await using client = new DemoClient({ ...AT_ONCE, stepMs: 3_600_000 });
  const sessionId = await client.session();
  const place = { sessionId, cwd: "/", mcpServers: [] };
  for (const method of ["session/resume", "session/load"]) {
    const turn = client.prompt(sessionId, "Make a plan");
    assertEquals(await client.peer.request("session/close", { sessionId }), {});
    assertEquals(await turn, { stopReason: "cancelled" });
    assertEquals(await refusal(client.prompt(sessionId, "Hello")), RPC.resourceNotFound);
    assertEquals(await refusal(client.peer.request("session/close", { sessionId })), RPC.resourceNotFound);
    client.updates.length = 0;
    assertEquals(await client.peer.request(method, place), {});
    assertEquals(client.of("user_message_chunk").length, method === "session/load" ? 2 : 0);
  }
});

Deno.test("demo agent: what was said before a close is remembered after it", async () => {
  await using client = new DemoClient();
  const sessionId = await client.session();
  await client.prompt(sessionId, "Hello");
  await client.peer.request("session/close", { sessionId });
  await client.peer.request("session/resume", { sessionId, cwd: "/", mcpServers: [] });
  await client.prompt(sessionId, "Hello");
  assertStringIncludes(client.text(), "We have met before: this is turn 2.");
});

Deno.test("demo agent: delete forgets the session, open or closed", async () => {
  await using client = new DemoClient({ ...AT_ONCE, stepMs: 3_600_000 });
  for (const isClosed of [false, true]) {
    const sessionId = await client.session();
    const turn = client.prompt(sessionId, "Make a plan");
    if (isClosed) await client.peer.request("session/close", { sessionId });
    assertEquals(await client.peer.request("session/delete", { sessionId }), {});
    assertEquals(await turn, { stopReason: "cancelled" });
    for (const method of ["session/resume", "session/load", "session/delete"]) {
      assertEquals(await refusal(client.peer.request(method, { sessionId })), RPC.resourceNotFound);
    }
  }
});

Deno.test("demo agent: the sessions that it remembers have a limit, and those that are open stay", async () => {
  await using client = new DemoClient();
  const open = await client.session();
  const closed = await client.session();
  await client.peer.request("session/close", { sessionId: closed });
  for (let count = 2; count <= 1_000; count++) await client.session();
  assertEquals(
    await refusal(client.peer.request("session/resume", { sessionId: closed })),
    RPC.resourceNotFound,
  );
  assertEquals(await client.prompt(open, "Hello"), { stopReason: "end_turn" });
});

Deno.test("demo agent: a session that is not there", async () => {
  await using client = new DemoClient();
  for (
    const method of ["session/load", "session/resume", "session/prompt", "session/close", "session/delete"]
  ) {
    assertEquals(
      await refusal(client.peer.request(method, { sessionId: "none", prompt: [] })),
      RPC.resourceNotFound,
    );
    assertEquals(await refusal(client.peer.request(method, undefined)), RPC.resourceNotFound);
  }
});

Deno.test("demo agent: a method that it does not know", async () => {
  await using client = new DemoClient();
  assertEquals(await refusal(client.peer.request("session/set_mode", {})), RPC.methodNotFound);
});

Deno.test("demo agent: ends with its client, also in the middle of a turn", async () => {
  const client = new DemoClient({ ...AT_ONCE, stepMs: 3_600_000 });
  const turn = client.prompt(await client.session(), "Make a plan").catch((error) => error);
  await client[Symbol.asyncDispose]();
  assert(await turn instanceof Error);
});

Deno.test("demo agent: everything that it says is as the protocol's schema has it", async () => {
  await using client = new DemoClient();
  await client.peer.request("initialize", { protocolVersion: 1 });
  const sessionId = await client.session();
  client.choose("allow_once");
  for (const text of ["Hello", "think", "Make a plan", "Run a tool"]) await client.prompt(sessionId, text);
  client.choose("reject_once");
  await client.prompt(sessionId, "Run a tool", { type: "image", mimeType: "image/png", data: "" });
  await client.peer.request("session/load", { sessionId, cwd: "/", mcpServers: [] });
  await client.peer.request("session/close", { sessionId });
  await client.peer.request("session/resume", { sessionId, cwd: "/", mcpServers: [] });
  await client.peer.request("session/delete", { sessionId });
  await refusal(client.peer.request("session/load", { sessionId, cwd: "/", mcpServers: [] }));
  assertEquals(wrongMessages("agent", client.received, client.sent), []);
  assert(client.received.length > 100);
});
