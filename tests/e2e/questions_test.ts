/** Questions of a real agent (ACP elicitation), answered by real clients. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Step } from "../support/agents/agent_steps.ts";
import { watch } from "../support/harness/event_client.ts";
import { inConversation, replyOf, script, testServer, until } from "../support/harness/server_process.ts";

type Json = Record<string, unknown>;

const EVENTS = ["agent_state", "question", "question_resolved"];

/** The agent asks, and sends the result as text. */
function ask(params: Json): Step {
  return { request: { method: "elicitation/create", params } };
}

function form(properties: Json, required = Object.keys(properties)): Json {
  return { mode: "form", message: "Which branch?", requestedSchema: { properties, required } };
}

/** Reads the results that the agent received, from its reply. */
function resultsOf({ text }: { text: string }): Json[] {
  return text.split("answer:").slice(1).map((json) => JSON.parse(json));
}

testServer("questions", {}, {
  async "a form is shown to subscribers, checked, and answered once"(server) {
    await using client = await watch(server, { events: EVENTS });
    await using other = await watch(server, { events: ["agent_state"] });
    const properties = { branch: { type: "string", enum: ["main", "next"] }, count: { type: "integer" } };
    const reply = replyOf(server.chat(script(ask(form(properties))), {}, inConversation("form")));
    const { type: _, ts: __, question_id, turn_id, expires_at, ...shown } = await client.first("question");
    assertEquals([typeof turn_id, typeof expires_at], ["string", "number"]);
    const options = ["main", "next"].map((value) => ({ value, title: value }));
    assertEquals(shown, {
      session_id: "form",
      message: "Which branch?",
      fields: [
        { name: "branch", title: "branch", required: true, type: "choice", options },
        { name: "count", title: "count", required: true, type: "integer" },
      ],
    });
    assertEquals((await client.state("notification")).session_id, "form");
    const { questions } = await server.get("/v1/vtuber/state");
    assertEquals(questions.length, 1);

    const answer = (content: Json) => ({ type: "question_response", question_id, action: "accept", content });
    const wrong = await client.ask(answer({ branch: "other", count: 1 }), "error");
    assertEquals(wrong.code, "invalid_value");
    assertStringIncludes(wrong.message, '"branch"');
    const blind = await other.ask(answer({ branch: "next", count: 1 }), "error");
    assertStringIncludes(blind.message, 'subscribe to "question"');
    client.send(answer({ branch: "next", count: 3 }));
    const resolved = await client.first("question_resolved");
    assertEquals([resolved.question_id, resolved.outcome], [question_id, "answered"]);
    assertEquals(resultsOf(await reply), [{ action: "accept", content: { branch: "next", count: 3 } }]);
    const late = await client.ask(answer({ branch: "next", count: 3 }), "error");
    assertEquals(late.code, "permission_resolved");
  },

  async "a question is answered or declined over HTTP"(server) {
    await using client = await watch(server, { events: EVENTS });
    const page = { mode: "url", message: "Log in", elicitationId: "e", url: "https://a.example/login" };
    const reply = replyOf(server.chat(script(ask(page), ask(form({ password: { type: "string" } }))), {}));
    const first = await client.first("question");
    assertEquals([first.url, first.fields], ["https://a.example/login", []]);
    const post = async (id: string, body: Json) => {
      const response = await server.post(`/v1/vtuber/questions/${id}`, body);
      return [response.status, await response.json()] as const;
    };
    const [status, accepted] = await post(first.question_id, { action: "accept", client: "phone" });
    assertEquals([status, accepted], [200, {
      question_id: first.question_id,
      outcome: "answered",
      by: "phone",
    }]);
    const second = await client.first("question", ({ is_private }) => is_private === true);
    const [refused, { error }] = await post(second.question_id, { action: "accept", content: {} });
    assertEquals([refused, error.param], [400, "content.password"]);
    assertEquals((await post("unknown", { action: "decline" }))[0], 404);
    assertEquals((await post(second.question_id, { action: "perhaps" }))[0], 400);
    assertEquals((await post(second.question_id, { action: "decline" }))[1].outcome, "declined");
    assertEquals(resultsOf(await reply), [{ action: "accept", content: {} }, { action: "decline" }]);
  },

  async "a client that comes later gets an open question; a cancelled turn withdraws it"(server) {
    const early = await watch(server, { events: EVENTS });
    const fields = form({ a: { type: "string" }, b: { type: "string" } });
    const reply = replyOf(server.chat(script(ask(fields)), {}, inConversation("late")));
    const { question_id } = await early.first("question");
    await early.close();
    await using late = await watch(server, { events: EVENTS });
    assertEquals((await late.first("question")).question_id, question_id);
    late.send({ type: "interrupt", session_id: "late" });
    const resolved = await late.first("question_resolved");
    assertEquals([resolved.outcome, resolved.by], ["cancelled", "turn"]);
    await reply;
    await until(async () => (await server.get("/v1/vtuber/state")).questions.length === 0);
  },

  async "without anyone to answer, a question that words cannot answer is cancelled at once"(server) {
    const fields = form({ a: { type: "string" }, b: { type: "string" } });
    assertEquals(resultsOf(await replyOf(server.chat(script(ask(fields)), {}))), [{ action: "cancel" }]);
  },
});
