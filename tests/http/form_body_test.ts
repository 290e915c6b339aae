import { assert, assertEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { parseForm, readForm } from "../../lib/http/form_body.ts";
import { holdMore, releaseBody } from "../../lib/http/json_body.ts";
import { Random } from "../support/harness/random.ts";

const BOUNDARY = "x-boundary";
const TYPE = `multipart/form-data; boundary=${BOUNDARY}`;
const LIMITS = { maxFileBytes: 1024 };

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

/** Reads a form, which then is answered. */
function read(request: Request, limits: Parameters<typeof readForm>[1] = LIMITS) {
  return readForm(request, limits).finally(() => releaseBody(request));
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

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
  ['filename=""', "audio"],
  ["", "audio"],
  [`filename="${"a".repeat(300)}.wav"`, `${"a".repeat(251)}.wav`],
];
for (const [disposition, filename] of FILENAMES) {
  Deno.test(`readForm: ${disposition.slice(0, 50) || "a medium without a filename"}`, async () => {
    const { files } = await read(post(file(disposition) + END));
    assertEquals(files.map(({ filename }) => filename), [filename]);
    assertEquals(text(files[0]!.bytes), "abc");
  });
}

const FORMS: [name: string, body: string, fields: Record<string, string[]>, files: Record<string, string>][] =
  [
    ["fields", field("model", "whisper-1") + field("language", "語") + END, {
      model: ["whisper-1"],
      language: ["語"],
    }, {}],
    ["a repeated field", field("a[]", "1") + field("a[]", "2") + END, { "a[]": ["1", "2"] }, {}],
    ["an empty field", field("a", "") + END, { a: [""] }, {}],
    ["an empty file", file('filename="a"', "") + END, {}, { file: "" }],
    [
      "a file with line breaks and parts of the boundary",
      file('filename="a"', "\r\n--x-bound\r\n\r\r\n-") + END,
      {},
      {
        file: "\r\n--x-bound\r\n\r\r\n-",
      },
    ],
    ["a preamble and an epilogue", `hi\r\n${field("a", "b")}${END}bye`, { a: ["b"] }, {}],
    [
      "headers in other cases and orders",
      part("content-type: text/plain\r\nCONTENT-DISPOSITION:form-data;name=a", "b") + END,
      {
        a: ["b"],
      },
      {},
    ],
    ["no parts", END, {}, {}],
  ];
for (const [name, body, fields, files] of FORMS) {
  Deno.test(`readForm: ${name}`, async () => {
    const form = await read(post(body));
    assertEquals(Object.fromEntries(form.fields), fields);
    assertEquals(Object.fromEntries(form.files.map(({ field, bytes }) => [field, text(bytes)])), files);
  });
}

Deno.test("readForm: forms of browsers and libraries", async () => {
  const bytes = Uint8Array.from({ length: 1_000 }, (_, index) => index % 256);
  const form = new FormData();
  form.append("file", new File([bytes], 'a "b"\r\n.wav'));
  form.append("prompt", "a\r\nb");
  const { fields, files } = await read(
    new Request("http://127.0.0.1/", { method: "POST", body: form }),
  );
  assertEquals([...fields], [["prompt", ["a\r\nb"]]]);
  assertEquals([files[0]!.field, files[0]!.bytes], ["file", bytes]);
  const quoted = await read(
    post(field("a", "b") + END, `multipart/form-data; boundary="${BOUNDARY}"`),
  );
  assertEquals([...quoted.fields], [["a", ["b"]]]);
});

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
    'The header "content-type" has no boundary: let your HTTP library write the header of a form.',
  ],
  [
    "compression",
    () => post(whole, TYPE, { "content-encoding": "gzip" }),
    "unsupported_media_type",
    undefined,
    "The body must not be compressed, as with gzip.",
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
    "a large file",
    () => post(file('filename="a"', "a".repeat(1025)) + END),
    "body_too_large",
    "file",
    '"file" is larger than 0.0009765625 MiB.',
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
  Deno.test(`readForm: refuses ${name}`, async () => {
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

Deno.test("readForm: a body without an end is cut at its limit", async () => {
  const { body, cancelled } = endless(new Uint8Array(100_000));
  const error: AppError = await assertRejects(() => read(post(body)), AppError);
  assertEquals(error.code, "body_too_large");
  await cancelled;
});

Deno.test("readForm: a body that does not arrive", async () => {
  const { body, cancelled } = endless();
  const error: AppError = await assertRejects(
    () => read(post(body), { ...LIMITS, timeoutMs: 20 }),
    AppError,
  );
  assertEquals(error.code, "request_timeout");
  await cancelled;
});

Deno.test("readForm: a connection that breaks", async () => {
  const body = new ReadableStream({ pull: (controller) => controller.error(new Error("reset")) });
  const error: AppError = await assertRejects(() => read(post(body)), AppError);
  assertEquals([error.code, error.message], [
    "invalid_value",
    "The connection broke before the body was complete.",
  ]);
});

Deno.test("readForm: bodies have a limit together", async () => {
  const other = new Request("http://127.0.0.1/");
  holdMore(other, 128 * 1024 * 1024 - 100);
  const request = post(whole);
  const error: AppError = await assertRejects(() => read(request), AppError);
  assertEquals(error.code, "server_overloaded");
  releaseBody(other);
  await read(post(whole));
});

Deno.test("parseForm: broken forms are refused or read, and nothing else", () => {
  const random = new Random(7);
  const bytes = new TextEncoder().encode(
    field("model", "a") + file('filename="a.wav"', "\r\n--sound--\r\n") + END,
  );
  let read = 0;
  for (let round = 0; round < 5_000; round++) {
    const broken = bytes.slice(0, random.once(3) ? random.below(bytes.length) : bytes.length);
    for (let changes = random.below(4); changes > 0 && broken.length > 0; changes--) {
      broken[random.below(broken.length)] = random.pick([13, 10, 45, 34, 59, 0, 255]);
    }
    try {
      const { files } = parseForm(broken, BOUNDARY);
      assert(files.every(({ bytes }) => bytes.length <= broken.length));
      read++;
    } catch (error) {
      assert(error instanceof AppError && error.code === "invalid_value", String(error));
    }
  }
  assert(read > 500 && read < 4_500, `${read} of 5,000 were read`);
});
