import { assertEquals } from "@std/assert";
import { NO_LOG } from "../../lib/core/log.ts";
import type { Caller } from "../../lib/turn/caller.ts";
import { ConversationHarness, type HarnessOptions } from "../support/harness/conversation_harness.ts";
import { apiKey } from "../support/harness/key_fixture.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, summarize } from "../support/harness/turn_recorder.ts";

const TASK = user("### Task:\nGenerate a concise title.\n<chat_history>\nUSER: one\n</chat_history>");
const REPLY = "Answer one, which is a long one.";
const FIRST = [system("Mao"), user("one")];
const SECOND = [...FIRST, assistant(REPLY), user("two")];
const THIRD = [...SECOND, assistant("Answer two, which is a long one."), user("three")];
/** A request of the named conversation beside its chat. */
const TITLE = [system("Write a title."), user("USER: one")];

/** Runs two turns of a chat, so that the client has sent a reply back. */
async function withChat(options: HarnessOptions = {}, isNamed = true): Promise<ConversationHarness> {
  const name = isNamed ? "mao" : undefined;
  const harness = new ConversationHarness({ mode: "auto", ...options });
  await harness.run(name, FIRST, REPLY);
  await harness.run(name, SECOND, "Answer two, which is a long one.");
  return harness;
}

for (const [what, messages] of [["a known task", [TASK]], ["another first system message", TITLE]] as const) {
  Deno.test(`side job, ${what}: it has a session of its own, which is closed at its end, and leaves the running turn alone`, async () => {
    using harness = await withChat();
    const running = await harness.prompt("mao", ...THIRD);
    const side = await harness.prompt("mao", ...messages);
    assertEquals([running.cancelCount, side.session === harness.session(1)], [0, true]);
    assertEquals([running.permissions, side.permissions], [undefined, "deny"]);
    side.say("A title");
    side.end();
    await nextTask();
    assertEquals([harness.closed, harness.turnCounts], [[false, true], [3]]);
    running.say("Answer three.");
    running.end();
    await nextTask();
    const next = [...THIRD, assistant("Answer three."), user("four")];
    const { text, session } = await harness.run("mao", next);
    assertEquals([text, session, harness.running], ["four", harness.session(0), 0]);
  });
}

Deno.test("side job: the observer gets no event of it, and the log names it", async () => {
  const events: string[] = [];
  const lines: unknown[] = [];
  using harness = await withChat({
    observer: {
      wantsSpeech: false,
      onStart: () => void events.push("start"),
      onEvent: (event) => void events.push(summarize(event)),
    },
    log: { ...NO_LOG, info: (...line) => void lines.push(line) },
  });
  events.length = 0;
  await harness.run("mao", [TASK], "A title");
  assertEquals(events, []);
  assertEquals(lines, [["a request is no part of a chat", {
    conversation: "mao",
    reason: "a task of Open WebUI",
  }]]);
});

Deno.test("side job: without a name it joins no conversation, and ten of them close no session of a chat", async () => {
  for (const mode of ["auto", "persistent"] as const) {
    using harness = await withChat({ mode, maxSessions: 2 }, false);
    for (let number = 0; number < 10; number++) await harness.run(undefined, [TASK], "A title");
    assertEquals([harness.closed, harness.turnCounts], [[false, ...Array(10).fill(true)], [2]]);
    assertEquals((await harness.run(undefined, THIRD)).text, "three");
  }
});

Deno.test("side job: four run at once, beside any number of chats", async () => {
  using harness = await withChat();
  const sides = [];
  for (let number = 0; number < 4; number++) sides.push(await harness.prompt("mao", TASK));
  const failure = await appErrorOf(harness.start("mao", [TASK]));
  assertEquals([failure.code, failure.retryAfterSecs], ["rate_limit_exceeded", 3]);
  const chat = await harness.prompt("mao", ...THIRD);
  sides[0]!.end();
  await nextTask();
  const next = await harness.prompt("mao", TASK);
  assertEquals([harness.running, chat.cancelCount, next.text === sides[0]!.text], [5, 0, true]);
});

Deno.test("side job: those of one key keep none of another's from running", async () => {
  using harness = new ConversationHarness({ mode: "auto" });
  const [busy, other] = [apiKey("busy").caller, apiKey("other").caller];
  const start = (caller: Caller) =>
    harness.registry.startTurn({
      caller,
      conversation: { owner: caller.id },
      messages: [TASK],
      record: false,
    });
  for (let number = 0; number < 4; number++) await start(busy);
  assertEquals((await appErrorOf(start(busy))).code, "rate_limit_exceeded");
  await start(other);
  assertEquals(harness.running, 5);
});

Deno.test("side job: if its reply comes back it was a turn, and the conversation continues with that history", async () => {
  using harness = await withChat();
  await harness.run("mao", TITLE, "A title for everything");
  const history = [...TITLE, assistant("A title for everything"), user("And now?")];
  const { text, session } = await harness.run("mao", history, "Now this is the answer.");
  assertEquals(
    [text, session],
    [
      "<system>\nWrite a title.\n</system>\n\n<user>\nUSER: one\n</user>\n\n" +
      "<assistant>\nA title for everything\n</assistant>\n\nAnd now?",
      harness.session(0),
    ],
  );
  const next = [...history, assistant("Now this is the answer."), user("five")];
  assertEquals((await harness.run("mao", next)).text, "five");
});

Deno.test("side job: an interrupt of its conversation ends it too", async () => {
  using harness = await withChat();
  const side = await harness.prompt("mao", ...TITLE);
  assertEquals([harness.registry.interrupt("mao"), side.cancelCount], [1, 1]);
  side.end("cancelled");
  await nextTask();
  assertEquals(harness.running, 0);
});
