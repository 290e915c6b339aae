import { assertEquals, assertMatch } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { parseFrames } from "../support/harness/wire_profile.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";

const said = (role: string, content: string) => ({ role, content });
const FORMAT = { response_format: { type: "json_object" } };
const ONE = said("user", "One, as JSON");

async function contentOf(response: Response): Promise<string> {
  return (await response.json()).choices[0].message.content;
}

Deno.test("response_format: in a queue nobody's turn comes between the answer and what is asked for once more", async () => {
  await using app = startApp({ sessions: "auto", onBusy: "queue" });
  const name = { conversation_id: "mao" };
  const first = app.chat({ ...name, ...FORMAT, messages: [ONE] });
  const prompt = await app.agent.nextPrompt();
  const second = app.chat({ ...name, messages: [ONE, said("user", "Tell me a joke")] });
  await settled();
  prompt.say("No JSON.");
  prompt.end();
  const repair = await app.agent.nextPrompt();
  assertMatch(repair.text, /not what was asked for/);
  repair.say('{"a":1}');
  repair.end();
  const other = await app.agent.nextPrompt();
  assertEquals([other.text, other.session], ["Tell me a joke", prompt.session]);
  other.say("A joke.\n");
  other.end();
  assertEquals([await contentOf(await first), await contentOf(await second)], ['{"a":1}', "A joke.\n"]);
});

for (const end of ["forgotten", "interrupted"] as const) {
  Deno.test(`response_format: a turn that is ${end} is not asked for once more`, async () => {
    await using app = startApp({ sessions: "auto" });
    const answer = app.chat({ conversation_id: "mao", ...FORMAT, messages: [ONE] });
    const prompt = await app.agent.nextPrompt();
    prompt.say('{"a":');
    if (end === "forgotten") app.conversations.forget("", "mao");
    else app.conversations.interrupt("mao");
    await prompt.cancelled;
    const error = await errorOf(await answer);
    assertEquals([error.status, error.code], [409, "turn_cancelled"]);
    assertEquals([app.agent.prompts.length, app.agent.sessions.length], [1, 1]);
    assertEquals(app.agent.forgotten, end === "forgotten" ? [prompt.session.id] : []);
  });
}

for (const stream of [true, false]) {
  Deno.test(`response_format: once the agent was asked, nobody is told to send it again, ${stream ? "streamed" : "whole"}`, async () => {
    await using app = startApp();
    const answer = app.chat({ ...FORMAT, stream, messages: [ONE] });
    const prompt = await app.agent.nextPrompt();
    app.agent.promptFailure = new AppError("agent_unavailable", "Busy.", { retryAfterSecs: 1 });
    prompt.say("No JSON.");
    prompt.end();
    const response = await answer;
    if (stream) {
      const { chunks } = parseFrames(await response.text());
      assertEquals(chunks.at(-1)?.choices?.[0]?.finish_reason, "error");
    } else {
      const error = await errorOf(response);
      const headers = ["retry-after", "x-should-retry"].map((name) => response.headers.get(name));
      assertEquals([error.status, error.code, headers], [503, "agent_unavailable", [null, "false"]]);
    }
  });
}

Deno.test("response_format: what has begun is asked for once more while the server ends", async () => {
  await using app = startApp();
  const answer = app.chat({ ...FORMAT, messages: [ONE] });
  const prompt = await app.agent.nextPrompt();
  const drained = app.conversations.drain();
  prompt.say("No JSON.");
  prompt.end();
  const repair = await app.agent.nextPrompt();
  let isDrained = false;
  drained.then(() => isDrained = true);
  await settled();
  assertEquals(isDrained, false);
  repair.say('{"a":1}');
  repair.end();
  assertEquals(await contentOf(await answer), '{"a":1}');
  await drained;
});

const LONG = "Well, let me tell you all about that.\n";
for (const isNamed of [true, false]) {
  for (
    const [next, last] of [["the same", ONE], ["something else", said("user", "Four, as JSON")]] as const
  ) {
    Deno.test(`response_format: after an answer that nobody was given, ${next} goes on in the ${isNamed ? "named " : ""}session`, async () => {
      await using app = startApp({ sessions: "auto" });
      const name = isNamed ? { conversation_id: "mao" } : {};
      const before = [said("user", "Hello"), said("assistant", LONG)];
      app.agent.script = oneByOne(
        saying(LONG),
        saying("I would rather not say that as JSON."),
        saying("Really, I would rather not, sorry."),
        saying('{"a":1}'),
        saying("Yes?\n"),
      );
      await contentOf(await app.chat({ ...name, messages: before.slice(0, 1) }));
      const refused = await app.chat({ ...name, ...FORMAT, messages: [...before, ONE] });
      assertEquals((await errorOf(refused)).code, "invalid_output");
      const messages = [...before, last];
      const answered = await app.chat({ ...name, ...FORMAT, messages });
      assertEquals(await contentOf(answered), '{"a":1}');
      const history = [...messages, said("assistant", '{"a":1}'), said("user", "And now?")];
      await contentOf(await app.chat({ ...name, messages: history }));
      assertEquals(app.agent.sessions.length, 1);
      assertEquals(app.agent.prompts.map(({ text }) => text.split("\n").at(-1)).at(-1), "And now?");
    });
  }
}

Deno.test("response_format: the answer that is remembered is the one that was given, without its fence", async () => {
  await using app = startApp({ sessions: "auto" });
  const opening = [said("system", "You are Mao."), ONE];
  const given = ["A cat lived in a house.", "A dog lived in a kennel."].map((story) =>
    JSON.stringify({ story })
  );
  for (const json of given) {
    app.agent.script = saying("```json\n", json, "\n```\n");
    assertEquals(await contentOf(await app.chat({ ...FORMAT, messages: opening })), json);
  }
  app.agent.script = saying("Yes?\n");
  for (const json of given) {
    const messages = [...opening, said("assistant", json), said("user", "And then?")];
    await contentOf(await app.chat({ messages }));
  }
  const sessions = app.agent.prompts.map(({ session }) => session.id);
  assertEquals(sessions, ["session-1", "session-2", "session-1", "session-2"]);
});

Deno.test("response_format: what is asked for beside the user's words makes it no other conversation", async () => {
  for (const persona of [[], [said("system", "You are Mao.")]]) {
    for (const formats of [[FORMAT, {}], [{}, FORMAT]]) {
      await using app = startApp({ sessions: "auto" });
      app.agent.script = saying('{"a":1}\n');
      const first = [...persona, said("user", "Hello")];
      await contentOf(await app.chat({ ...formats[0], messages: first }));
      const second = [...first, said("assistant", '{"a":1}'), said("user", "And now?")];
      await contentOf(await app.chat({ ...formats[1], messages: second }));
      const prompts = app.agent.prompts.map(({ text }) => text);
      assertEquals([app.agent.sessions.length, prompts.map((text) => text.includes("JSON"))], [
        1,
        formats.map((format) => format === FORMAT),
      ]);
    }
  }
});
