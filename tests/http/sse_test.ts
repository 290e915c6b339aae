import { assertEquals, assertRejects } from "@std/assert";
import { EVENT_STREAM_HEADERS, EventStream, MAX_BACKLOG_BYTES } from "../../lib/http/sse.ts";

const decoder = new TextDecoder();

interface Probe {
  stream: EventStream;
  /** How often the reader was found to be gone. */
  gone: () => number;
}

function open(heartbeatMs = 0, heartbeat: (stream: EventStream) => void = () => {}): Probe {
  let gone = 0;
  return { stream: new EventStream({ heartbeatMs, heartbeat, gone: () => gone++ }), gone: () => gone };
}

async function writesOf({ body }: EventStream): Promise<string[]> {
  const writes: string[] = [];
  for await (const write of body) writes.push(decoder.decode(write));
  return writes;
}

/** Lets everything run that waits for nothing from outside. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

Deno.test("EventStream: an event is one data line with a space, and LF only", async () => {
  const { stream } = open();
  stream.send('{"a":1}');
  stream.end();
  assertEquals(await writesOf(stream), ['data: {"a":1}\n\n']);
});

Deno.test("EventStream: a comment stands alone", async () => {
  const { stream } = open();
  stream.comment("waiting for agent");
  stream.end();
  assertEquals(await writesOf(stream), [": waiting for agent\n\n"]);
});

Deno.test("EventStream: what is sent in one go is one write, and what comes later another", async () => {
  const { stream } = open();
  const reader = stream.body.getReader();
  stream.send("1");
  stream.send("2");
  assertEquals(decoder.decode((await reader.read()).value), "data: 1\n\ndata: 2\n\n");
  stream.send("3");
  assertEquals(decoder.decode((await reader.read()).value), "data: 3\n\n");
  stream.send("4");
  stream.end();
  assertEquals(decoder.decode((await reader.read()).value), "data: 4\n\n");
  assertEquals((await reader.read()).done, true);
});

Deno.test("EventStream: the first event is there at once", async () => {
  const { stream } = open();
  stream.send("role");
  const reader = stream.body.getReader();
  assertEquals(decoder.decode((await reader.read()).value), "data: role\n\n");
  stream.end();
  await reader.cancel();
});

Deno.test("EventStream: a burst goes out in writes of whole events, none over 4 KiB", async () => {
  const { stream } = open();
  const events = Array.from({ length: 200 }, (_, i) => `${i} ${"x".repeat(i * 7 % 300)}`);
  for (const event of events) stream.send(event);
  stream.end();
  const writes = await writesOf(stream);
  assertEquals(writes.join(""), events.map((event) => `data: ${event}\n\n`).join(""));
  assertEquals(writes.every((write) => write.startsWith("data: ") && write.endsWith("\n\n")), true);
  assertEquals(Math.max(...writes.map((write) => write.length)) <= 4 * 1024, true);
  assertEquals(writes.length < events.length / 5, true, "they share writes");
});

Deno.test("EventStream: one event larger than a write goes alone and whole", async () => {
  const { stream } = open();
  const large = "x".repeat(10_000);
  stream.send("before");
  stream.send(large);
  stream.send("after");
  stream.end();
  assertEquals(await writesOf(stream), ["data: before\n\n", `data: ${large}\n\n`, "data: after\n\n"]);
});

Deno.test("EventStream: characters of more than one byte are never cut", async () => {
  const { stream } = open();
  for (let i = 0; i < 2_000; i++) stream.send("語😀".repeat(1 + i % 5));
  stream.end();
  const strict = new TextDecoder("utf-8", { fatal: true });
  for await (const write of stream.body) strict.decode(write);
});

Deno.test("EventStream: silence is broken, again and again", async () => {
  const { stream } = open(1, (stream) => stream.send("beat"));
  const reader = stream.body.getReader();
  for (let i = 0; i < 3; i++) assertEquals(decoder.decode((await reader.read()).value), "data: beat\n\n");
  stream.end();
  assertEquals((await reader.read()).done, true);
});

/** Runs with a clock that stands still but for `pass`, which lets so many milliseconds go by. */
async function withClock(run: (pass: (ms: number) => Promise<void>) => Promise<void>): Promise<void> {
  const { setTimeout, clearTimeout } = globalThis;
  const { performance } = globalThis;
  const timers = new Map<number, { at: number; fire: () => void }>();
  let now = 0;
  let count = 0;
  const fake = {
    setTimeout(fire: () => void, ms: number) {
      timers.set(++count, { at: now + ms, fire });
      return count;
    },
    clearTimeout: (id: number) => void timers.delete(id),
    performance: { now: () => now },
  };
  Object.assign(globalThis, fake);
  try {
    await run(async (ms) => {
      await null;
      const end = now + ms;
      for (;;) {
        const due = [...timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
        if (due === undefined) break;
        const [id, { at, fire }] = due;
        timers.delete(id);
        now = at;
        fire();
      }
      now = end;
      // What was done in one go is over before time goes on.
      await null;
    });
    assertEquals(timers.size, 0, "no timer is left");
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout, performance });
  }
}

Deno.test("EventStream: a heartbeat comes after silence, not after so much time", async () => {
  await withClock(async (pass) => {
    let beats = 0;
    const { stream } = open(100, () => beats++);
    for (let i = 0; i < 10; i++) {
      await pass(60);
      stream.send("x");
    }
    assertEquals(beats, 0);
    await pass(99);
    assertEquals(beats, 0);
    await pass(1);
    assertEquals(beats, 1);
    await pass(300);
    assertEquals(beats, 4, "every 100 ms from then on");
    stream.comment("x");
    await pass(99);
    assertEquals(beats, 4);
    stream.end();
    await pass(1_000);
    assertEquals(beats, 4);
  });
});

Deno.test("EventStream: a heartbeat does not push out the events before it", async () => {
  const { stream } = open(1, (stream) => stream.comment("beat"));
  stream.send("first");
  const reader = stream.body.getReader();
  assertEquals(decoder.decode((await reader.read()).value), "data: first\n\n");
  assertEquals(decoder.decode((await reader.read()).value), ": beat\n\n");
  stream.end();
  await reader.cancel();
});

Deno.test("EventStream: after the end nothing is written, and no heart beats", async () => {
  // A timer that is left would be found by the sanitizers.
  const { stream, gone } = open(1, (stream) => stream.send("beat"));
  stream.send("last");
  stream.end();
  stream.send("late");
  stream.comment("late");
  stream.end();
  assertEquals(await writesOf(stream), ["data: last\n\n"]);
  assertEquals(gone(), 0);
});

Deno.test("EventStream: without a heartbeat there is no timer", async () => {
  const { stream } = open(0, (stream) => stream.send("beat"));
  stream.send("only");
  stream.end();
  assertEquals(await writesOf(stream), ["data: only\n\n"]);
});

Deno.test("EventStream: a reader that leaves is noticed once, and nothing is written for it", async () => {
  const { stream, gone } = open(1, (stream) => stream.send("beat"));
  const reader = stream.body.getReader();
  stream.send("first");
  await reader.read();
  await reader.cancel();
  assertEquals(gone(), 1);
  stream.send("late");
  await settle();
  stream.end();
  await reader.cancel();
  assertEquals(gone(), 1);
});

Deno.test("EventStream: a reader that leaves after the end is none of its business", async () => {
  const { stream, gone } = open();
  stream.send("all");
  stream.end();
  await stream.body.cancel();
  assertEquals(gone(), 0);
});

Deno.test("EventStream: a reader that leaves in the middle of a burst", async () => {
  const { stream, gone } = open();
  stream.send("first");
  await stream.body.cancel();
  stream.send("second");
  await settle();
  assertEquals(gone(), 1);
});

Deno.test("EventStream: a reader that never reads is cut off, and holds no more than the limit", async () => {
  const { stream, gone } = open(3_600_000);
  const event = "x".repeat(1_000);
  let sent = 0;
  while (gone() === 0 && sent < 4 * MAX_BACKLOG_BYTES) {
    stream.send(event);
    sent += `data: ${event}\n\n`.length;
    await Promise.resolve();
  }
  assertEquals(gone(), 1);
  assertEquals(sent > MAX_BACKLOG_BYTES, true, `cut off after ${sent} bytes`);
  assertEquals(sent < MAX_BACKLOG_BYTES + 1024 * 1024, true, `cut off after ${sent} bytes`);
  for (let i = 0; i < 100; i++) stream.send(event);
  stream.end();
  assertEquals(gone(), 1);
  const reader = stream.body.getReader();
  await assertRejects(() => reader.read(), Error, "too far behind");
});

Deno.test("EventStream: one burst beyond the limit is cut off too", () => {
  const { stream, gone } = open();
  for (let i = 0; i < 10_000; i++) stream.send("x".repeat(1_000));
  assertEquals(gone(), 1);
  stream.end();
});

Deno.test("EventStream: a reader that is slow but reads gets everything", async () => {
  const { stream, gone } = open();
  const reader = stream.body.getReader();
  let read = "";
  let sent = "";
  for (let i = 0; i < 300; i++) {
    const event = `${i} ${"x".repeat(900)}`;
    stream.send(event);
    sent += `data: ${event}\n\n`;
    if (i % 3 === 0) read += decoder.decode((await reader.read()).value);
  }
  stream.end();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    read += decoder.decode(value);
  }
  assertEquals(read, sent);
  assertEquals(gone(), 0);
});

Deno.test("EventStream: the headers keep proxies from holding it back", () => {
  const headers = new Headers({ ...EVENT_STREAM_HEADERS });
  assertEquals(headers.get("content-type"), "text/event-stream; charset=utf-8");
  assertEquals(headers.get("cache-control"), "no-cache, no-transform");
  assertEquals(headers.get("x-accel-buffering"), "no");
});
