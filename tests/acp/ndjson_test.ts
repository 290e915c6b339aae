import { assert, assertEquals, assertRejects } from "@std/assert";
import { readLines } from "../../lib/acp/ndjson.ts";
import { Random } from "../support/harness/random.ts";
import { waitFor } from "../support/harness/turn_recorder.ts";

const NO_LIMIT = 1_000_000_000;
const encoder = new TextEncoder();

/** Creates a byte stream of these chunks, which fills the reader's buffer. */
function byteStream(chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  let rest = chunks.filter((chunk) => chunk.length > 0);
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      const request = controller.byobRequest;
      const [chunk, ...later] = rest;
      if (chunk === undefined) {
        controller.close();
        return request?.respond(0);
      }
      const { buffer, byteOffset, byteLength } = request!.view!;
      const part = chunk.subarray(0, byteLength);
      new Uint8Array(buffer, byteOffset, byteLength).set(part);
      rest = part.length < chunk.length ? [chunk.subarray(part.length), ...later] : later;
      request!.respond(part.length);
    },
  });
}

async function linesOf(chunks: readonly Uint8Array[], maxChars = NO_LIMIT): Promise<string[]> {
  const lines: string[] = [];
  const { done } = readLines(byteStream(chunks), (line) => lines.push(line), maxChars);
  await waitFor(done, "the end of the lines");
  return lines;
}

/** Cuts bytes at these offsets. */
function cut(bytes: Uint8Array, offsets: readonly number[]): Uint8Array[] {
  const ends = [...offsets, bytes.length];
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

for (
  const [name, text, lines] of [
    ["nothing", "", []],
    ["a last line without a line break", "a\nb", ["a", "b"]],
    ["empty lines", "\n\na\n\n", ["", "", "a", ""]],
    ["a carriage return as part of the line", "a\r\nb\r\n", ["a\r", "b\r"]],
    ["other line ends as part of the line", "a\u2028b\u0085c\vd\n", ["a\u2028b\u0085c\vd"]],
    ["characters of every length", "ä€😀\n\u0000\n", ["ä€😀", "\u0000"]],
  ] as const
) {
  Deno.test(`readLines: reads ${name}`, async () => {
    const bytes = encoder.encode(text);
    assertEquals(await linesOf([bytes]), [...lines]);
    assertEquals(await linesOf(cut(bytes, [...bytes.keys()])), [...lines], "byte by byte");
  });
}

Deno.test("readLines: reads the same lines wherever bytes are cut", async () => {
  const random = new Random(1);
  const items = ["a", "ß", "€", "😀", "👩‍💻", "\r", '{"x":1}', "\u2028", "\n", "\n\n"];
  for (let run = 0; run < 300; run++) {
    const text = random.text(items, 40);
    const bytes = encoder.encode(text);
    const offsets = Array.from({ length: random.below(12) }, () => random.below(bytes.length + 1));
    const lines = text.split("\n");
    if (lines.at(-1) === "") lines.pop();
    assertEquals(await linesOf(cut(bytes, offsets.sort((a, b) => a - b))), lines, `run ${run}`);
  }
});

Deno.test("readLines: replaces bytes that are not UTF-8 in their line only", async () => {
  const bytes = new Uint8Array([0xff, 0x0a, 0x61, 0x0a, 0xf0, 0x9f]);
  assertEquals(await linesOf([bytes]), ["\ufffd", "a", "\ufffd"]);
});

Deno.test("readLines: reads a line of megabytes in linear time", async () => {
  const [piece, count] = [8_192, 4_096];
  const chunks = Array.from({ length: count }, () => encoder.encode("x".repeat(piece)));
  const startedAt = performance.now();
  const lines = await linesOf([encoder.encode("a\n"), ...chunks, encoder.encode("\nb")]);
  // Scanning the whole line with every piece would read 64 GB.
  assert(performance.now() - startedAt < 10_000);
  assertEquals(lines.map((line) => line.length), [1, piece * count, 1]);
});

Deno.test("readLines: limits one line, not all lines together", async () => {
  const text = `${"x".repeat(400)}\n`.repeat(10);
  assertEquals((await linesOf(cut(encoder.encode(text), [350, 700, 900]), 500)).length, 10);
});

Deno.test("readLines: hands out the start of a line that is too long, and reads on behind it", async () => {
  const long = "x".repeat(501);
  const text = `short\n${long}${long}\n${"y".repeat(500)}\n\n${long}\nend${long}`;
  const lines = ["short", "cut x", "y".repeat(500), "", "cut x", "cut e"];
  for (const size of [1, 7, 100, 501, 600, 10_000]) {
    const bytes = encoder.encode(text);
    const offsets = Array.from({ length: Math.floor(bytes.length / size) }, (_, index) => index * size);
    const found: string[] = [];
    const { done } = readLines(byteStream(cut(bytes, offsets)), (line, isCut) => {
      if (isCut) assertEquals(line.length, 500);
      found.push(isCut ? `cut ${line[0]}` : line);
    }, 500);
    await waitFor(done, "the end of the lines");
    assertEquals(found, lines, `${size} bytes at once`);
  }
});

Deno.test("readLines: hands out the start of a line that never ends", async () => {
  const { stream, controller } = fedStream();
  const { promise, resolve } = Promise.withResolvers<string>();
  const reader = readLines(stream, resolve, 10);
  for (let count = 0; count < 3; count++) controller.enqueue(encoder.encode("12345678"));
  assertEquals(await waitFor(promise, "the line"), "1234567812");
  await reader.cancel();
});

/** A stream that the test feeds, whose cancellation it can await. */
function fedStream() {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  let controller!: ReadableByteStreamController;
  const stream = new ReadableStream({
    type: "bytes",
    start: (started) => void (controller = started),
    cancel: () => resolve(),
  });
  return { stream, controller, cancelled };
}

Deno.test("readLines: delivers each line with its bytes, until it is cancelled", async () => {
  const { stream, controller, cancelled } = fedStream();
  const lines: string[] = [];
  let onLine = () => {};
  const reader = readLines(stream, (line) => {
    lines.push(line);
    onLine();
  }, NO_LIMIT);
  for (const text of ["a\nb\nhal", "f\n", "c\n"]) {
    const { promise, resolve } = Promise.withResolvers<void>();
    onLine = resolve;
    controller.enqueue(encoder.encode(text));
    await waitFor(promise, "a line");
  }
  assertEquals(lines, ["a", "b", "half", "c"]);
  await reader.cancel();
  await waitFor(reader.done, "the end");
  await waitFor(cancelled, "the stream's cancellation");
});

Deno.test("readLines: fails with the stream's error", async () => {
  const { stream, controller } = fedStream();
  const reader = readLines(stream, () => {}, NO_LIMIT);
  controller.error(new Error("broken pipe"));
  await assertRejects(() => waitFor(reader.done, "the error"), Error, "broken pipe");
});

Deno.test("readLines: an error of onLine ends the reading and the stream", async () => {
  const { stream, controller, cancelled } = fedStream();
  const lines: string[] = [];
  const reader = readLines(stream, (line) => {
    lines.push(line);
    if (line === "b") throw new Error("no b");
  }, NO_LIMIT);
  controller.enqueue(encoder.encode("a\nb\nc\n"));
  await assertRejects(() => waitFor(reader.done, "the error"), Error, "no b");
  await waitFor(cancelled, "the stream's cancellation");
  assertEquals(lines, ["a", "b"]);
});
