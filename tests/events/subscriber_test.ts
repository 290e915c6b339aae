import { assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { Subscriber } from "../../lib/events/subscriber.ts";
import {
  encodeMessage,
  EVENT_NAMES,
  type EventName,
  type Message,
  type VtuberEvent,
} from "../../lib/events/wire.ts";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import type { Caller } from "../../lib/turn/caller.ts";
import { RecordingTransport } from "../support/harness/events_fixture.ts";
import { callerWith } from "../support/harness/key_fixture.ts";

/** The backlog at which a subscriber counts as slow, in bytes. */
const FULL = 64 * 1024;
const MAX_WAITING = 4_096;
const ALL_BUT_SAY = EVENT_NAMES.filter((name) => name !== "say");
const WATCHER = callerWith("events");
const ANSWERER = callerWith("events", "permissions");
const SHOWN = ALL_BUT_SAY.filter((name) => !/^(permission|question)/.test(name));

interface Connection extends Disposable {
  readonly transport: RecordingTransport;
  readonly subscriber: Subscriber;
  /** Calls of `onDetach`. */
  readonly detached: () => number;
}

function connect(transport = new RecordingTransport(), caller = LOCAL_CALLER): Connection {
  let detached = 0;
  const subscriber = new Subscriber(transport, caller, () => detached++);
  return { transport, subscriber, detached: () => detached, [Symbol.dispose]: () => subscriber.detach() };
}

/** Delivers messages with a number, or with a text of any length. */
function deliver(subscriber: Subscriber, type: string, ...values: (number | string)[]): void {
  for (const n of values) subscriber.deliver(encodeMessage({ type, n } as unknown as VtuberEvent));
}

/** The type and number of every frame. */
const received = ({ frames }: RecordingTransport) => frames.map(({ type, n }) => `${type} ${n}`);

/** A transport that is full but for the frames that the test lets it take. */
class SlowTransport extends RecordingTransport {
  /** Frames to take before it is full again. */
  takes = 0;
  #read = Promise.withResolvers<void>();

  constructor() {
    super();
    const get = () => {
      this.#read.resolve();
      return this.takes > 0 ? 0 : FULL;
    };
    Object.defineProperty(this, "backlog", { get });
  }

  override send(message: Message): void {
    this.takes--;
    super.send(message);
  }

  /** Waits for the next two reads of the backlog, after which the subscriber has decided. */
  async untilRead(): Promise<void> {
    for (let i = 0; i < 2; i++) {
      this.#read = Promise.withResolvers();
      await this.#read.promise;
    }
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

const SUBSCRIPTIONS: readonly [names: readonly string[], events: readonly EventName[], answers: boolean][] = [
  [["notification", "emotion", "agent_state"], ["agent_state", "emotion", "notification"], false],
  [["*"], ALL_BUT_SAY, true],
  [["*", "say"], EVENT_NAMES, true],
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
  assertEquals([subscriber.answersPermissions, subscriber.name], [false, subscriber.id]);
  const watcher = connect(new RecordingTransport(), WATCHER).subscriber;
  assertEquals(EVENT_NAMES.filter((name) => watcher.wants(name)), SHOWN);
});

/** Without events, the subscription is refused. */
const SCOPED: readonly [caller: Caller, names: readonly string[], events?: readonly EventName[]][] = [
  [ANSWERER, ["*"], ALL_BUT_SAY],
  [WATCHER, ["*"], SHOWN],
  [WATCHER, ["*", "say"], [...SHOWN, "say"]],
  [WATCHER, ["emotion", "nonsense"], ["emotion"]],
  [callerWith("permissions"), ["*"], ALL_BUT_SAY.filter((name) => !SHOWN.includes(name))],
  [WATCHER, ["*", "question"]],
  [WATCHER, ["emotion", "permission_request"]],
  [WATCHER, ["permission_resolved"]],
  [WATCHER, ["question_resolved"]],
  [callerWith("permissions"), ["permission_request", "emotion"]],
];
for (const [caller, names, events] of SCOPED) {
  const result = events ? `delivers ${events.length} events` : "is refused";
  Deno.test(`Subscriber: with the scopes ${caller.id}, subscribe(${JSON.stringify(names)}) ${result}`, () => {
    const { subscriber } = connect(new RecordingTransport(), caller);
    const wanted = () => EVENT_NAMES.filter((name) => subscriber.wants(name));
    const before = wanted();
    if (events) {
      assertEquals(subscriber.subscribe(names), [...events]);
    } else {
      const error: AppError = assertThrows(() => subscriber.subscribe(names), AppError);
      assertEquals(error.code, "insufficient_scope");
    }
    assertEquals(wanted(), [...events ?? before]);
    const answers = events?.includes("permission_request") ?? false;
    assertEquals([subscriber.answersPermissions, subscriber.answersQuestions], [answers, answers]);
  });
}

Deno.test("Subscriber: sends at once, or in order as soon as the transport has room", async () => {
  using connection = connect();
  const { transport, subscriber } = connection;
  deliver(subscriber, "say", 0);
  assertEquals(received(transport), ["say 0"]);
  transport.backlog = FULL;
  deliver(subscriber, "say", 1, 2, 3);
  transport.backlog = FULL - 1;
  // A new message does not overtake the waiting ones.
  deliver(subscriber, "permission_request", 4);
  assertEquals(received(transport), ["say 0"]);
  await transport.until(({ frames }) => frames.length === 5, "the waiting messages");
  assertEquals(received(transport), ["say 0", "say 1", "say 2", "say 3", "permission_request 4"]);
  deliver(subscriber, "say", 5);
  assertEquals(received(transport).at(-1), "say 5");
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
  transport.backlog = 0;
  await transport.until(({ frames }) => frames.length === MAX_WAITING, "the remaining messages");
  const first = [...kept.map((type, n) => `${type} ${n}`), "emotion 11"];
  assertEquals(received(transport).slice(0, first.length), first);
  assertEquals([received(transport).at(-1), transport.closed], [`emotion ${n - 1}`, undefined]);
});

Deno.test("Subscriber: limits the characters of waiting messages too", async () => {
  using connection = connect();
  const { transport, subscriber } = connection;
  transport.backlog = FULL;
  const text = "x".repeat(1024 * 1024 - 100);
  for (let i = 0; i < 10; i++) deliver(subscriber, "say", text);
  deliver(subscriber, "notification", text);
  transport.backlog = 0;
  await transport.until(({ frames }) => frames.at(-1)?.type === "notification", "the newest message");
  assertEquals([transport.frames.length, transport.closed], [4, undefined]);
});

Deno.test("Subscriber: is disconnected when too many messages wait that may not be dropped", () => {
  const { transport, subscriber, detached } = connect();
  transport.backlog = FULL;
  for (let n = 0; n < MAX_WAITING; n++) deliver(subscriber, "permission_request", n);
  assertEquals(transport.closed, undefined);
  deliver(subscriber, "permission_request", MAX_WAITING);
  assertEquals([transport.closed?.code, detached(), transport.frames.length], [1013, 1, 0]);
});

Deno.test("Subscriber: is disconnected after 30 seconds without progress, and not before", async () => {
  using clock = stopClock();
  const transport = new SlowTransport();
  const { subscriber, detached } = connect(transport);
  deliver(subscriber, "emotion", 0, 1, 2);
  for (let count = 1; count <= 2; count++) {
    clock.ms += 29_000;
    transport.takes = 1;
    await transport.until(({ frames }) => frames.length === count, "the next message");
    await transport.untilRead();
  }
  assertEquals(transport.closed, undefined);
  clock.ms += 31_000;
  await transport.until(({ closed }) => closed !== undefined, "the disconnection");
  assertEquals([transport.closed?.code, detached(), received(transport)], [1013, 1, [
    "emotion 0",
    "emotion 1",
  ]]);
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
  assertEquals([transport.frames.length, detached(), transport.closed], [1, 1, undefined]);
});

Deno.test("Subscriber: tries again after 1 ms, later and later without progress, and sooner after progress", () => {
  const { setTimeout } = globalThis;
  const delays: number[] = [];
  let tryAgain = () => {};
  globalThis.setTimeout = ((callback: () => void, delay: number) => {
    delays.push(delay);
    tryAgain = callback;
    return 0;
  }) as unknown as typeof setTimeout;
  try {
    const transport = new SlowTransport();
    using connection = connect(transport);
    deliver(connection.subscriber, "say", 0, 1);
    for (let tries = 0; tries < 8; tries++) tryAgain();
    transport.takes = 1;
    tryAgain();
    assertEquals(delays, [1, 2, 4, 8, 16, 32, 64, 100, 100, 1]);
    transport.takes = 1;
    tryAgain();
    assertEquals([delays.length, received(transport)], [10, ["say 0", "say 1"]]);
  } finally {
    globalThis.setTimeout = setTimeout;
  }
});
