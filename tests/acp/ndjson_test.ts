import { assert, assertEquals, assertRejects } from "@std/assert";
import { type LineReader, readLines } from "../../lib/acp/ndjson.ts";
import { Random } from "../support/harness/random.ts";
import { soon } from "../support/harness/turn_recorder.ts";

const NO_LIMIT = 1_000_000_000;

/** The ways in which bytes come. */
const STREAMS: Readonly<Record<string, (chunks: Uint8Array[]) => ReadableStream<Uint8Array>>> = {
  "an ordinary stream": (chunks) => ReadableStream.from(chunks),
  "a byte stream": (chunks) => {
    const left = chunks.filter((chunk) => chunk.length > 0).values();
    return new ReadableStream({
      type: "bytes",
      pull(controller) {
        const { value, done } = left.next();
        if (!done) return controller.enqueue(value.slice());
        controller.close();
        controller.byobRequest?.respond(0);
      },
    });
  },
  "a byte stream that fills the reader's buffer": (chunks) => {
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
        const view = request?.view;
        if (!request || !view) return controller.enqueue(chunk.slice());
        const part = chunk.subarray(0, view.byteLength);
        new Uint8Array(view.buffer, view.byteOffset, view.byteLength).set(part);
        rest = part.length < chunk.length ? [chunk.subarray(part.length), ...later] : later;
        request.respond(part.length);
      },
    });
  },
};

const encoder = new TextEncoder();

/** The lines of these chunks. */
async function linesOf(stream: ReadableStream<Uint8Array>, maxChars = NO_LIMIT): Promise<string[]> {
  const lines: string[] = [];
  await soon(readLines(stream, (line) => lines.push(line), maxChars).done, "the end of the lines");
  return lines;
}

/** Bytes in pieces, cut at these places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places, bytes.length];
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

const TEXTS: readonly (readonly [string, string, readonly string[]])[] = [
  ["nothing", "", []],
  ["one line", "a\n", ["a"]],
  ["a last line that is not terminated", "a\nb", ["a", "b"]],
  ["empty lines", "\n\na\n\n", ["", "", "a", ""]],
  ["a carriage return belongs to the line", "a\r\nb\r\n", ["a\r", "b\r"]],
  ["other line ends do not count", "a\u2028b\u0085c\vd\n", ["a\u2028b\u0085c\vd"]],
  ["characters of every length", "ä€😀\n\u0000\n", ["ä€😀", "\u0000"]],
];
for (const [kind, open] of Object.entries(STREAMS)) {
  for (const [name, text, lines] of TEXTS) {
    Deno.test(`readLines: ${name}, of ${kind}`, async () => {
      assertEquals(await linesOf(open([encoder.encode(text)])), lines);
    });
  }

  Deno.test(`readLines: the same lines wherever the bytes are cut, of ${kind}`, async () => {
    const random = new Random(1);
    const items = ["a", "ß", "€", "😀", "👩‍💻", "\r", '{"x":1}', "\u2028", "\n", "\n\n"];
    for (let run = 0; run < 300; run++) {
      const text = random.text(items, 40);
      const bytes = encoder.encode(text);
      const places = Array.from({ length: random.below(12) }, () => random.below(bytes.length + 1));
      const lines = text.split("\n");
      if (lines.at(-1) === "") lines.pop();
      assertEquals(await linesOf(open(cut(bytes, places.sort((a, b) => a - b)))), lines, `run ${run}`);
    }
  });

  Deno.test(`readLines: byte by byte, of ${kind}`, async () => {
    const bytes = encoder.encode("ä€😀\n\n👩‍💻\nlast");
    assertEquals(await linesOf(open(cut(bytes, [...bytes.keys()]))), ["ä€😀", "", "👩‍💻", "last"]);
  });

  Deno.test(`readLines: bytes that are no UTF-8 harm no other line, of ${kind}`, async () => {
    const bytes = new Uint8Array([0xff, 0x0a, 0x61, 0x0a, 0xf0, 0x9f]);
    assertEquals(await linesOf(open([bytes])), ["\ufffd", "a", "\ufffd"]);
  });

  Deno.test(`readLines: a line of megabytes in many pieces is whole, and its end is looked for once, of ${kind}`, async () => {
    const [piece, count] = [512, 16_384];
    const chunks = Array.from({ length: count }, () => encoder.encode("x".repeat(piece)));
    const startedAt = performance.now();
    const lines = await linesOf(open([encoder.encode("a\n"), ...chunks, encoder.encode("\nb")]));
    // Looking through the whole line again with every piece is 64 GB to look at.
    assert(performance.now() - startedAt < 10_000);
    assertEquals(lines.map((line) => line.length), [1, piece * count, 1]);
  });

  Deno.test(`readLines: a line over the limit ends the reading, of ${kind}`, async () => {
    const seen: string[] = [];
    const chunks = Array.from({ length: 100 }, () => encoder.encode("x".repeat(10)));
    const stream = open([encoder.encode("short\n"), ...chunks, encoder.encode("\nnever\n")]);
    const reader = readLines(stream, (line) => seen.push(line), 500);
    await assertRejects(() => soon(reader.done, "the refusal"), RangeError, "500");
    assertEquals(seen, ["short"]);
  });

  Deno.test(`readLines: many lines within the limit are together over it, of ${kind}`, async () => {
    const text = `${"x".repeat(400)}\n`.repeat(10);
    assertEquals((await linesOf(open(cut(encoder.encode(text), [350, 700, 900])), 500)).length, 10);
  });

  Deno.test(`readLines: what onLine throws ends the reading, of ${kind}`, async () => {
    const seen: string[] = [];
    const reader = readLines(open([encoder.encode("a\nb\nc\n"), encoder.encode("d\n")]), (line) => {
      seen.push(line);
      if (line === "b") throw new Error("no b");
    }, NO_LIMIT);
    await assertRejects(() => soon(reader.done, "the error"), Error, "no b");
    assertEquals(seen, ["a", "b"]);
  });
}

/** A stream that the test feeds, and which it can watch being cancelled. */
function fed(type: "bytes" | undefined): {
  stream: ReadableStream<Uint8Array>;
  controller: ReadableByteStreamController | ReadableStreamDefaultController<Uint8Array>;
  cancelled: Promise<void>;
} {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  let controller: ReadableByteStreamController | ReadableStreamDefaultController<Uint8Array> | undefined;
  const stream = type
    ? new ReadableStream<Uint8Array>({
      type,
      start: (begun) => void (controller = begun),
      cancel: () => resolve(),
    })
    : new ReadableStream<Uint8Array>({
      start: (begun) => void (controller = begun),
      cancel: () => resolve(),
    });
  if (controller === undefined) throw new Error("The stream did not start");
  return { stream, controller, cancelled };
}

for (const type of ["bytes", undefined] as const) {
  const kind = type ? "a byte stream" : "an ordinary stream";

  Deno.test(`readLines: each line is there as soon as its bytes are, of ${kind}`, async () => {
    const { stream, controller } = fed(type);
    const seen: string[] = [];
    let wake = () => {};
    const reader = readLines(stream, (line) => {
      seen.push(line);
      wake();
    }, NO_LIMIT);
    for (const text of ["a\nb\nhal", "f\n", "c\n"]) {
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      controller.enqueue(encoder.encode(text));
      await soon(promise, "a line");
    }
    assertEquals(seen, ["a", "b", "half", "c"]);
    await reader.cancel();
    await soon(reader.done, "the end");
  });

  Deno.test(`readLines: cancel ends a reading that waits, and the stream, of ${kind}`, async () => {
    const { stream, cancelled } = fed(type);
    const reader: LineReader = readLines(stream, () => {}, NO_LIMIT);
    await reader.cancel();
    await soon(reader.done, "the end");
    await soon(cancelled, "the stream's cancel");
    await reader.cancel();
  });

  Deno.test(`readLines: a stream that breaks ends the reading with its error, of ${kind}`, async () => {
    const { stream, controller } = fed(type);
    const seen: string[] = [];
    const reader = readLines(stream, (line) => seen.push(line), NO_LIMIT);
    controller.error(new Error("broken pipe"));
    await assertRejects(() => soon(reader.done, "the error"), Error, "broken pipe");
    assertEquals(seen, []);
  });

  Deno.test(`readLines: a reading that fails lets go of the stream, of ${kind}`, async () => {
    const { stream, controller, cancelled } = fed(type);
    const reader = readLines(stream, () => {
      throw new Error("no");
    }, NO_LIMIT);
    controller.enqueue(encoder.encode("a\n"));
    await assertRejects(() => soon(reader.done, "the error"), Error, "no");
    await soon(cancelled, "the stream's cancel");
  });
}
