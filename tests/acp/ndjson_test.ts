import { assert, assertEquals, assertRejects } from "@std/assert";
import { logInvalidLines, readLines } from "../../lib/acp/ndjson.ts";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { AcpHarness } from "../support/agents/memory_acp_agent.ts";
import { LogRecorder } from "../support/harness/json_rpc_harness.ts";
import { Random } from "../support/harness/random.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";

const NO_LIMIT = 1_000_000_000;
const encoder = new TextEncoder();

/** The kinds of streams that bytes come from. */
const STREAMS: Readonly<Record<string, (chunks: Uint8Array[]) => ReadableStream<Uint8Array>>> = {
  "an ordinary stream": (chunks) => ReadableStream.from(chunks),
  "a byte stream": (chunks) => {
    const rest = chunks.filter((chunk) => chunk.length > 0).values();
    return new ReadableStream({
      type: "bytes",
      pull(controller) {
        const { value, done } = rest.next();
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

async function linesOf(stream: ReadableStream<Uint8Array>, maxChars = NO_LIMIT): Promise<string[]> {
  const lines: string[] = [];
  await waitFor(readLines(stream, (line) => lines.push(line), maxChars).done, "the end of the lines");
  return lines;
}

/** Cuts bytes at these offsets. */
function cut(bytes: Uint8Array, offsets: readonly number[]): Uint8Array[] {
  const ends = [...offsets, bytes.length];
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

for (const [kind, open] of Object.entries(STREAMS)) {
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
    Deno.test(`readLines: reads ${name} from ${kind}`, async () => {
      const bytes = encoder.encode(text);
      assertEquals(await linesOf(open([bytes])), [...lines]);
      assertEquals(await linesOf(open(cut(bytes, [...bytes.keys()]))), [...lines], "byte by byte");
    });
  }

  Deno.test(`readLines: reads the same lines wherever bytes are cut, from ${kind}`, async () => {
    const random = new Random(1);
    const items = ["a", "ß", "€", "😀", "👩‍💻", "\r", '{"x":1}', "\u2028", "\n", "\n\n"];
    for (let run = 0; run < 300; run++) {
      const text = random.text(items, 40);
      const bytes = encoder.encode(text);
      const offsets = Array.from({ length: random.below(12) }, () => random.below(bytes.length + 1));
      const lines = text.split("\n");
      if (lines.at(-1) === "") lines.pop();
      assertEquals(await linesOf(open(cut(bytes, offsets.sort((a, b) => a - b)))), lines, `run ${run}`);
    }
  });

  Deno.test(`readLines: replaces bytes that are not UTF-8 in their line only, from ${kind}`, async () => {
    const bytes = new Uint8Array([0xff, 0x0a, 0x61, 0x0a, 0xf0, 0x9f]);
    assertEquals(await linesOf(open([bytes])), ["\ufffd", "a", "\ufffd"]);
  });

  Deno.test(`readLines: reads a line of megabytes in linear time, from ${kind}`, async () => {
    const [piece, count] = [512, 16_384];
    const chunks = Array.from({ length: count }, () => encoder.encode("x".repeat(piece)));
    const startedAt = performance.now();
    const lines = await linesOf(open([encoder.encode("a\n"), ...chunks, encoder.encode("\nb")]));
    // Scanning the whole line with every piece would read 64 GB.
    assert(performance.now() - startedAt < 10_000);
    assertEquals(lines.map((line) => line.length), [1, piece * count, 1]);
  });

  Deno.test(`readLines: limits one line, not all lines together, from ${kind}`, async () => {
    const text = `${"x".repeat(400)}\n`.repeat(10);
    assertEquals((await linesOf(open(cut(encoder.encode(text), [350, 700, 900])), 500)).length, 10);
    const lines: string[] = [];
    const chunks = Array.from({ length: 100 }, () => encoder.encode("x".repeat(10)));
    const stream = open([encoder.encode("short\n"), ...chunks, encoder.encode("\nnever\n")]);
    const reader = readLines(stream, (line) => lines.push(line), 500);
    await assertRejects(() => waitFor(reader.done, "the error"), RangeError, "500");
    assertEquals(lines, ["short"]);
  });
}

/** A stream that the test feeds, whose cancellation it can await. */
function fedStream(type: "bytes" | undefined) {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  let controller: ReadableByteStreamController | ReadableStreamDefaultController<Uint8Array> | undefined;
  const source = {
    start: (started: NonNullable<typeof controller>) => void (controller = started),
    cancel: () => resolve(),
  };
  const stream = type ? new ReadableStream<Uint8Array>({ ...source, type }) : new ReadableStream(source);
  return { stream, controller: controller!, cancelled };
}

for (const type of ["bytes", undefined] as const) {
  const kind = type ? "a byte stream" : "an ordinary stream";

  Deno.test(`readLines: delivers each line with its bytes, from ${kind}`, async () => {
    const { stream, controller, cancelled } = fedStream(type);
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
    await reader.cancel();
  });

  Deno.test(`readLines: fails with the stream's error, from ${kind}`, async () => {
    const { stream, controller } = fedStream(type);
    const reader = readLines(stream, () => {}, NO_LIMIT);
    controller.error(new Error("broken pipe"));
    await assertRejects(() => waitFor(reader.done, "the error"), Error, "broken pipe");
  });

  Deno.test(`readLines: an error of onLine ends the reading and the stream, from ${kind}`, async () => {
    const { stream, controller, cancelled } = fedStream(type);
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
}

const redact = (text: string) => text.replaceAll("secret", "***");

Deno.test("logInvalidLines: logs five lines a minute, and then the number of omitted ones", () => {
  const recorder = new LogRecorder();
  let nowMs = 0;
  const logInvalid = logInvalidLines(recorder.log, redact, () => nowMs);
  const logged = () => recorder.entries.map(({ fields }) => [fields.line, fields.why, fields.omitted]);
  for (let count = 0; count < 100; count++) logInvalid(`line ${count}`, "not JSON");
  const first = [0, 1, 2, 3, 4].map((number) => [`line ${number}`, "not JSON", undefined]);
  assertEquals(logged(), first);
  nowMs = 59_999;
  logInvalid("line 100", "not JSON");
  assertEquals(logged(), first);
  nowMs = 60_000;
  logInvalid("line 101", "not JSON");
  logInvalid("line 102", "not JSON");
  assertEquals(logged().slice(5), [["line 101", "not JSON", 96], ["line 102", "not JSON", undefined]]);
});

Deno.test("logInvalidLines: redacts before it cuts", () => {
  const recorder = new LogRecorder();
  logInvalidLines(recorder.log, redact, () => 0)("x".repeat(196) + "secret", "not JSON");
  assertEquals(recorder.entries.map(({ fields }) => fields.line), ["x".repeat(196) + "***"]);
});

Deno.test("AcpAgent: redacts the agent's words in errors and in the log", async () => {
  await using harness = new AcpHarness({
    "session/new": () => {
      throw new RpcError(RPC.internalError, "No account", { details: "the secret is wrong" });
    },
  }, { redact });
  const { message } = await appErrorOf(harness.agent.newSession());
  assertEquals(message.includes("No account: the *** is wrong"), true, message);
  harness.running.sendInvalid("x".repeat(150) + "secret".repeat(20));
  await harness.recorder.waitFor("skipped a line of the agent");
  await nextTask();
  assertEquals(JSON.stringify(harness.recorder.entries).includes("secret"), false);
});

Deno.test("AcpAgent: counts invalid lines across restarts of the agent", async () => {
  await using harness = new AcpHarness();
  for (let start = 0; start < 2; start++) {
    await harness.agent.newSession();
    for (let count = 0; count < 20; count++) harness.running.sendInvalid();
    await nextTask();
    harness.nowMs += 20_000;
    harness.running.exit();
    await nextTask();
  }
  assertEquals(harness.recorder.matching("skipped a line of the agent").length, 5);
});
