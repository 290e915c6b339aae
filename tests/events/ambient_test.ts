import { assertEquals } from "@std/assert";
import type { PrivateConversation } from "../../lib/conversation/active.ts";
import { AppError } from "../../lib/core/errors.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import { Ambient, type AmbientDeps } from "../../lib/events/ambient.ts";
import type { Announcement, PromptContext } from "../../lib/events/notifier.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

const RAIN: Announcement = {
  reply: "[sad] It rains.",
  text: "It rains.",
  emotions: [{ tag: "sad", intensity: 1 }],
};

/** An ambient loop with a notifier that records its calls. */
class AmbientFixture implements Disposable {
  readonly ambient: Ambient;
  readonly calls: string[] = [];
  readonly contexts: PromptContext[] = [];
  readonly runningTurns = new Set<Turn>();
  readonly warnings: string[] = [];
  readonly conversations: { conversation: PrivateConversation; isOpen: boolean }[] = [];
  hasAudience = true;
  /** Clients that get an announcement. */
  clients = 1;
  ask: () => Promise<Announcement | undefined> = () => Promise.resolve(RAIN);
  signal: AbortSignal | undefined;
  #asked = Promise.withResolvers<void>();

  constructor(settings: Partial<AmbientDeps> = {}) {
    this.ambient = new Ambient({
      intervalMs: 3_600_000,
      urgency: "low",
      prompt: "Anything new?",
      mode: "agent",
      openConversation: () => this.#openConversation(),
      hasAudience: () => this.hasAudience,
      runningTurns: () => this.runningTurns,
      log: { ...NO_LOG, warn: (message) => void this.warnings.push(message) },
      notifier: {
        ask: (prompt, signal, context) => {
          this.calls.push(`ask ${prompt}`);
          this.signal = signal;
          if (context) this.contexts.push(context);
          this.#asked.resolve();
          this.#asked = Promise.withResolvers<void>();
          return this.ask();
        },
        announce: ({ text }, urgency) => {
          this.calls.push(`announce ${text} ${urgency}`);
          return this.clients;
        },
        sendPrompt: (prompt, { reply }, urgency) => {
          this.calls.push(`send ${prompt} for ${reply} ${urgency}`);
          return this.clients;
        },
      },
      ...settings,
    });
  }

  /** Resolves when the agent is prompted next. */
  asked(): Promise<void> {
    return waitFor(this.#asked.promise, "the next prompt");
  }

  /** Runs a turn until the returned function is called. */
  startTurn(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    const turn = { ended: promise } as unknown as Turn;
    this.runningTurns.add(turn);
    promise.then(() => this.runningTurns.delete(turn));
    return resolve;
  }

  #openConversation(): PrivateConversation {
    const entry = { isOpen: true };
    const conversation = { [Symbol.dispose]: () => void (entry.isOpen = false) } as PrivateConversation;
    this.conversations.push(Object.assign(entry, { conversation }));
    return conversation;
  }

  [Symbol.dispose](): void {
    this.ambient[Symbol.dispose]();
  }
}

const ASK = "ask Anything new?";

Deno.test("Ambient: announces the agent's reply, from a conversation of its own", async () => {
  using fixture = new AmbientFixture();
  assertEquals(await fixture.ambient.speak(), true);
  assertEquals(fixture.calls, [ASK, "announce It rains. low"]);
  const { conversation } = fixture.conversations[0]!;
  assertEquals(fixture.contexts, [{ conversation, earlierReplies: [] }]);
});

Deno.test("Ambient: passes on its last 5 replies, and opens a new conversation after 50 prompts", async () => {
  using fixture = new AmbientFixture();
  let count = 0;
  fixture.ask = () => {
    count++;
    const announcement = { reply: `[sad] ${count}`, text: `${count}`, emotions: [] };
    return Promise.resolve(count % 10 === 0 ? undefined : announcement);
  };
  for (let round = 0; round < 101; round++) await fixture.ambient.speak();
  const replies = ["[sad] 6", "[sad] 7", "[sad] 8", "[sad] 9", "[sad] 11"];
  assertEquals(fixture.contexts[11]!.earlierReplies, replies);
  assertEquals(fixture.conversations.map(({ isOpen }) => isOpen), [false, false, true]);
  const used = fixture.contexts.map(({ conversation }) =>
    fixture.conversations.findIndex((entry) => entry.conversation === conversation)
  );
  assertEquals(used, [...Array(50).fill(0), ...Array(50).fill(1), 2]);
});

Deno.test("Ambient: sends the prompt itself in mode text", async () => {
  using fixture = new AmbientFixture({ mode: "text", urgency: "high" });
  assertEquals(await fixture.ambient.speak(), true);
  assertEquals(fixture.calls, [ASK, "send Anything new? for [sad] It rains. high"]);
});

const SILENT: readonly [name: string, setUp: (fixture: AmbientFixture) => void, calls: readonly string[]][] =
  [
    ["without an audience", (fixture) => fixture.hasAudience = false, []],
    ["while a turn runs", (fixture) => void fixture.startTurn(), []],
    ["if the reply is silent", (fixture) => fixture.ask = () => Promise.resolve(undefined), [ASK]],
    ["if the audience has gone", (fixture) => fixture.clients = 0, [ASK, "announce It rains. low"]],
  ];
for (const [name, setUp, calls] of SILENT) {
  Deno.test(`Ambient: says nothing ${name}`, async () => {
    using fixture = new AmbientFixture();
    setUp(fixture);
    assertEquals([await fixture.ambient.speak(), fixture.calls], [false, [...calls]]);
  });
}

Deno.test("Ambient: waits for turns that start while the agent answers", async () => {
  using fixture = new AmbientFixture();
  const ends: (() => void)[] = [];
  fixture.ask = () => {
    ends.push(fixture.startTurn(), fixture.startTurn());
    return Promise.resolve(RAIN);
  };
  const speaking = fixture.ambient.speak();
  await nextTask();
  ends[0]!();
  await nextTask();
  // A third turn starts before the second has ended.
  const end = fixture.startTurn();
  ends[1]!();
  await nextTask();
  assertEquals(fixture.calls, [ASK]);
  end();
  assertEquals(await waitFor(speaking, "the announcement"), true);
  assertEquals(fixture.calls, [ASK, "announce It rains. low"]);
});

Deno.test("Ambient: logs an agent that fails, and does not reject", async () => {
  using fixture = new AmbientFixture();
  fixture.ask = () => Promise.reject(new AppError("agent_unavailable", "Gone."));
  const spoke = await fixture.ambient.speak();
  assertEquals([spoke, fixture.warnings], [false, ["the agent did not answer the ambient prompt"]]);
});

Deno.test("Ambient: repeats at each interval, also after a failure", async () => {
  using fixture = new AmbientFixture({ intervalMs: 1 });
  fixture.ask = () => Promise.reject(new Error("no"));
  fixture.ambient.start();
  assertEquals(fixture.calls, []);
  await fixture.asked();
  fixture.ask = () => Promise.resolve(RAIN);
  for (let i = 0; i < 2; i++) await fixture.asked();
  assertEquals(fixture.calls.slice(0, 3), [ASK, ASK, "announce It rains. low"]);
});

Deno.test("Ambient: does not prompt again before the agent has answered", async () => {
  using fixture = new AmbientFixture({ intervalMs: 1 });
  using other = new AmbientFixture({ intervalMs: 1 });
  const { promise, resolve } = Promise.withResolvers<undefined>();
  fixture.ask = () => promise;
  const asked = fixture.asked();
  fixture.ambient.start();
  await asked;
  other.ambient.start();
  for (let i = 0; i < 5; i++) await other.asked();
  assertEquals(fixture.calls, [ASK]);
  const again = fixture.asked();
  resolve(undefined);
  await again;
});

for (const outcome of ["reply", "error"] as const) {
  Deno.test(`Ambient: disposal aborts a prompt, closes the conversation and ignores a late ${outcome}`, async () => {
    const fixture = new AmbientFixture();
    const { promise, resolve, reject } = Promise.withResolvers<Announcement>();
    fixture.ask = () => promise;
    const speaking = fixture.ambient.speak();
    fixture[Symbol.dispose]();
    assertEquals([fixture.signal?.aborted, fixture.conversations.map(({ isOpen }) => isOpen)], [true, [
      false,
    ]]);
    if (outcome === "reply") resolve(RAIN);
    else reject(new AppError("turn_cancelled", "Stopped."));
    assertEquals([await speaking, fixture.calls, fixture.warnings], [false, [ASK], []]);
    assertEquals([await fixture.ambient.speak(), fixture.calls.length], [false, 1]);
    fixture.ambient.start();
  });
}

Deno.test("Ambient: disposal ends the wait for a turn", async () => {
  const fixture = new AmbientFixture();
  let end = () => {};
  fixture.ask = () => {
    end = fixture.startTurn();
    return Promise.resolve(RAIN);
  };
  const speaking = fixture.ambient.speak();
  await nextTask();
  fixture[Symbol.dispose]();
  assertEquals([await waitFor(speaking, "the end of the wait"), fixture.calls], [false, [ASK]]);
  end();
});
