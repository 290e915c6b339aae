import { assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { type AccessOptions, type Caller, createAccessControl, isLoopback } from "../../lib/http/access.ts";
import { AppError } from "../../lib/core/errors.ts";

const KEY = "s3cret-key";
const HERE: Caller = { address: "127.0.0.1", open: false };

const NO_KEY: AccessOptions = { authKey: undefined, allowedOrigins: [], insecure: false };
const LISTED: AccessOptions = {
  ...NO_KEY,
  allowedOrigins: ["https://app.example", "HTTPS://Big.Example:8443", "https://slash.example/"],
};
const INSECURE: AccessOptions = { ...NO_KEY, insecure: true };
const KEYED: AccessOptions = { ...NO_KEY, authKey: KEY };

/** A request whose body must not be looked at. */
function request(headers: Record<string, string>, method = "POST"): Request {
  const body = new ReadableStream({
    pull() {
      throw new Error("the guard touched the body");
    },
  }, { highWaterMark: 0 });
  return new Request("http://127.0.0.1:8080/v1/chat/completions", {
    method,
    headers: { host: "127.0.0.1:8080", ...headers },
    ...(method === "POST" ? { body } : {}),
  });
}

function verdict(options: AccessOptions, headers: Record<string, string>, caller: Caller = HERE): string {
  const guard = createAccessControl(options);
  const asked = request(headers);
  try {
    guard.check(asked, caller);
    return "admitted";
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.code;
  } finally {
    assertEquals(asked.bodyUsed, false);
  }
}

const LOOPBACK: [host: string, isIt: boolean][] = [
  ["localhost", true],
  ["LOCALHOST", true],
  ["localhost.", true],
  ["mao.localhost", true],
  ["127.0.0.1", true],
  ["127.1.2.3", true],
  ["[::1]", true],
  ["::1", true],
  ["::ffff:127.0.0.1", true],
  ["", false],
  ["0.0.0.0", false],
  ["::", false],
  ["[::]", false],
  ["10.0.0.1", false],
  ["192.168.1.2", false],
  ["128.0.0.1", false],
  ["::2", false],
  ["::ffff:10.0.0.1", false],
  ["localhost.evil.example", false],
  ["evil-localhost", false],
  ["127.0.0.1.evil.example", false],
  ["127.0.0.1evil", false],
  ["1127.0.0.1", false],
  ["evil.example", false],
];

for (const [host, isIt] of LOOPBACK) {
  Deno.test(`isLoopback: ${JSON.stringify(host)} ${isIt ? "is" : "is not"} this machine`, () => {
    assertEquals(isLoopback(host), isIt);
  });
}

const HOSTS: [host: string, verdict: string][] = [
  ["127.0.0.1", "admitted"],
  ["127.0.0.1:8080", "admitted"],
  ["127.0.0.1:1", "admitted"],
  ["localhost", "admitted"],
  ["localhost:8080", "admitted"],
  ["LocalHost:8080", "admitted"],
  ["localhost.:8080", "admitted"],
  ["skin.localhost:8080", "admitted"],
  ["[::1]", "admitted"],
  ["[::1]:8080", "admitted"],
  ["evil.example", "host_not_allowed"],
  ["evil.example:8080", "host_not_allowed"],
  ["127.0.0.1.nip.io:8080", "host_not_allowed"],
  ["localhost.evil.example", "host_not_allowed"],
  ["192.168.1.2:8080", "host_not_allowed"],
  ["0.0.0.0:8080", "host_not_allowed"],
  ["[::]:8080", "host_not_allowed"],
  ["[2001:db8::1]:8080", "host_not_allowed"],
  ["machine.local", "host_not_allowed"],
];

for (const [host, expected] of HOSTS) {
  Deno.test(`guard without a key: Host ${host}: ${expected}`, () => {
    assertEquals(verdict(NO_KEY, { host }), expected);
  });
}

const ORIGINS: [origin: string, options: AccessOptions, verdict: string][] = [
  ["http://127.0.0.1:8080", NO_KEY, "admitted"],
  ["http://127.0.0.1:3000", NO_KEY, "admitted"],
  ["http://localhost:5173", NO_KEY, "admitted"],
  ["https://localhost", NO_KEY, "admitted"],
  ["http://[::1]:3000", NO_KEY, "admitted"],
  ["http://app.localhost:3000", NO_KEY, "admitted"],
  ["tauri://localhost", NO_KEY, "admitted"],
  ["null", NO_KEY, "origin_not_allowed"],
  ["https://evil.example", NO_KEY, "origin_not_allowed"],
  ["https://localhost.evil.example", NO_KEY, "origin_not_allowed"],
  ["http://localhost@evil.example", NO_KEY, "origin_not_allowed"],
  ["http://127.0.0.1.nip.io", NO_KEY, "origin_not_allowed"],
  ["tauri://evil.example", NO_KEY, "origin_not_allowed"],
  ["file://", NO_KEY, "origin_not_allowed"],
  ["chrome-extension://abcdef", NO_KEY, "origin_not_allowed"],
  ["localhost", NO_KEY, "origin_not_allowed"],
  ["", NO_KEY, "origin_not_allowed"],
  ["https://app.example", NO_KEY, "origin_not_allowed"],
  ["https://app.example", LISTED, "admitted"],
  ["https://APP.example", LISTED, "admitted"],
  ["https://big.example:8443", LISTED, "admitted"],
  ["https://slash.example", LISTED, "admitted"],
  ["https://big.example", LISTED, "origin_not_allowed"],
  ["http://app.example", LISTED, "origin_not_allowed"],
  ["https://app.example:444", LISTED, "origin_not_allowed"],
  ["https://app.example.evil.example", LISTED, "origin_not_allowed"],
  ["http://localhost:3000", LISTED, "admitted"],
  ["https://evil.example", INSECURE, "origin_not_allowed"],
  ["null", INSECURE, "origin_not_allowed"],
  ["http://localhost:3000", INSECURE, "admitted"],
];

for (const [origin, options, expected] of ORIGINS) {
  const how = options === LISTED ? ", some listed" : options === INSECURE ? ", insecure" : "";
  Deno.test(`guard without a key${how}: Origin ${JSON.stringify(origin)}: ${expected}`, () => {
    assertEquals(verdict(options, { origin }), expected);
  });
}

const PLACES: [
  name: string,
  options: AccessOptions,
  headers: Record<string, string>,
  address: string | undefined,
  verdict: string,
][] = [
  ["another machine", NO_KEY, {}, "192.168.1.7", "host_not_allowed"],
  ["another machine by IPv6", NO_KEY, {}, "2001:db8::7", "host_not_allowed"],
  ["this machine by IPv6", NO_KEY, { host: "[::1]:8080" }, "::1", "admitted"],
  ["this machine by IPv4 in IPv6", NO_KEY, {}, "::ffff:127.0.0.1", "admitted"],
  ["an unknown address", NO_KEY, {}, undefined, "admitted"],
  ["an unknown address, foreign Host", NO_KEY, { host: "evil.example" }, undefined, "host_not_allowed"],
  [
    "DNS rebinding from this machine",
    NO_KEY,
    {
      host: "evil.example:8080",
      origin: "http://evil.example:8080",
    },
    "127.0.0.1",
    "host_not_allowed",
  ],
  ["insecure, another machine", INSECURE, {}, "192.168.1.7", "admitted"],
  ["insecure, by its name there", INSECURE, { host: "nas.lan:8080" }, "192.168.1.7", "admitted"],
  [
    "insecure, its own page",
    INSECURE,
    {
      host: "nas.lan:8080",
      origin: "http://nas.lan:8080",
    },
    "192.168.1.7",
    "admitted",
  ],
  [
    "insecure, another port's page",
    INSECURE,
    {
      host: "nas.lan:8080",
      origin: "http://nas.lan:9000",
    },
    "192.168.1.7",
    "origin_not_allowed",
  ],
  [
    "a key, another machine, any Host and Origin",
    KEYED,
    { host: "evil.example", origin: "https://evil.example", authorization: `Bearer ${KEY}` },
    "192.168.1.7",
    "admitted",
  ],
  ["a key, this machine without it", KEYED, {}, "127.0.0.1", "invalid_api_key"],
];

for (const [name, options, headers, address, expected] of PLACES) {
  Deno.test(`guard: ${name}: ${expected}`, () => {
    assertEquals(verdict(options, headers, { address, open: false }), expected);
  });
}

const KEYS: [name: string, headers: Record<string, string>, verdict: string][] = [
  ["the right one", { authorization: `Bearer ${KEY}` }, "admitted"],
  ["bearer in small letters", { authorization: `bearer ${KEY}` }, "admitted"],
  ["BEARER in capitals", { authorization: `BEARER ${KEY}` }, "admitted"],
  ["more spaces", { authorization: `Bearer   ${KEY}  ` }, "admitted"],
  ["Azure's header", { "api-key": KEY }, "admitted"],
  ["both headers, as ChatdollKit in a browser", {
    authorization: `Bearer ${KEY}`,
    "api-key": KEY,
  }, "admitted"],
  ["a bearer that is empty beside Azure's header", { authorization: "Bearer ", "api-key": KEY }, "admitted"],
  ["none", {}, "invalid_api_key"],
  ["a wrong one", { authorization: "Bearer wrong" }, "invalid_api_key"],
  ["the start of it", { authorization: `Bearer ${KEY.slice(0, -1)}` }, "invalid_api_key"],
  ["more than it", { authorization: `Bearer ${KEY}x` }, "invalid_api_key"],
  ["another case", { authorization: `Bearer ${KEY.toUpperCase()}` }, "invalid_api_key"],
  ["without Bearer", { authorization: KEY }, "invalid_api_key"],
  ["another scheme", { authorization: `Basic ${btoa(`:${KEY}`)}` }, "invalid_api_key"],
  ["without a space", { authorization: `Bearer${KEY}` }, "invalid_api_key"],
  ["an empty one", { authorization: "Bearer " }, "invalid_api_key"],
  ["an empty Azure header", { "api-key": "" }, "invalid_api_key"],
  ["a wrong Azure header", { "api-key": "wrong" }, "invalid_api_key"],
  ["a cookie", { cookie: `key=${KEY}` }, "invalid_api_key"],
];

for (const [name, headers, expected] of KEYS) {
  Deno.test(`guard with a key: ${name}: ${expected}`, () => {
    assertEquals(verdict(KEYED, headers), expected);
  });
}

Deno.test("guard with a key: the refusal says what to send, and never the key", () => {
  const guard = createAccessControl(KEYED);
  for (
    const [headers, says] of [
      [{}, /A key is needed: send it as `Authorization: Bearer KEY`/],
      [{ authorization: "Bearer wrong" }, /The key is wrong: .* VTUBER_AUTH_KEY/],
    ] as const
  ) {
    const failure: AppError = assertThrows(() => guard.check(request(headers), HERE), AppError);
    assertMatch(failure.message, says);
    assertEquals(failure.message.includes(KEY), false);
    assertEquals(failure.message.includes("wrong: it"), "authorization" in headers);
  }
});

Deno.test("guard: open routes need no key, but the right place", () => {
  assertEquals(verdict(KEYED, {}, { address: "192.168.1.7", open: true }), "admitted");
  assertEquals(verdict(NO_KEY, {}, { address: "192.168.1.7", open: true }), "host_not_allowed");
  const evil = { origin: "https://evil.example" };
  assertEquals(verdict(NO_KEY, evil, { ...HERE, open: true }), "origin_not_allowed");
});

Deno.test("guard: keyId names the key without telling it", () => {
  const [a, again, b, none] = [KEY, KEY, "other", undefined]
    .map((authKey) => createAccessControl({ ...NO_KEY, authKey }));
  assertEquals(a!.keyId, again!.keyId);
  assertNotEquals(a!.keyId, b!.keyId);
  assertEquals(none!.keyId, "");
  assertEquals(a!.keyId.includes(KEY), false);
});

const WANTED = "authorization, content-type, api-key, http-referer, x-title, x-stainless-retry-count";

Deno.test("preflight: answered without a key, with what the browser asks for", async () => {
  const guard = createAccessControl(KEYED);
  const asked = request({
    origin: "https://skin.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": WANTED,
    "access-control-request-private-network": "true",
  }, "OPTIONS");
  const response = guard.preflight(asked, HERE, "POST, OPTIONS");
  assertEquals(response.status, 204);
  assertEquals(Object.fromEntries(response.headers), {
    allow: "POST, OPTIONS",
    "access-control-allow-methods": "POST, OPTIONS",
    "access-control-allow-headers": WANTED,
    "access-control-allow-private-network": "true",
    "access-control-max-age": "600",
  });
  assertEquals(await response.text(), "");
});

Deno.test("preflight: without an Origin it is a plain OPTIONS", () => {
  const response = createAccessControl(KEYED).preflight(request({}, "OPTIONS"), HERE, "GET, HEAD, OPTIONS");
  assertEquals(response.status, 204);
  assertEquals(Object.fromEntries(response.headers), { allow: "GET, HEAD, OPTIONS" });
});

const PREFLIGHTS: [name: string, options: AccessOptions, headers: Record<string, string>, verdict: string][] =
  [
    ["this machine's page", NO_KEY, { origin: "http://localhost:3000" }, "204"],
    ["a listed page", LISTED, { origin: "https://app.example" }, "204"],
    ["a foreign page", NO_KEY, { origin: "https://evil.example" }, "origin_not_allowed"],
    ["a page without an origin of its own", NO_KEY, { origin: "null" }, "origin_not_allowed"],
    ["a rebound name", NO_KEY, {
      host: "evil.example",
      origin: "http://evil.example",
    }, "host_not_allowed"],
    ["a foreign page, with a key", KEYED, { origin: "https://evil.example" }, "204"],
  ];

for (const [name, options, headers, expected] of PREFLIGHTS) {
  Deno.test(`preflight: ${name}: ${expected}`, () => {
    const guard = createAccessControl(options);
    const ask = () => guard.preflight(request(headers, "OPTIONS"), HERE, "POST, OPTIONS");
    if (expected === "204") return assertEquals(ask().status, 204);
    const failure: AppError = assertThrows(ask, AppError);
    assertEquals(failure.code, expected);
  });
}

const CORS: [
  name: string,
  options: AccessOptions,
  origin: string | undefined,
  allowed: string | undefined,
][] = [
  ["no Origin", NO_KEY, undefined, undefined],
  ["this machine's page", NO_KEY, "http://localhost:3000", "http://localhost:3000"],
  ["a foreign page", NO_KEY, "https://evil.example", undefined],
  ["a listed page", LISTED, "https://app.example", "https://app.example"],
  ["any page, with a key", KEYED, "https://evil.example", "https://evil.example"],
  ["tauri", NO_KEY, "tauri://localhost", "tauri://localhost"],
  ["null, with a key", KEYED, "null", "null"],
];

for (const [name, options, origin, allowed] of CORS) {
  Deno.test(`CORS headers: ${name}`, () => {
    const guard = createAccessControl(options);
    const headers = new Headers(guard.corsHeaders(request(origin === undefined ? {} : { origin })));
    assertEquals(headers.get("access-control-allow-origin") ?? undefined, allowed);
    assertEquals(headers.get("vary"), origin === undefined ? null : "Origin");
    assertEquals(headers.get("access-control-allow-credentials"), null);
    const exposed = headers.get("access-control-expose-headers")?.split(", ") ?? [];
    const wanted = ["x-request-id", "x-session-id", "retry-after", "x-should-retry"];
    assertEquals(wanted.every((name) => exposed.includes(name)), allowed !== undefined);
  });
}

const UNSEEN: [site: string, open: boolean, options: AccessOptions, verdict: string][] = [
  ["cross-site", false, NO_KEY, "origin_not_allowed"],
  ["cross-site", true, NO_KEY, "admitted"],
  ["same-origin", false, NO_KEY, "admitted"],
  ["none", false, NO_KEY, "admitted"],
];
for (const [site, open, options, verdict] of UNSEEN) {
  Deno.test(`a browser's request without Origin, ${site}, of ${open ? "an open" : "a"} route: ${verdict}`, () => {
    const guard = createAccessControl(options);
    const admit = () => guard.check(request({ "sec-fetch-site": site }, "GET"), { ...HERE, open });
    if (verdict === "admitted") return admit();
    assertEquals(assertThrows(admit, AppError).code, verdict);
  });
}
