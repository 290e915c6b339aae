import { assertEquals, assertNotEquals } from "@std/assert";
import { Subscriber } from "../../lib/events/subscriber.ts";
import { EVENT_NAMES, type EventName, Message, type VtuberEvent } from "../../lib/events/wire.ts";
import { RecordingTransport } from "../support/harness/events_fixture.ts";

/** The backlog at which a subscriber counts as slow, in bytes. */
const FULL = 64 * 1024;
const MAX_WAITING = 4_096;
const ALL_BUT_SAY = EVENT_NAMES.filter((name) => name !== "say");

interface Connection extends Disposable {
  readonly transport: RecordingTransport;
  readonly subscriber: Subscriber;
  /** Calls of `onDetach`. */
  readonly detached: () => number;
}

function connect(transport = new RecordingTransport()): Connection {
  let detached = 0;
  const subscriber = new Subscriber(transport, () => detached++);
  return { transport, subscriber, detached: () => detached, [Symbol.dispose]: () => subscriber.detach() };
}

/** A message with a number, or with a text of any length. */
function message(type: string, n: number | string): Message {
  return new Message({ type, n } as unknown as VtuberEvent);
}

function deliver(subscriber: Subscriber, type: string, ...numbers: number[]): void {
  for (const n of numbers) subscriber.deliver(message(type, n));
}

/** The type and number of every frame. */
const received = ({ frames }: RecordingTransport) => frames.map(({ type, n }) => `${type} ${n}`);

/** A transport that is full but for the frames that the test lets it take, and counts the reads of its backlog. */
class SlowTransport extends RecordingTransport {
  reads = 0;
  /** Frames to take before it is full again. */
  takes = 0;
  #change = Promise.withResolvers<void>();

  constructor() {
    super();
    const get = () => {
      this.reads++;
      this.#change.resolve();
      this.#change = Promise.withResolvers<void>();
      return this.takes > 0 ? 0 : FULL;
    };
    Object.defineProperty(this, "backlog", { get });
  }

  override send(message: Message): void {
    this.takes--;
    super.send(message);
  }

  /** Waits for so many more reads of the backlog. */
  async untilRead(times: number): Promise<void> {
    const until = this.reads + times;
    while (this.reads < until) await this.#change.promise;
  }
}

/** Stops the clock until disposal; the test moves it. */
function stopClock(): Disposable & { ms: number } {
  const { now } = performance;
  const clock = {
    ms: now.call(performance),
    [Symbol.dispose]: () => {
      performance.now = now;
    },
  };
  performance.now = () => clock.ms;
  return clock;
}

Deno.test("Subscriber: has an id of its own, which is its name until it gives another", () => {
  const [one, two] = [connect().subscriber, connect().subscriber];
  assertNotEquals(one.id, two.id);
  assertEquals(one.name, one.id);
});

const SUBSCRIPTIONS: readonly [names: readonly string[], events: readonly EventName[], answers: boolean][] = [
  [
    ["agent_state", "emotion", "notification", "tool_status"],
    ["agent_state", "emotion", "tool_status", "notification"],
    false,
  ],
  [["*"], ALL_BUT_SAY, true],
  [["*", "say"], EVENT_NAMES, true],
  [["say"], ["say"], false],
  [["permission_request"], ["permission_request"], true],
  [["permission_resolved"], ["permission_resolved"], false],
  [["emotion", "emotion", "nonsense", "EMOTION", "pong", "subscribed"], ["emotion"], false],
  [[], [], false],
];
for (const [names, events, answers] of SUBSCRIPTIONS) {
  Deno.test(`Subscriber: subscribe(${JSON.stringify(names)}) delivers ${events.length} events`, () => {
    const { subscriber } = connect();
    // Each subscription replaces the one before.
    subscriber.subscribe(["plan"]);
    assertEquals(subscriber.subscribe(names), [...events]);
    assertEquals(EVENT_NAMES.filter((name) => subscriber.wants(name)), [...events]);
    assertEquals(subscriber.answersPermissions, answers);
  });
}

Deno.test("Subscriber: gets all but say by default, and does not answer permissions", () => {
  const { subscriber } = connect();
  assertEquals(EVENT_NAMES.filter((name) => subscriber.wants(name)), ALL_BUT_SAY);
  assertEquals(subscriber.answersPermissions, false);
});

Deno.test("Subscriber: sends at once while the transport keeps up", () => {
  const { transport, subscriber } = connect();
  deliver(subscriber, "emotion", 0, 1, 2);
  subscriber.send({ type: "pong" });
  assertEquals(transport.frames.length, 4);
  assertEquals([transport.frames[3]!.type, typeof transport.frames[3]!.ts], ["pong", "number"]);
  assertEquals(subscriber.dropped, 0);
});

Deno.test("Subscriber: sends waiting messages in order as soon as the transport has room", async () => {
  using connection = connect();
  const { transport, subscriber } = connection;
  deliver(subscriber, "say", 0);
  transport.backlog = FULL;
  deliver(subscriber, "say", 1, 2, 3);
  assertEquals(received(transport), ["say 0"]);
  transport.backlog = FULL - 1;
  // A new message does not overtake the waiting ones.
  deliver(subscriber, "permission_request", 4);
  assertEquals(received(transport), ["say 0"]);
  await transport.until(({ frames }) => frames.length === 5, "the waiting messages");
  assertEquals(received(transport), ["say 0", "say 1", "say 2", "say 3", "permission_request 4"]);
  deliver(subscriber, "say", 5);
  assertEquals([received(transport).at(-1), subscriber.dropped], ["say 5", 0]);
});

Deno.test("Subscriber: loses nothing if it is slow again and again while few messages wait", async () => {
  const transport = new SlowTransport();
  using connection = connect(transport);
  deliver(connection.subscriber, "emotion", 0, 1, 2, 3, 4, 5);
  for (let count = 1; count <= 6; count++) {
    transport.takes = 1;
    await transport.until(({ frames }) => frames.length === count, "the next message");
  }
  assertEquals(received(transport), [0, 1, 2, 3, 4, 5].map((n) => `emotion ${n}`));
});

Deno.test("Subscriber: drops the oldest droppable messages, never a permission, notification or reply", async () => {
  using connection = connect();
  const { transport, subscriber } = connection;
  const kept = ["permission_request", "permission_resolved", "notification", "error", "subscribed"];
  const droppable = ["agent_state", "emotion", "tool_status", "plan", "say", "pong"];
  transport.backlog = FULL;
  [...kept, ...droppable].forEach((type, n) => deliver(subscriber, type, n));
  let n = kept.length + droppable.length;
  while (n < MAX_WAITING + droppable.length) deliver(subscriber, "emotion", n++);
  assertEquals(subscriber.dropped, droppable.length);
  transport.backlog = 0;
  await transport.until(({ frames }) => frames.length === MAX_WAITING, "the remaining messages");
  const first = [...kept.map((type, n) => `${type} ${n}`), "emotion 11"];
  assertEquals(received(transport).slice(0, first.length), first);
  assertEquals([received(transport).at(-1), transport.closed], [`emotion ${n - 1}`, undefined]);
});

Deno.test("Subscriber: keeps the newest states", async () => {
  using connection = connect();
  const { transport, subscriber } = connection;
  transport.backlog = FULL;
  for (let n = 0; n < 10_000; n++) deliver(subscriber, "agent_state", n);
  transport.backlog = 0;
  await transport.until(({ frames }) => frames.length === MAX_WAITING, "the newest states");
  const [first, last] = [received(transport)[0], received(transport).at(-1)];
  assertEquals([first, last], [`agent_state ${10_000 - MAX_WAITING}`, "agent_state 9999"]);
  assertEquals(subscriber.dropped, 10_000 - MAX_WAITING);
});

Deno.test("Subscriber: is disconnected when too many messages wait that may not be dropped", () => {
  const { transport, subscriber, detached } = connect();
  transport.backlog = FULL;
  for (let n = 0; n < MAX_WAITING; n++) deliver(subscriber, "permission_request", n);
  assertEquals(transport.closed, undefined);
  deliver(subscriber, "permission_request", MAX_WAITING);
  assertEquals([transport.closed?.code, detached(), transport.frames.length], [1013, 1, 0]);
  deliver(subscriber, "permission_request", 1);
  assertEquals([transport.frames.length, detached()], [0, 1]);
});

Deno.test("Subscriber: is disconnected after 30 seconds without progress", async () => {
  using clock = stopClock();
  const transport = new SlowTransport();
  const { subscriber, detached } = connect(transport);
  deliver(subscriber, "emotion", 0);
  clock.ms += 29_000;
  await transport.untilRead(2);
  assertEquals(transport.closed, undefined);
  clock.ms += 2_000;
  await transport.until(({ closed }) => closed !== undefined, "the disconnection");
  assertEquals([transport.closed?.code, detached()], [1013, 1]);
});

Deno.test("Subscriber: stays connected while it makes any progress", async () => {
  using clock = stopClock();
  const transport = new SlowTransport();
  using connection = connect(transport);
  deliver(connection.subscriber, "emotion", 0, 1, 2);
  for (let count = 1; count <= 2; count++) {
    clock.ms += 29_000;
    transport.takes = 1;
    await transport.until(({ frames }) => frames.length === count, "the next message");
    await transport.untilRead(2);
  }
  assertEquals(transport.closed, undefined);
});

Deno.test("Subscriber: closes once, and sends nothing afterwards", () => {
  const { transport, subscriber, detached } = connect();
  subscriber.close(1001, "bye");
  subscriber.close(1000, "again");
  subscriber.detach();
  deliver(subscriber, "emotion", 1);
  const closed = { code: 1001, reason: "bye" };
  assertEquals([transport.closed, detached(), transport.frames.length], [closed, 1, 0]);
});

Deno.test("Subscriber: detaches once, without closing the connection or sending waiting messages", () => {
  const { transport, subscriber, detached } = connect();
  transport.backlog = FULL;
  deliver(subscriber, "emotion", 1);
  subscriber.detach();
  subscriber.detach();
  subscriber.close(1001, "bye");
  assertEquals([detached(), transport.closed, transport.frames.length], [1, undefined, 0]);
});

Deno.test("Subscriber: sends no more waiting messages once it has detached", async () => {
  using connection = connect();
  const { transport, subscriber, detached } = connection;
  const send = transport.send.bind(transport);
  transport.send = (message) => {
    subscriber.detach();
    send(message);
  };
  transport.backlog = FULL;
  deliver(subscriber, "emotion", 0, 1, 2);
  transport.backlog = 0;
  await transport.until(({ frames }) => frames.length > 0, "the first message");
  assertEquals([transport.frames.length, detached()], [1, 1]);
});

Deno.test("Subscriber: limits the characters of waiting messages too", () => {
  using connection = connect();
  const { transport, subscriber, detached } = connection;
  transport.backlog = FULL;
  const text = "x".repeat(1024 * 1024 - 100);
  for (let i = 0; i < 10; i++) subscriber.deliver(message("say", text));
  assertEquals([subscriber.dropped, detached()], [6, 0]);
  for (let i = 0; i < 4; i++) subscriber.deliver(message("permission_request", text));
  assertEquals([subscriber.dropped, detached()], [10, 0]);
  subscriber.deliver(message("permission_request", text));
  assertEquals(detached(), 1);
});
