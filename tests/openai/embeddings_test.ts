/** Embeddings: the endpoint in front of an upstream on this machine, called by hand and by the official library. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "npm:openai@7.55.0";
import { createLog } from "../../lib/core/log.ts";
import { collectSecrets } from "../../lib/config/secrets.ts";
import type { EmbeddingsConfig } from "../../lib/openai/embeddings.ts";
import { errorOf, type TestApp, type TestAppOptions } from "../support/harness/app_harness.ts";
import {
  base64Of,
  embed,
  FakeUpstream,
  type UpstreamScript,
  vectorOf,
} from "../support/harness/fake_upstream.ts";
import { leaveRoom } from "../support/harness/held_bodies.ts";
import { ServedApp } from "../support/harness/served_app.ts";

const KEY = "upstream-key-1";

/** What a test changes. */
interface Options extends Pick<TestAppOptions, "log"> {
  /** Fields of `[embeddings]`. */
  config?: Partial<EmbeddingsConfig>;
}

/** The app in front of an upstream. */
class Embeddings implements AsyncDisposable {
  private constructor(readonly served: ServedApp, readonly upstream: FakeUpstream) {}

  static start({ config, ...options }: Options = {}, script?: UpstreamScript): Embeddings {
    const upstream = new FakeUpstream(script);
    const embeddings = { baseUrl: upstream.url, key: KEY, model: "nomic", ...config };
    return new Embeddings(ServedApp.start({ ...options, embeddings }), upstream);
  }

  get app(): TestApp {
    return this.served.app;
  }

  post(body: unknown, headers: HeadersInit = {}): Promise<Response> {
    return this.app.post("/v1/embeddings", body, { headers });
  }

  sdk(options: { maxRetries?: number } = {}): OpenAI {
    return new OpenAI({ baseURL: `${this.served.url}/v1`, apiKey: "anything", maxRetries: 0, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.served[Symbol.asyncDispose]();
    await this.upstream[Symbol.asyncDispose]();
  }
}

const TOKENS = [101, 7592, 102];
const INPUTS: [name: string, input: string | string[] | number[] | number[][], count: number][] = [
  ["a text", "Hello", 1],
  ["an empty text", "", 1],
  ["several texts", ["a", "b", "語"], 3],
  ["one text in a list", ["a"], 1],
  ["tokens", TOKENS, 1],
  ["tokens of several texts", [TOKENS, [7]], 2],
  ["as many as OpenAI allows", Array.from({ length: 2_048 }, (_, index) => `text ${index}`), 2_048],
  ["as many tokens as OpenAI allows", Array.from({ length: 2_000 }, () => Array(150).fill(7592)), 2_000],
];
for (const [name, input, count] of INPUTS) {
  Deno.test(`embeddings: the library gets a vector for each input: ${name}`, async () => {
    await using test = Embeddings.start();
    const { data, model, object, usage } = await test.sdk().embeddings.create({ model: "any", input });
    assertEquals(data, data.map((_, index) => ({ object: "embedding", index, embedding: vectorOf(index) })));
    assertEquals([data.length, object, model], [count, "list", "served-nomic"]);
    assertEquals(usage, { prompt_tokens: count, total_tokens: count });
    const { path, authorization, body } = test.upstream.call;
    assertEquals([path, authorization], ["/v1/embeddings", `Bearer ${KEY}`]);
    // The library asks for base64 by itself.
    assertEquals(body, { model: "nomic", input, encoding_format: "base64" });
  });
}

const FORMATS = ["float", "base64"] as const;
for (const asked of [...FORMATS, undefined]) {
  for (const answered of FORMATS) {
    Deno.test(`embeddings: asked for ${asked ?? "no format"}, the upstream answers ${answered}`, async () => {
      await using test = Embeddings.start({}, embed(answered));
      const encoding = asked === undefined ? {} : { encoding_format: asked };
      const response = await test.post({ model: "any", input: ["a", "b"], ...encoding });
      assertEquals(response.headers.get("content-type"), "application/json");
      const { data } = await response.json();
      const expected = [vectorOf(0), vectorOf(1)].map((vector) =>
        asked === "base64" ? base64Of(vector) : vector
      );
      assertEquals(data.map(({ embedding }: { embedding: unknown }) => embedding), expected);
      assertEquals(test.upstream.call.body, { model: "nomic", input: ["a", "b"], ...encoding });

      const created = await test.sdk().embeddings.create({ model: "any", input: ["a", "b"], ...encoding });
      assertEquals(
        created.data.map(({ embedding }) => embedding as unknown),
        asked === "base64" ? expected : [vectorOf(0), vectorOf(1)],
      );
    });
  }
}

Deno.test("embeddings: 32-bit floats become the same numbers in JSON", async () => {
  const numbers = Array.from(new Float32Array([0.1, -1 / 3, 1e-40, 3.4e38, -0]));
  const data = [{ index: 0, embedding: base64Of(numbers) }];
  await using test = Embeddings.start({}, () => Response.json({ data }));
  const { data: [{ embedding }], ...others } = await (await test.post({ input: "a" })).json();
  assertEquals(Array.from(new Float32Array(embedding)), numbers.map((number) => number + 0));
  // An upstream may name no model and count no tokens.
  assertEquals(others, { object: "list", model: "nomic", usage: { prompt_tokens: 0, total_tokens: 0 } });
});

const PASSED: [name: string, config: Partial<EmbeddingsConfig>, body: object, passed: object][] = [
  ["dimensions and user", {}, { dimensions: 256, user: "mao" }, {
    model: "nomic",
    dimensions: 256,
    user: "mao",
  }],
  ["null is left out", {}, { dimensions: null, user: null, encoding_format: null, model: null }, {
    model: "nomic",
  }],
  ["other fields are left out", {}, { models: ["dear"], n: 2 }, { model: "nomic" }],
  ["the configured model wins", {}, { model: "text-embedding-3-large" }, { model: "nomic" }],
  ["else the client's", { model: undefined }, { model: "text-embedding-3-large" }, {
    model: "text-embedding-3-large",
  }],
];
for (const [name, config, body, passed] of PASSED) {
  Deno.test(`embeddings: what is passed on: ${name}`, async () => {
    await using test = Embeddings.start({ config });
    assertEquals((await test.post({ input: "a", ...body })).status, 200);
    assertEquals(test.upstream.call.body, { input: "a", ...passed });
  });
}

Deno.test("embeddings: vectors come in the order of their inputs", async () => {
  const data = [2, 0, 1].map((index) => ({ index, embedding: vectorOf(index) }));
  await using test = Embeddings.start({}, () => Response.json({ data }));
  const answer = await (await test.post({ input: ["a", "b", "c"] })).json();
  assertEquals(answer.data.map(({ index }: { index: number }) => index), [0, 1, 2]);
  assertEquals(answer.data[2].embedding, vectorOf(2));
});

const INPUT_FORM =
  '"input" is wrong: must be a string, or an array of strings, of tokens or of arrays of tokens, and not empty.';
const REFUSED: [body: unknown, code: string, param: string | null, message?: string][] = [
  [{}, "missing_required_parameter", "input"],
  [{ input: null }, "missing_required_parameter", "input"],
  [[], "invalid_type", null],
  ...[[], [[]], [["a"]], ["a", 1], [1, "a"], [1.5], [-1], [1, [2]], [[1], []], {}, 7, true].map((
    input,
  ): [unknown, string, string, string] => [{ input }, "invalid_value", "input", INPUT_FORM]),
  [
    { input: Array(2_049).fill("a") },
    "invalid_value",
    "input",
    '"input" is wrong: has more than 2048 inputs.',
  ],
  [{ input: "a", encoding_format: "int8" }, "invalid_value", "encoding_format"],
  [{ input: "a", dimensions: 0 }, "invalid_value", "dimensions"],
  [{ input: "a", dimensions: "256" }, "invalid_type", "dimensions"],
  [{ input: "a", user: 7 }, "invalid_type", "user"],
  [{ input: "a", model: 7 }, "invalid_type", "model"],
  [{ input: Array(400_000).fill(1) }, "invalid_json", null],
];
for (const [body, code, param, message] of REFUSED) {
  Deno.test(`embeddings: refuses ${JSON.stringify(body).slice(0, 60)}`, async () => {
    await using test = Embeddings.start();
    const error = await errorOf(await test.post(body));
    assertEquals([error.status, error.code, error.param], [400, code, param]);
    if (message) assertEquals(error.message, message);
    assertEquals(test.upstream.calls, []);
  });
}

Deno.test("embeddings: without a configured model, a request has to name one", async () => {
  await using test = Embeddings.start({ config: { model: undefined } });
  for (const model of [undefined, null, ""]) {
    const error = await errorOf(await test.post({ input: "a", model }));
    assertEquals([error.status, error.code, error.param], [400, "missing_required_parameter", "model"]);
  }
});

const vectors = (...embeddings: unknown[]) => ({
  data: embeddings.map((embedding, index) => ({ index, embedding })),
});
const WRONG: [answer: unknown, fault: string][] = [
  [[], "it is no object"],
  [{}, "data"],
  [{ data: {} }, "data"],
  [vectors(), "it does not have one embedding for each input"],
  [vectors([1], [2]), "it does not have one embedding for each input"],
  [{ data: [{ index: 1, embedding: [1] }] }, "it does not have one embedding for each input"],
  [{ data: [{ embedding: [1] }] }, "data[0].index"],
  [{ data: [{ index: 0.5, embedding: [1] }] }, "data[0].index"],
  [vectors([]), "data[0].embedding"],
  [vectors([null]), "data[0].embedding"],
  [vectors([[1]]), "data[0].embedding"],
  [vectors(7), "data[0].embedding"],
  [vectors(""), "data[0].embedding"],
  [vectors("AAA="), "data[0].embedding"],
  [vectors("no base64!"), "data[0].embedding"],
  // Not a number, as 32 bits.
  [vectors("AADAfw=="), "data[0].embedding"],
];
for (const [answer, fault] of WRONG) {
  Deno.test(`embeddings: an answer that is wrong: ${JSON.stringify(answer)}`, async () => {
    await using test = Embeddings.start({}, () => Response.json(answer));
    for (const encoding_format of FORMATS) {
      const error = await errorOf(await test.post({ input: "a", encoding_format }));
      assertEquals([error.status, error.code], [502, "upstream_unavailable"]);
      assertEquals(error.message, `The embeddings server gives a wrong answer: ${fault}.`);
    }
  });
}

Deno.test("embeddings: not configured is final, and names the setting", async () => {
  await using served = ServedApp.start();
  const openai = new OpenAI({ baseURL: `${served.url}/v1`, apiKey: "anything" });
  let requests = 0;
  const counting = openai.withOptions({
    fetch: (url, init) => {
      requests++;
      return fetch(url, init);
    },
  });
  const create = () => counting.embeddings.create({ model: "m", input: "a" });
  const error = await assertRejects(create, OpenAI.InternalServerError);
  assertEquals([error.status, error.code, error.type], [501, "not_configured", "invalid_request_error"]);
  assert(error.message.includes("base_url of [embeddings] in config.toml"), error.message);
  assertEquals(error.headers.get("x-should-retry"), "false");
  assertEquals(requests, 1);
});

Deno.test("embeddings: the library gets the upstream's errors as its own classes", async () => {
  let answer = new Response();
  await using test = Embeddings.start({}, () => answer);
  const create = () => test.sdk().embeddings.create({ model: "m", input: "a" });
  const error = { message: "This model's maximum context length is 8192 tokens.", param: "input", code: "x" };
  answer = Response.json({ error }, { status: 400 });
  const bad = await assertRejects(create, OpenAI.BadRequestError);
  assertEquals([bad.code, bad.param, bad.type], ["upstream_error", "input", "invalid_request_error"]);
  assertEquals(bad.message, `400 ${error.message}`);
  answer = Response.json({ error }, { status: 401 });
  const wrong = await assertRejects(create, OpenAI.InternalServerError);
  assertEquals([wrong.status, wrong.code], [502, "upstream_auth_required"]);
  answer = new Response(null, { status: 429, headers: { "retry-after": "30" } });
  const busy = await assertRejects(create, OpenAI.RateLimitError);
  assertEquals(busy.headers.get("retry-after"), "30");
});

Deno.test("embeddings: the library tries again when the upstream is busy, and not when its key is wrong", async () => {
  const statuses = [429, 200];
  await using test = Embeddings.start({}, (call) => {
    const status = statuses.shift() ?? 401;
    return status === 200 ? embed()(call) : new Response(null, { status, headers: { "retry-after": "0" } });
  });
  const { embeddings } = test.sdk({ maxRetries: 2 });
  assertEquals((await embeddings.create({ model: "m", input: "a" })).data[0]!.embedding, vectorOf(0));
  assertEquals(test.upstream.calls.length, 2);
  await assertRejects(() => embeddings.create({ model: "m", input: "a" }), OpenAI.InternalServerError);
  assertEquals(test.upstream.calls.length, 3);
});

Deno.test("embeddings: a client that hangs up cancels the request to the upstream", async () => {
  const arrived = Promise.withResolvers<void>();
  const hungUp = Promise.withResolvers<void>();
  await using test = Embeddings.start({}, async ({ signal }) => {
    const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
    arrived.resolve();
    await aborted;
    hungUp.resolve();
    return new Response();
  });
  const stop = new AbortController();
  const creating = test.sdk().embeddings.create({ model: "m", input: "a" }, { signal: stop.signal });
  await arrived.promise;
  stop.abort();
  await assertRejects(() => creating, OpenAI.APIUserAbortError);
  await hungUp.promise;
});

Deno.test("embeddings: neither the upstream's key and words nor the texts are logged", async () => {
  const lines: string[] = [];
  const secrets = collectSecrets({
    authKey: undefined,
    keys: [],
    agents: [],
    embeddings: { baseUrl: "http://a.example", key: KEY, model: undefined },
  }, {});
  const log = createLog({ level: "debug", pretty: false, secrets, write: (line) => lines.push(line) });
  const answers = [
    Response.json({ error: `my dear diary ${KEY}` }, { status: 400 }),
    Response.json({ error: `my dear diary ${KEY}` }, { status: 500 }),
    new Response(`my dear diary ${KEY}`, { status: 401 }),
    new Response(`my dear diary ${KEY}`, { status: 404 }),
    Response.json({ data: `my dear diary ${KEY}` }),
  ];
  await using test = Embeddings.start({ log }, () => answers.shift()!);
  const errors = [];
  for (const _ of [...answers]) errors.push(await errorOf(await test.post({ input: "my dear diary" })));
  const text = lines.join("\n");
  for (const word of ["diary", KEY]) assert(!text.includes(word), text);
  assert(!JSON.stringify(errors).includes(KEY), JSON.stringify(errors));
  for (const code of ["upstream_error", "upstream_auth_required", "upstream_unavailable"]) {
    assert(text.includes(code), code);
  }
});

Deno.test("embeddings: an answer counts with the bodies of all requests", async () => {
  await using test = Embeddings.start();
  const others = leaveRoom(100);
  const error = await errorOf(await test.post({ input: "a" }));
  assertEquals([error.status, error.code], [503, "server_overloaded"]);
  assertEquals(test.upstream.calls.length, 1);
  others[Symbol.dispose]();
  assertEquals((await test.post({ input: "a" })).status, 200);
});
