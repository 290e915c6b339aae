import { assertEquals } from "@std/assert";
import type { PrivateConversation } from "../../lib/conversation/active.ts";
import { Ambient, type AmbientDeps } from "../../lib/events/ambient.ts";
import type { Announcement, PromptContext } from "../../lib/events/notifier.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import { settled, soon } from "../support/harness/turn_recorder.ts";

const RAIN: Announcement = {
  reply: "[sad] It rains.",
  text: "It rains.",
  emotions: [{ tag: "sad", intensity: 1 }],
};

/** A character that may speak up, and all that it was told and did. */
class Room implements Disposable {
  readonly ambient: Ambient;
  readonly did: string[] = [];
  readonly asides: PromptContext[] = [];
  readonly running = new Set<Turn>();
  readonly warnings: string[] = [];
  /** The conversations that it had with the agent, and whether they are over. */
  readonly holds: { hold: PrivateConversation; isOver: boolean }[] = [];
  isSomeoneThere = true;
  /** How many hear it. */
  hearers = 1;
  /** What the agent says, or why it does not. */
  answer: () => Promise<Announcement | undefined> = () => Promise.resolve(RAIN);
  signal: AbortSignal | undefined;
  #asked = Promise.withResolvers<void>();

  constructor(settings: Partial<AmbientDeps> = {}) {
    this.ambient = new Ambient({
      intervalMs: 3_600_000,
      urgency: "low",
      prompt: "Anything new?",
      mode: "agent",
      openConversation: () => this.#hold(),
      hasAudience: () => this.isSomeoneThere,
      runningTurns: () => this.running,
      log: { ...NO_LOG, warn: (message) => void this.warnings.push(message) },
      notifier: {
        ask: (prompt, signal, aside) => {
          this.did.push(`ask ${prompt}`);
          this.signal = signal;
          if (aside) this.asides.push(aside);
          this.#asked.resolve();
          this.#asked = Promise.withResolvers<void>();
          return this.answer();
        },
        announce: ({ text }, urgency) => {
          this.did.push(`utter ${text} ${urgency}`);
          return this.hearers;
        },
        sendPrompt: (prompt, { reply }, urgency) => {
          this.did.push(`prompt ${prompt} for ${reply} ${urgency}`);
          return this.hearers;
        },
      },
      ...settings,
    });
  }

  /** The next time that the agent is asked. */
  asked(): Promise<void> {
    return soon(this.#asked.promise, "the agent to be asked");
  }

  /** Lets a turn run until it is ended. */
  run(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    const turn = { ended: promise } as unknown as Turn;
    this.running.add(turn);
    promise.then(() => this.running.delete(turn));
    return resolve;
  }

  #hold(): PrivateConversation {
    const hold = { active: undefined as never, [Symbol.dispose]: () => void (held.isOver = true) };
    const held = { hold, isOver: false };
    this.holds.push(held);
    return hold;
  }

  [Symbol.dispose](): void {
    this.ambient[Symbol.dispose]();
  }
}

Deno.test("Ambient: what the agent says is told to all, in its own conversation", async () => {
  using room = new Room();
  assertEquals(await room.ambient.speak(), true);
  assertEquals(room.did, ["ask Anything new?", "utter It rains. low"]);
  assertEquals(room.asides, [{ hold: room.holds[0]!.hold, said: [] }]);
});

Deno.test("Ambient: it tells what it said last, and after 50 times it goes on in a new conversation", async () => {
  using room = new Room();
  let count = 0;
  room.answer = () => {
    count++;
    return Promise.resolve(
      count % 10 === 0 ? undefined : { reply: `[sad] ${count}`, text: `${count}`, emotions: [] },
    );
  };
  for (let round = 0; round < 101; round++) await room.ambient.speak();
  assertEquals(room.asides[11]!.earlierReplies, ["[sad] 6", "[sad] 7", "[sad] 8", "[sad] 9", "[sad] 11"]);
  assertEquals(room.holds.map(({ isOver }) => isOver), [true, true, false]);
  const used = room.asides.map(({ conversation: hold }) =>
    room.holds.findIndex((held) => held.hold === hold)
  );
  assertEquals(used, [...Array(50).fill(0), ...Array(50).fill(1), 2]);
});

Deno.test("Ambient: in the mode text the prompt goes out, for what the agent said", async () => {
  using room = new Room({ mode: "text", urgency: "high" });
  assertEquals(await room.ambient.speak(), true);
  assertEquals(room.did, ["ask Anything new?", "prompt Anything new? for [sad] It rains. high"]);
});

Deno.test("Ambient: nobody is there: the agent is not asked", async () => {
  using room = new Room();
  room.isSomeoneThere = false;
  assertEquals([await room.ambient.speak(), room.did], [false, []]);
});

Deno.test("Ambient: a turn runs: the agent is not asked", async () => {
  using room = new Room();
  const end = room.run();
  assertEquals([await room.ambient.speak(), room.did], [false, []]);
  end();
});

Deno.test("Ambient: the agent has nothing to say: nothing is said", async () => {
  using room = new Room();
  room.answer = () => Promise.resolve(undefined);
  assertEquals([await room.ambient.speak(), room.did], [false, ["ask Anything new?"]]);
});

Deno.test("Ambient: those who were there have gone: nothing was said", async () => {
  using room = new Room();
  room.hearers = 0;
  assertEquals(await room.ambient.speak(), false);
});

Deno.test("Ambient: a turn that began while the agent was asked is not interrupted", async () => {
  using room = new Room();
  const ends: (() => void)[] = [];
  room.answer = () => {
    ends.push(room.run(), room.run());
    return Promise.resolve(RAIN);
  };
  const speaking = room.ambient.speak();
  await settled();
  assertEquals(room.did, ["ask Anything new?"]);
  ends[0]!();
  await settled();
  assertEquals(room.did, ["ask Anything new?"]);
  // One more begins before the last has ended.
  const end = room.run();
  ends[1]!();
  await settled();
  assertEquals(room.did, ["ask Anything new?"]);
  end();
  assertEquals(await soon(speaking, "its words"), true);
  assertEquals(room.did, ["ask Anything new?", "utter It rains. low"]);
});

Deno.test("Ambient: an agent that fails is in the log, and does not reject", async () => {
  using room = new Room();
  room.answer = () => Promise.reject(new AppError("agent_unavailable", "Gone."));
  assertEquals([await room.ambient.speak(), room.warnings], [false, ["could not speak up"]]);
});

Deno.test("Ambient: it asks again and again, also when it failed", async () => {
  using room = new Room({ intervalMs: 1 });
  room.answer = () => Promise.reject(new Error("no"));
  room.ambient.start();
  assertEquals(room.did, []);
  await room.asked();
  room.answer = () => Promise.resolve(RAIN);
  for (let i = 0; i < 2; i++) await room.asked();
  assertEquals(room.did.slice(0, 3), ["ask Anything new?", "ask Anything new?", "utter It rains. low"]);
});

Deno.test("Ambient: it asks no second time before the first was answered", async () => {
  using room = new Room({ intervalMs: 1 });
  using other = new Room({ intervalMs: 1 });
  const { promise, resolve } = Promise.withResolvers<undefined>();
  room.answer = () => promise;
  const asked = room.asked();
  room.ambient.start();
  await asked;
  other.ambient.start();
  for (let i = 0; i < 5; i++) await other.asked();
  assertEquals(room.did, ["ask Anything new?"]);
  const again = room.asked();
  resolve(undefined);
  await again;
});

Deno.test("Ambient: disposed of while it asks: it stops asking, says nothing, and closes its conversation", async () => {
  const room = new Room();
  const { promise, resolve, reject } = Promise.withResolvers<Announcement>();
  room.answer = () => promise;
  const speaking = room.ambient.speak();
  room[Symbol.dispose]();
  assertEquals([room.signal?.aborted, room.holds.map(({ isOver }) => isOver)], [true, [true]]);
  resolve(RAIN);
  assertEquals([await speaking, room.did], [false, ["ask Anything new?"]]);
  reject();
  assertEquals([await room.ambient.speak(), room.did.length], [false, 1]);
  room.ambient.start();
});

Deno.test("Ambient: disposed of while it asks: what the agent says of that is not in the log", async () => {
  const room = new Room();
  const { promise, reject } = Promise.withResolvers<Announcement>();
  room.answer = () => promise;
  const speaking = room.ambient.speak();
  room[Symbol.dispose]();
  reject(new AppError("turn_cancelled", "Stopped."));
  assertEquals([await speaking, room.warnings], [false, []]);
});

Deno.test("Ambient: disposed of while it waits for a turn: it waits no longer", async () => {
  const room = new Room();
  let end = () => {};
  room.answer = () => {
    end = room.run();
    return Promise.resolve(RAIN);
  };
  const speaking = room.ambient.speak();
  await settled();
  room[Symbol.dispose]();
  let over = false;
  speaking.then(() => over = true);
  await settled();
  const waited = over;
  end();
  await speaking;
  assertEquals([waited, room.did], [true, ["ask Anything new?"]]);
});
