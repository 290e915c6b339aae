/** Permission requests that a client of the Responses API answers itself. The agent is a real one, in memory. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { ResponseObject } from "../../lib/openai/responses/events.ts";
import { errorOf } from "../support/harness/app_harness.ts";
import {
  approval,
  askedIn,
  Asking,
  type Json,
  PATH,
  responseOf,
  textOf,
  TOOLS,
} from "../support/harness/approval_fixture.ts";
import { withKey } from "../support/harness/key_fixture.ts";

for (const stream of [false, true]) {
  for (const approve of [true, false]) {
    const kind = `${stream ? "stream" : "JSON"}, ${approve ? "approve" : "reject"}`;
    Deno.test(`approvals: the answer goes to the agent, and the turn goes on, ${kind}`, async () => {
      await using asking = new Asking();
      const first = await asking.ask({ stream });
      assertEquals([first.status, textOf(first)], ["completed", "Let me."]);
      const asked = askedIn(first)!;
      assertEquals([asked.name, asked.server_label], ["Clean", "agent"]);
      assertMatch(JSON.parse(asked.arguments).detail, /rm -r build/);
      assertEquals(asking.app.conversations.runningCount, 1);
      const second = await responseOf(await asking.answer(first, approve, { stream }));
      const outcome = approve ? "allow" : "reject";
      assertEquals([second.status, textOf(second)], ["completed", `Then ${outcome}.`]);
      assertEquals([asking.outcomes, second.previous_response_id], [[outcome], first.id]);
      assert(second.id !== first.id);
      const call = second.output.find((item) => item.type === "mcp_call");
      assertEquals(call?.approval_request_id, asked.id);
      assertEquals([asking.agent.running.count("session/prompt"), askedIn(second)], [1, undefined]);
    });
  }
}

Deno.test("approvals: without the entry, with never, or without the scope, watchers are asked as ever", async () => {
  const ways: [body: Json, key?: string][] = [
    [{ tools: [] }],
    [{ tools: [{ ...TOOLS[0], require_approval: "never" }] }],
    [{}, "chat"],
  ];
  for (const [body, key] of ways) {
    await using asking = new Asking();
    const response = await asking.ask(body, key);
    // Nobody watches.
    assertEquals([askedIn(response), asking.outcomes], [undefined, ["reject"]]);
  }
});

Deno.test("approvals: a policy that does not ask is as it was", async () => {
  for (const [policy, outcome] of [["allow", "allow"], ["deny", "reject"]] as const) {
    await using asking = new Asking(undefined, policy);
    const response = await asking.ask();
    assertEquals([askedIn(response), asking.outcomes], [undefined, [outcome]]);
  }
});

Deno.test("approvals: an answer needs the scope, and is the caller's alone", async () => {
  await using asking = new Asking();
  const first = await asking.ask();
  const refused = await errorOf(await asking.answer(first, true, {}, "less"));
  assertEquals([refused.status, refused.code], [403, "insufficient_scope"]);
  const input = [approval(askedIn(first)!.id)];
  for (const [body, key] of [[{ input }, "two"], [{ input: [approval("mcpr_0_0")] }, "one"]] as const) {
    const error = await errorOf(await asking.post(body, key));
    assertEquals([error.status, error.code, error.param], [404, "not_found", "input[0].approval_request_id"]);
  }
  assertEquals(asking.outcomes, []);
  assertEquals(textOf(await responseOf(await asking.answer(first))), "Then allow.");
});

Deno.test("approvals: a long command is whole in the request, and can be approved", async () => {
  const command = `echo ${"x".repeat(9_000)} end`;
  await using asking = new Asking([command]);
  const first = await asking.ask();
  assert(JSON.parse(askedIn(first)!.arguments).detail.includes(command));
  assertEquals(textOf(await responseOf(await asking.answer(first))), "Then allow.");
});

Deno.test("approvals: a detail that is not whole can only be rejected", async () => {
  await using asking = new Asking([`echo ${"x".repeat(70_000)}`]);
  const first = await asking.ask();
  const error = await errorOf(await asking.answer(first));
  assertEquals([error.status, error.param], [400, "input[0].approve"]);
  assertEquals(textOf(await responseOf(await asking.answer(first, false))), "Then reject.");
});

Deno.test("approvals: each request of a turn ends a response, and the history may be sent again and again", async () => {
  await using asking = new Asking(["one", "two"]);
  const input: unknown[] = [{ role: "user", content: "Clean up." }];
  const texts: string[] = [];
  for (const _ of [1, 2, 3]) {
    const response = await responseOf(await asking.post({ input, tools: TOOLS }));
    texts.push(textOf(response));
    const asked = askedIn(response);
    input.push(...response.output, ...(asked ? [approval(asked.id)] : []));
  }
  assertEquals(texts, ["Let me.", "", "Then allow,allow."]);
  assertEquals(asking.agent.running.count("session/prompt"), 1);
  // A message behind the answers goes on in the conversation.
  const next = await asking.post({ input: [...input, { role: "user", content: "And?" }], tools: TOOLS });
  assertEquals(textOf(await responseOf(next)), "Next.");
  const prompts = asking.agent.running.received.filter(({ method }) => method === "session/prompt");
  assertEquals(new Set(prompts.map(({ params }) => params.sessionId)).size, 1);
  assertEquals(prompts[1]?.params.prompt.map(({ text }) => text), ["And?"]);
});

Deno.test("approvals: a repeated request reads the same response", async () => {
  await using asking = new Asking();
  const headers = { ...withKey("one").headers, "idempotency-key": "a" };
  const send = (body: Json, headers: HeadersInit) => asking.app.post(PATH, body, { headers });
  const body = { input: "Clean up.", tools: TOOLS };
  const first = await responseOf(await send(body, headers));
  const again = await responseOf(await send(body, headers));
  assertEquals([textOf(again), askedIn(again)?.arguments], [textOf(first), askedIn(first)?.arguments]);
  const answer = { input: [approval(askedIn(again)!.id)] };
  const answerHeaders = { ...headers, "idempotency-key": "b" };
  for (const _ of [1, 2]) {
    assertEquals(textOf(await responseOf(await send(answer, answerHeaders))), "Then allow.");
  }
  assertEquals([asking.outcomes, asking.agent.running.count("session/prompt")], [["allow"], 1]);
});

for (const [name, method, path] of [["DELETE", "DELETE", ""], ["cancel", "POST", "/cancel"]] as const) {
  Deno.test(`approvals: ${name} of a response ends the turn that waits for its approval`, async () => {
    await using asking = new Asking();
    const { id } = await asking.ask();
    const end = (key: string) => asking.app.send(`${PATH}/${id}${path}`, { method, ...withKey(key) });
    const areCancelled = () => [...asking.app.conversations.running].map(({ isCancelled }) => isCancelled);
    await (await end("two")).body!.cancel();
    assertEquals(areCancelled(), [false]);
    await (await end("one")).body!.cancel();
    assertEquals(areCancelled(), [true]);
    await asking.app.conversations.drain();
    assertEquals(asking.outcomes, ["cancelled"]);
  });
}

Deno.test("approvals: without the scope, the entry is listed as ignored", async () => {
  for (const [key, ignored] of [["one", null], ["chat", "tools"]] as const) {
    await using asking = new Asking();
    const answer = await asking.post({ input: "Clean up.", tools: TOOLS }, key);
    assertEquals(answer.headers.get("x-vtuber-ignored"), ignored);
    await responseOf(answer);
    for (const turn of asking.app.conversations.running) turn.cancel();
  }
});

Deno.test("approvals: an answer to a request that waits has to be the last item", async () => {
  await using asking = new Asking();
  const first = await asking.ask();
  const answer = approval(askedIn(first)!.id);
  const user = { role: "user", content: "And?" };
  for (const input of [[answer, user], [user, answer, approval("mcpr_0_0")], [answer, answer]]) {
    const error = await errorOf(await asking.post({ input, tools: TOOLS }));
    const param = `input[${input.indexOf(answer)}]`;
    assertEquals([error.status, error.code, error.param], [400, "invalid_value", param]);
  }
  assertEquals(asking.outcomes, []);
  // The items before it are history.
  assertEquals(textOf(await responseOf(await asking.post({ input: [user, answer] }))), "Then allow.");
});

Deno.test("approvals: previous_response_id of an answer has to be the response that asked", async () => {
  await using asking = new Asking();
  const first = await asking.ask();
  const other = await asking.ask({ input: "Hi.", tools: [] });
  const error = await errorOf(await asking.answer(first, true, { previous_response_id: other.id }));
  const { status, code, param } = error;
  assertEquals([status, code, param], [400, "invalid_value", "previous_response_id"]);
  assertEquals(textOf(await responseOf(await asking.answer(first))), "Then allow.");
});

Deno.test("approvals: an answer may name the conversation of its turn, and no other", async () => {
  await using asking = new Asking();
  const first = await asking.ask({ conversation: "mao" });
  const input = [approval(askedIn(first)!.id)];
  const error = await errorOf(await asking.post({ input, conversation: "kai" }));
  assertEquals([error.status, error.code, error.param], [400, "invalid_value", "conversation"]);
  assertEquals(asking.outcomes, []);
  const second = await responseOf(await asking.post({ input, conversation: "mao" }));
  assertEquals([textOf(second), second.conversation], ["Then allow.", { id: "mao" }]);
});

Deno.test("approvals: a server that shuts down does not wait for an answer", async () => {
  await using asking = new Asking();
  await asking.ask();
  const drained = asking.app.conversations.drain();
  assertEquals([...asking.app.conversations.running].map(({ isOver }) => isOver), [true]);
  await drained;
  assertEquals(asking.outcomes, ["cancelled"]);
});

Deno.test("approvals: a client that hangs up after the request for approval ends nothing", async () => {
  await using asking = new Asking();
  const client = new AbortController();
  const answer = await asking.post({ input: "Clean up.", tools: TOOLS, stream: true }, "one", client.signal);
  const first = await responseOf(answer);
  client.abort();
  assertEquals(textOf(await responseOf(await asking.answer(first))), "Then allow.");
});

Deno.test("approvals: a response in the background ends with one too", async () => {
  await using asking = new Asking();
  const { id } = await asking.ask({ background: true });
  let first: ResponseObject;
  do {
    await new Promise((resolve) => setTimeout(resolve, 1));
    first = await responseOf(await asking.app.get(`${PATH}/${id}`, withKey("one")));
  } while (first.status !== "completed");
  assertEquals(textOf(await responseOf(await asking.answer(first))), "Then allow.");
});
