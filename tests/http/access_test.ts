import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { type AccessOptions, createAccessControl, isLoopback } from "../../lib/http/access.ts";

const KEY = "s3cret-key";
type Caller = {
  readonly address: string | undefined;
  readonly isOpen?: boolean;
  readonly keyInUrl?: boolean;
};
const LOCAL: Caller = { address: "127.0.0.1" };
const REMOTE: Caller = { address: "192.168.1.7" };

const NO_KEY: AccessOptions = { authKey: undefined, allowedOrigins: [], insecure: false };
const LISTED: AccessOptions = {
  ...NO_KEY,
  allowedOrigins: ["https://app.example", "HTTPS://Big.Example:8443", "https://slash.example/"],
};
const INSECURE: AccessOptions = { ...NO_KEY, insecure: true };
const WITH_KEY: AccessOptions = { ...NO_KEY, authKey: KEY };

type HeaderMap = Record<string, string>;

function request(headers: HeaderMap, search = ""): Request {
  const url = `http://127.0.0.1:8080/v1/vtuber/ws${search}`;
  return new Request(url, { headers: { host: "127.0.0.1:8080", ...headers } });
}

/** Checks a request. @returns `admitted`, or the code of the error. */
async function check(
  options: AccessOptions,
  headers: HeaderMap,
  caller: Caller = LOCAL,
  search?: string,
): Promise<string> {
  try {
    await createAccessControl(options).identify(request(headers, search), caller.address, caller);
    return "admitted";
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.code;
  }
}

const LOCAL_HOSTS = [
  "localhost",
  "LOCALHOST",
  "localhost.",
  "mao.localhost",
  "127.0.0.1",
  "127.1.2.3",
  "[::1]",
];
const FOREIGN_HOSTS = [
  ...["0.0.0.0", "[::]", "192.168.1.2", "[2001:db8::1]", "machine.local", "evil.example"],
  ...["localhost.evil.example", "evil-localhost", "127.0.0.1.evil.example", "127.0.0.1evil", "1127.0.0.1"],
];

Deno.test("isLoopback: accepts the names and addresses of this machine only", () => {
  for (const host of [...LOCAL_HOSTS, "::1", "::ffff:127.0.0.1"]) assertEquals(isLoopback(host), true, host);
  const foreign = [...FOREIGN_HOSTS, "", "::", "10.0.0.1", "128.0.0.1", "::2", "::ffff:10.0.0.1"];
  for (const host of foreign) assertEquals(isLoopback(host), false, host);
});

Deno.test("identify: without a key, Host must name this machine, with any port", async () => {
  for (const name of LOCAL_HOSTS) assertEquals(await check(NO_KEY, { host: `${name}:1` }), "admitted", name);
  for (const host of [...FOREIGN_HOSTS, "evil.example:8080"]) {
    assertEquals(await check(NO_KEY, { host }), "host_not_allowed", host);
  }
});

const ORIGINS: readonly [name: string, options: AccessOptions, admitted: string[], refused: string[]][] = [
  ["without a key", NO_KEY, [
    "http://127.0.0.1:8080",
    "http://127.0.0.1:3000",
    "http://localhost:5173",
    "https://localhost",
    "http://[::1]:3000",
    "http://app.localhost:3000",
    "tauri://localhost",
  ], [
    "null",
    "https://evil.example",
    "https://localhost.evil.example",
    "http://localhost@evil.example",
    "http://127.0.0.1.nip.io",
    "tauri://evil.example",
    "file://",
    "chrome-extension://abcdef",
    "localhost",
    "",
    "https://app.example",
  ]],
  ["with listed origins", LISTED, [
    "https://app.example",
    "https://APP.example",
    "https://big.example:8443",
    "https://slash.example",
    "http://localhost:3000",
  ], [
    "https://big.example",
    "http://app.example",
    "https://app.example:444",
    "https://app.example.evil.example",
  ]],
  ["insecure", INSECURE, ["http://localhost:3000"], ["https://evil.example", "null"]],
];
for (const [name, options, admitted, refused] of ORIGINS) {
  Deno.test(`identify: Origin, ${name}`, async () => {
    for (const origin of admitted) assertEquals(await check(options, { origin }), "admitted", origin);
    for (const origin of refused) {
      assertEquals(await check(options, { origin }), "origin_not_allowed", origin);
    }
  });
}

Deno.test("identify: a cross-site request without Origin is refused, but for open routes", async () => {
  const site = (value: string, isOpen: boolean) =>
    check(NO_KEY, { "sec-fetch-site": value }, { ...LOCAL, isOpen });
  assertEquals(await site("cross-site", false), "origin_not_allowed");
  assertEquals(await site("cross-site", true), "admitted");
  assertEquals(await site("same-origin", false), "admitted");
  assertEquals(await site("none", false), "admitted");
});

const EVIL = { host: "evil.example", origin: "https://evil.example" };
const LAN = { host: "nas.lan:8080" };
const SOURCES: readonly [
  name: string,
  options: AccessOptions,
  headers: HeaderMap,
  address: string | undefined,
  result: string,
][] = [
  ["another machine", NO_KEY, {}, "192.168.1.7", "host_not_allowed"],
  ["another machine by IPv6", NO_KEY, {}, "2001:db8::7", "host_not_allowed"],
  ["this machine by IPv6", NO_KEY, { host: "[::1]:8080" }, "::1", "admitted"],
  ["this machine by IPv4 in IPv6", NO_KEY, {}, "::ffff:127.0.0.1", "admitted"],
  ["an unknown address", NO_KEY, {}, undefined, "admitted"],
  ["DNS rebinding", NO_KEY, { ...EVIL, origin: "http://evil.example" }, "127.0.0.1", "host_not_allowed"],
  ["another machine, insecure", INSECURE, {}, "192.168.1.7", "admitted"],
  ["its own page, insecure", INSECURE, { ...LAN, origin: "http://nas.lan:8080" }, "192.168.1.7", "admitted"],
  [
    "a LAN page, insecure",
    INSECURE,
    { ...LAN, origin: "http://nas.lan:9" },
    "192.168.1.7",
    "origin_not_allowed",
  ],
  [
    "any source with the key",
    WITH_KEY,
    { ...EVIL, authorization: `Bearer ${KEY}` },
    "192.168.1.7",
    "admitted",
  ],
];
for (const [name, options, headers, address, result] of SOURCES) {
  Deno.test(`identify: ${name}: ${result}`, async () => {
    assertEquals(await check(options, headers, { address }), result);
  });
}

const GOOD_KEYS: readonly HeaderMap[] = [
  { authorization: `Bearer ${KEY}` },
  { authorization: `bearer ${KEY}` },
  { authorization: `BEARER ${KEY}` },
  { authorization: `Bearer   ${KEY}  ` },
  { "api-key": KEY },
  // ChatdollKit in a browser sends both.
  { authorization: `Bearer ${KEY}`, "api-key": KEY },
  { authorization: "Bearer ", "api-key": KEY },
];
const BAD_KEYS: readonly HeaderMap[] = [
  {},
  { authorization: "Bearer wrong" },
  { authorization: `Bearer ${KEY.slice(0, -1)}` },
  { authorization: `Bearer ${KEY}x` },
  { authorization: `Bearer ${KEY.toUpperCase()}` },
  { authorization: KEY },
  { authorization: `Basic ${btoa(`:${KEY}`)}` },
  { authorization: `Bearer${KEY}` },
  { authorization: "Bearer " },
  { "api-key": "" },
  { "api-key": "wrong" },
  { cookie: `key=${KEY}` },
];

Deno.test("identify: the key is a bearer token or Azure's header, to the letter", async () => {
  for (const headers of GOOD_KEYS) {
    assertEquals(await check(WITH_KEY, headers), "admitted", JSON.stringify(headers));
  }
  for (const headers of BAD_KEYS) {
    assertEquals(await check(WITH_KEY, headers), "invalid_api_key", JSON.stringify(headers));
  }
});

Deno.test("identify: the error says what to send, and never the key", async () => {
  const access = createAccessControl(WITH_KEY);
  const refusals: [HeaderMap, RegExp][] = [
    [{}, /^A key is needed: send VTUBER_AUTH_KEY, or .* \[keys\.NAME\] .* as `Authorization: Bearer KEY`/],
    [{ authorization: "Bearer wrong" }, /^The key is wrong: .* VTUBER_AUTH_KEY .* \[keys\.NAME\]/],
  ];
  for (const [headers, expected] of refusals) {
    const { message }: AppError = await assertRejects(
      () => access.identify(request(headers), LOCAL.address, {}),
      AppError,
    );
    assertMatch(message, expected);
    assertEquals(message.includes(KEY), false);
  }
});

Deno.test("identify: an open route needs no key, but an allowed source", async () => {
  assertEquals(await check(WITH_KEY, {}, { ...REMOTE, isOpen: true }), "admitted");
  assertEquals(await check(NO_KEY, {}, { ...REMOTE, isOpen: true }), "host_not_allowed");
  assertEquals(
    await check(NO_KEY, { origin: EVIL.origin }, { ...LOCAL, isOpen: true }),
    "origin_not_allowed",
  );
});

Deno.test("identify: the caller's id tells keys apart without revealing them", async () => {
  const id = async (authKey: string | undefined) => {
    const access = createAccessControl({ ...NO_KEY, authKey });
    return (await access.identify(request({ authorization: `Bearer ${authKey}` }), LOCAL.address, {})).id;
  };
  assertEquals(await id(KEY), await id(KEY));
  assertNotEquals(await id(KEY), await id("other"));
  assertEquals(await id(undefined), "");
  assertEquals((await id(KEY)).includes(KEY), false);
});

const base64Url = (text: string) =>
  new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true });
/** A key that no header can carry as it is. */
const WIDE = "ключ, 鍵 / 😀";
const offer = (...protocols: string[]): HeaderMap => ({ "sec-websocket-protocol": protocols.join(", ") });

const KEYS_IN_URL: readonly [name: string, key: string, headers: HeaderMap, search?: string][] = [
  ["a bearer token", KEY, { authorization: `Bearer ${KEY}` }],
  ["the query", KEY, {}, `?token=${KEY}`],
  ["the encoded query", WIDE, {}, `?token=${encodeURIComponent(WIDE)}`],
  ["a subprotocol beside ours", KEY, offer("vtuber", `bearer.${KEY}`)],
  ["a subprotocol in base64url", WIDE, offer(`bearer.${base64Url(WIDE)}`)],
  ["a subprotocol in base64url with padding", "a", offer("vtuber", "bearer.YQ==")],
  ["a subprotocol with dots", "a.b.c", offer("vtuber", "bearer.a.b.c")],
  ["the subprotocol of OpenAI's realtime clients", KEY, offer("realtime", `openai-insecure-api-key.${KEY}`)],
  ["the query, beside a wrong bearer token", KEY, { authorization: "Bearer x" }, `?token=${KEY}`],
  ["the query, beside a wrong subprotocol", KEY, offer("bearer.x"), `?token=${KEY}`],
  ["a subprotocol, beside a wrong bearer token", KEY, {
    authorization: "Bearer x",
    ...offer(`bearer.${KEY}`),
  }],
];
for (const [name, authKey, headers, search] of KEYS_IN_URL) {
  Deno.test(`identify with keyInUrl: accepts the key in ${name}, which other routes do not`, async () => {
    const options = { ...NO_KEY, authKey };
    assertEquals(await check(options, headers, { ...LOCAL, keyInUrl: true }, search), "admitted");
    const elsewhere = headers.authorization === `Bearer ${KEY}` ? "admitted" : "invalid_api_key";
    assertEquals(await check(options, headers, LOCAL, search), elsewhere);
  });
}

/** Requests with several keys, which would try a guess beside a key that is right, and without a wait. */
const SEVERAL: readonly [name: string, headers: HeaderMap, search?: string][] = [
  ["a wrong bearer token, beside the header of Azure's clients", {
    authorization: "Bearer guess",
    "api-key": KEY,
  }],
  ["a wrong bearer token in a list", { authorization: `Bearer guess, Bearer ${KEY}` }],
  ["a wrong key in the query, beside a bearer token", { authorization: `Bearer ${KEY}` }, "?token=guess"],
  ["a wrong key in the first subprotocol", offer("bearer.guess", `bearer.${KEY}`)],
  ["a wrong key in a subprotocol, beside a bearer token", {
    authorization: `Bearer ${KEY}`,
    ...offer("openai-insecure-api-key.guess"),
  }],
];
for (const [name, headers, search] of SEVERAL) {
  Deno.test(`identify: one key of a request counts: refuses ${name}`, async () => {
    assertEquals(await check(WITH_KEY, headers, { ...LOCAL, keyInUrl: true }, search), "invalid_api_key");
  });
}

const BAD_IN_URL: readonly [name: string, headers: HeaderMap, search?: string][] = [
  ["our subprotocol alone", offer("vtuber")],
  ["a wrong key in the query", {}, "?token=x"],
  ["an empty key in the query", {}, "?token="],
  ["another parameter of the query", {}, `?key=${KEY}`],
  ["an empty subprotocol", offer("vtuber", "bearer.")],
  ["the key itself as a subprotocol", offer(KEY)],
  ["the start of the key in base64url", offer(`bearer.${base64Url(KEY.slice(0, 6))}`)],
];
for (const [name, headers, search] of BAD_IN_URL) {
  Deno.test(`identify with keyInUrl: refuses ${name}`, async () => {
    assertEquals(await check(WITH_KEY, headers, { ...LOCAL, keyInUrl: true }, search), "invalid_api_key");
  });
}
