import { assert, assertEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { openUpload, parseForm } from "../../lib/http/form_body.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { leaveRoom } from "../support/harness/held_bodies.ts";
import { Random } from "../support/harness/random.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const BOUNDARY = "x-boundary";
const TYPE = `multipart/form-data; boundary=${BOUNDARY}`;
const OPTIONS = { field: "file", maxBytes: 1024 };

/** A part of a form. */
const part = (headers: string, content: string) => `--${BOUNDARY}\r\n${headers}\r\n\r\n${content}\r\n`;
const field = (name: string, value: string) => part(`Content-Disposition: form-data; name="${name}"`, value);
const file = (disposition: string, content = "abc") =>
  part(`Content-Disposition: form-data; name="file"; ${disposition}\r\nContent-Type: audio/wav`, content);
const END = `--${BOUNDARY}--\r\n`;

function post(body: BodyInit, type: string | null = TYPE, headers: Record<string, string> = {}): Request {
  // A body of bytes gets no content type of its own.
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return new Request("http://127.0.0.1/", {
    method: "POST",
    body: bytes,
    headers: { ...type !== null && { "content-type": type }, ...headers },
  });
}

/** Reads a form with one file. */
async function read(request: Request, options: Parameters<typeof openUpload>[1] = OPTIONS) {
  using upload = await openUpload(request, options);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  while (true) {
    const { done, value } = await upload.content.next();
    if (!done) chunks.push(value);
    else {return {
        filename: upload.filename,
        content: await bytesOf(chunks),
        fields: Object.fromEntries(value),
      };}
  }
}

const bytesOf = (chunks: Uint8Array<ArrayBuffer>[]) => new Blob(chunks).bytes();
const encode = (text: string) => new TextEncoder().encode(text);

/** The parts of a form that comes in these chunks, or the message of its fault. */
async function parse(chunks: Iterable<Uint8Array<ArrayBuffer>>) {
  const fields: [name: string, value: string][] = [];
  const files: { name: string; filename: string; chunks: Uint8Array<ArrayBuffer>[] }[] = [];
  try {
    for await (const event of parseForm(ReadableStream.from(chunks), BOUNDARY)) {
      if (event.type === "field") fields.push([event.name, event.value]);
      else if (event.type === "file") files.push({ ...event, chunks: [] });
      else files.at(-1)!.chunks.push(event.bytes);
    }
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    assertEquals(error.code, "invalid_value");
    return error.message;
  }
  const read = files.map(async ({ name, filename, chunks }) => ({
    name,
    filename,
    content: (await bytesOf(chunks)).toHex(),
  }));
  return { fields, files: await Promise.all(read) };
}

/** Cuts bytes into chunks of this size. */
function* chunksOf(bytes: Uint8Array<ArrayBuffer>, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

/** Cuts bytes in two at every position, and into chunks of these sizes. */
function* cuts(bytes: Uint8Array<ArrayBuffer>) {
  for (let at = 0; at <= bytes.length; at++) yield [bytes.slice(0, at), bytes.slice(at)];
  for (const size of [1, 2, 3, 7]) yield chunksOf(bytes, size);
}

const FILENAMES: [disposition: string, filename: string][] = [
  ['filename="a.wav"', "a.wav"],
  ["filename=a.wav", "a.wav"],
  ['filename="a \\"b\\".wav"', 'a "b".wav'],
  ['filename="a %22b%22.wav"', 'a "b".wav'],
  ["filename*=UTF-8''%E8%AA%9E.wav", "語.wav"],
  ["filename=\"x.wav\"; filename*=utf-8''%E8%AA%9E.wav", "語.wav"],
  ['filename="語.wav"', "語.wav"],
  ['filename="../../etc/a.wav"', "a.wav"],
  ['filename="C:\\\\sounds\\\\a.wav"', "a.wav"],
  ["filename*=UTF-8''a%0D%0AX-Header:%20b.wav", "aX-Header: b.wav"],
  ["filename=\"a; name=b; filename*=utf-8''c.wav\"", "a; name=b; filename*=utf-8''c.wav"],
  ['filename="a.wav"; filename="b.wav"', "a.wav"],
  ["filename*=utf-8''a%zz.wav", "a%zz.wav"],
  ["filename*=utf-8'en'it's.wav", "it's.wav"],
  ['filename*=b.wav; filename="a.wav"', "a.wav"],
  ['filename=""', "audio"],
  ["", "audio"],
  [`filename="${"a".repeat(300)}.wav"`, `${"a".repeat(251)}.wav`],
];
for (const [disposition, filename] of FILENAMES) {
  Deno.test(`openUpload: ${disposition.slice(0, 50) || "a medium without a filename"}`, async () => {
    const upload = await read(post(file(disposition) + END));
    assertEquals(upload, { filename, content: encode("abc"), fields: {} });
  });
}

type Parts = [name: string, value: string][];
const SOUND = "\r\n--x-bound\r\n\r\r\n-";
const FORMS: [name: string, body: string, fields: Parts, files: Parts][] = [
  ["fields", field("model", "whisper-1") + field("language", "語") + END, [
    ["model", "whisper-1"],
    ["language", "語"],
  ], []],
  ["a repeated field", field("a[]", "1") + field("a[]", "2") + END, [["a[]", "1"], ["a[]", "2"]], []],
  ["an empty field", field("a", "") + END, [["a", ""]], []],
  ["an empty file", file('filename="a"', "") + END, [], [["file", ""]]],
  [
    "parts without a line break of their own",
    field("a", "").slice(0, -2) + file('filename="a"', "").slice(0, -2) + field("b", "c") + END,
    [["a", ""], ["b", "c"]],
    [["file", ""]],
  ],
  ["a file with line breaks and parts of the boundary", file('filename="a"', SOUND) + END, [], [[
    "file",
    SOUND,
  ]]],
  ["a file between fields", field("a", "b") + file('filename="a"', SOUND) + field("c", "d") + END, [
    ["a", "b"],
    ["c", "d"],
  ], [["file", SOUND]]],
  [
    "files",
    file('filename="a"', "1") + file('filename="b"', "").replace("file", "other") +
    file('filename="c"', "3") + END,
    [],
    [["file", "1"], ["other", ""], ["file", "3"]],
  ],
  ["a preamble and an epilogue", `hi\r\n${field("a", "b")}${END}bye`, [["a", "b"]], []],
  ["a long epilogue", `${field("a", "b")}${END}${END}${field("c", "d")}`, [["a", "b"]], []],
  [
    "headers in other cases and orders",
    part("content-type: text/plain\r\nCONTENT-DISPOSITION:form-data;name=a", "b") + END,
    [["a", "b"]],
    [],
  ],
  [
    "boundaries with spaces",
    (field("a", "b") + END).replace(BOUNDARY, `${BOUNDARY} \t`),
    [["a", "b"]],
    [],
  ],
  [
    "a name after a filename that contains one",
    part('Content-Disposition: form-data; filename="a; name=b"; name="file"', "c") + END,
    [],
    [["file", "c"]],
  ],
  ["no parts", END, [], []],
];
for (const [name, body, fields, files] of FORMS) {
  Deno.test(`parseForm: ${name}, cut at every position`, async () => {
    const bytes = encode(body);
    const whole = await parse([bytes]);
    if (typeof whole === "string") throw new Error(whole);
    assertEquals(whole.fields, fields);
    const contents = whole.files.map(({ name, content }) => [name, content]);
    assertEquals(contents, files.map(([name, content]) => [name, encode(content).toHex()]));
    for (const chunks of cuts(bytes)) assertEquals(await parse(chunks), whole);
  });
}

Deno.test("openUpload: forms of browsers and libraries", async () => {
  const bytes = Uint8Array.from({ length: 1_000 }, (_, index) => index % 256);
  const form = new FormData();
  form.append("prompt", "a\r\nb");
  form.append("a[]", "1");
  form.append("file", new File([bytes], 'a "b"\r\n.wav'));
  form.append("a[]", "2");
  const { filename, content, fields } = await read(
    new Request("http://127.0.0.1/", { method: "POST", body: form }),
  );
  assertEquals([filename, content, fields], ['a "b"%0D%0A.wav', bytes, {
    prompt: ["a\r\nb"],
    "a[]": ["1", "2"],
  }]);
  const quoted = await read(
    post(field("a", "b") + whole, `multipart/form-data; boundary="${BOUNDARY}"`),
  );
  assertEquals(quoted.fields, { a: ["b"] });
});

const NO_BOUNDARY =
  'The header "content-type" has no boundary of 1 to 70 characters: let your HTTP library write the header of a form.';
const whole = file('filename="a"') + END;
const REFUSED: [
  name: string,
  request: () => Request,
  code: string,
  param: string | undefined,
  message: string,
][] = [
  [
    "JSON",
    () => post("{}", "application/json"),
    "unsupported_media_type",
    undefined,
    'The body must be a form: send "multipart/form-data", not "application/json".',
  ],
  [
    "no type",
    () => post("{}", null),
    "unsupported_media_type",
    undefined,
    'The body must be a form: send "multipart/form-data", not "nothing".',
  ],
  [
    "no boundary",
    () => post(whole, "multipart/form-data"),
    "unsupported_media_type",
    undefined,
    NO_BOUNDARY,
  ],
  [
    "a long boundary",
    () => post(whole, TYPE.padEnd(150, "a")),
    "unsupported_media_type",
    undefined,
    NO_BOUNDARY,
  ],
  [
    "compression",
    () => post(whole, TYPE, { "content-encoding": "gzip" }),
    "unsupported_media_type",
    undefined,
    'The body must not be compressed, but "content-encoding" is gzip.',
  ],
  [
    "another boundary",
    () => post(whole, "multipart/form-data; boundary=other"),
    "invalid_value",
    undefined,
    "The form is broken: it does not have the boundary of its content type.",
  ],
  [
    "an empty body",
    () => post(""),
    "invalid_value",
    undefined,
    "The form is broken: it does not have the boundary of its content type.",
  ],
  [
    "a file that is cut off",
    () => post(whole.slice(0, -10)),
    "invalid_value",
    "file",
    '"file" is broken: it ends before its last boundary.',
  ],
  [
    "a boundary within a file",
    () => post(file('filename="a"', `\r\n--${BOUNDARY}X\r\n`) + field("a", "b") + END),
    "invalid_value",
    undefined,
    "The form is broken: text follows a boundary in its line.",
  ],
  [
    "headers that are cut off",
    () => post(whole.slice(0, 40)),
    "invalid_value",
    undefined,
    "The form is broken: the headers of a part do not end.",
  ],
  [
    "long headers",
    () => post(part(`X: ${"a".repeat(9_000)}`, "b") + END),
    "invalid_value",
    undefined,
    "The form is broken: the headers of a part do not end.",
  ],
  [
    "a part without a name",
    () => post(part("Content-Disposition: form-data", "b") + END),
    "invalid_value",
    undefined,
    "The form is broken: a part has no name.",
  ],
  [
    "many parts",
    () => post(field("a", "b").repeat(101) + END),
    "invalid_value",
    undefined,
    "The form is broken: it has more than 100 parts.",
  ],
  [
    "a long field",
    () => post(field("prompt", "a".repeat(70_000)) + END),
    "invalid_value",
    "prompt",
    '"prompt" is broken: it has more than 64 KiB, but no filename.',
  ],
  [
    "no file",
    () => post(field("a", "b") + END),
    "missing_required_parameter",
    "file",
    '"file" is required: send a file.',
  ],
  [
    "a file of another field",
    () => post(whole.replace('name="file"', 'name="sound"')),
    "missing_required_parameter",
    "file",
    '"file" is required: send a file.',
  ],
  [
    "a file as text",
    () => post(field("file", "abc") + END),
    "invalid_value",
    "file",
    '"file" must be a file: send it with a filename.',
  ],
  [
    "two files",
    () => post(file('filename="a"') + field("a", "b") + whole),
    "invalid_value",
    "file",
    '"file" must be one file, not several.',
  ],
  ["an empty file", () => post(file('filename="a"', "") + END), "invalid_value", "file", '"file" is empty.'],
  [
    "a large file",
    () => post(file('filename="a"', "a".repeat(1025)) + END),
    "body_too_large",
    "file",
    '"file" is larger than 0.0009765625 MiB: send it in parts.',
  ],
  [
    "a body that is too large",
    () => post(new Uint8Array(2 * 1024 * 1024)),
    "body_too_large",
    undefined,
    "The body is larger than 1.0009765625 MiB.",
  ],
];
for (const [name, request, code, param, message] of REFUSED) {
  Deno.test(`openUpload: refuses ${name}`, async () => {
    const error: AppError = await assertRejects(() => read(request()), AppError);
    assertEquals([error.code, error.param, error.message], [code, param, message]);
  });
}

/** A body that goes on until it is cancelled. */
function endless(piece?: Uint8Array<ArrayBuffer>) {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => piece && controller.enqueue(piece),
    cancel: () => resolve(),
  });
  return { body, cancelled };
}

Deno.test("openUpload: a body without an end is cut at its limit", async () => {
  const { body, cancelled } = endless(new Uint8Array(100_000));
  const error: AppError = await assertRejects(() => read(post(body)), AppError);
  assertEquals(error.code, "body_too_large");
  await cancelled;
});

Deno.test("openUpload: a body that does not arrive", async () => {
  const { body, cancelled } = endless();
  const error: AppError = await assertRejects(
    () => read(post(body), { ...OPTIONS, timeoutMs: 20 }),
    AppError,
  );
  assertEquals(error.code, "request_timeout");
  await cancelled;
});

Deno.test("openUpload: a connection that breaks", async () => {
  const body = new ReadableStream({ pull: (controller) => controller.error(new Error("reset")) });
  const error: AppError = await assertRejects(() => read(post(body)), AppError);
  assertEquals([error.code, error.message], [
    "invalid_value",
    "The connection broke before the body was complete.",
  ]);
});

Deno.test("openUpload: the waits for a client count together, and the time of the reader does not", async () => {
  using clock = new FakeClock();
  const pieces = [file('filename="a"', "a".repeat(500)), ...Array(4).fill(field("a", "a".repeat(500)))];
  let waitMs = 50_000;
  const body = ReadableStream.from(async function* () {
    for (const piece of pieces) {
      clock.advance(waitMs);
      // A microtask later, its timer has fired.
      await Promise.resolve();
      yield encode(piece);
    }
  }());
  using upload = await openUpload(post(body), OPTIONS);
  waitMs = 1;
  clock.advance(1_000_000);
  await upload.content.next();
  clock.advance(1_000_000);
  waitMs = 100_000;
  const error: AppError = await assertRejects(async () => {
    for await (const _ of upload.content);
  }, AppError);
  assertEquals(error.code, "request_timeout");
});

Deno.test("openUpload: refuses the rest when it is disposed of, also while it waits for the client", async () => {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(encode(file('filename="a"', "a".repeat(100)))),
    cancel: () => resolve(),
  });
  const upload = await openUpload(post(body), OPTIONS);
  await upload.content.next();
  const waiting = assertRejects(() => upload.content.next());
  upload[Symbol.dispose]();
  await waiting;
  await cancelled;
});

Deno.test("openUpload: a body that is there already leaves the event loop to others", async () => {
  const MIB = 1024 ** 2;
  const body = ReadableStream.from(async function* () {
    yield encode(part('Content-Disposition: form-data; name="file"; filename="a"', "").slice(0, -2));
    for (let i = 0; i < 20 * 16; i++) yield new Uint8Array(MIB / 16);
    yield encode(`\r\n${END}`);
  }());
  let [tasks, isOver] = [0, false];
  const counting = (async () => {
    for (; !isOver; tasks++) await nextTask();
  })();
  const { content } = await read(post(body), { ...OPTIONS, maxBytes: 20 * MIB });
  isOver = true;
  await counting;
  assertEquals(content.length, 20 * MIB);
  assert(tasks >= 20, `${tasks}`);
});

Deno.test("openUpload: holds nothing, even if there is no room for bodies", async () => {
  using _full = leaveRoom(0);
  await read(post(whole));
});

Deno.test("parseForm: broken forms are refused or read, in whatever chunks they come", async () => {
  const random = new Random(7);
  const bytes = encode(field("model", "a") + file('filename="a.wav"', "\r\n--sound--\r\n") + END);
  let read = 0;
  for (let round = 0; round < 2_000; round++) {
    const broken = bytes.slice(0, random.once(3) ? random.below(bytes.length) : bytes.length);
    for (let changes = random.below(4); changes > 0 && broken.length > 0; changes--) {
      broken[random.below(broken.length)] = random.pick([13, 10, 45, 34, 59, 0, 255]);
    }
    const whole = await parse([broken]);
    assertEquals(await parse(chunksOf(broken, 1 + random.below(40))), whole);
    if (typeof whole === "object") read++;
  }
  assert(read > 200 && read < 1_800, `${read} of 2,000 were read`);
});
