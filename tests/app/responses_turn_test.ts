/** The turn behind a response: its conversation, its instructions, and its work after a limit. */

import { assertEquals, assertMatch } from "@std/assert";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { startApp, type TestApp } from "../support/harness/app_harness.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const respond = async (app: TestApp, body: Record<string, unknown>) => {
  const answer = await app.post("/v1/responses", body);
  return { session: answer.headers.get("x-session-id"), response: await answer.json() };
};

Deno.test("responses: conversation goes on in the agent's session, also of a chat with this name", async () => {
  await using app = startApp({ script: saying("Ok.") });
  for (const [input, conversation] of [["First", "mao"], ["Second", { id: "mao" }], ["Other", "kai"]]) {
    const { session } = await respond(app, { input, conversation });
    assertEquals(session, typeof conversation === "string" ? conversation : "mao");
  }
  const messages = [{ role: "user", content: "Third" }];
  await (await app.chat({ messages }, { headers: { "x-session-id": "mao" } })).text();
  const [mao, kai] = app.agent.sessions;
  const promptsIn = (session: typeof mao) =>
    app.agent.prompts.filter((prompt) => prompt.session === session).map(({ text }) => text);
  assertEquals([promptsIn(mao), promptsIn(kai)], [["First", "Second", "Third"], ["Other"]]);
});

Deno.test("responses: instructions are those of their own request", async () => {
  await using app = startApp({ sessions: "auto", script: oneByOne(saying("One."), saying("Two.")) });
  const { response } = await respond(app, { input: "First", instructions: "Be brief." });
  const { response: second } = await respond(app, { input: "Second", previous_response_id: response.id });
  assertMatch(app.agent.prompts[0]!.text, /Be brief\./);
  assertEquals([app.agent.prompts[1]!.text, second.instructions], ["Second", null]);
});

Deno.test("responses: beyond max_output_tokens the agent's work goes on, and its watchers see it", async () => {
  await using app = startApp();
  const answer = respond(app, { input: "Hi", max_output_tokens: 2 });
  const prompt = await app.agent.nextPrompt();
  prompt.say("12345678");
  prompt.say("9 and more");
  const { response } = await answer;
  assertEquals(response.status, "incomplete");
  prompt.tool({ id: "t1", title: "Reading", kind: "read", status: "in_progress" });
  await nextTask();
  const { tools } = app.hub.snapshot(LOCAL_CALLER);
  assertEquals([app.conversations.runningCount, prompt.cancelCount, tools.length], [1, 0, 1]);
  prompt.end();
});
