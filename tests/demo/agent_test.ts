import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { Json } from "../support/agents/agent_io.ts";
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

const IMAGE = { type: "image", mimeType: "image/png", data: "A".repeat(4_096) };
const SCENES: [blocks: (string | Json)[], reply: RegExp][] = [
  [["Good morning!"], /^\[happy\] Hello! I am the demo agent\. You said: "Good morning!"\./],
  [
    ["<system>\nThink hard, make a plan.\n</system>\n\n<user>\nrun a tool\n</user>\n\nHi"],
    /You said: "Hi"\./,
  ],
  [["😀".repeat(1_000)], /"(😀){120}\.\.\."/u],
  [["Please think"], /^\[curious\]/],
  [["Delegate it"], /^\[excited\] Three helpers/],
  [["a plan:", IMAGE], /I got a picture: image\/png of about 3 KiB\./],
  [
    [IMAGE, { ...IMAGE, mimeType: "image/webp" }],
    /I got 2 pictures: image\/png .*, image\/webp of about 3 KiB\./,
  ],
];

for (const [blocks, reply] of SCENES) {
  Deno.test(`demo agent: thinks, then says token by token ${reply.source.slice(0, 40)}`, async () => {
    await using client = new DemoClient();
    await prompt(client, ...blocks);
    assertEquals(client.updates[0]?.sessionUpdate, "agent_thought_chunk");
    assertMatch(client.text(), reply);
    assert(client.updatesOf("agent_message_chunk").length > 5);
  });
}

Deno.test("demo agent: counts the turns of each session, also of one that was closed and resumed", async () => {
  await using client = new DemoClient();
  const one = await prompt(client, "Hello");
  await client.request("session/close", one);
  await client.request("session/resume", one);
  await client.prompt(one, "Hello");
  assertStringIncludes(client.text(), "We have met before: this is turn 2.");
  client.updates.length = 0;
  await prompt(client, "Hello");
  assertStringIncludes(client.text(), "Hello! I am the demo agent.");
});

Deno.test("demo agent: shows a plan step by step", async () => {
  await using client = new DemoClient();
  await prompt(client, "Make a plan");
  const statuses = client.updatesOf("plan").map(({ entries }) =>
    (entries as Json[]).map(({ status }) => status).join()
  );
  assertEquals(statuses, [
    "in_progress,pending,pending",
    "completed,in_progress,pending",
    "completed,completed,in_progress",
    "completed,completed,completed",
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

Deno.test("demo agent: a cancel ends the turn at once, also while it asks or waits, and the next turn runs", async () => {
  await using client = new DemoClient();
  const sessionId = await client.newSession();
  client.onUpdate = () => client.cancel(sessionId);
  assertEquals(await client.prompt(sessionId, "Hello"), CANCELLED);
  client.onUpdate = () => {};
  client.onPermission = () => {
    client.cancel(sessionId);
    return { outcome: { outcome: "cancelled" } };
  };
  assertEquals(await client.prompt(sessionId, "Run a tool"), CANCELLED);
  assertEquals(client.text(), "");
  client.cancel("another");
  client.peer.notify("unheard/of", {});
  assertEquals(await client.prompt(sessionId, "Hello"), END);
});

Deno.test("demo agent: runs one prompt per session, and several sessions at once", async () => {
  await using client = new DemoClient(SLOW);
  const sessions = [await client.newSession(), await client.newSession()];
  const turns = sessions.map((sessionId) => client.prompt(sessionId, "Make a plan"));
  assertEquals(await errorCode(client.prompt(sessions[0]!, "Hello")), RPC.invalidParams);
  for (const sessionId of sessions) client.cancel(sessionId);
  assertEquals(await Promise.all(turns), [CANCELLED, CANCELLED]);
});

Deno.test("demo agent: session/close and session/delete cancel the turn; a deleted session is gone", async () => {
  await using client = new DemoClient(SLOW);
  const sessionId = await client.newSession();
  for (const method of ["session/close", "session/delete"]) {
    const turn = client.prompt(sessionId, "Make a plan");
    assertEquals(await client.request(method, sessionId), {});
    assertEquals(await turn, CANCELLED);
  }
  assertEquals(await errorCode(client.request("session/resume", sessionId)), RPC.resourceNotFound);
});

Deno.test("demo agent: beyond 1000 sessions it deletes the oldest", async () => {
  await using client = new DemoClient();
  const oldest = await client.newSession();
  const second = await client.newSession();
  for (let count = 2; count <= 1_000; count++) await client.newSession();
  assertEquals(await errorCode(client.request("session/resume", oldest)), RPC.resourceNotFound);
  assertEquals(await client.prompt(second, "Hello"), END);
});

Deno.test("demo agent: answers unknown sessions and methods with an error", async () => {
  await using client = new DemoClient();
  for (const method of ["session/resume", "session/prompt", "session/close", "session/delete"]) {
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
  await client.prompt(sessionId, "Run a tool");
  await client.prompt(sessionId, { ...IMAGE, data: "" });
  for (const method of ["close", "resume", "delete"]) await client.request(`session/${method}`, sessionId);
  await errorCode(client.request("session/resume", sessionId));
  assertEquals(schemaViolations("agent", client.received, client.sent), []);
  assert(client.received.length > 100);
});
