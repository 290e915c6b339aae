import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { readJson, shapeFault } from "../../lib/http/json_body.ts";

const JSON_TYPE = "application/json";
const MAX_MIB = 20;

function post(
  body: BodyInit | null,
  headers: Record<string, string> = { "content-type": JSON_TYPE },
): Request {
  const request = new Request("http://127.0.0.1/", { method: "POST", headers, body });
  if (headers["content-type"] === undefined) request.headers.delete("content-type");
  return request;
}

/** A body of this many MiB that is made while it is read, and the number of MiB read. */
function mebibytes(count: number, first: string, rest: string): { body: ReadableStream; read: () => number } {
  let made = 0;
  const fill = new TextEncoder().encode(rest.repeat(1024 * 1024));
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = fill.slice();
      if (made === 0) piece.set(new TextEncoder().encode(first));
      controller.enqueue(piece);
      if (++made === count) controller.close();
    },
  }, { highWaterMark: 0 });
  return { body, read: () => made };
}

/** A body that throws when it is read. */
function unreadable(): ReadableStream {
  return new ReadableStream({
    pull() {
      throw new Error("the body was read");
    },
  }, { highWaterMark: 0 });
}

async function failureOf(request: Request, timeoutMs?: number): Promise<AppError> {
  return await assertRejects(() => readJson(request, timeoutMs === undefined ? {} : { timeoutMs }), AppError);
}

const READ: [name: string, body: string, type: string | undefined, value: unknown][] = [
  ["spaces around it", '\n {"a":1}\r\n', JSON_TYPE, { a: 1 }],
  ["a byte order mark", '\ufeff{"a":1}', JSON_TYPE, { a: 1 }],
  ["a type with a charset", "{}", "application/json; charset=utf-8", {}],
  ["a type in capitals", "{}", "Application/JSON", {}],
  ["a vendor's type", "{}", "application/vnd.api+json", {}],
  ["no type", "{}", undefined, {}],
  ["a string", '"[[[["', JSON_TYPE, "[[[["],
];

for (const [name, body, type, value] of READ) {
  Deno.test(`readJson: accepts ${name}`, async () => {
    const request = post(new TextEncoder().encode(body), type === undefined ? {} : { "content-type": type });
    assertEquals((await readJson(request)).value, value);
  });
}

Deno.test("readJson: returns the text unchanged", async () => {
  assertEquals((await readJson(post(' {"b":1, "a":2} '))).text, ' {"b":1, "a":2} ');
});

const REFUSED: [name: string, body: BodyInit | null, type: string, code: string, says: RegExp][] = [
  [
    "plain text",
    "{}",
    "text/plain",
    "unsupported_media_type",
    /"content-type: application\/json", not "text\/plain"/,
  ],
  ["a type that only begins like JSON", "{}", "application/jsonp", "unsupported_media_type", /content-type/],
  ["an empty type", "{}", "", "unsupported_media_type", /content-type/],
  ["no body", null, JSON_TYPE, "invalid_json", /empty/],
  ["white space only", " \n\t", JSON_TYPE, "invalid_json", /empty/],
  ["half an object", '{"a":', JSON_TYPE, "invalid_json", /not JSON/],
  ["two values", "{}{}", JSON_TYPE, "invalid_json", /not JSON/],
  ["65 levels", "[".repeat(65) + "]".repeat(65), JSON_TYPE, "invalid_json", /deeper than 64 levels/],
  ["65 levels of both kinds", '{"a":['.repeat(33), JSON_TYPE, "invalid_json", /deeper than 64 levels/],
  ["a million brackets", "[".repeat(1_000_000), JSON_TYPE, "invalid_json", /deeper than 64 levels/],
];

for (const [name, body, type, code, says] of REFUSED) {
  Deno.test(`readJson: refuses ${name}`, async () => {
    const failure = await failureOf(post(body, { "content-type": type }));
    assertEquals(failure.code, code);
    assertMatch(failure.message, says);
  });
}

Deno.test("readJson: accepts 64 levels", async () => {
  const { value } = await readJson(post("[".repeat(64) + "]".repeat(64)));
  assertEquals(JSON.stringify(value), "[".repeat(64) + "]".repeat(64));
});

Deno.test("readJson: refuses a wrong type and a too large content-length before it reads", async () => {
  const tooLong = { "content-type": JSON_TYPE, "content-length": String(MAX_MIB * 1024 ** 2 + 1) };
  assertEquals(
    (await failureOf(post(unreadable(), { "content-type": "text/plain" }))).code,
    "unsupported_media_type",
  );
  const failure = await failureOf(post(unreadable(), tooLong));
  assertEquals([failure.code, failure.message], ["body_too_large", "The body is larger than 20 MiB."]);
});

for (const length of [undefined, "2", "many"]) {
  Deno.test(`readJson: counts the bytes of a body whose content-length is ${length}`, async () => {
    const { body, read } = mebibytes(100, '"', "a");
    const failure = await failureOf(post(body, {
      "content-type": JSON_TYPE,
      ...(length === undefined ? {} : { "content-length": length }),
    }));
    assertEquals(failure.code, "body_too_large");
    assertEquals(read() < 30, true, "the rest was not read");
  });
}

Deno.test("readJson: accepts a body of exactly the largest size", async () => {
  const { body } = mebibytes(MAX_MIB, '{"a":1}', " ");
  assertEquals((await readJson(post(body))).value, { a: 1 });
});

Deno.test("readJson: tells a broken connection from a body that is too large", async () => {
  const pieces = ['{"a":', '"b'];
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = pieces.shift();
      if (piece === undefined) controller.error(new TypeError("connection reset"));
      else controller.enqueue(new TextEncoder().encode(piece));
    },
  }, { highWaterMark: 0 });
  const failure = await failureOf(post(body));
  assertEquals([failure.code, failure.message], [
    "invalid_json",
    "The connection broke before the body was complete.",
  ]);
});

Deno.test("readJson: joins characters that the network splits", async () => {
  const bytes = new TextEncoder().encode('{"a":"語り😀"}');
  const body = ReadableStream.from(Array.from(bytes, (byte) => Uint8Array.of(byte)));
  assertEquals((await readJson(post(body))).value, { a: "語り😀" });
});

Deno.test("readJson: cancels a body that does not arrive in time", async () => {
  const cancelled = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({ cancel: () => cancelled.resolve() });
  const failure = await failureOf(post(body), 2);
  assertEquals(failure.code, "request_timeout");
  assertMatch(failure.message, /did not arrive within 0.002 seconds/);
  await cancelled.promise;
});

const DEPTHS: [text: string, depth: number][] = [
  ["[{}]", 2],
  ["[[],[],[]]", 2],
  ['"[[["', 0],
  ['{"[[[":"]]]"}', 1],
  ['["\\""]', 1],
  ['["\\"[[["]', 1],
  ['["\\\\",[]]', 2],
  ['["\\\\\\"[[["]', 1],
  ['{"a":"\\\\","b":["["]}', 2],
  ['"never closed [[[[', 0],
  ['["never closed \\"[[[[', 1],
  ["]]]][", 0],
  ["[]".repeat(1000), 1],
];

for (const [text, depth] of DEPTHS) {
  Deno.test(`shapeFault: ${JSON.stringify(text.slice(0, 30))} is ${depth} deep`, () => {
    assertEquals(shapeFault(text, depth), undefined);
    if (depth > 0) assertEquals(shapeFault(text, depth - 1), `is nested deeper than ${depth - 1} levels`);
  });
}

Deno.test("shapeFault: takes linear time", () => {
  for (const unit of ['"', "\\", '\\"', '"\\', '"\\"', '[""]', '"[{\\"']) {
    assertEquals(shapeFault(unit.repeat(200_000), Infinity), undefined, unit);
  }
});

Deno.test("shapeFault: counts values outside of strings", () => {
  assertEquals(shapeFault('{"a,b":[1,2],"c":3}', 2, 3), undefined);
  assertEquals(shapeFault('{"a,b":[1,2],"c":3}', 2, 2), "has more than 2 values");
});

const HALVES: [name: string, json: string, text: string][] = [
  ["a first half", String.raw`hi \ud83d`, "hi \ufffd"],
  ["a second half", String.raw`\uDE00!`, "\ufffd!"],
  ["two first halves and a second", String.raw`\ud83d\ud83d\ude00`, "\ufffd😀"],
  ["a pair", String.raw`\ud83d\ude00`, "😀"],
  ["another escape", String.raw`\u00e9\n`, "é\n"],
  ["an escaped backslash", String.raw`\\ud83d`, String.raw`\ud83d`],
];
for (const [name, json, text] of HALVES) {
  Deno.test(`readJson: makes strings well-formed: ${name}`, async () => {
    const { value } = await readJson(post(`{"a${json}":"${json}"}`));
    assertEquals(value, { [`a${text}`]: text });
  });
}

const gzip = async (text: string) =>
  new Uint8Array(
    await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer(),
  );
const utf16 = (text: string) => new Uint8Array(Uint16Array.from(text, (char) => char.charCodeAt(0)).buffer);
const ENCODED: [
  name: string,
  body: Uint8Array<ArrayBuffer>,
  headers: Record<string, string>,
  says: RegExp,
][] = [
  [
    "gzip with its header",
    await gzip("{}"),
    { "content-encoding": "gzip" },
    /not be compressed, but "content-encoding" is gzip/,
  ],
  ["gzip without its header", await gzip('{"a":1}'), {}, /compressed with gzip/],
  [
    "UTF-16 with its charset",
    utf16("{}"),
    { "content-type": 'application/json; charset="UTF-16"' },
    /UTF-8.*UTF-16/,
  ],
  ["UTF-16 with a mark", utf16("\ufeff{}"), {}, /UTF-16/],
  ["UTF-16 without a mark", utf16("{}"), {}, /UTF-16/],
];
for (const [name, body, headers, says] of ENCODED) {
  Deno.test(`readJson: refuses ${name}`, async () => {
    const failure = await failureOf(post(body, { "content-type": JSON_TYPE, ...headers }));
    assertEquals(failure.code, "unsupported_media_type");
    assertMatch(failure.message, says);
  });
}

Deno.test("readJson: other work runs while a body of single bytes is read", async () => {
  const body = ReadableStream.from(function* () {
    for (const byte of new TextEncoder().encode(`[${"1,".repeat(500)}1]`)) yield Uint8Array.of(byte);
  }());
  const done: string[] = [];
  await Promise.all([
    new Promise((resolve) => setTimeout(resolve)).then(() => done.push("other work")),
    readJson(post(body)).then(() => done.push("body")),
  ]);
  assertEquals(done, ["other work", "body"]);
});
