import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import { Ambient, type AmbientDeps } from "../../lib/events/ambient.ts";
import type { Announcement } from "../../lib/events/notifier.ts";
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
  /** The earlier replies of each prompt. */
  readonly earlier: (readonly string[])[] = [];
  readonly runningTurns = new Set<Turn>();
  readonly warnings: string[] = [];
  readonly hub = { wantsNotifications: true };
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
      hub: this.hub,
      runningTurns: () => this.runningTurns,
      log: { ...NO_LOG, warn: (message) => void this.warnings.push(message) },
      notifier: {
        ask: (prompt, { earlierReplies = [] }, signal) => {
          this.calls.push(`ask ${prompt}`);
          this.signal = signal;
          this.earlier.push(earlierReplies);
          this.#asked.resolve();
          this.#asked = Promise.withResolvers<void>();
          return this.ask();
        },
        announce: ({ text, reply, emotions }, urgency, toNewest) => {
          this.calls.push(
            `announce ${text} ${urgency}${toNewest ? ` for ${reply}` : ` ${emotions[0]?.tag}`}`,
          );
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

  [Symbol.dispose](): void {
    this.ambient[Symbol.dispose]();
  }
}

const ASK = "ask Anything new?";
const ANNOUNCE = "announce It rains. low sad";

for (
  const [mode, announce] of [["agent", ANNOUNCE], [
    "text",
    `announce Anything new? low for ${RAIN.reply}`,
  ]] as const
) {
  Deno.test(`Ambient: in mode ${mode}, sends ${JSON.stringify(announce)}`, async () => {
    using fixture = new AmbientFixture({ mode });
    assertEquals(await fixture.ambient.speak(), true);
    assertEquals(fixture.calls, [ASK, announce]);
  });
}

Deno.test("Ambient: passes on its last 5 replies", async () => {
  using fixture = new AmbientFixture();
  let count = 0;
  fixture.ask = () => Promise.resolve(++count % 3 === 0 ? undefined : { ...RAIN, reply: `${count}` });
  for (let round = 0; round < 10; round++) await fixture.ambient.speak();
  assertEquals([fixture.earlier[0], fixture.earlier.at(-1)], [[], ["2", "4", "5", "7", "8"]]);
});

const SILENT: readonly [name: string, setUp: (fixture: AmbientFixture) => void, calls: readonly string[]][] =
  [
    ["if no client would get it", (fixture) => fixture.hub.wantsNotifications = false, []],
    ["while a turn runs", (fixture) => void fixture.startTurn(), []],
    ["if the reply is silent", (fixture) => fixture.ask = () => Promise.resolve(undefined), [ASK]],
    ["if the clients have gone", (fixture) => fixture.clients = 0, [ASK, ANNOUNCE]],
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
    ends.push(fixture.startTurn());
    return Promise.resolve(RAIN);
  };
  const speaking = fixture.ambient.speak();
  await nextTask();
  const end = fixture.startTurn();
  ends[0]!();
  await nextTask();
  assertEquals(fixture.calls, [ASK]);
  end();
  assertEquals(await waitFor(speaking, "the announcement"), true);
  assertEquals(fixture.calls, [ASK, ANNOUNCE]);
});

Deno.test("Ambient: repeats at each interval, also after a failure, which it logs", async () => {
  using fixture = new AmbientFixture({ intervalMs: 1 });
  fixture.ask = () => Promise.reject(new Error("no"));
  fixture.ambient.start();
  assertEquals(fixture.calls, []);
  await fixture.asked();
  fixture.ask = () => Promise.resolve(RAIN);
  for (let i = 0; i < 2; i++) await fixture.asked();
  assertEquals(fixture.calls.slice(0, 3), [ASK, ASK, ANNOUNCE]);
  assertEquals(fixture.warnings, ["the agent did not answer the ambient prompt"]);
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
  Deno.test(`Ambient: disposal aborts a prompt and ignores a late ${outcome}`, async () => {
    const fixture = new AmbientFixture();
    const { promise, resolve, reject } = Promise.withResolvers<Announcement>();
    fixture.ask = () => promise;
    const speaking = fixture.ambient.speak();
    fixture[Symbol.dispose]();
    assertEquals(fixture.signal?.aborted, true);
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
