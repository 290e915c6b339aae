import { assertEquals } from "@std/assert";
import type { TurnRequest } from "../../lib/conversation/registry.ts";
import type { Urgency } from "../../lib/events/wire.ts";
import { Notifier, splitEmotions } from "../../lib/events/notifier.ts";
import { CannedReplies } from "../../lib/turn/canned_replies.ts";
import { AppError } from "../../lib/core/errors.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { failureOf, settled, soon } from "../support/harness/turn_recorder.ts";
import { EMOTIONS, HubFixture } from "../support/harness/events_fixture.ts";

const NEVER = new AbortController().signal;

/** A herald, who hears it, and the agent that it asks. */
class Booth implements Disposable {
  readonly stage = new HubFixture();
  readonly house = new ConversationHarness({ observer: this.stage.hub, emotions: EMOTIONS });
  readonly prepared = new CannedReplies();
  readonly requests: TurnRequest[] = [];
  readonly herald = new Notifier({
    hub: this.stage.hub,
    cannedReplies: this.prepared,
    emotions: EMOTIONS,
    conversations: {
      startTurn: (request, signal) => {
        this.requests.push(request);
        return this.house.registry.startTurn(request, signal);
      },
    },
  });

  /** Says this as it is. */
  say(text: string, urgency: Urgency): number {
    return this.herald.announce(this.herald.fromText(text), urgency);
  }

  [Symbol.dispose](): void {
    this.stage[Symbol.dispose]();
    this.house[Symbol.dispose]();
  }
}

const SPOKEN: readonly [reply: string, text: string, emotions: readonly string[]][] = [
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
for (const [reply, text, emotions] of SPOKEN) {
  Deno.test(`spokenOf: ${JSON.stringify(reply)}`, () => {
    const spoken = splitEmotions(reply, EMOTIONS);
    assertEquals([spoken.text, spoken.emotions.map(({ tag }) => tag)], [text, [...emotions]]);
  });
}

Deno.test("Herald: what it says is told to everybody, its tags are shown, and it is answered when it comes back", () => {
  using booth = new Booth();
  const [one, two] = [booth.stage.connect(), booth.stage.connect()];
  assertEquals(booth.say("[happy] Build done!", "high"), 2);
  for (const watcher of [one, two]) {
    assertEquals(watcher.summaries.slice(2), ["emotion happy 1", "notification Build done!"]);
    assertEquals(watcher.frames.at(-1)?.urgency, "high");
  }
  assertEquals([1, 2, 3].map(() => booth.prepared.replyTo("Build done!")), [
    "[happy] Build done!",
    "[happy] Build done!",
    undefined,
  ]);
});

Deno.test("Herald: what nobody heard is not answered", () => {
  using booth = new Booth();
  assertEquals(booth.say("Build done!", "low"), 0);
  assertEquals(booth.prepared.replyTo("Build done!"), undefined);
});

Deno.test("Herald: a text of nothing but a tag is told as it is", () => {
  using booth = new Booth();
  const watcher = booth.stage.connect(["notification"]);
  booth.say("[happy]", "low");
  assertEquals(watcher.summaries, ["notification [happy]"]);
});

Deno.test("Herald: a prompt goes to one client, and is answered with what the agent made of it", () => {
  using booth = new Booth();
  const [first, last] = [booth.stage.connect(["notification"]), booth.stage.connect(["notification"])];
  const utterance = { reply: "[shy] It rains.", text: "It rains.", emotions: [{ tag: "shy", intensity: 1 }] };
  assertEquals(booth.herald.sendPrompt("Say something.", utterance, "low"), 1);
  assertEquals([first.summaries, last.summaries], [[], ["notification Say something."]]);
  assertEquals([1, 2].map(() => booth.prepared.replyTo("Say something.")), ["[shy] It rains.", undefined]);
});

Deno.test("Herald: code in what it says is told as it was sent", () => {
  using booth = new Booth();
  const watcher = booth.stage.connect(["notification"]);
  booth.say("Run `deno test` and `a*b`:\n```sh\nls\n```", "low");
  assertEquals(watcher.summaries, ["notification Run `deno test` and `a*b`:\n```sh\nls\n```"]);
});

Deno.test("Herald: what it asks is a turn that nobody asked for, in a conversation of its own", async () => {
  using booth = new Booth();
  booth.house.agent.script = saying("[happy] It ", "rains.\n");
  assertEquals(await booth.herald.ask("Anything new?", NEVER), {
    reply: "[happy] It rains.",
    text: "It rains.",
    emotions: [{ tag: "happy", intensity: 1 }],
  });
  assertEquals(
    booth.requests.map(({ unsolicited, record, conversation }) => [unsolicited, record, conversation]),
    [
      [true, false, undefined],
    ],
  );
  assertEquals(booth.house.agent.prompts[0]?.text.includes("Anything new?"), true);
});

Deno.test("Herald: what it asks aside is asked in that conversation", async () => {
  using booth = new Booth();
  booth.house.agent.script = saying("Yes");
  using hold = booth.house.registry.openPrivate();
  await booth.herald.ask("One?", NEVER, { conversation: hold, earlierReplies: [] });
  await booth.herald.ask("Two?", NEVER, { conversation: hold, earlierReplies: [] });
  await booth.herald.ask("Three?", NEVER);
  assertEquals(booth.house.agent.prompts.map(({ session }) => session.id), [
    "session-1",
    "session-1",
    "session-2",
  ]);
});

Deno.test("Herald: what was said aside before is told to a session that does not know it, and to no other", async () => {
  using booth = new Booth();
  const { agent } = booth.house;
  agent.script = saying("Yes");
  using hold = booth.house.registry.openPrivate();
  const said = ["It rains.", "It snows."];
  await booth.herald.ask("One?", NEVER, { conversation: hold, earlierReplies: said });
  await booth.herald.ask("Two?", NEVER, { conversation: hold, earlierReplies: said });
  agent.sessions[0]!.close();
  await booth.herald.ask("Three?", NEVER, { conversation: hold, earlierReplies: said });
  const before = "<assistant>\nIt rains.\n</assistant>\n\n<assistant>\nIt snows.\n</assistant>\n\n";
  assertEquals(agent.prompts.map(({ text }) => text), [`${before}One?`, "Two?", `${before}Three?`]);
});

for (
  const silence of ["", "  \n", "[silent]", " [Silent]\n", "[SILENT] ", "[neutral] [silent]", "[silent]."]
) {
  Deno.test(`Herald: ${JSON.stringify(silence)} is nothing to say`, async () => {
    using booth = new Booth();
    booth.house.agent.script = (prompt) => {
      if (silence !== "") prompt.say(silence);
      prompt.end();
    };
    assertEquals(await booth.herald.ask("Anything new?", NEVER), undefined);
  });
}

Deno.test("Herald: [silent] and more is something to say", async () => {
  using booth = new Booth();
  booth.house.agent.script = saying("[silent] is what I am not.");
  assertEquals((await booth.herald.ask("?", NEVER))?.text, "[silent] is what I am not.");
});

Deno.test("Herald: of a long reply the first 8000 characters are said", async () => {
  using booth = new Booth();
  booth.house.agent.script = saying(..."x".repeat(9).split("").map((x) => x.repeat(1_000)));
  assertEquals((await booth.herald.ask("?", NEVER))?.text.length, 8_000);
});

Deno.test("Herald: a long reply is not cut inside a character", async () => {
  using booth = new Booth();
  booth.house.agent.script = saying("x" + "😀".repeat(4_000));
  assertEquals((await booth.herald.ask("?", NEVER))?.text.isWellFormed(), true);
});

Deno.test("Herald: a turn that fails is thrown, as one whose prompt had come", async () => {
  using booth = new Booth();
  booth.house.agent.script = (prompt) => prompt.fail(new AppError("agent_error", "No."));
  const failure = await failureOf(booth.herald.ask("?", NEVER));
  assertEquals([failure.code, failure.prompted], ["agent_error", true]);
});

Deno.test("Herald: an agent that cannot be asked is thrown", async () => {
  using booth = new Booth();
  booth.house.agent.openFailure = new AppError("agent_unavailable", "Gone.");
  assertEquals((await failureOf(booth.herald.ask("?", NEVER))).code, "agent_unavailable");
});

Deno.test("Herald: a turn that is interrupted is thrown", async () => {
  using booth = new Booth();
  const asking = booth.herald.ask("?", NEVER);
  const prompt = await booth.house.agent.nextPrompt();
  await settled();
  for (const turn of booth.house.registry.running) turn.cancel();
  prompt.end("cancelled");
  assertEquals((await failureOf(asking)).code, "turn_cancelled");
});

Deno.test("Herald: who no longer waits for the answer cancels the turn, and gets the signal's reason", async () => {
  using booth = new Booth();
  const controller = new AbortController();
  const reason = new Error("hung up");
  const asking = booth.herald.ask("?", controller.signal).catch((error) => error);
  const prompt = await booth.house.agent.nextPrompt();
  await settled();
  controller.abort(reason);
  assertEquals(await soon(asking, "the reason"), reason);
  await prompt.cancelled;
  prompt.end("cancelled");
});
