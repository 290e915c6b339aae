import { assertEquals, assertMatch } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { assistant, contentOf, streamedText, system, user } from "../support/harness/chat_fixture.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";

const NEWS = "The build of the whole house is green.";

/** Sends a notification to a client that posts its text back. */
async function notify(app: TestApp, text = NEWS): Promise<void> {
  app.hub.subscribe({ send() {}, backlog: 0, close() {} }, LOCAL_CALLER);
  const response = await app.post("/v1/vtuber/notifications", { text });
  assertEquals(response.ok, true);
  await response.body?.cancel();
}

/** What the agent makes of a notification, and whether the character says it. */
const ANSWERS: readonly [answer: string, said: string | null][] = [
  ["[neutral] [silent].", null],
  ["[silent] (looks away)", null],
  ["(smiles) Good morning!", "(smiles) Good morning!"],
];
for (const [answer, said] of ANSWERS) {
  Deno.test(`notification: the agent's ${JSON.stringify(answer)} is ${said === null ? "not " : ""}sent`, async () => {
    await using app = startApp({ script: saying(answer) });
    const types: string[] = [];
    app.hub.subscribe(
      { send: ({ event }) => void types.push(event.type), backlog: 0, close() {} },
      LOCAL_CALLER,
    );
    const response = await app.post("/v1/vtuber/notifications", { text: "It is morning.", mode: "agent" });
    assertEquals(await response.json(), { said, clients: said === null ? 0 : 1 });
    assertEquals(types.includes("notification"), said !== null);
  });
}

Deno.test("notification: a failed turn, and a body that names no text, are errors", async () => {
  await using app = startApp();
  app.agent.script = (prompt) => prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  const response = await app.post("/v1/vtuber/notifications", { text: "x", mode: "agent" });
  assertEquals((await errorOf(response)).code, "agent_crashed");
  for (const [body, param] of [[{}, "text"], ["{", null]]) {
    const error = await errorOf(await app.post("/v1/vtuber/notifications", body));
    assertEquals([error.status, error.param], [400, param]);
  }
});

/** Requests that end with the text of a notification, and whether the notification answers them. */
const REQUESTS: readonly [name: string, body: Record<string, unknown>, isCanned: boolean][] = [
  ["a user", { messages: [user("Hi"), user(NEWS)] }, true],
  ["a user, in spaces and parts", {
    messages: [{ role: "user", content: [{ type: "text", text: ` ${NEWS}\n` }] }],
  }, true],
  ["a system", { messages: [user("Hi"), system(NEWS)] }, false],
  ["a tool", { messages: [user("Hi"), { role: "tool", tool_call_id: "ci", content: NEWS }] }, false],
  ["a user before another message", { messages: [user(NEWS), user("Hi")] }, false],
  ["a user who asks for JSON", { messages: [user(NEWS)], response_format: { type: "json_object" } }, false],
];
for (const [name, body, isCanned] of REQUESTS) {
  Deno.test(`notification: its text from ${name} ${isCanned ? "gets the notification" : "goes to the agent"}`, async () => {
    await using app = startApp({ script: saying("{}") });
    await notify(app, `[happy] ${NEWS}`);
    assertEquals((await contentOf(app.chat(body))).trim(), isCanned ? `[happy] ${NEWS}` : "{}");
    assertEquals(app.agent.prompts.length, isCanned ? 0 : 1);
    // One client got the notification, so one request gets the canned reply.
    const next = await streamedText(app.stream({ messages: [user(NEWS)] }));
    assertEquals(next.trim(), isCanned ? "{}" : `[happy] ${NEWS}`);
  });
}

Deno.test("notification: its text from another key goes to the agent", async () => {
  const keys = [apiKey("skin"), apiKey("other")];
  await using app = startApp({ script: saying("The agent's."), access: { keys } });
  app.hub.subscribe({ send() {}, backlog: 0, close() {} }, keys[0]!.caller);
  const sent = await app.post("/v1/vtuber/notifications", { text: NEWS }, withKey("other"));
  assertEquals(await sent.json(), { said: NEWS, clients: 1 });
  const replyTo = async (key: string) =>
    (await contentOf(app.chat({ messages: [user(NEWS)] }, withKey(key)))).trim();
  assertEquals([await replyTo("other"), await replyTo("skin")], ["The agent's.", NEWS]);
});

Deno.test("notification: a retry of the request gets the same canned reply, without the agent", async () => {
  await using app = startApp({ script: saying("The agent's.") });
  await notify(app);
  for (const _try of [1, 2]) {
    const headers = { "idempotency-key": "k1" };
    assertEquals(await contentOf(app.chat({ messages: [user(NEWS)] }, { headers })), `${NEWS}\n`);
  }
  assertEquals(app.agent.prompts.length, 0);
});

Deno.test("notification: its canned reply belongs to the conversation, and reaches the agent later", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  await notify(app);
  const first = [system("You are Mao."), user(NEWS)];
  const posted = await app.chat({ messages: first });
  const next = await app.chat({ messages: [...first, assistant(await contentOf(posted)), user("Great!")] });
  await next.text();
  assertEquals(next.headers.get("x-session-id"), posted.headers.get("x-session-id"));
  assertEquals(app.agent.sessions.length, 1);
  assertMatch(
    app.agent.prompts[0]!.text,
    /^<system>\nYou are Mao.\n<\/system>\n\n<user>\nThe build of[^]*Great!$/,
  );
});
