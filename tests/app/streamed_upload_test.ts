/** Recordings that are passed on to an upstream while they arrive: `POST /v1/audio/transcriptions` on real ports. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { createSpeechToText } from "../../lib/speech/create.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";
import { listen } from "../support/harness/event_client.ts";
import { leaveRoom } from "../support/harness/held_bodies.ts";
import { FakeRecognizer } from "../support/harness/fake_voice.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { PROGRAM_DEPS } from "../support/harness/programs.ts";
import { ServedApp } from "../support/harness/served_app.ts";

const BOUNDARY = "x-boundary";
const encode = (text: string) => new TextEncoder().encode(text);
const FILE = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.ogg"\r\n\r\n`;
const field = (name: string, value: string) =>
  `\r\n--${BOUNDARY}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}`;
const END = `\r\n--${BOUNDARY}--\r\n`;

/** The app in front of an upstream. */
class Relay implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #served: ServedApp;

  /** @param upstream A handler, or an address. */
  constructor(upstream: string | ((request: Request) => Response | Promise<Response>)) {
    const baseUrl = typeof upstream === "string" ? upstream : this.#stack.use(listen(upstream)).url;
    const config = { provider: "upstream", baseUrl, key: "upstream-key", model: undefined } as const;
    const speechToText = createSpeechToText(config, { programs: PROGRAM_DEPS, ffmpeg: undefined })!;
    this.#served = this.#stack.use(ServedApp.start({ speechToText }));
  }

  /** Sends a form in these pieces. */
  upload(pieces: Pieces, signal?: AbortSignal): Promise<Response> {
    return fetch(requestOf(this.#served.url, pieces), signal && { signal });
  }

  /** Sends a form to the app without the buffers of a connection. */
  uploadWithoutPort(pieces: Pieces): Promise<Response> {
    return this.#served.app.serve(requestOf(this.#served.url, pieces));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** Makes a request of a form that comes in these pieces. */
function requestOf(url: string, pieces: Pieces, headers: Record<string, string> = {}): Request {
  const body = ReadableStream.from(async function* () {
    for await (const piece of pieces) yield typeof piece === "string" ? encode(piece) : piece;
  }());
  return new Request(`${url}/v1/audio/transcriptions`, {
    method: "POST",
    body,
    headers: { ...headers, "content-type": `multipart/form-data; boundary=${BOUNDARY}` },
  });
}

type Pieces = AsyncIterable<string | Uint8Array<ArrayBuffer>> | Iterable<string | Uint8Array<ArrayBuffer>>;

/** Reads what an upstream gets. `begun` resolves with the first bytes of the sound, `ended` with the whole text. */
function watchUpload() {
  const begun = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<string>();
  const read = async (request: Request) => {
    const chunks: string[] = [];
    try {
      for await (const chunk of request.body!.pipeThrough(new TextDecoderStream())) {
        chunks.push(chunk);
        if (chunk.includes("SOUND")) begun.resolve();
      }
      ended.resolve(chunks.join(""));
    } catch {
      ended.resolve(BROKEN_OFF);
    }
  };
  return { read, begun: begun.promise, ended: ended.promise };
}

const BROKEN_OFF = "broken off";
/** More bytes than the delimiter of a form, so that they are passed on before the next ones. */
const SOUND = "SOUND".padEnd(200, ".");
const MODEL = field("model", "whisper-1");
const hello = () => Response.json({ text: "Hello there." });

Deno.test("streamed upload: the upstream gets the first bytes while the client still sends", async () => {
  const upload = watchUpload();
  await using relay = new Relay(async (request) => {
    assertEquals(request.headers.get("transfer-encoding"), "chunked");
    await upload.read(request);
    return hello();
  });
  const response = await relay.upload(async function* () {
    yield FILE + SOUND;
    await upload.begun;
    yield ", and the last" + MODEL + END;
  }());
  assertEquals((await response.json()).text, "Hello there.");
  assert((await upload.ended).includes(`${SOUND}, and the last\r\n`));
});

const ORDERS: [name: string, form: string][] = [
  [
    "before",
    field("language", "en").slice(2) + MODEL + field("stream", "true") + `\r\n${FILE}${SOUND}${END}`,
  ],
  ["after", FILE + SOUND + field("language", "en") + MODEL + field("stream", "true") + END],
  [
    "around",
    field("language", "en").slice(2) + `\r\n${FILE}${SOUND}` + MODEL + field("stream", "true") + END,
  ],
];
for (const [name, form] of ORDERS) {
  Deno.test(`streamed upload: fields ${name} the file`, async () => {
    const event = (data: object) => `data: ${JSON.stringify(data)}\n\n`;
    const events = event({ type: "transcript.text.delta", delta: "Hel" }) +
      event({ type: "transcript.text.delta", delta: "lo" });
    let got: FormData | undefined;
    await using relay = new Relay(async (request) => {
      got = await request.formData();
      return new Response(events, { headers: { "content-type": "text/event-stream" } });
    });
    const response = await relay.upload([form]);
    assertEquals((await response.text()).match(/(?<="delta":").*?(?=")/g), ["Hel", "lo"]);
    const { file, ...fields } = Object.fromEntries(got!);
    if (!(file instanceof File)) throw new Error("There is no file.");
    assertEquals([file.name, await file.text()], ["a.ogg", SOUND]);
    assertEquals(fields, { model: "whisper-1", language: "en", stream: "true", response_format: "json" });
  });
}

const MIB = 1024 * 1024;
const FAULTS: [name: string, rest: Pieces, status: number, param: string | undefined, message: RegExp][] = [
  ["an invalid field", [MODEL + field("temperature", "warm") + END], 400, "temperature", /must be a number/],
  ["a missing field", [END], 400, "model", /"model" is required/],
  ["a second file", [`\r\n${FILE}${SOUND}${MODEL}${END}`], 400, "file", /one file, not several/],
  ["no end", [MODEL], 400, "model", /ends before its last boundary/],
  ["more than 25 MiB", Array(26).fill(new Uint8Array(MIB)), 413, "file", /larger than 25 MiB/],
];
for (const [name, rest, status, param, message] of FAULTS) {
  Deno.test(`streamed upload: ${name} breaks off the request to the upstream`, async () => {
    const upload = watchUpload();
    await using relay = new Relay(async (request) => {
      await upload.read(request);
      return hello();
    });
    const response = await relay.upload(async function* () {
      yield FILE + SOUND;
      await upload.begun;
      yield* rest;
    }());
    const error = await errorOf(response);
    assertEquals([error.status, error.param], [status, param]);
    assert(message.test(error.message), error.message);
    assertEquals(await upload.ended, BROKEN_OFF);
  });
}

Deno.test("streamed upload: a client that leaves breaks off the request to the upstream", async () => {
  const upload = watchUpload();
  await using relay = new Relay(async (request) => {
    await upload.read(request);
    return hello();
  });
  const leaving = new AbortController();
  const sending = relay.upload(
    async function* () {
      yield FILE + SOUND;
      await upload.begun;
      leaving.abort();
      // Without an end, only the signal can end this upload.
      await new Promise(() => {});
    }(),
    leaving.signal,
  );
  await assertRejects(() => sending, DOMException);
  assertEquals(await upload.ended, BROKEN_OFF);
});

const REFUSALS: [status: number, expected: number, code: string][] = [
  [401, 502, "upstream_auth_required"],
  [413, 413, "upstream_error"],
  [503, 502, "upstream_error"],
];
for (const [status, expected, code] of REFUSALS) {
  Deno.test(`streamed upload: a refusal of the upstream (${status}) does not wait for the rest`, async () => {
    await using relay = new Relay(() => new Response(null, { status }));
    const { promise: answered, resolve } = Promise.withResolvers<void>();
    const response = await relay.upload(async function* () {
      yield FILE + SOUND;
      await answered;
    }());
    const error = await errorOf(response);
    resolve();
    assertEquals([error.status, error.code], [expected, code]);
  });
}

Deno.test("streamed upload: an upstream that answers before it has all waits for the rest", async () => {
  await using relay = new Relay(hello);
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const form = (rest: string) =>
    async function* () {
      yield FILE + SOUND;
      await answered;
      yield rest;
    }();
  const [right, wrong] = [
    relay.upload(form(MODEL + END)),
    relay.upload(form(MODEL + field("stream", "x") + END)),
  ];
  answer();
  assertEquals((await (await right).json()).text, "Hello there.");
  assertEquals((await errorOf(await wrong)).param, "stream");
});

Deno.test("streamed upload: an upstream that answers and closes the connection before it has all", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const answering = (async () => {
    using connection = await listener.accept();
    const decoder = new TextDecoder();
    const bytes = new Uint8Array(1024);
    for (let got = ""; !got.includes("SOUND");) {
      got += decoder.decode(bytes.subarray(0, (await connection.read(bytes))!));
    }
    await connection.write(encode('HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"text":"No"}'));
  })().finally(resolve);
  await using relay = new Relay(`http://127.0.0.1:${listener.addr.port}`);
  const response = await relay.upload(async function* () {
    yield FILE + SOUND;
    await closed;
    for (let pieces = 0; pieces < 24; pieces++) yield new Uint8Array(MIB);
    yield MODEL + END;
  }());
  await answering;
  const error = await errorOf(response);
  assertEquals([error.status, error.code], [502, "upstream_unavailable"]);
  assert(/closes the connection before it has everything/.test(error.message), error.message);
});

Deno.test("streamed upload: a key sends 9 forms at once, also before their files, and others go on", async () => {
  const access = { keys: [apiKey("a"), apiKey("b")] };
  await using app = startApp({ speechToText: new FakeRecognizer(), access });
  const send = (pieces: Pieces, key: string) =>
    app.serve(requestOf("http://127.0.0.1", pieces, withKey(key).headers));
  const [haveBegun, isOver] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let begun = 0;
  const rest = [`\r\n${FILE}${SOUND}`, MODEL + END];
  const forms: [name: string, start: string[], rest: string[]][] = [
    ["before the file", [field("prompt", "Hi").slice(2)], rest],
    ["broken", [field("prompt", "Hi").slice(2)], [END]],
    ["in the file", [FILE + SOUND], rest.slice(1)],
  ];
  const sending = Array.from({ length: 9 }, (_, index) => {
    const [, start, rest] = forms[index % forms.length]!;
    return send(
      async function* () {
        yield* start;
        if (++begun === 9) haveBegun.resolve();
        await isOver.promise;
        yield* rest;
      }(),
      "a",
    );
  });
  await haveBegun.promise;
  const refused = await errorOf(await send([FILE + SOUND, MODEL + END], "a"));
  assertEquals([refused.status, refused.code], [429, "rate_limit_exceeded"]);
  assertEquals((await send([FILE + SOUND, MODEL + END], "b")).status, 200);
  isOver.resolve();
  const statuses = (await Promise.all(sending)).map(({ status }) => status);
  assertEquals(statuses, Array.from({ length: 3 }, () => [200, 400, 200]).flat());
  for (let again = 0; again < 9; again++) {
    assertEquals((await send([FILE + SOUND, MODEL + END], "a")).status, 200);
  }
});

Deno.test("streamed upload: eight recordings of 25 MB for a slow upstream are not held", async () => {
  using _full = leaveRoom(0);
  let [sent, waiting, most] = [0, 0, 0];
  await using relay = new Relay(async (request) => {
    for await (const bytes of request.body!) {
      waiting -= bytes.length;
      await new Promise((resolve) => setTimeout(resolve));
    }
    return hello();
  });
  const piece = new Uint8Array(MIB);
  const uploads = Array.from({ length: 8 }, () =>
    relay.uploadWithoutPort(async function* () {
      yield FILE;
      for (let pieces = 0; pieces < 25; pieces++) {
        yield piece;
        sent += piece.length;
        most = Math.max(most, waiting += piece.length);
      }
      yield MODEL + END;
    }()));
  for (const response of await Promise.all(uploads)) {
    assertEquals((await response.json()).text, "Hello there.");
  }
  assertEquals(sent, 200 * MIB);
  // Sockets and the HTTP libraries of both ends have buffers, of some megabytes for each request.
  assert(most < 100 * MIB, `${most / MIB} MiB were on their way`);
});
