import { assertEquals } from "@std/assert";
import type { TurnRequest } from "../../lib/conversation/registry.ts";
import { AppError } from "../../lib/core/errors.ts";
import { Notifier, splitEmotions } from "../../lib/events/notifier.ts";
import type { Urgency } from "../../lib/events/wire.ts";
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
  readonly requests: TurnRequest[] = [];
  readonly notifier = new Notifier({
    hub: this.hub.hub,
    cannedReplies: this.cannedReplies,
    emotions: EMOTIONS,
    conversations: {
      startTurn: (request, signal) => {
        this.requests.push(request);
        return this.harness.registry.startTurn(request, signal);
      },
    },
  });

  get agent() {
    return this.harness.agent;
  }

  announce(text: string, urgency: Urgency): number {
    return this.notifier.announce(this.notifier.fromText(text), urgency);
  }

  /** The next canned replies to a text. */
  replies(text: string, count: number): (string | undefined)[] {
    return Array.from({ length: count }, () => this.cannedReplies.replyTo(text));
  }

  [Symbol.dispose](): void {
    this.hub[Symbol.dispose]();
    this.harness[Symbol.dispose]();
  }
}

const SPLIT: readonly [reply: string, text: string, emotions: readonly string[]][] = [
  ["Hello!", "Hello!", []],
  ["[happy] Hello!", "Hello!", ["happy"]],
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

Deno.test("Notifier: announces to all clients, each of which can post the text back once", () => {
  using fixture = new NotifierFixture();
  const clients = [fixture.hub.connect(), fixture.hub.connect()];
  assertEquals(fixture.announce("[happy] Build done!", "high"), 2);
  for (const client of clients) {
    assertEquals(client.summaries.slice(2), ["emotion happy 1", "notification Build done!"]);
    assertEquals(client.frames.at(-1)?.urgency, "high");
  }
  const reply = "[happy] Build done!";
  assertEquals(fixture.replies("Build done!", 3), [reply, reply, undefined]);
});

Deno.test("Notifier: has no canned reply for an announcement without clients", () => {
  using fixture = new NotifierFixture();
  assertEquals(fixture.announce("Build done!", "low"), 0);
  assertEquals(fixture.replies("Build done!", 1), [undefined]);
});

for (const text of ["[happy]", "Run `deno test` and `a*b`:\n```sh\nls\n```"]) {
  Deno.test(`Notifier: announces ${JSON.stringify(text)} unchanged`, () => {
    using fixture = new NotifierFixture();
    const client = fixture.hub.connect(["notification"]);
    fixture.announce(text, "low");
    assertEquals(client.summaries, [`notification ${text}`]);
  });
}

Deno.test("Notifier: sends a prompt to the newest client, which can post it back once", () => {
  using fixture = new NotifierFixture();
  const [first, last] = [fixture.hub.connect(["notification"]), fixture.hub.connect(["notification"])];
  const rain = fixture.notifier.fromText("[shy] It rains.");
  assertEquals(fixture.notifier.sendPrompt("Say something.", rain, "low"), 1);
  assertEquals([first.summaries, last.summaries], [[], ["notification Say something."]]);
  assertEquals(fixture.replies("Say something.", 2), ["[shy] It rains.", undefined]);
});

Deno.test("Notifier: asks in an unsolicited turn of a new conversation", async () => {
  using fixture = new NotifierFixture();
  fixture.agent.script = saying("[happy] It ", "rains.\n");
  assertEquals(await fixture.notifier.ask("Anything new?", NEVER), {
    reply: "[happy] It rains.",
    text: "It rains.",
    emotions: [{ tag: "happy", intensity: 1 }],
  });
  const [{ unsolicited, record, conversation } = {}] = fixture.requests as Partial<TurnRequest>[];
  assertEquals([unsolicited, record, conversation], [true, false, undefined]);
  assertEquals(fixture.agent.prompts[0]?.text.includes("Anything new?"), true);
});

Deno.test("Notifier: asks in the conversation of its context", async () => {
  using fixture = new NotifierFixture();
  fixture.agent.script = saying("Yes");
  using conversation = fixture.harness.registry.openPrivate();
  const context = { conversation, earlierReplies: [] };
  for (const prompt of ["One?", "Two?"]) await fixture.notifier.ask(prompt, NEVER, context);
  await fixture.notifier.ask("Three?", NEVER);
  const sessions = fixture.agent.prompts.map(({ session }) => session.id);
  assertEquals(sessions, ["session-1", "session-1", "session-2"] as string[]);
});

Deno.test("Notifier: tells each new session the earlier replies", async () => {
  using fixture = new NotifierFixture();
  const { agent } = fixture;
  agent.script = saying("Yes");
  using conversation = fixture.harness.registry.openPrivate();
  const context = { conversation, earlierReplies: ["It rains.", "It snows."] };
  await fixture.notifier.ask("One?", NEVER, context);
  await fixture.notifier.ask("Two?", NEVER, context);
  agent.sessions[0]!.close();
  await fixture.notifier.ask("Three?", NEVER, context);
  const earlier = "<assistant>\nIt rains.\n</assistant>\n\n<assistant>\nIt snows.\n</assistant>\n\n";
  assertEquals(agent.prompts.map(({ text }) => text), [`${earlier}One?`, "Two?", `${earlier}Three?`]);
});

for (const reply of ["", "  \n", "[silent]", " [Silent]\n", "[SILENT] ", "[neutral] [silent]", "[silent]."]) {
  Deno.test(`Notifier: the reply ${JSON.stringify(reply)} is silent`, async () => {
    using fixture = new NotifierFixture();
    fixture.agent.script = saying(...(reply === "" ? [] : [reply]));
    assertEquals(await fixture.notifier.ask("Anything new?", NEVER), undefined);
  });
}

const REPLIES: readonly [name: string, pieces: readonly string[], expected: string][] = [
  ["[silent] with more text is not silent", ["[silent] is what I am not."], "[silent] is what I am not."],
  ["cuts a reply after 8000 characters", Array(9).fill("x".repeat(1_000)), "x".repeat(8_000)],
  ["cuts no character in half", ["x" + "😀".repeat(4_000)], "x" + "😀".repeat(3_999) + "\ufffd"],
];
for (const [name, pieces, expected] of REPLIES) {
  Deno.test(`Notifier: ${name}`, async () => {
    using fixture = new NotifierFixture();
    fixture.agent.script = saying(...pieces);
    assertEquals((await fixture.notifier.ask("?", NEVER))?.text, expected);
  });
}

Deno.test("Notifier: throws the failure of a turn, marked as prompted", async () => {
  using fixture = new NotifierFixture();
  fixture.agent.script = (prompt) => prompt.fail(new AppError("agent_error", "No."));
  const failure = await appErrorOf(fixture.notifier.ask("?", NEVER));
  assertEquals([failure.code, failure.prompted], ["agent_error", true]);
});

Deno.test("Notifier: throws if the agent cannot be prompted", async () => {
  using fixture = new NotifierFixture();
  fixture.agent.openError = new AppError("agent_unavailable", "Gone.");
  assertEquals((await appErrorOf(fixture.notifier.ask("?", NEVER))).code, "agent_unavailable");
});

Deno.test("Notifier: throws if the turn is interrupted", async () => {
  using fixture = new NotifierFixture();
  const asking = fixture.notifier.ask("?", NEVER);
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
  const asking = fixture.notifier.ask("?", controller.signal).catch((error) => error);
  const prompt = await fixture.agent.nextPrompt();
  await nextTask();
  controller.abort(reason);
  assertEquals(await waitFor(asking, "the reason"), reason);
  await prompt.cancelled;
  prompt.end("cancelled");
});
