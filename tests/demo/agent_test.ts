import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { Json } from "../support/agents/scripted_agent.ts";
import { schemaViolations } from "../support/harness/acp_schema.ts";
import { DemoClient, NO_DELAYS } from "../support/harness/demo_client.ts";

const END = { stopReason: "end_turn" };
const CANCELLED = { stopReason: "cancelled" };
/** Makes every step last an hour, so that only a cancel ends a turn. */
const SLOW = { ...NO_DELAYS, stepMs: 3_600_000 };

/** Resolves to the code of the error answer. */
async function errorCode(answer: Promise<unknown>): Promise<number> {
  const error: RpcError = await assertRejects(() => answer, RpcError);
  return error.code;
}

/** Runs one prompt in a new session. */
async function prompt(client: DemoClient, ...blocks: (string | Json)[]): Promise<string> {
  const sessionId = await client.newSession();
  assertEquals(await client.prompt(sessionId, ...blocks), END);
  return sessionId;
}

Deno.test("demo agent: initialize offers load and images", async () => {
  await using client = new DemoClient();
  const { protocolVersion, agentCapabilities } = await client.request("initialize") as Json;
  const { loadSession, promptCapabilities } = agentCapabilities as Json;
  assertEquals([protocolVersion, loadSession, (promptCapabilities as Json).image], [1, true, true]);
});

// Scenes

Deno.test("demo agent: thinks, then greets token by token and repeats the prompt", async () => {
  await using client = new DemoClient();
  await prompt(client, "Good morning!");
  assertMatch(client.text(), /^\[happy\] Hello! I am the demo agent\. You said: "Good morning!"\./);
  assert(client.text("agent_thought_chunk").length > 0);
  assertEquals(client.updates[0]?.sessionUpdate, "agent_thought_chunk");
  assert(client.updatesOf("agent_message_chunk").length > 10);
});

Deno.test("demo agent: counts the turns of each session", async () => {
  await using client = new DemoClient();
  const one = await prompt(client, "Hello");
  await client.prompt(one, "Hello");
  assertStringIncludes(client.text(), "We have met before: this is turn 2.");
  client.updates.length = 0;
  const other = await prompt(client, "Hello");
  assert(one !== other);
  assertStringIncludes(client.text(), "Hello! I am the demo agent.");
});

Deno.test("demo agent: answers the last message of a transcript", async () => {
  await using client = new DemoClient();
  await prompt(client, "<system>\nThink hard, make a plan.\n</system>\n\n<user>\nrun a tool\n</user>\n\nHi");
  assertStringIncludes(client.text(), 'You said: "Hi".');
});

Deno.test("demo agent: shortens a long word at a whole character", async () => {
  await using client = new DemoClient();
  await prompt(client, "😀".repeat(1_000));
  assertMatch(client.text(), /"(😀){120}\.\.\."/u);
});

Deno.test("demo agent: thinks on request", async () => {
  await using client = new DemoClient();
  await prompt(client, "Please think");
  assertStringIncludes(client.text("agent_thought_chunk"), "what a thought looks like");
  assertStringIncludes(client.text(), "[curious]");
});

Deno.test("demo agent: shows a plan step by step", async () => {
  await using client = new DemoClient();
  await prompt(client, "Make a plan");
  const statuses = client.updatesOf("plan").map(({ entries }) =>
    (entries as Json[]).map(({ status }) => status)
  );
  assertEquals(statuses, [
    ["in_progress", "pending", "pending"],
    ["completed", "in_progress", "pending"],
    ["completed", "completed", "in_progress"],
    ["completed", "completed", "completed"],
  ]);
});

for (
  const [choice, statuses, reply] of [
    ["allow_once", ["pending", "in_progress", "completed"], /it is \d\d:\d\d UTC/],
    ["allow_always", ["pending", "in_progress", "completed"], /it is \d\d:\d\d UTC/],
    ["reject_once", ["pending", "failed"], /\[sad\]/],
    [undefined, ["pending", "failed"], /\[sad\]/],
  ] as const
) {
  Deno.test(`demo agent: asks before a tool; the answer is ${choice ?? "cancelled"}`, async () => {
    await using client = new DemoClient();
    if (choice) client.choose(choice);
    await prompt(client, "Run a tool");
    const tools = [...client.updatesOf("tool_call"), ...client.updatesOf("tool_call_update")];
    assertEquals(tools.map(({ status }) => status), [...statuses]);
    assertMatch(client.text(), reply);
  });
}

Deno.test("demo agent: describes images by type and size", async () => {
  await using client = new DemoClient();
  const image = { type: "image", mimeType: "image/png", data: "A".repeat(4_096) };
  const sessionId = await prompt(client, "think of a plan:", image);
  assertStringIncludes(client.text(), "I got a picture: image/png of about 3 KiB.");
  await client.prompt(sessionId, image, { ...image, mimeType: "image/webp" });
  const expected = "I got 2 pictures: image/png of about 3 KiB, image/webp of about 3 KiB.";
  assertStringIncludes(client.text(), expected);
});

// Cancelling

Deno.test("demo agent: a cancel ends the turn at once, and the next turn runs", async () => {
  await using client = new DemoClient();
  const sessionId = await client.newSession();
  client.onUpdate = () => {
    client.onUpdate = () => {};
    client.cancel(sessionId);
  };
  assertEquals(await client.prompt(sessionId, "Hello"), CANCELLED);
  assertEquals(client.text(), "");
  assertEquals(await client.prompt(sessionId, "Hello"), END);
});

Deno.test("demo agent: a cancel ends a wait", async () => {
  await using client = new DemoClient(SLOW);
  const sessionId = await client.newSession();
  client.onUpdate = () => client.cancel(sessionId);
  assertEquals(await client.prompt(sessionId, "Make a plan"), CANCELLED);
});

Deno.test("demo agent: a cancel ends a turn that asks for permission", async () => {
  await using client = new DemoClient();
  const sessionId = await client.newSession();
  client.onPermission = () => {
    client.cancel(sessionId);
    return { outcome: { outcome: "cancelled" } };
  };
  assertEquals(await client.prompt(sessionId, "Run a tool"), CANCELLED);
  assertEquals(client.text(), "");
});

Deno.test("demo agent: ignores cancels without a turn and unknown notifications", async () => {
  await using client = new DemoClient();
  const sessionId = await client.newSession();
  client.cancel(sessionId);
  client.cancel("another");
  client.peer.notify("unheard/of", {});
  assertEquals(await client.prompt(sessionId, "Hello"), END);
});

// Sessions

Deno.test("demo agent: runs one prompt per session, and several sessions at once", async () => {
  await using client = new DemoClient(SLOW);
  const sessions = [await client.newSession(), await client.newSession()];
  const turns = sessions.map((sessionId) => client.prompt(sessionId, "Make a plan"));
  assertEquals(await errorCode(client.prompt(sessions[0]!, "Hello")), RPC.invalidParams);
  for (const sessionId of sessions) client.cancel(sessionId);
  assertEquals(await Promise.all(turns), [CANCELLED, CANCELLED]);
});

Deno.test("demo agent: session/load replays the session before it answers", async () => {
  await using client = new DemoClient();
  const sessionId = await prompt(client, "think");
  await client.prompt(sessionId, "Hi");
  const reply = client.text();
  client.updates.length = 0;
  const replayed = client.request("session/load", sessionId).then(() => client.updates.length);
  assertEquals(await replayed, 4);
  const exchange = ["user_message_chunk", "agent_message_chunk"];
  assertEquals(client.updates.map(({ sessionUpdate }) => sessionUpdate), [...exchange, ...exchange]);
  assertEquals([client.text("user_message_chunk"), client.text()], ["thinkHi", reply]);
});

Deno.test("demo agent: session/close cancels the turn; resume and load reopen the session", async () => {
  await using client = new DemoClient(SLOW);
  const sessionId = await client.newSession();
  for (const method of ["session/resume", "session/load"]) {
    const turn = client.prompt(sessionId, "Make a plan");
    assertEquals(await client.request("session/close", sessionId), {});
    assertEquals(await turn, CANCELLED);
    assertEquals(await errorCode(client.prompt(sessionId, "Hello")), RPC.resourceNotFound);
    assertEquals(await errorCode(client.request("session/close", sessionId)), RPC.resourceNotFound);
    client.updates.length = 0;
    assertEquals(await client.request(method, sessionId), {});
    assertEquals(client.updatesOf("user_message_chunk").length, method === "session/load" ? 2 : 0);
  }
});

Deno.test("demo agent: a closed session keeps its turns", async () => {
  await using client = new DemoClient();
  const sessionId = await prompt(client, "Hello");
  await client.request("session/close", sessionId);
  await client.request("session/resume", sessionId);
  await client.prompt(sessionId, "Hello");
  assertStringIncludes(client.text(), "We have met before: this is turn 2.");
});

Deno.test("demo agent: session/delete cancels the turn and removes the session, open or closed", async () => {
  await using client = new DemoClient(SLOW);
  for (const isClosed of [false, true]) {
    const sessionId = await client.newSession();
    const turn = client.prompt(sessionId, "Make a plan");
    if (isClosed) await client.request("session/close", sessionId);
    assertEquals(await client.request("session/delete", sessionId), {});
    assertEquals(await turn, CANCELLED);
    for (const method of ["session/resume", "session/load", "session/delete"]) {
      assertEquals(await errorCode(client.request(method, sessionId)), RPC.resourceNotFound);
    }
  }
});

Deno.test("demo agent: beyond 1000 sessions it deletes closed ones first", async () => {
  await using client = new DemoClient();
  const open = await client.newSession();
  const closed = await client.newSession();
  await client.request("session/close", closed);
  for (let count = 2; count <= 1_000; count++) await client.newSession();
  assertEquals(await errorCode(client.request("session/resume", closed)), RPC.resourceNotFound);
  assertEquals(await client.prompt(open, "Hello"), END);
});

Deno.test("demo agent: answers unknown sessions and methods with an error", async () => {
  await using client = new DemoClient();
  const methods = ["session/load", "session/resume", "session/prompt", "session/close", "session/delete"];
  for (const method of methods) {
    assertEquals(await errorCode(client.request(method, "none")), RPC.resourceNotFound);
    assertEquals(await errorCode(client.peer.request(method, undefined)), RPC.resourceNotFound);
  }
  assertEquals(await errorCode(client.request("session/set_mode")), RPC.methodNotFound);
});

Deno.test("demo agent: ends with its client, also during a turn", async () => {
  const client = new DemoClient(SLOW);
  const turn = client.prompt(await client.newSession(), "Make a plan").catch((error) => error);
  await client[Symbol.asyncDispose]();
  assert(await turn instanceof Error);
});

Deno.test("demo agent: every message fits the protocol's schema", async () => {
  await using client = new DemoClient();
  await client.peer.request("initialize", { protocolVersion: 1 });
  client.choose("allow_once");
  const sessionId = await prompt(client, "Hello");
  for (const text of ["think", "Make a plan", "delegate", "Run a tool"]) await client.prompt(sessionId, text);
  client.choose("reject_once");
  await client.prompt(sessionId, "Run a tool", { type: "image", mimeType: "image/png", data: "" });
  for (const method of ["load", "close", "resume", "delete"]) {
    await client.request(`session/${method}`, sessionId);
  }
  await errorCode(client.request("session/load", sessionId));
  assertEquals(schemaViolations("agent", client.received, client.sent), []);
  assert(client.received.length > 100);
});
