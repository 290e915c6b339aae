/** The official OpenAI client and its Responses API in front of a real server. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "npm:openai@7.55.0";
import { zodTextFormat } from "npm:openai@7.55.0/helpers/zod";
import { z } from "zod";
import {
  askingToClean,
  script,
  type ServerProcess,
  testServer,
  until,
} from "../support/harness/server_process.ts";

type Response = OpenAI.Responses.Response;

function clientOf(server: ServerProcess, maxRetries = 0): OpenAI {
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "anything", maxRetries });
}

/** Waits until a response in the background has this text so far. */
function untilText({ responses }: OpenAI, id: string, text: string): Promise<Response> {
  return until(() => responses.retrieve(id), ({ output_text }) => output_text === text);
}

testServer("openai SDK, responses", {}, {
  async "create and retrieve"(server) {
    const { responses } = clientOf(server);
    const response = await responses.create({
      model: "gpt-4o",
      instructions: "Be brief.",
      input: script({ thought: "hm" }, { text: "[happy] Hi." }),
    });
    assertEquals([response.status, response.model, response.output_text], [
      "completed",
      "gpt-4o",
      "[happy] Hi.",
    ]);
    assertEquals(response.output.map(({ type }) => type), ["reasoning", "message"]);
    assert(response.usage!.input_tokens > 0 && response.usage!.output_tokens > 0);
    assert(response._request_id);
    const kept = await responses.retrieve(response.id);
    assertEquals([kept.output, kept.usage], [response.output, response.usage]);
  },

  async "stream, with its final response"(server) {
    const stream = clientOf(server).responses.stream({
      model: "openab",
      input: script(
        { thought: "let me see" },
        { text: "Look. " },
        { tool: { id: "t", title: "look", kind: "read", status: "pending" } },
        { plan: [{ content: "answer", priority: "high", status: "pending" }] },
        { toolUpdate: { id: "t", status: "completed" } },
        { text: "Done" },
      ),
    });
    let text = "";
    stream.on("response.output_text.delta", ({ delta }) => text += delta);
    const final = await stream.finalResponse();
    assertEquals([final.status, final.output_text], ["completed", text]);
    assert(/^Look\.\s*Done$/.test(text));
    assertEquals(final.output.map(({ type }) => type), [
      "reasoning",
      "message",
      "mcp_call",
      "reasoning",
      "message",
    ]);
    const tool = final.output.find((item) => item.type === "mcp_call");
    assertEquals([tool?.name, tool?.server_label, tool?.status], ["look", "openab", "completed"]);
  },

  async "parse"(server) {
    const response = await clientOf(server).responses.parse({
      model: "openab",
      input: script({ text: '```json\n{"mood": "happy"}\n```' }),
      text: { format: zodTextFormat(z.object({ mood: z.string() }), "mood") },
    });
    assertEquals(response.output_parsed, { mood: "happy" });
  },

  async "previous_response_id goes on in the agent's session"(server) {
    const { responses } = clientOf(server);
    const before = (await server.prompts()).length;
    const first = await responses.create({ model: "openab", input: script({ text: "One." }) });
    const second = await responses.create({
      model: "openab",
      input: script({ text: "Two." }),
      previous_response_id: first.id,
    });
    assertEquals([second.output_text, second.previous_response_id], ["Two.", first.id]);
    const [one, two] = (await server.prompts()).slice(before);
    assertEquals(two?.sessionId, one?.sessionId);
    assert(!two!.text.includes("One."));
    const error = await assertRejects(
      () => responses.create({ model: "openab", input: "Hi", previous_response_id: "resp_0" }),
      OpenAI.BadRequestError,
    );
    assertEquals([error.code, error.param], ["previous_response_not_found", "previous_response_id"]);
  },

  async "approvals, round trip"(server) {
    const { responses } = clientOf(server);
    const before = (await server.prompts()).length;
    const asks = askingToClean();
    const tools: OpenAI.Responses.Tool[] = [{
      ...{ type: "mcp", server_label: "openab", require_approval: "always" },
    }];
    for (const approve of [true, false]) {
      const first = await responses.create({ model: "openab", input: asks, tools });
      const asked = first.output.find((item) => item.type === "mcp_approval_request")!;
      assertEquals([first.output_text, asked.name], ["Let me.", "Clean"]);
      assert(JSON.parse(asked.arguments).detail.includes("rm -r build"));
      const stream = responses.stream({
        model: "openab",
        previous_response_id: first.id,
        input: [{ type: "mcp_approval_response", approval_request_id: asked.id, approve }],
        tools,
      });
      const final = await stream.finalResponse();
      assert(final.output_text.includes(`"optionId":"${approve ? "allow" : "reject"}"`), final.output_text);
      assert(final.output_text.endsWith("Done."));
      const call = final.output.find((item) => item.type === "mcp_call");
      assertEquals(call?.approval_request_id, asked.id);
    }
    assertEquals((await server.prompts()).length, before + 2);
  },

  async "in the background"(server) {
    const openai = clientOf(server);
    const queued = await openai.responses.create({
      model: "openab",
      input: script({ text: "a" }, { sleepMs: 50 }, { text: "b" }),
      background: true,
    });
    assertEquals([queued.status, queued.background], ["queued", true]);
    const done = await until(
      () => openai.responses.retrieve(queued.id),
      ({ status }) => status !== "queued" && status !== "in_progress",
    );
    assertEquals([done.status, done.output_text], ["completed", "ab"]);
  },

  async "in the background, as a stream whose client leaves"(server) {
    const openai = clientOf(server);
    const stream = await openai.responses.create({
      model: "openab",
      input: script({ text: "a" }, { sleepMs: 300 }, { text: "b" }),
      background: true,
      stream: true,
    });
    let id = "";
    for await (const event of stream) {
      if (event.type === "response.created") id = event.response.id;
      if (event.type === "response.output_text.delta") break;
    }
    stream.controller.abort();
    assertEquals((await untilText(openai, id, "ab")).id, id);
  },

  async "in the background, streamed again from where a stream broke off"(server) {
    const openai = clientOf(server);
    const events = await openai.responses.create({
      model: "openab",
      input: script({ thought: "hm" }, { text: "a" }, { sleepMs: 300 }, { text: "b" }),
      background: true,
      stream: true,
    });
    let id = "";
    let after = -1;
    for await (const event of events) {
      if (event.type === "response.created") id = event.response.id;
      after = event.sequence_number;
      if (event.type === "response.output_text.delta") break;
    }
    events.controller.abort();
    let rest = "";
    const going = await openai.responses.retrieve(id, { stream: true, starting_after: after });
    for await (const event of going) {
      assertEquals(event.sequence_number, ++after);
      if (event.type === "response.output_text.delta") rest += event.delta;
    }
    assertEquals(rest, "b");
    // The client asks for all events, and leaves out the first ones itself.
    const types: string[] = [];
    const again = openai.responses.stream({ response_id: id, starting_after: 3 });
    again.on("event", ({ type }) => types.push(type));
    const final = await again.finalResponse();
    assertEquals([final.status, final.output_text], ["completed", "ab"]);
    assertEquals([types.includes("response.created"), types.at(-1)], [false, "response.completed"]);
  },

  async "cancel, after a look at the output so far"(server) {
    const openai = clientOf(server);
    const { id } = await openai.responses.create({
      model: "openab",
      input: script({ text: "on and on" }, { hang: true }),
      background: true,
    });
    assertEquals((await untilText(openai, id, "on and on")).status, "in_progress");
    assertEquals((await openai.responses.cancel(id)).status, "cancelled");
    await server.receivedUntil((all) => all.some(({ method }) => method === "session/cancel"));
    const { status, output_text } = await openai.responses.retrieve(id);
    assertEquals([status, output_text], ["cancelled", "on and on"]);
  },

  async "delete"(server) {
    const { responses } = clientOf(server);
    const { id } = await responses.create({ model: "openab", input: script({ text: "Hi." }) });
    await responses.delete(id);
    const error = await assertRejects(() => responses.retrieve(id), OpenAI.NotFoundError);
    assertEquals(error.code, "not_found");
  },

  async "inputItems.list, over several pages"(server) {
    const { responses } = clientOf(server);
    const said = ["a", "b", script({ text: "Hi." })];
    const input = said.map((content) => ({ role: "user" as const, content }));
    const { id } = await responses.create({ model: "openab", input });
    const items = await Array.fromAsync(responses.inputItems.list(id, { limit: 1, order: "asc" }));
    const texts = items.map((item) => item.type === "message" ? item.content[0] : undefined);
    assertEquals(texts, said.map((text) => ({ type: "input_text", text })));
  },

  async "retries never run a turn twice"(server) {
    const before = (await server.prompts()).length;
    const input = script({ error: { code: -32603, message: "broke" } });
    await assertRejects(
      () => clientOf(server, 2).responses.create({ model: "openab", input }),
      OpenAI.InternalServerError,
    );
    assertEquals((await server.prompts()).length, before + 1);
  },

  async "abort cancels the agent's turn"(server) {
    const cancels = async () => (await server.received()).filter(({ method }) => method === "session/cancel");
    const before = (await cancels()).length;
    const stream = await clientOf(server).responses.create({
      model: "openab",
      input: script({ text: "on and on" }, { hang: true }),
      stream: true,
    });
    for await (const event of stream) if (event.type === "response.output_text.delta") break;
    stream.controller.abort();
    await until(cancels, ({ length }) => length > before);
  },
});
