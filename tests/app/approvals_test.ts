/** Permission requests that a client of the Responses API answers itself. The agent is a real one, in memory. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { ResponseObject } from "../../lib/openai/responses/events.ts";
import { SCOPES } from "../../lib/turn/caller.ts";
import type { PermissionPolicy } from "../../lib/turn/permission.ts";
import { AcpHarness } from "../support/agents/memory_acp_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";

const PATH = "/v1/responses";
/** A tool that says that the client answers permission requests. */
const TOOLS = [{ type: "mcp", server_label: "agent", require_approval: "always" }];
const OPTIONS = ["reject", "allow"].map((name) => ({ optionId: name, name, kind: `${name}_once` }));
/** The result of a permission request, as the agent gets it. */
type Decided = { readonly outcome: { readonly outcome: string; readonly optionId?: string } };
type Json = Record<string, unknown>;

/** An app with an agent that asks for each of these commands, tells the outcomes, and ends its turn. */
class Asking implements AsyncDisposable {
  readonly agent: AcpHarness;
  readonly app: TestApp;
  /** The outcomes, as the agent got them. */
  readonly outcomes: string[] = [];

  constructor(commands: readonly string[] = ["rm -r build"], permissions: PermissionPolicy = "ask") {
    let prompts = 0;
    this.agent = new AcpHarness({
      "session/prompt": async ({ sessionId }, running) => {
        if (prompts++ > 0) {
          running.sendText(sessionId, "Next.");
          return { stopReason: "end_turn" };
        }
        running.sendText(sessionId, "Let me.");
        for (const [index, command] of commands.entries()) {
          const toolCallId = `t${index}`;
          const toolCall = { toolCallId, title: "Clean", kind: "execute", rawInput: { command } };
          const request = { sessionId, toolCall, options: OPTIONS };
          const { outcome } = await running.peer.request("session/request_permission", request) as Decided;
          this.outcomes.push(outcome.optionId ?? outcome.outcome);
          running.update(sessionId, { sessionUpdate: "tool_call_update", toolCallId, status: "completed" });
        }
        running.sendText(sessionId, ` Then ${this.outcomes.join()}.`);
        const isCancelled = this.outcomes.includes("cancelled");
        return { stopReason: isCancelled ? "cancelled" : "end_turn" };
      },
    }, { permissions, broker: { ask: (...asked) => this.app.permissions.ask(...asked) } });
    const keys = [
      apiKey("one", SCOPES, { agent: "agent" }),
      apiKey("two", SCOPES, { agent: "agent" }),
      apiKey("chat", ["chat"], { agent: "agent" }),
      // The same caller as the first, with fewer rights.
      { ...apiKey("less", ["chat"], { agent: "agent", id: "keys.one" }) },
    ];
    this.app = startApp({ agents: [this.agent.agent], access: { keys }, sessions: "auto" });
  }

  post(body: Json, key = "one", signal?: AbortSignal): Promise<Response> {
    return this.app.post(PATH, body, { ...withKey(key), ...(signal ? { signal } : {}) });
  }

  /** Sends the first request, and returns its response. */
  async ask(body: Json = {}, key = "one"): Promise<ResponseObject> {
    return await responseOf(await this.post({ input: "Clean up.", tools: TOOLS, ...body }, key));
  }

  /** Answers an approval request. */
  answer(response: ResponseObject, approve = true, body: Json = {}, key = "one"): Promise<Response> {
    const input = [approval(askedIn(response)!.id, approve)];
    return this.post({ input, previous_response_id: response.id, tools: TOOLS, ...body }, key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.app[Symbol.asyncDispose]();
    await this.agent[Symbol.asyncDispose]();
  }
}

const approval = (id: string, approve = true) => ({
  type: "mcp_approval_response",
  approval_request_id: id,
  approve,
});

/** Reads a response, sent as JSON or as a stream. */
async function responseOf(answer: Response): Promise<ResponseObject> {
  const text = await answer.text();
  assertEquals(answer.status, 200, text);
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) return JSON.parse(text);
  const last = text.trimEnd().split("\n\n").at(-1)!;
  return JSON.parse(/^data: (.+)$/m.exec(last)![1]!).response;
}

function askedIn({ output }: ResponseObject) {
  return output.find((item) => item.type === "mcp_approval_request");
}

function textOf({ output }: ResponseObject): string {
  return output.flatMap((item) => item.type === "message" ? item.content : [])
    .map((part) => part.type === "refusal" ? part.refusal : part.text).join("").trim();
}

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

Deno.test("approvals: an answer that comes twice is refused", async () => {
  await using asking = new Asking();
  const first = await asking.ask();
  assertEquals(textOf(await responseOf(await asking.answer(first))), "Then allow.");
  const error = await errorOf(await asking.answer(first));
  assertEquals([error.status, error.code], [409, "permission_resolved"]);
  assertEquals(asking.outcomes, ["allow"]);
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

Deno.test("approvals: a client that hangs up after the request for approval ends nothing", async () => {
  await using asking = new Asking();
  const client = new AbortController();
  const answer = await asking.post({ input: "Clean up.", tools: TOOLS, stream: true }, "one", client.signal);
  const first = await responseOf(answer);
  client.abort();
  assertEquals(textOf(await responseOf(await asking.answer(first))), "Then allow.");
});

Deno.test("approvals: without an answer in time, the agent is refused and the turn is cancelled", async () => {
  await using asking = new Asking();
  using clock = new FakeClock();
  const first = await asking.ask();
  clock.advance(60_100);
  await asking.agent.running.waitFor("session/cancel");
  const error = await errorOf(await asking.answer(first));
  assertEquals([error.status, error.code], [409, "permission_resolved"]);
  assert(!asking.outcomes.includes("allow"));
  // The agent may have been refused already: a cancelled turn says nothing of it.
  await asking.app.conversations.drain();
});

Deno.test("approvals: a newer message of the conversation supersedes the turn", async () => {
  await using asking = new Asking();
  const first = await asking.ask({ conversation: "mao" });
  const next = await responseOf(await asking.post({ input: "Stop.", conversation: "mao" }));
  assertEquals([textOf(next), asking.outcomes], ["Next.", ["cancelled"]]);
  const input = [approval(askedIn(first)!.id)];
  const error = await errorOf(await asking.post({ input, conversation: "mao" }));
  assertEquals([error.status, error.code], [409, "permission_resolved"]);
});

Deno.test("approvals: if a watcher answers first, the client still gets the rest of the reply", async () => {
  await using asking = new Asking();
  const asked = Promise.withResolvers<string>();
  const { ask } = asking.app.permissions;
  asking.app.permissions.ask = (question, reader, signal) =>
    ask.call(
      asking.app.permissions,
      question,
      Object.assign((event: Parameters<typeof reader>[0]) => {
        reader(event);
        if (event.type === "permission") asked.resolve(event.request.id);
      }, { answersPermissions: reader.answersPermissions! }),
      signal,
    );
  const first = await asking.ask();
  asking.app.permissions.answer(await asked.promise, { decision: "reject" }, "Mao");
  await asking.app.conversations.drain();
  const second = await responseOf(await asking.answer(first));
  assertEquals([textOf(second), asking.outcomes], ["Then reject.", ["reject"]]);
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
