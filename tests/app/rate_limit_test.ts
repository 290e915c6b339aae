/** The requests that a key can make in a minute, as its clients meet the limit. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "npm:openai@7.55.0";
import { createApp } from "../../lib/app.ts";
import { AppError } from "../../lib/core/errors.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import { createAccessControl } from "../../lib/http/access.ts";
import { SCOPES } from "../../lib/turn/caller.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { watch } from "../support/harness/event_client.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { ServedApp } from "../support/harness/served_app.ts";

const limited = (requestsPerMinute: number) => apiKey("limited", SCOPES, { requestsPerMinute });
const KEYS = [
  apiKey("limited", SCOPES.filter((scope) => scope !== "operator"), { requestsPerMinute: 100 }),
  apiKey("other", SCOPES, { requestsPerMinute: 100 }),
  apiKey("free"),
];

/** Reads the limit, the rest and the time to the reset. */
function rateOf({ headers }: Response): (string | null)[] {
  return ["limit", "remaining", "reset"].map((name) => headers.get(`x-ratelimit-${name}-requests`));
}

/** Counts the requests of a key so far, with one more. */
async function requestsOf(app: TestApp, key: string): Promise<number> {
  const [limit, remaining] = rateOf(await app.get("/v1/models", withKey(key)));
  return Number(limit) - Number(remaining) - 1;
}

type Send = (app: TestApp, headers: Record<string, string>) => Promise<Response>;
const COUNTED: readonly [name: string, status: number, send: Send][] = [
  ["a GET", 200, (app, headers) => app.get("/v1/models", { headers })],
  ["a HEAD", 200, (app, headers) => app.send("/v1/models", { method: "HEAD", headers })],
  ["a reply", 200, (app, headers) => app.chat({}, { headers })],
  ["a stream", 200, (app, headers) => app.stream({}, { headers })],
  ["a stream of events", 200, (app, headers) => app.get("/v1/vtuber/events", { headers })],
  ["a body that is refused", 400, (app, headers) => app.chat({ messages: [] }, { headers })],
  ["a missing scope", 403, (app, headers) => app.post("/v1/vtuber/interrupt", {}, { headers })],
  ["an unknown path", 404, (app, headers) => app.get("/nope", { headers })],
  ["a method that is not allowed", 405, (app, headers) => app.send("/v1/models", { method: "PUT", headers })],
  ["a socket that is no socket", 426, (app, headers) => app.get("/v1/vtuber/ws", { headers })],
];
for (const [name, status, send] of COUNTED) {
  Deno.test(`rate limit: ${name} counts, and tells the rate`, async () => {
    await using app = startApp({ script: saying("Hi"), access: { keys: KEYS } });
    const response = await send(app, { ...withKey("limited").headers, origin: "https://app.example" });
    assertEquals([response.status, ...rateOf(response)], [status, "100", "99", "1m0s"]);
    const exposed = response.headers.get("access-control-expose-headers")!.split(", ");
    const names = ["limit", "remaining", "reset"].map((name) => `x-ratelimit-${name}-requests`);
    assertEquals(names.filter((name) => !exposed.includes(name)), []);
    await response.body?.cancel();
    const free = await send(app, withKey("free").headers);
    assertEquals(rateOf(free), [null, null, null]);
    await free.body?.cancel();
    assertEquals([await requestsOf(app, "limited"), await requestsOf(app, "other")], [1, 0]);
  });
}

const UNCOUNTED: readonly [name: string, status: number, send: Send][] = [
  ["a probe", 200, (app, headers) => app.get("/health", { headers })],
  ["the page", 200, (app, headers) => app.get("/", { headers })],
  ["a preflight", 204, (app, headers) => app.send("/v1/models", { method: "OPTIONS", headers })],
  ["a wrong key", 401, (app) => app.get("/v1/models", withKey("limited?"))],
];
for (const [name, status, send] of UNCOUNTED) {
  Deno.test(`rate limit: ${name} does not count`, async () => {
    await using app = startApp({ access: { keys: KEYS } });
    const response = await send(app, withKey("limited").headers);
    assertEquals([response.status, ...rateOf(response)], [status, null, null, null]);
    await response.body?.cancel();
    assertEquals(await requestsOf(app, "limited"), 0);
  });
}

Deno.test("rate limit: the handshake of a socket counts, and its commands do not", async () => {
  await using served = ServedApp.start({ access: { keys: KEYS } });
  await using client = await watch(served, withKey("limited"));
  for (let i = 0; i < 10; i++) await client.sync();
  assertEquals(await requestsOf(served.app, "limited"), 1);
});

Deno.test("rate limit: a spent rate is 429 before any other work, and passes after the time that it tells", async () => {
  using clock = new FakeClock();
  await using app = startApp({
    script: saying("Hi"),
    access: { keys: [limited(2), apiKey("free")] },
  });
  const { headers } = withKey("limited");
  await (await app.chat({}, { headers })).text();
  clock.advance(10_000);
  await (await app.chat({}, { headers })).text();
  clock.advance(5_000);
  let waitSecs = 0;
  for (const path of ["/v1/chat/completions", "/nope"]) {
    const response = await app.post(path, "{", { headers });
    const [limit, remaining, reset] = rateOf(response);
    waitSecs = Number(response.headers.get("retry-after"));
    // The fake clock runs on by the time that the test takes.
    assert(waitSecs > 0 && waitSecs <= 45 && parseInt(reset!) <= 55, `${waitSecs}, ${reset}`);
    assertEquals([limit, remaining, response.headers.get("x-should-retry")], ["2", "0", null]);
    const { message, ...error } = await errorOf(response);
    assertEquals(error, { status: 429, type: "rate_limit_error", param: null, code: "rate_limit_exceeded" });
    const advice = `Try again in ${waitSecs} seconds, or raise \`requests_per_minute\``;
    assertEquals([message.includes("2 requests a minute"), message.includes(advice)], [true, true], message);
  }
  const free = await app.chat({}, withKey("free"));
  assertEquals([free.status, app.agent.sessions.length], [200, 3]);
  await free.text();
  clock.advance(waitSecs * 1000);
  const passed = await app.get("/v1/models", { headers });
  assertEquals([passed.status, rateOf(passed)[2]], [200, "1m0s"]);
  await passed.text();
});

/** OpenAI's client in front of an app without a port, and the values of `retry-after` that it got. */
function clientOf(app: (request: Request) => Promise<Response>) {
  const retryAfter: (string | null)[] = [];
  const openai = new OpenAI({
    baseURL: "http://127.0.0.1/v1",
    apiKey: "limited",
    fetch: async (url, init) => {
      const response = await app(new Request(url as string, init as RequestInit));
      retryAfter.push(response.headers.get("retry-after"));
      return response;
    },
  });
  return { openai, retryAfter };
}

Deno.test("openai SDK: waits for a spent rate as long as it is told, and is served", async () => {
  using clock = new FakeClock();
  await using app = startApp({ access: { keys: [limited(1)] } });
  const { openai, retryAfter } = clientOf((request) => app.serve(request));
  await openai.models.list();
  clock.advance(20_000);
  const waiting = openai.models.list();
  // The client also has a timer for its own timeout, of ten minutes.
  while (!clock.waits.some((ms) => ms <= 60_000)) await new Promise((resolve) => setTimeout(resolve));
  const told = Number(retryAfter[1]);
  assert(told > 0 && told <= 40);
  clock.advance(told * 1000);
  assertEquals((await waiting).data.map(({ id }) => id), ["openab"]);
  assertEquals(retryAfter, [null, String(told), null]);
});

Deno.test("openai SDK: does not repeat a request whose budget is spent", async () => {
  const access = createAccessControl({
    authKey: undefined,
    keys: [apiKey("limited")],
    allowedOrigins: [],
    insecure: false,
  });
  const POST = () => {
    throw new AppError("insufficient_quota", "The key has spent its turns of today.");
  };
  const { openai, retryAfter } = clientOf(createApp([{ path: "/chat/completions", POST }], access, NO_LOG));
  const request = { model: "m", messages: [{ role: "user" as const, content: "Hi" }] };
  const error = await assertRejects(
    () => openai.chat.completions.create(request),
    OpenAI.RateLimitError,
  );
  const { status, code, type } = error;
  assertEquals([status, code, type, retryAfter], [429, "insufficient_quota", "insufficient_quota", [null]]);
});
