import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { startIdleTimer } from "../../lib/core/idle_timer.ts";
import { errorResponse } from "../../lib/http/error_response.ts";
import { createUpstream, joinUrl } from "../../lib/core/upstream.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { FakeUpstream } from "../support/harness/fake_upstream.ts";

const ADDRESSES: [base: string, joined: string][] = [
  ["http://127.0.0.1:11434", "http://127.0.0.1:11434/v1/embeddings"],
  ["http://127.0.0.1:11434/", "http://127.0.0.1:11434/v1/embeddings"],
  ["http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1/embeddings"],
  ["http://127.0.0.1:11434//v1//", "http://127.0.0.1:11434/v1/embeddings"],
  ["http://[::1]:80/v1/?a=b%20c#d", "http://[::1]/v1/embeddings?a=b%20c"],
  ["https://api.openai.com/v1/embeddings", "https://api.openai.com/v1/embeddings"],
  ["https://a.example/embeddings/", "https://a.example/embeddings/"],
  ["https://openrouter.ai/api", "https://openrouter.ai/api/v1/embeddings"],
  ["https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/embeddings"],
  [
    "https://a.example/v1beta/openai/",
    "https://a.example/v1beta/openai/embeddings",
  ],
  ["https://a.example/api/paas/v4", "https://a.example/api/paas/v4/embeddings"],
  ["https://a.example/v1/open%20ai", "https://a.example/v1/open%20ai/embeddings"],
  [
    "https://a.example/openai/deployments/small?api-version=2024-02-01",
    "https://a.example/openai/deployments/small/embeddings?api-version=2024-02-01",
  ],
  ["https://a.example/version/", "https://a.example/version/v1/embeddings"],
];
for (const [base, joined] of ADDRESSES) {
  Deno.test(`joinUrl: ${base}`, () => assertEquals(joinUrl(base, "/embeddings"), joined));
}

const KEY = "upstream-key-1";

/** The error of a request to this server, and of its response: status, headers and envelope. */
async function failureOf(
  baseUrl: string,
  { key = KEY, timeoutMs, signal = new AbortController().signal }: {
    key?: string;
    timeoutMs?: number;
    signal?: AbortSignal;
  } = {},
) {
  const upstream = createUpstream("embeddings", { baseUrl, key: key || undefined }, {
    ...timeoutMs && { timeoutMs },
  });
  const request = upstream.postJson("/embeddings", { input: "Hi" }, { signal });
  const error: AppError = await assertRejects(() => request, AppError);
  const response = errorResponse(error);
  const headers = {
    retry: response.headers.get("x-should-retry"),
    after: response.headers.get("retry-after"),
  };
  return { status: response.status, ...headers, ...(await response.json()).error };
}

/** An envelope of OpenAI. */
const envelope = (message: string, fields: object = {}) =>
  JSON.stringify({ error: { message, type: "x", param: null, code: null, ...fields } });
const WRONG_KEY =
  "The embeddings server refuses the key: correct key of [embeddings] in config.toml (status 401).";
const REFUSALS: [name: string, status: number, body: string, expected: object, headers?: HeadersInit][] = [
  ["400 with its field", 400, envelope("Too long.", { param: "input", code: "too_long" }), {
    status: 400,
    code: "upstream_error",
    type: "invalid_request_error",
    message: "Too long.",
    param: "input",
    retry: null,
  }],
  ["404 of a model", 404, envelope("No model x."), {
    status: 404,
    code: "upstream_error",
    message: "No model x.",
  }],
  ["an error that is a text", 413, '{"error":"Batch too large","error_type":"Validation"}', {
    status: 413,
    message: "Batch too large",
  }],
  ["a message alone", 400, '{"object":"error","message":"bad"}', { status: 400, message: "bad" }],
  ["a detail", 422, '{"detail":"no"}', { status: 422, type: "invalid_request_error", message: "no" }],
  ["no message", 400, "<html>", {
    status: 400,
    message: "The embeddings server refuses this (status 400).",
  }],
  ["a field of another type", 400, envelope("bad", { param: 7, code: {} }), {
    status: 400,
    message: "bad",
    param: null,
  }],
  ["unsafe characters", 400, envelope("a\u001b[2J\u202eb"), { message: "a [2J b" }],
  ["its key in the message", 400, envelope(`No ${KEY}!`), { message: "No [secret]!" }],
  ["a long message", 400, envelope("é".repeat(5_000)), { message: "é".repeat(1_000) }],
  ["401", 401, envelope(`Wrong: ${KEY}`), {
    status: 502,
    code: "upstream_auth_required",
    type: "server_error",
    message: WRONG_KEY,
    retry: "false",
  }],
  ["403", 403, "", { status: 502, code: "upstream_auth_required", message: WRONG_KEY.replace("401", "403") }],
  ["429 with seconds", 429, envelope("Slow down."), {
    status: 429,
    code: "rate_limit_exceeded",
    type: "rate_limit_error",
    after: "7",
    retry: null,
  }, { "retry-after": "7" }],
  ["429 with a date that is over", 429, "", { status: 429, after: "0" }, {
    "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT",
  }],
  ["429 without a time", 429, "", { status: 429, after: "5" }],
  ["429 with nonsense", 429, "", { status: 429, after: "5" }, { "retry-after": "soon" }],
  ["a quota that is used up", 429, envelope("Pay!", { code: "insufficient_quota" }), {
    status: 429,
    code: "insufficient_quota",
    type: "insufficient_quota",
    message: "The embeddings server has no quota left.",
    retry: "false",
  }],
  ["402", 402, envelope("Insufficient Balance"), { status: 429, code: "insufficient_quota" }],
  ["500", 500, envelope("Out of memory"), {
    status: 502,
    code: "upstream_error",
    type: "server_error",
    message: "The embeddings server failed (status 500): Out of memory",
    retry: null,
    after: "5",
  }],
  ["503 without words", 503, "", {
    status: 502,
    message: "The embeddings server failed (status 503).",
    after: "9",
  }, { "retry-after": "8.2" }],
  ["an error that is too large to read", 500, "x".repeat(100_000), {
    status: 502,
    message: "The embeddings server failed (status 500).",
  }],
  ["a path that it does not serve", 404, "404 page not found", {
    status: 502,
    code: "upstream_unavailable",
    message:
      "The embeddings server does not serve /embeddings (status 404): check base_url of [embeddings] in config.toml.",
  }],
  ["an answer that is no JSON", 200, "<html>", {
    status: 502,
    code: "upstream_unavailable",
    message:
      "The embeddings server does not answer with JSON: check base_url of [embeddings] in config.toml.",
  }],
];
for (const [name, status, body, expected, headers = {}] of REFUSALS) {
  Deno.test(`upstream: ${name}`, async () => {
    await using upstream = new FakeUpstream(() => new Response(body, { status, headers }));
    const failure = await failureOf(upstream.url);
    assertEquals({ ...failure, ...expected }, failure);
    assert(!JSON.stringify(failure).includes(KEY));
    assertEquals(upstream.call.authorization, `Bearer ${KEY}`);
  });
}

const SECRET_ADDRESSES: [name: string, url: (url: string) => string, secrets: string[]][] = [
  ["its query", (url) => `${url}/?api-key=quer%79%2Bkey&sig=abc%20def`, [
    "?api-key=quer%79%2Bkey&sig=abc%20def",
    ...["query+key", "quer%79%2Bkey", "query%2Bkey", "abc def", "abc%20def", "abc+def"],
  ]],
  ["its user and password", (url) => url.replace("//", "//mao-user:pass%20word@"), [
    ...["mao-user", "pass word", "pass%20word"],
  ]],
];
for (const [name, address, secrets] of SECRET_ADDRESSES) {
  for (const secret of secrets) {
    Deno.test(`upstream: ${secret} of ${name} is in no error`, async () => {
      const body = envelope(`No ${secret} here.`, { param: `input ${secret}` });
      await using upstream = new FakeUpstream(() => new Response(body, { status: 400 }));
      const { message, param } = await failureOf(address(upstream.url));
      assertEquals([message, param], ["No [secret] here.", "input [secret]"]);
    });
  }
}

Deno.test("upstream: the version and short values of its query are no secrets", async () => {
  const words = "No model a b c in version 2024-02-01.";
  await using upstream = new FakeUpstream(() => new Response(envelope(words), { status: 400 }));
  const { message } = await failureOf(`${upstream.url}/?api-version=2024-02-01&tenant=b&empty=`, {
    key: "a",
  });
  assertEquals(message, words);
});

Deno.test("upstream: without a key none is sent, and 401 says that one is needed", async () => {
  await using upstream = new FakeUpstream(() => new Response(null, { status: 401 }));
  const { message } = await failureOf(upstream.url, { key: "" });
  assertEquals(
    message,
    "The embeddings server needs a key: set key of [embeddings] in config.toml (status 401).",
  );
  assertEquals(upstream.call.authorization, null);
});

for (const status of [301, 302, 307, 308]) {
  Deno.test(`upstream: a redirect (${status}) is not followed`, async () => {
    await using other = new FakeUpstream();
    await using upstream = new FakeUpstream(() =>
      new Response(null, { status, headers: { location: `${other.url}/v1/embeddings` } })
    );
    const { code, message } = await failureOf(upstream.url);
    assertEquals(code, "upstream_unavailable");
    assert(message.includes(`redirects (status ${status})`), message);
    assertEquals(other.calls, []);
  });
}

Deno.test("upstream: a server that hangs up", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const hangUp = async () => {
    for await (const connection of listener) connection.close();
  };
  const running = hangUp();
  const { status, code, message } = await failureOf(`http://127.0.0.1:${listener.addr.port}`);
  listener.close();
  await running;
  assertEquals([status, code], [502, "upstream_unavailable"]);
  assertEquals(
    message,
    "The embeddings server cannot be reached: check base_url of [embeddings] in config.toml.",
  );
});

/** Waits until the signal of a call aborts. */
function untilAborted(signal: AbortSignal): Promise<Response> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(new Response())));
}

Deno.test("upstream: a server that does not answer in time", async () => {
  await using upstream = new FakeUpstream(({ signal }) => untilAborted(signal));
  const { status, code, message } = await failureOf(upstream.url, { timeoutMs: 50 });
  assertEquals([status, code, message], [
    504,
    "upstream_timeout",
    "The embeddings server did not answer within 0.05 seconds.",
  ]);
});

Deno.test("upstream: a body that does not end in time", async () => {
  await using upstream = new FakeUpstream(() =>
    new Response(new ReadableStream({ start: (body) => body.enqueue(new TextEncoder().encode("{")) }))
  );
  assertEquals((await failureOf(upstream.url, { timeoutMs: 50 })).code, "upstream_timeout");
});

Deno.test("upstream: the signal hangs up, with its reason", async () => {
  const hungUp = Promise.withResolvers<void>();
  const stop = new AbortController();
  await using server = new FakeUpstream(async ({ signal }) => {
    const response = untilAborted(signal);
    stop.abort(new Error("the client left"));
    await response;
    hungUp.resolve();
    return response;
  });
  const upstream = createUpstream("embeddings", { baseUrl: server.url, key: undefined });
  await assertRejects(
    () => upstream.postJson("/embeddings", {}, { signal: stop.signal }),
    Error,
    "the client left",
  );
  await hungUp.promise;
});

Deno.test("upstream: an answer without an end is cut at its limit", async () => {
  const piece = new Uint8Array(1024 * 1024).fill(0x20);
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  await using upstream = new FakeUpstream(() =>
    new Response(new ReadableStream({ pull: (body) => body.enqueue(piece), cancel: () => resolve() }))
  );
  const { status, code } = await failureOf(upstream.url);
  assertEquals([status, code], [413, "body_too_large"]);
  await cancelled;
});

Deno.test("upstream: makes room for its answer, or stops", async () => {
  await using server = new FakeUpstream(() => Response.json({ a: "é" }));
  const upstream = createUpstream("embeddings", { baseUrl: server.url, key: undefined });
  const { signal } = new AbortController();
  let held = 0;
  const hold = (bytes: number) => void (held += bytes);
  assertEquals(await upstream.postJson("/x", {}, { signal, hold }), { a: "é" });
  assertEquals(held, 10);
  const full = () => {
    throw new AppError("server_overloaded", "full");
  };
  const error = await assertRejects(() => upstream.postJson("/x", {}, { signal, hold: full }));
  assertInstanceOf(error, AppError);
  assertEquals(error.code, "server_overloaded");
});

Deno.test("upstream: at most 64 requests run at once", async () => {
  const { promise: end, resolve } = Promise.withResolvers<void>();
  await using server = new FakeUpstream(async () => {
    await end;
    return Response.json({});
  });
  const upstream = createUpstream("embeddings", { baseUrl: server.url, key: undefined });
  const post = () => upstream.postJson("/x", {}, { signal: new AbortController().signal });
  const running = Array.from({ length: 64 }, post);
  const error: AppError = await assertRejects(post, AppError);
  assertEquals(error.code, "rate_limit_exceeded");
  resolve();
  await Promise.all(running);
  assertEquals(await post(), {});
});

/** Bytes that come one piece at a time, and tell how many came and whether they were cancelled. */
function pieces(count = Infinity, bytes = 1_000) {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  const state = { sent: 0, cancelled };
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (state.sent++ >= count) controller.close();
      else controller.enqueue(new Uint8Array(bytes));
    },
    cancel: () => resolve(),
  }, { highWaterMark: 0 });
  return { state, response: () => new Response(body, { headers: { "content-type": "Audio/MPEG; rate=1" } }) };
}

const MAX_BYTES = { maxBytes: 64 * 1024 * 1024 };
const never = () => new AbortController().signal;

Deno.test("upstream: a stream comes as it is", async () => {
  await using server = new FakeUpstream(() => pieces(3).response());
  const upstream = createUpstream("speech", { baseUrl: server.url, key: KEY });
  const { mediaType, body } = await upstream.postForStream("/audio/speech", { a: 1 }, {
    signal: never(),
    ...MAX_BYTES,
  });
  assertEquals(mediaType, "audio/mpeg");
  assertEquals((await new Response(body).bytes()).length, 3_000);
  assertEquals([server.call.path, server.call.body, server.call.authorization], [
    "/v1/audio/speech",
    { a: 1 },
    `Bearer ${KEY}`,
  ]);
});

Deno.test("upstream: a path without a body", async () => {
  await using server = new FakeUpstream(({ body }) => Response.json({ body }));
  const upstream = createUpstream("speech", { baseUrl: server.url, key: undefined });
  assertEquals(await upstream.getJson("/x", { signal: never() }), { body: "" });
});

Deno.test("upstream: a stream that nobody reads is not read ahead, and ends with its reader", async () => {
  const { state, response } = pieces(Infinity, 256 * 1024);
  await using server = new FakeUpstream(response);
  const upstream = createUpstream("speech", { baseUrl: server.url, key: undefined });
  const { body } = await upstream.postForStream("/x", {}, { signal: never(), ...MAX_BYTES });
  const reader = body.getReader();
  for (let read = 0; read < 10; read++) await reader.read();
  // Sockets and the HTTP libraries of both ends have buffers, of some megabytes together.
  assert(state.sent < 100, `${state.sent} pieces of 256 KiB were sent to a reader of 10`);
  await reader.cancel();
  await state.cancelled;
});

Deno.test("upstream: a stream that is cut at its limit", async () => {
  const { state, response } = pieces();
  await using server = new FakeUpstream(response);
  const upstream = createUpstream("speech", { baseUrl: server.url, key: undefined });
  const { body } = await upstream.postForStream("/x", {}, { signal: never(), maxBytes: 1024 * 1024 });
  const error: AppError = await assertRejects(() => new Response(body).bytes(), AppError);
  assertEquals([error.code, error.message], [
    "body_too_large",
    "The speech server answers with more than 1 MiB: ask for less at once.",
  ]);
  await state.cancelled;
});

Deno.test("upstream: a silence ends a stream, but not while nobody reads", async () => {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  await using server = new FakeUpstream(() =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new Uint8Array(10)),
        cancel: () => resolve(),
      }),
    )
  );
  const upstream = createUpstream("speech", { baseUrl: server.url, key: undefined }, { silenceMs: 30 });
  const { body } = await upstream.postForStream("/x", {}, { signal: never(), ...MAX_BYTES });
  const reader = body.getReader();
  // The timer of the stream is older than this one, and so has noticed the silence before.
  const { promise: noticed, resolve: notice } = Promise.withResolvers<void>();
  using _timer = startIdleTimer(30, notice);
  await noticed;
  assertEquals((await reader.read()).value?.length, 10);
  const error: AppError = await assertRejects(() => reader.read(), AppError);
  assertEquals([error.code, error.message], [
    "upstream_timeout",
    "The speech server did not answer within 0.03 seconds.",
  ]);
  await cancelled;
});

Deno.test("upstream: the head of a stream that does not come in time", async () => {
  await using server = new FakeUpstream(({ signal }) => untilAborted(signal));
  const upstream = createUpstream("speech", { baseUrl: server.url, key: undefined }, { timeoutMs: 30 });
  const error: AppError = await assertRejects(
    () => upstream.postForStream("/x", {}, { signal: never(), ...MAX_BYTES }),
    AppError,
  );
  assertEquals(error.code, "upstream_timeout");
});

Deno.test("upstream: a stream that breaks off", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    const connection = await listener.accept();
    await connection.read(new Uint8Array(4_096));
    await connection.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"));
    connection.close();
  })();
  const upstream = createUpstream("speech", {
    baseUrl: `http://127.0.0.1:${listener.addr.port}`,
    key: undefined,
  });
  const { body } = await upstream.postForStream("/x", {}, { signal: never(), ...MAX_BYTES });
  const error: AppError = await assertRejects(() => new Response(body).bytes(), AppError);
  assertEquals([error.code, error.message], [
    "upstream_unavailable",
    "The speech server broke off its answer.",
  ]);
  await serving;
  listener.close();
});

Deno.test("upstream: the signal ends a stream", async () => {
  const { state, response } = pieces();
  await using server = new FakeUpstream(response);
  const upstream = createUpstream("speech", { baseUrl: server.url, key: undefined });
  const stop = new AbortController();
  const { body } = await upstream.postForStream("/x", {}, { signal: stop.signal, ...MAX_BYTES });
  const reader = body.getReader();
  await reader.read();
  stop.abort(new Error("the client left"));
  const readAll = async () => {
    while (!(await reader.read()).done);
  };
  await assertRejects(readAll, Error, "the client left");
  await state.cancelled;
});

Deno.test("upstream: a stream counts as running until it ends, is cancelled, or fails", async () => {
  await using server = new FakeUpstream(() => pieces(1).response());
  const upstream = createUpstream("speech", { baseUrl: server.url, key: undefined });
  const open = (maxBytes = 10_000) => upstream.postForStream("/x", {}, { signal: never(), maxBytes });
  const streams = await Promise.all(
    Array.from({ length: 64 }, (_, index) => open(index === 0 ? 1 : undefined)),
  );
  const error: AppError = await assertRejects(() => open(), AppError);
  assertEquals(error.code, "rate_limit_exceeded");
  await assertRejects(() => new Response(streams[0]!.body).bytes(), AppError);
  await streams[1]!.body.cancel();
  await new Response(streams[2]!.body).bytes();
  const more = await Promise.all([open(), open(), open()]);
  await assertRejects(() => open(), AppError);
  for (const { body } of [...streams.slice(3), ...more]) await body.cancel();
});

Deno.test("upstream: the time for an answer begins when an upload is sent", async () => {
  using clock = new FakeClock();
  // It has all of the upload before it answers.
  await using server = new FakeUpstream(() => {
    clock.advance(200_000);
    return Response.json({});
  });
  const upstream = createUpstream("transcription", { baseUrl: server.url, key: undefined });
  const chunks = async function* () {
    yield new TextEncoder().encode("{");
    clock.advance(200_000);
    yield new TextEncoder().encode("}");
  }();
  const options = { signal: never(), ...MAX_BYTES };
  const { body } = await upstream.upload("/x", { contentType: "application/json", chunks }, options);
  assertEquals(await new Response(body).json(), {});
});

Deno.test("upstream: an upload that fails fails with its error, and one that is not sent in time is late", async () => {
  await using server = new FakeUpstream();
  const upstream = createUpstream("transcription", { baseUrl: server.url, key: undefined }, {
    timeoutMs: 50,
  });
  const upload = (end: () => Promise<unknown>) =>
    upstream.upload("/x", {
      contentType: "application/json",
      chunks: async function* () {
        yield new TextEncoder().encode('"a');
        await end();
      }(),
    }, { signal: never(), ...MAX_BYTES });
  await assertRejects(
    () => upload(() => Promise.reject(new AppError("invalid_value", "broken"))),
    AppError,
    "broken",
  );
  await assertRejects(() => upload(() => new Promise(() => {})), AppError, "did not answer within");
});
