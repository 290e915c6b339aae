import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { createNotifier, splitEmotions } from "../../lib/events/notifier.ts";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { CannedReplies } from "../../lib/turn/canned_replies.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { EMOTIONS, HubFixture } from "../support/harness/events_fixture.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";

const NEVER = new AbortController().signal;

/** A notifier with a hub, a registry and an agent. */
class NotifierFixture implements Disposable {
  readonly hub = new HubFixture();
  readonly harness = new ConversationHarness({ observer: this.hub.hub, emotions: EMOTIONS });
  readonly cannedReplies = new CannedReplies();
  readonly agent = this.harness.agent;
  readonly notifier = createNotifier({
    hub: this.hub.hub,
    cannedReplies: this.cannedReplies,
    emotions: EMOTIONS,
    conversations: this.harness.registry,
  });

  /** The next canned replies to a text. */
  replies(text: string, count: number): (string | undefined)[] {
    return Array.from({ length: count }, () => this.cannedReplies.replyTo(text, LOCAL_CALLER.id));
  }

  [Symbol.dispose](): void {
    this.hub[Symbol.dispose]();
    this.harness[Symbol.dispose]();
  }
}

const SPLIT: readonly [reply: string, text: string, emotions: readonly string[]][] = [
  ["Hello!", "Hello!", []],
  ["Hello! [sad]", "Hello!", ["sad"]],
  ["One [happy] two", "One two", ["happy"]],
  ["[happy]", "[happy]", ["happy"]],
  ["[happy] [sad] x", "x", ["happy", "sad"]],
  ["a  b", "a  b", []],
  ["[1] [TODO] [silent]", "[1] [TODO] [silent]", []],
  ["See\n```\nrm -r [happy]\n```\n[shy]that.", "See\n```\nrm -r [happy]\n```\nthat.", ["shy"]],
];
for (const [reply, text, emotions] of SPLIT) {
  Deno.test(`splitEmotions: ${JSON.stringify(reply)}`, () => {
    const split = splitEmotions(reply, EMOTIONS);
    assertEquals([split.text, split.emotions.map(({ tag }) => tag)], [text, [...emotions]]);
  });
}

Deno.test("Notifier: announces to all clients or to the newest, each of which can post the text back once", () => {
  using fixture = new NotifierFixture();
  const clients = [fixture.hub.connect(), fixture.hub.connect()];
  const [reply, text] = ["[happy] Build done!", "Build done!"];
  assertEquals(fixture.notifier.announce(fixture.notifier.fromText(reply), "high"), 2);
  for (const client of clients) {
    assertEquals(client.summaries.slice(2), ["emotion happy 1", `notification ${text}`]);
    assertEquals(client.frames.at(-1)?.urgency, "high");
  }
  assertEquals(fixture.replies(text, 3), [reply, reply, undefined]);
  assertEquals(fixture.notifier.announce(fixture.notifier.fromText(reply), "high", true), 1);
  assertEquals(fixture.replies(text, 2), [reply, undefined]);
});

Deno.test("Notifier: asks in an unsolicited turn of a session of its own, which gets the earlier replies", async () => {
  using fixture = new NotifierFixture();
  fixture.agent.script = saying("[happy] It ", "rains.\n");
  const client = fixture.hub.connect(["emotion"]);
  const announcement = await fixture.notifier.ask("Anything new?", { earlierReplies: ["It snows."] }, NEVER);
  const emotions = [{ tag: "happy", intensity: 1 }];
  assertEquals(announcement, { reply: "[happy] It rains.", text: "It rains.", emotions });
  await fixture.notifier.ask("And now?", {}, NEVER);
  const texts = fixture.agent.prompts.map(({ text }) => text);
  assertEquals(texts, ["<assistant>\nIt snows.\n</assistant>\n\nAnything new?", "And now?"]);
  assertEquals([fixture.agent.sessions.length, client.summaries], [2, []]);
});

const REPLIES: readonly [name: string, pieces: readonly string[], expected: string | undefined][] = [
  ["nothing is silent", [], undefined],
  ["[Silent] is silent", [" [Silent]\n"], undefined],
  ["[silent] with more text is not silent", ["[silent] is what I am not."], "[silent] is what I am not."],
  ["cuts a reply after 8000 characters", Array(9).fill("x".repeat(1_000)), "x".repeat(8_000)],
  ["cuts no character in half", ["x" + "😀".repeat(4_000)], "x" + "😀".repeat(3_999) + "\ufffd"],
];
for (const [name, pieces, expected] of REPLIES) {
  Deno.test(`Notifier: ${name}`, async () => {
    using fixture = new NotifierFixture();
    fixture.agent.script = saying(...pieces);
    assertEquals((await fixture.notifier.ask("?", {}, NEVER))?.text, expected);
  });
}

Deno.test("Notifier: throws the failure of a turn, marked as prompted", async () => {
  using fixture = new NotifierFixture();
  fixture.agent.script = (prompt) => prompt.fail(new AppError("agent_error", "No."));
  const failure = await appErrorOf(fixture.notifier.ask("?", {}, NEVER));
  assertEquals([failure.code, failure.prompted], ["agent_error", true]);
});

Deno.test("Notifier: throws if the turn is interrupted", async () => {
  using fixture = new NotifierFixture();
  const asking = fixture.notifier.ask("?", {}, NEVER);
  const prompt = await fixture.agent.nextPrompt();
  await nextTask();
  for (const turn of fixture.harness.registry.running) turn.cancel();
  prompt.end("cancelled");
  assertEquals((await appErrorOf(asking)).code, "turn_cancelled");
});

Deno.test("Notifier: an aborted signal cancels the turn and is the reason", async () => {
  using fixture = new NotifierFixture();
  const controller = new AbortController();
  const reason = new Error("hung up");
  const asking = fixture.notifier.ask("?", {}, controller.signal).catch((error) => error);
  const prompt = await fixture.agent.nextPrompt();
  await nextTask();
  controller.abort(reason);
  assertEquals(await waitFor(asking, "the reason"), reason);
  await prompt.cancelled;
  prompt.end("cancelled");
});
