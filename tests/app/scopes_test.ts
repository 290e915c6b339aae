/** Every endpoint and every command with the scopes that it needs, and every scope with the endpoints that it opens. */

import { assert, assertEquals } from "@std/assert";
import type { KeyConfig } from "../../lib/config/keys.ts";
import { METHODS } from "../../lib/http/router.ts";
import { REQUIRED_SCOPES } from "../../lib/http/scopes.ts";
import { type Scope, SCOPES } from "../../lib/turn/caller.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp, type TestAppOptions } from "../support/harness/app_harness.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";

type Required = "open" | readonly Scope[];

/** The expected scopes, by method and path of the route. This repeats the table of the code on purpose. */
const EXPECTED: Readonly<Record<string, Required>> = {
  "GET /": "open",
  "GET /stage/*": "open",
  "GET /health": "open",
  "GET /healthz": "open",
  "GET /readyz": "open",
  "GET /metrics": ["admin"],
  "POST /chat/completions": ["chat"],
  "POST /completions": ["chat"],
  "POST /responses": ["chat"],
  "GET /responses/*": ["chat"],
  "DELETE /responses/*": ["chat"],
  "POST /responses/*/cancel": ["chat"],
  "GET /responses/*/input_items": ["chat"],
  "POST /embeddings": ["embeddings"],
  "POST /audio/speech": ["audio"],
  "GET /audio/voices": ["audio"],
  "GET /audio/models": ["audio"],
  "POST /audio/transcriptions": ["audio"],
  "GET /models": [],
  "GET /models/*": [],
  "GET /vtuber/ws": ["events"],
  "GET /vtuber/events": ["events"],
  "GET /vtuber/state": ["events"],
  "GET /vtuber/permissions": ["permissions"],
  "GET /vtuber/permissions/*": ["permissions"],
  "POST /vtuber/permissions/*": ["permissions"],
  "POST /vtuber/questions/*": ["permissions"],
  "POST /vtuber/notifications": ["operator", "chat"],
  "POST /vtuber/interrupt": ["operator"],
  "GET /vtuber/sessions": ["chat"],
  "DELETE /vtuber/sessions": ["chat"],
  "DELETE /vtuber/sessions/*": ["chat"],
};
/** The expected scopes of the socket's commands, beside `events` for the socket itself. */
const EXPECTED_COMMANDS: Readonly<Record<string, readonly Scope[]>> = {
  hello: [],
  subscribe: [],
  ping: [],
  permission_response: ["permissions"],
  question_response: ["permissions"],
  interrupt: ["operator"],
};
/** The extra path of chat completions (`VTUBER_PATH`), and the row whose scopes count there. */
const EXTRA = { chatPath: "/v1/brain", row: "POST /brain", like: "POST /chat/completions" };

/** The scopes of the owner: of `VTUBER_AUTH_KEY`, and of this machine without a key. */
const OWNER: readonly Scope[] = SCOPES.filter((scope) => scope !== "commands");
/** The scopes of other machines without a key, under `VTUBER_INSECURE`. */
const STRANGER: readonly Scope[] = ["chat", "audio", "embeddings", "events"];

const OWNER_KEY = "owner-key";

/** A key for each of these sets of scopes; the name of the key is the key. */
function keysWith(sets: readonly (readonly Scope[])[]): KeyConfig[] {
  return sets.map((scopes) => apiKey(keyOf(scopes), scopes));
}

function keyOf(scopes: readonly Scope[]): string {
  return ["key", ...scopes].join("-");
}

const without = (left: Scope) => SCOPES.filter((scope) => scope !== left);
/** The sets that are tried: none, each scope alone, all but each scope, and all. */
const SETS: readonly (readonly Scope[])[] = [
  [],
  ...SCOPES.map((scope) => [scope]),
  ...SCOPES.map(without),
  SCOPES,
  ...Object.values(EXPECTED).filter((required) => required !== "open" && required.length > 1),
] as readonly (readonly Scope[])[];

function startKeyed(): TestApp {
  return startApp({
    script: saying("Hi"),
    chatPath: EXTRA.chatPath,
    access: { authKey: OWNER_KEY, keys: keysWith(SETS) },
  });
}

const ROWS: readonly [row: string, required: Required][] = [
  ...Object.entries(EXPECTED),
  [EXTRA.row, EXPECTED[EXTRA.like]!],
];

/** Splits a row into the method and a path that a request can have. */
function requestOf(row: string): [method: string, path: string] {
  const [method, path] = row.split(" ") as [string, string];
  return [method, path.replace("*", "x")];
}

/** The spellings of a path that reach the same route. */
function spellings(path: string): string[] {
  return [path, `/v1${path}`, `//v1//v1${path}/`, `/api/v1/openai/v1${path}`, `/api/v1/openai${path}?a=b`];
}

/** Sends a request. @returns The code of an error 401 or 403, and the scope that a message names, or `admitted`. */
async function send(
  app: TestApp,
  method: string,
  path: string,
  headers: Record<string, string>,
  from?: string,
): Promise<string> {
  const body = method === "POST" ? { body: "{}" } : {};
  const init = { method, headers: { "content-type": "application/json", ...headers }, ...body };
  const response = await app.send(path, init, from);
  if (response.status !== 401 && response.status !== 403) {
    await response.body?.cancel();
    return "admitted";
  }
  const { code, message } = await errorOf(response);
  return code === "insufficient_scope" ? `lacks ${/scope "(\w+)"/.exec(message)?.[1]}` : code;
}

/** The result of a request with a key of these scopes. */
function resultFor(required: Required, scopes: readonly Scope[]): string {
  const missing = required === "open" ? undefined : required.find((scope) => !scopes.includes(scope));
  return missing === undefined ? "admitted" : `lacks ${missing}`;
}

Deno.test("scopes: every method of every route has a row, and every row a route", async () => {
  await using app = startKeyed();
  const rows = app.routes.flatMap((route) =>
    METHODS.filter((method) => route[method]).map((method) => `${method} ${route.path}`)
  );
  assertEquals(rows.toSorted(), ROWS.map(([row]) => row).toSorted());
});

Deno.test("scopes: the table of the code is the expected one", () => {
  const commands = Object.entries(EXPECTED_COMMANDS).map(([name, scopes]) => [`ws ${name}`, scopes]);
  assertEquals(REQUIRED_SCOPES as object, { ...EXPECTED, ...Object.fromEntries(commands) });
});

for (const [row, required] of ROWS) {
  const [method, path] = requestOf(row);
  Deno.test(`scopes: ${row} ${required === "open" ? "is open" : `needs ${required.join(" and ") || "any key"}`}`, async () => {
    await using app = startKeyed();
    const unkeyed = required === "open" ? "admitted" : "invalid_api_key";
    const methods = method === "GET" ? ["GET", "HEAD"] : [method];
    for (const method of methods) {
      if (required !== "open") {
        assertEquals(
          await send(app, method, path, withKey(keyOf(required)).headers),
          "admitted",
          "exactly its scopes",
        );
      }
      for (const scopes of SETS) {
        const result = await send(app, method, path, withKey(keyOf(scopes)).headers);
        assertEquals(result, resultFor(required, scopes), `${method} with ${scopes}`);
      }
      const byOwner = await send(app, method, path, withKey(OWNER_KEY).headers);
      assertEquals(byOwner, resultFor(required, OWNER), `${method} with VTUBER_AUTH_KEY`);
      for (const spelling of spellings(path)) {
        assertEquals(await send(app, method, spelling, {}), unkeyed, `${method} ${spelling} without a key`);
        const result = await send(app, method, spelling, withKey(keyOf([])).headers);
        assertEquals(result, resultFor(required, []), `${method} ${spelling} without scopes`);
        const preflight = await app.send(spelling, { method: "OPTIONS" });
        assertEquals(preflight.status, 204, `OPTIONS ${spelling}`);
      }
    }
  });
}

/** Methods that no route has. */
const OTHER_METHODS = ["PUT", "PATCH", "PROPFIND"];

Deno.test("scopes: a method that a route does not have needs any key, and then is 405", async () => {
  await using app = startKeyed();
  const rows = new Set(ROWS.map(([row]) => row));
  for (const path of new Set([...rows].map((row) => row.split(" ")[1]!))) {
    for (const method of [...METHODS, "HEAD", ...OTHER_METHODS]) {
      if (rows.has(`${method === "HEAD" ? "GET" : method} ${path}`)) continue;
      const target = requestOf(`${method} ${path}`)[1];
      assertEquals((await app.send(target, { method })).status, 401, `${method} ${path}`);
      const response = await app.send(target, { method, ...withKey(keyOf([])) });
      assertEquals(response.status, 405, `${method} ${path}`);
    }
  }
});

const UNKNOWN = [
  "/nope",
  "/v1/nope",
  "/v1/stage",
  "/v1/chat/completions/x",
  "/v1/vtuber/questions",
  "/v1/chat%2Fcompletions",
  "/V1/models",
  "/api/v1/openai/v2/models",
  "/v1/files",
  "/api/tags",
];

Deno.test("scopes: an unknown path needs any key, and then is 404", async () => {
  await using app = startKeyed();
  for (const path of UNKNOWN) {
    for (const method of [...METHODS, "HEAD", ...OTHER_METHODS]) {
      assertEquals((await app.send(path, { method })).status, 401, `${method} ${path}`);
      const response = await app.send(path, { method, ...withKey(keyOf([])) });
      assertEquals(response.status, 404, `${method} ${path}`);
    }
  }
});

/** Paths that leave an open or less protected route. */
const DETOURS: readonly [path: string, row: string][] = [
  ["/stage/../vtuber/permissions", "GET /vtuber/permissions"],
  ["/stage/%2e%2e/vtuber/permissions", "GET /vtuber/permissions"],
  ["/v1/models/../vtuber/sessions", "GET /vtuber/sessions"],
  ["/stage\\..\\vtuber\\permissions", "GET /vtuber/permissions"],
  ["/health/../v1/vtuber/state", "GET /vtuber/state"],
];
for (const [path, row] of DETOURS) {
  Deno.test(`scopes: ${path} needs those of ${row}`, async () => {
    await using app = startKeyed();
    assertEquals(await send(app, "GET", path, {}), "invalid_api_key");
    assertEquals(await send(app, "GET", path, withKey(keyOf([])).headers), resultFor(EXPECTED[row]!, []));
  });
}

const FOREIGN: readonly [name: string, headers: Record<string, string>, from: string][] = [
  ["another machine", {}, "192.168.1.7"],
  ["another machine by IPv6", {}, "2001:db8::7"],
  ["a foreign Host", { host: "nas.lan:8080" }, "127.0.0.1"],
  ["Forwarded", { forwarded: "for=127.0.0.1" }, "127.0.0.1"],
  ["X-Forwarded-For", { "x-forwarded-for": "127.0.0.1" }, "127.0.0.1"],
  ["X-Real-IP", { "x-real-ip": "127.0.0.1" }, "127.0.0.1"],
  ["X-Forwarded-Host", { "x-forwarded-host": "localhost" }, "127.0.0.1"],
  ["X-Forwarded-Proto", { "x-forwarded-proto": "https" }, "::1"],
  ["Via", { via: "1.1 proxy" }, "127.0.0.1"],
];
const LOCAL: typeof FOREIGN = [
  ["this machine", {}, "127.0.0.1"],
  ["this machine by IPv6", { host: "[::1]:8080" }, "::1"],
  ["this machine by IPv4 in IPv6", { host: "localhost" }, "::ffff:127.0.0.1"],
];
/** Callers where no key is configured, and what they can do. */
const UNKEYED: readonly [insecure: boolean, sources: typeof FOREIGN, scopes: readonly Scope[] | undefined][] =
  [
    [true, FOREIGN, STRANGER],
    [true, LOCAL, OWNER],
    [false, FOREIGN, undefined],
    [false, LOCAL, OWNER],
  ];
for (const [insecure, sources, scopes] of UNKEYED) {
  for (const [name, headers, from] of sources) {
    const title = `scopes: without a key${insecure ? ", insecure" : ""}: ${name} has`;
    Deno.test(`${title} ${scopes?.join(", ") ?? "nothing"}`, async () => {
      await using app = startApp({ script: saying("Hi"), access: { insecure } });
      for (const [row, required] of Object.entries(EXPECTED)) {
        const [method, path] = requestOf(row);
        const expected = scopes ? resultFor(required, scopes) : "host_not_allowed";
        assertEquals(await send(app, method, path, headers, from), expected, row);
      }
    });
  }
}

/** The configurations of keys in which this machine needs one too. */
const CONFIGURED: readonly [name: string, access: TestAppOptions["access"] & object][] = [
  ["VTUBER_AUTH_KEY", { authKey: OWNER_KEY }],
  ["a named key", { keys: keysWith([["chat"]]) }],
  ["a named key, insecure", { keys: keysWith([["chat"]]), insecure: true }],
];
for (const [name, access] of CONFIGURED) {
  Deno.test(`scopes: with ${name}, this machine needs a key too`, async () => {
    await using app = startApp({ access });
    for (const [row, required] of Object.entries(EXPECTED)) {
      const result = await send(app, ...requestOf(row), {});
      assertEquals(result, required === "open" ? "admitted" : "invalid_api_key", row);
    }
  });
}

Deno.test("scopes: a refusal names neither another key nor its scopes", async () => {
  const secret = apiKey("other-key", ["audio"], { requestsPerMinute: 4321 });
  const own = apiKey("own-key", ["chat"], { requestsPerMinute: 1 });
  await using app = startApp({ access: { keys: [secret, own] } });
  const refused = [
    await app.get("/v1/models"),
    await app.get("/v1/models", withKey("other-ke")),
    await app.get("/v1/vtuber/permissions", withKey("own-key")),
    await app.get("/v1/models", withKey("own-key")),
  ];
  assertEquals(refused.map(({ status }) => status), [401, 401, 403, 429]);
  for (const response of refused) {
    response.headers.delete("x-request-id");
    const text = JSON.stringify([...response.headers]) + await response.text();
    for (const word of ["other-key", secret.sha256, "audio", "4321"]) {
      assert(!text.includes(word), word);
    }
  }
});
