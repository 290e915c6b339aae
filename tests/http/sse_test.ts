import { assertEquals, assertRejects } from "@std/assert";
import { EventStream, MAX_BACKLOG_BYTES } from "../../lib/http/sse.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const decoder = new TextDecoder();

/** A stream that counts how often its reader disconnected. */
function open(heartbeatMs = 0, heartbeat: (stream: EventStream) => void = () => {}) {
  const probe = {
    disconnects: 0,
    stream: new EventStream({ heartbeatMs, heartbeat, onDisconnect: () => probe.disconnects++ }),
  };
  return probe;
}

/** Reads the text of each write to the end. */
async function writesOf({ body }: EventStream): Promise<string[]> {
  const writes: string[] = [];
  for await (const write of body) writes.push(decoder.decode(write));
  return writes;
}

/** Reads the text of the next write. */
async function next(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string | undefined> {
  const { value } = await reader.read();
  return value && decoder.decode(value);
}

Deno.test("EventStream: an event is one data line with a space, a comment stands alone", async () => {
  const { stream } = open();
  stream.send('{"a":1}');
  stream.comment("waiting for agent");
  stream.end();
  assertEquals(await writesOf(stream), ['data: {"a":1}\n\n: waiting for agent\n\n']);
});

Deno.test("EventStream: the events of one step share a write, and later ones get their own", async () => {
  const { stream } = open();
  const reader = stream.body.getReader();
  stream.send("1");
  stream.send("2");
  assertEquals(await next(reader), "data: 1\n\ndata: 2\n\n");
  stream.send("3");
  assertEquals(await next(reader), "data: 3\n\n");
  stream.send("4");
  stream.end();
  assertEquals([await next(reader), await next(reader)], ["data: 4\n\n", undefined]);
});

Deno.test("EventStream: a burst goes out in writes of whole events, none over 4 KiB", async () => {
  const { stream } = open();
  const large = "x".repeat(10_000);
  const events = [
    ...Array.from({ length: 200 }, (_, i) => `${i} ${"語".repeat(i * 7 % 300)}`),
    large,
    "last",
  ];
  for (const event of events) stream.send(event);
  stream.end();
  const writes = await writesOf(stream);
  assertEquals(writes.join(""), events.map((event) => `data: ${event}\n\n`).join(""));
  assertEquals(writes.every((write) => write.startsWith("data: ") && write.endsWith("\n\n")), true);
  const shared = writes.filter((write) => !write.includes(large));
  assertEquals(Math.max(...shared.map((write) => write.length)) <= 4 * 1024, true);
  assertEquals(writes.length < events.length / 5, true, "events share writes");
});

Deno.test("EventStream: a heartbeat comes after the events before it, again and again", async () => {
  const { stream } = open(1, (stream) => stream.send("beat"));
  stream.send("first");
  const reader = stream.body.getReader();
  for (const event of ["first", "beat", "beat", "beat"]) {
    assertEquals(await next(reader), `data: ${event}\n\n`);
  }
  stream.end();
  assertEquals(await next(reader), undefined);
});

Deno.test("EventStream: events put a heartbeat off", async () => {
  const heartbeatMs = 200;
  for (const touch of ["send", "comment"] as const) {
    let beats = 0;
    const { stream } = open(heartbeatMs, () => beats++);
    const startedAt = performance.now();
    while (performance.now() - startedAt < heartbeatMs);
    stream[touch]("x");
    await nextTask();
    stream.end();
    assertEquals(beats, 0, touch);
  }
});

Deno.test("EventStream: after the end it writes nothing, has no timer, and reports no disconnect", async () => {
  for (const heartbeatMs of [0, 1]) {
    const probe = open(heartbeatMs, (stream) => stream.send("beat"));
    const { stream } = probe;
    stream.send("last");
    stream.end();
    stream.send("late");
    stream.comment("late");
    stream.end();
    assertEquals(await writesOf(stream), ["data: last\n\n"]);
    await stream.body.cancel();
    assertEquals([probe.disconnects, stream.isOpen], [0, false]);
  }
});

Deno.test("EventStream: a reader that disconnects is reported once, also in the middle of a burst", async () => {
  for (const readsFirst of [true, false]) {
    const probe = open(1, (stream) => stream.send("beat"));
    const { stream } = probe;
    const reader = stream.body.getReader();
    stream.send("first");
    if (readsFirst) await next(reader);
    await reader.cancel();
    assertEquals(probe.disconnects, 1);
    stream.send("late");
    await nextTask();
    stream.end();
    await reader.cancel();
    assertEquals(probe.disconnects, 1);
  }
});

Deno.test("EventStream: a reader that never reads is cut off at the limit", async () => {
  const probe = open(3_600_000);
  const { stream } = probe;
  const event = "x".repeat(1_000);
  let sent = 0;
  while (probe.disconnects === 0 && sent < 4 * MAX_BACKLOG_BYTES) {
    stream.send(event);
    sent += `data: ${event}\n\n`.length;
    await Promise.resolve();
  }
  const isAtLimit = sent > MAX_BACKLOG_BYTES && sent < MAX_BACKLOG_BYTES + 1024 * 1024;
  assertEquals(isAtLimit, true, `cut off after ${sent} bytes`);
  stream.send(event);
  stream.end();
  assertEquals(probe.disconnects, 1);
  await assertRejects(() => stream.body.getReader().read(), Error, "too far behind");
});

Deno.test("EventStream: a slow reader gets everything", async () => {
  const probe = open();
  const { stream } = probe;
  const reader = stream.body.getReader();
  let [read, sent] = ["", ""];
  for (let i = 0; i < 300; i++) {
    const event = `${i} ${"x".repeat(900)}`;
    stream.send(event);
    sent += `data: ${event}\n\n`;
    if (i % 3 === 0) read += await next(reader);
  }
  stream.end();
  for (let write = await next(reader); write !== undefined; write = await next(reader)) read += write;
  assertEquals([read, probe.disconnects], [sent, 0]);
});

Deno.test("EventStream: a reader for whom somebody waits is gone if it takes nothing for five minutes", async () => {
  using clock = new FakeClock();
  const probe = open();
  const { stream } = probe;
  const reader = stream.body.getReader();
  const send = () => stream.send("x".repeat(200_000));
  send();
  const first = stream.waitForRoom();
  clock.advance(200_000);
  await next(reader);
  await first;
  send();
  const second = stream.waitForRoom();
  clock.advance(301_000);
  await second;
  assertEquals([stream.isOpen, probe.disconnects], [false, 1]);
  await assertRejects(() => reader.read(), Error, "The reader took nothing for 5 minutes.");
  assertEquals(clock.waits, []);
});

Deno.test("EventStream: an error of one stream's `onDisconnect` leaves the events of the others alone", async () => {
  const uncaught = Promise.withResolvers<string>();
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    uncaught.resolve(event.message);
  };
  addEventListener("error", onError);
  const failing = new EventStream({
    heartbeatMs: 0,
    heartbeat() {},
    onDisconnect() {
      throw new Error("broken");
    },
  });
  const { stream } = open();
  failing.send("x".repeat(MAX_BACKLOG_BYTES + 1024 * 1024));
  stream.send("1");
  const reader = stream.body.getReader();
  assertEquals(await next(reader), "data: 1\n\n");
  assertEquals((await uncaught.promise).includes("broken"), true);
  removeEventListener("error", onError);
  stream.end();
});
