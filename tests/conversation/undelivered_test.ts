import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { Message } from "../../lib/conversation/message.ts";
import { ConversationHarness, crash } from "../support/harness/conversation_harness.ts";
import { assistant, image, system, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";

const MAO = system("Mao");

for (const isCold of [true, false]) {
  Deno.test(`undelivered: superseded messages are sent with the next, to ${isCold ? "a new" : "an open"} session`, async () => {
    using harness = new ConversationHarness();
    const running = isCold ? undefined : await harness.prompt("a", user("one"));
    const open = harness.blockOpening();
    for (const text of ["two", "three"]) {
      harness.start("a", [MAO, user(text)]).catch(() => {});
      await nextTask();
    }
    const last = harness.start("a", [MAO, user("four")]);
    await nextTask();
    open();
    running?.end("cancelled");
    await waitFor(last, "the newest turn");
    const { text } = await harness.agent.nextPrompt();
    assertEquals([...text.matchAll(/Mao|two|three|four/g)].join(" "), "Mao two three four");
    harness.agent.prompts.at(-1)!.end();
    await nextTask();
    assertEquals((await harness.prompt("a", user("five"))).text, "five");
  });
}

const REPEATS = [
  ["the message again and a new one", [user("two"), user("three")], "two\n\nthree"],
  ["the message again", [user("two")], "two"],
  ["the history without it", [user("one"), assistant("1"), user("three")], "three"],
] as const;
for (const [what, messages, prompt] of REPEATS) {
  Deno.test(`undelivered: a client that sends ${what} decides itself what is sent`, async () => {
    using harness = new ConversationHarness();
    await harness.run("a", [user("one")]);
    const open = harness.blockOpening();
    harness.session(0).close();
    harness.agent.resumes = true;
    harness.start("a", [user("two")]).catch(() => {});
    await nextTask();
    const last = harness.start("a", messages);
    open();
    await waitFor(last, "the newest turn");
    assertEquals((await harness.agent.nextPrompt()).text, prompt);
  });
}

Deno.test("undelivered: the newest eight messages are kept, but none that is too long", async () => {
  using harness = new ConversationHarness();
  const open = harness.blockOpening();
  const tooLong = "x".repeat(64 * 1024 + 1);
  const texts = [...Array.from({ length: 10 }, (_, index) => `turn ${index}`), tooLong];
  for (const text of texts) harness.start("a", [user(text)]).catch(() => {});
  const last = harness.start("a", [user("last")]);
  open();
  await waitFor(last, "the newest turn");
  const { text } = await harness.agent.nextPrompt();
  assertEquals(text, [2, 3, 4, 5, 6, 7, 8, 9].map((index) => `turn ${index}\n\n`).join("") + "last");
});

Deno.test("undelivered: the text of a message is kept, not its images", async () => {
  using harness = new ConversationHarness();
  const running = await harness.prompt("a", user("one"));
  harness.start("a", [user("Look!", image("A".repeat(100_000)))]).catch(() => {});
  const last = harness.start("a", [user("two")]);
  running.end("cancelled");
  await waitFor(last, "the newest turn");
  assertEquals((await harness.agent.nextPrompt()).blocks, [{ type: "text", text: "Look!\n\ntwo" }]);
});

Deno.test("undelivered: the message of an interrupted request is not sent, that of a failed one is", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("one")]);
  harness.agent.resumes = true;
  harness.session(0).close();
  harness.agent.openError = new AppError("agent_unavailable", "Not now.", { retryAfterSecs: 1 });
  await appErrorOf(harness.start("a", [user("two")]));
  harness.agent.openError = undefined;
  const open = harness.blockOpening();
  const interrupted = appErrorOf(harness.start("a", [user("three")]));
  await nextTask();
  assertEquals(harness.registry.interrupt("a"), 1);
  assertEquals((await interrupted).code, "turn_cancelled");
  open();
  const prompt = await harness.prompt("a", user("four"));
  assertEquals([prompt.text, prompt.session.id], ["two\n\nfour", "session-1"]);
});

Deno.test("undelivered: a message with which the agent exited is sent again once, after a waiting one", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  harness.agent.resumes = true;
  await harness.run("a", [user("one")]);
  await harness.prompt("a", user("two"));
  const waiting = harness.start("a", [user("three")]);
  await nextTask();
  crash(harness.session(0));
  await waitFor(waiting, "the waiting turn");
  const prompt = await harness.agent.nextPrompt();
  const next = harness.start("a", [user("four")]);
  prompt.end();
  await waitFor(next, "the next turn");
  const { text } = await harness.agent.nextPrompt();
  harness.agent.prompts.at(-1)!.end();
  await nextTask();
  assertEquals([prompt.text, text], ["three", "two\n\nfour"]);
  assertEquals((await harness.run("a", [user("five")])).text, "five");
});

Deno.test("undelivered: messages are sent before words that were answered earlier", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("hi")]);
  const running = await harness.prompt("a", user("two"));
  harness.start("a", [user("three")]).catch(() => {});
  const last = harness.start("a", [user("hi")]);
  running.end("cancelled");
  await waitFor(last, "the newest turn");
  assertEquals((await harness.agent.nextPrompt()).text, "three\n\nhi");
});

Deno.test("undelivered: of messages that may trigger commands, the newest request's alone does", async () => {
  using harness = new ConversationHarness();
  const conversation = { owner: "", name: "a" };
  const start = (text: string) =>
    harness.registry.startTurn({ conversation, messages: [user(text)], mayCommand: true, record: false });
  const open = harness.blockOpening();
  for (const text of ["/one", "/two"]) {
    start(text).catch(() => {});
    await nextTask();
  }
  const last = start("/three");
  open();
  await waitFor(last, "the newest turn");
  const { blocks, session } = await harness.agent.nextPrompt();
  const text = (text: string) => ({ type: "text", text });
  assertEquals<unknown>(blocks, [text("/one\n\n/two\n\n"), { ...text("/three"), mayCommand: true }]);
  crash(session);
  await nextTask();
  // The crash may have lost the messages.
  await start("four");
  const { blocks: again } = await harness.agent.nextPrompt();
  assertEquals<unknown>(again, [text("/one\n\n/two\n\n/three\n\n"), { ...text("four"), mayCommand: true }]);
});

Deno.test("undelivered: a message that runs again in a new session may trigger commands again", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("one")], "Answer one, which is a long one.");
  harness.agent.resumes = true;
  harness.session(0).close();
  const messages = [user("one"), assistant("Answer one, which is a long one."), user("/two")];
  const conversation = { owner: "", name: "a" };
  await harness.registry.startTurn({ conversation, messages, mayCommand: true, record: false });
  const resumed = await harness.agent.nextPrompt();
  const command = { type: "text", text: "/two", mayCommand: true };
  assertEquals<unknown>(resumed.blocks, [command]);
  resumed.end("refusal");
  const { blocks, session } = await harness.agent.nextPrompt();
  assertEquals<unknown>([blocks.length, blocks[1], session === resumed.session], [2, command, false]);
});

const FIRST = [MAO, user("one")];
const SECOND = [...FIRST, assistant("Answer one, which is a long one."), user("two")];
const THIRD = [...SECOND, user("three")];
/** The prompt of a new session that ends with these messages. */
const fullPrompt = (...last: string[]) =>
  [
    "<system>\nMao\n</system>",
    "<user>\none\n</user>",
    "<assistant>\nAnswer one, which is a long one.\n</assistant>",
    ...last,
  ].join("\n\n");

const answerFirst = (harness: ConversationHarness, name: string | undefined) =>
  harness.run(name, FIRST, "Answer one, which is a long one.");

/** Starts a turn whose prompt the agent takes and then refuses. */
async function refuse(
  harness: ConversationHarness,
  name: string | undefined,
  messages: readonly Message[],
): Promise<void> {
  const turn = await harness.start(name, messages);
  const error = new AppError("agent_auth_required", "Log in.", { prompted: true });
  (await harness.agent.nextPrompt()).fail(error);
  await waitFor(turn.ended, "the end of the turn");
  await nextTask();
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "matched" : "named";
  Deno.test(`refused, ${which}: the next request sends everything to a new session`, async () => {
    for (
      const [next, prompt] of [[SECOND, fullPrompt("two")], [THIRD, fullPrompt("two", "three")]] as const
    ) {
      using harness = new ConversationHarness({ mode: "auto" });
      await answerFirst(harness, name);
      crash(harness.session(0));
      for (let times = 0; times < 2; times++) await refuse(harness, name, SECOND);
      const { text, session } = await harness.run(name, next);
      assertEquals([text, session === harness.session(1)], [prompt, true]);
      assertEquals((await harness.run(name, [...next, assistant("2"), user("four")])).text, "four");
      assertEquals(harness.turnCounts.length, 1);
    }
  });

  Deno.test(`refused, ${which}: the next request sends the refused message to an open session`, async () => {
    using harness = new ConversationHarness({ mode: "auto" });
    await answerFirst(harness, name);
    await refuse(harness, name, SECOND);
    assertEquals((await harness.run(name, THIRD)).text, "two\n\nthree");
    assertEquals(harness.agent.sessions.length, 1);
  });

  Deno.test(`refused at the first prompt, ${which}: the next request sends everything`, async () => {
    using harness = new ConversationHarness({ mode: "auto" });
    await refuse(harness, name, FIRST);
    const prompt = await harness.run(name, FIRST);
    assertEquals(prompt.text, "<system>\nMao\n</system>\n\none");
    // An unnamed conversation without a delivered message is not continued.
    assertEquals([prompt.session === harness.session(0), harness.turnCounts.length], [name === "mao", 1]);
  });
}
