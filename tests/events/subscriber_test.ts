import { assertEquals, assertNotEquals } from "@std/assert";
import { Subscriber } from "../../lib/events/subscriber.ts";
import { EVENT_NAMES, type EventName } from "../../lib/events/wire.ts";
import { RecordingTransport } from "../support/harness/events_fixture.ts";

/** Bytes that wait at the other end, beyond which a client counts as slow. */
const FULL = 64 * 1024;
const MAX_WAITING = 4_096;
const ALL_BUT_SAY = EVENT_NAMES.filter((name) => name !== "say");

interface Connected extends Disposable {
  readonly watcher: RecordingTransport;
  readonly client: Subscriber;
  /** How often it was said that the client has gone. */
  readonly gone: () => number;
}

function connect(watcher = new RecordingTransport()): Connected {
  let gone = 0;
  const client = new Subscriber(watcher, () => gone++);
  return { watcher, client, gone: () => gone, [Symbol.dispose]: () => client.detach() };
}

function deliver(client: Subscriber, type: string, n: number): void {
  client.deliver(type, JSON.stringify({ type, n }));
}

/** The `type` and number of every frame that came. */
const came = ({ frames }: RecordingTransport) => frames.map(({ type, n }) => `${type} ${n}`);

/** A watcher that knows how often it was looked whether it reads. */
class Looked extends RecordingTransport {
  looks = 0;
  /** How many frames it takes until it is full again. */
  takes = 0;
  #change = Promise.withResolvers<void>();

  constructor() {
    super();
    const look = () => {
      this.looks++;
      this.#change.resolve();
      this.#change = Promise.withResolvers<void>();
      return this.takes > 0 ? 0 : FULL;
    };
    Object.defineProperty(this, "backlog", { get: look });
  }

  override send(frame: string): void {
    this.takes--;
    super.send(frame);
  }

  /** Waits until it was looked so many more times. */
  async looked(times: number): Promise<void> {
    const at = this.looks + times;
    while (this.looks < at) await this.#change.promise;
  }
}

/** A clock that stands still unless the test moves it, until it is disposed of. */
function clock(): Disposable & { ms: number } {
  const { now } = performance;
  const still = {
    ms: now.call(performance),
    [Symbol.dispose]: () => {
      performance.now = now;
    },
  };
  performance.now = () => still.ms;
  return still;
}

Deno.test("Client: each has an id of its own, which is its name until it says another", () => {
  const [one, two] = [connect().client, connect().client];
  assertNotEquals(one.id, two.id);
  assertEquals(one.name, one.id);
});

const SUBSCRIPTIONS: readonly [names: readonly string[], heard: readonly EventName[], answers: boolean][] = [
  [["agent_state", "emotion", "notification", "tool_status"], [
    "agent_state",
    "emotion",
    "tool_status",
    "notification",
  ], false],
  [["*"], ALL_BUT_SAY, true],
  [["*", "say"], EVENT_NAMES, true],
  [["say"], ["say"], false],
  [["permission_request"], ["permission_request"], true],
  [["permission_resolved"], ["permission_resolved"], false],
  [["emotion", "emotion", "nonsense", "EMOTION", "pong", "subscribed"], ["emotion"], false],
  [[], [], false],
];
for (const [names, heard, answers] of SUBSCRIPTIONS) {
  Deno.test(`Client: who subscribes to ${JSON.stringify(names)} hears ${heard.length} events`, () => {
    const { client } = connect();
    assertEquals(client.subscribe(names), [...heard]);
    assertEquals(EVENT_NAMES.filter((name) => client.wants(name)), [...heard]);
    assertEquals(client.answersPermissions, answers);
  });
}

Deno.test("Client: who says nothing hears all but say, and does not count as one who answers permissions", () => {
  const { client } = connect();
  assertEquals(EVENT_NAMES.filter((name) => client.wants(name)), ALL_BUT_SAY);
  assertEquals(client.answersPermissions, false);
});

Deno.test("Client: a subscription takes the place of the one before", () => {
  const { client } = connect();
  client.subscribe(["permission_request", "say"]);
  client.subscribe(["emotion"]);
  assertEquals([client.wants("say"), client.wants("emotion"), client.answersPermissions], [
    false,
    true,
    false,
  ]);
});

Deno.test("Client: who reads is told everything at once", () => {
  const { watcher, client } = connect();
  for (let i = 0; i < 3; i++) deliver(client, "emotion", i);
  client.send({ type: "pong" });
  assertEquals(watcher.frames.length, 4);
  assertEquals([watcher.frames[3]!.type, typeof watcher.frames[3]!.ts], ["pong", "number"]);
  assertEquals(client.dropped, 0);
});

Deno.test("Client: what waits for a slow one comes in its order, as soon as it reads", async () => {
  using it = connect();
  const { watcher, client } = it;
  deliver(client, "say", 0);
  watcher.backlog = FULL;
  for (let i = 1; i < 4; i++) deliver(client, "say", i);
  assertEquals(came(watcher), ["say 0"]);
  watcher.backlog = FULL - 1;
  // Nothing overtakes what waits.
  deliver(client, "permission_request", 4);
  assertEquals(came(watcher), ["say 0"]);
  await watcher.until(({ frames }) => frames.length === 5, "what waited");
  assertEquals(came(watcher), ["say 0", "say 1", "say 2", "say 3", "permission_request 4"]);
  deliver(client, "say", 5);
  assertEquals([came(watcher).at(-1), client.dropped], ["say 5", 0]);
});

Deno.test("Client: one that is slow again and again loses nothing, as long as few wait", async () => {
  const watcher = new Looked();
  using it = connect(watcher);
  for (let i = 0; i < 6; i++) deliver(it.client, "emotion", i);
  for (let told = 1; told <= 6; told++) {
    watcher.takes = 1;
    await watcher.until(({ frames }) => frames.length === told, "one more");
  }
  assertEquals(came(watcher), [0, 1, 2, 3, 4, 5].map((i) => `emotion ${i}`));
});

Deno.test("Client: of too much that waits the oldest goes that can, never a permission or a notification", async () => {
  using it = connect();
  const { watcher, client } = it;
  const kept = ["permission_request", "permission_resolved", "notification", "error", "subscribed"];
  const dropped = ["agent_state", "emotion", "tool_status", "plan", "say", "pong"];
  watcher.backlog = FULL;
  [...kept, ...dropped].forEach((type, i) => deliver(client, type, i));
  let n = kept.length + dropped.length;
  while (n < MAX_WAITING + dropped.length) deliver(client, "emotion", n++);
  assertEquals(client.dropped, dropped.length);
  watcher.backlog = 0;
  await watcher.until(({ frames }) => frames.length === MAX_WAITING, "what is left");
  assertEquals(came(watcher).slice(0, kept.length + 1), [
    ...kept.map((type, i) => `${type} ${i}`),
    "emotion 11",
  ]);
  assertEquals(came(watcher).at(-1), `emotion ${n - 1}`);
  assertEquals(watcher.closed, undefined);
});

Deno.test("Client: a state that is new is never left out for an old one", async () => {
  using it = connect();
  const { watcher, client } = it;
  watcher.backlog = FULL;
  for (let i = 0; i < 10_000; i++) deliver(client, "agent_state", i);
  watcher.backlog = 0;
  await watcher.until(({ frames }) => frames.length === MAX_WAITING, "the newest");
  assertEquals([came(watcher)[0], came(watcher).at(-1)], [
    `agent_state ${10_000 - MAX_WAITING}`,
    "agent_state 9999",
  ]);
  assertEquals(client.dropped, 10_000 - MAX_WAITING);
});

Deno.test("Client: a slow one for whom too much waits that may not be lost is disconnected, to come again", () => {
  const { watcher, client, gone } = connect();
  watcher.backlog = FULL;
  for (let i = 0; i < MAX_WAITING; i++) deliver(client, "permission_request", i);
  assertEquals(watcher.closed, undefined);
  deliver(client, "permission_request", MAX_WAITING);
  assertEquals([watcher.closed?.code, gone(), watcher.frames.length], [1013, 1, 0]);
  deliver(client, "permission_request", 1);
  assertEquals([watcher.frames.length, gone()], [0, 1]);
});

Deno.test("Client: one that reads nothing for 30 seconds is disconnected", async () => {
  using time = clock();
  const watcher = new Looked();
  const { client, gone } = connect(watcher);
  deliver(client, "emotion", 0);
  time.ms += 29_000;
  await watcher.looked(2);
  assertEquals(watcher.closed, undefined);
  time.ms += 2_000;
  await watcher.until(({ closed }) => closed !== undefined, "the end of patience");
  assertEquals([watcher.closed?.code, gone()], [1013, 1]);
});

Deno.test("Client: one that reads a little is not", async () => {
  using time = clock();
  const watcher = new Looked();
  using it = connect(watcher);
  for (let i = 0; i < 3; i++) deliver(it.client, "emotion", i);
  for (let told = 1; told <= 2; told++) {
    time.ms += 29_000;
    watcher.takes = 1;
    await watcher.until(({ frames }) => frames.length === told, "one more");
    await watcher.looked(2);
  }
  assertEquals(watcher.closed, undefined);
});

Deno.test("Client: what is closed is closed once, and told nothing more", () => {
  const { watcher, client, gone } = connect();
  client.close(1001, "bye");
  client.close(1000, "again");
  client.detach();
  deliver(client, "emotion", 1);
  assertEquals([watcher.closed, gone(), watcher.frames.length], [{ code: 1001, reason: "bye" }, 1, 0]);
});

Deno.test("Client: who has gone, however often, is not closed; what waited for it is forgotten", () => {
  const { watcher, client, gone } = connect();
  watcher.backlog = FULL;
  deliver(client, "emotion", 1);
  client.detach();
  client.detach();
  client.close(1001, "bye");
  assertEquals([gone(), watcher.closed, watcher.frames.length], [1, undefined, 0]);
});

Deno.test("Client: one that goes while it is told what waited is told no more", async () => {
  const watcher = new RecordingTransport();
  using it = connect(watcher);
  const { client, gone } = it;
  const send = watcher.send.bind(watcher);
  watcher.send = (frame) => {
    client.detach();
    send(frame);
  };
  watcher.backlog = FULL;
  for (let i = 0; i < 3; i++) deliver(client, "emotion", i);
  watcher.backlog = 0;
  await watcher.until(({ frames }) => frames.length > 0, "the first");
  assertEquals([watcher.frames.length, gone()], [1, 1]);
});

Deno.test("Client: what waits is bounded in characters too", () => {
  using it = connect();
  const { watcher, client, gone } = it;
  watcher.backlog = FULL;
  const frame = "x".repeat(1024 * 1024);
  for (let i = 0; i < 10; i++) client.deliver("say", frame);
  assertEquals([client.dropped, gone()], [6, 0]);
  for (let i = 0; i < 4; i++) client.deliver("permission_request", frame);
  assertEquals([client.dropped, gone()], [10, 0]);
  client.deliver("permission_request", frame);
  assertEquals(gone(), 1);
});
