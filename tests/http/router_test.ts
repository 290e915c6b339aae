import { assertEquals, assertMatch } from "@std/assert";
import {
  allowedMethods,
  canonicalPath,
  listEndpoints,
  matchRoute,
  methodOf,
  notFound,
  type Route,
} from "../../lib/http/router.ts";

const answer = () => new Response("ok");
const ROUTES: Route[] = [
  { path: "/chat/completions", POST: answer, docs: { POST: { name: "chat", summary: "Chat" } } },
  { path: "/completions", POST: answer },
  { path: "/models", GET: answer },
  { path: "/models/*", GET: answer, DELETE: answer, docs: { GET: { summary: "One model" } } },
  { path: "/health", unversioned: true, GET: answer, docs: { GET: { name: "health", summary: "Health" } } },
  { path: "/vtuber/ws", GET: answer },
  { path: "/", GET: answer },
];

const CANONICAL: Readonly<Record<string, readonly string[]>> = {
  "/": ["", "/", "//", "/v1", "/v1/", "/v1/v1/", "/api/v1/openai", "/api/v1/openai/v1"],
  "/chat/completions": [
    "/v1/chat/completions",
    "/v1/chat/completions/",
    "/v1/v1/chat/completions",
    "//v1//chat///completions//",
    "/api/v1/openai/chat/completions",
    "/api/v1/openai/v1/chat/completions",
    "//api//v1/openai/v1/v1/chat/completions",
  ],
  "/vtuber/ws": ["//v1/vtuber/ws", "/v1/v1/vtuber/ws"],
  "/models/a%2Fb": ["/v1/models/a%2Fb"],
  "/v10/models": [],
  "/v1x": [],
  "/api/v1/openaix/models": [],
  "/models/v1": [],
};
for (const [canonical, paths] of Object.entries(CANONICAL)) {
  Deno.test(`canonicalPath: ${canonical}`, () => {
    for (const path of [canonical, ...paths]) assertEquals(canonicalPath(path), canonical, path);
  });
}

const FOUND: readonly [pathname: string, path: string, rest?: string][] = [
  ["/", "/"],
  ["/v1", "/"],
  ["/v1/health", "/health"],
  ["/v1/models//", "/models"],
  ["/v1/models/openab", "/models/*", "openab"],
  ["/v1/models/openclaw%2Fdefault", "/models/*", "openclaw/default"],
  ["/v1/models/%E9%9F%B3", "/models/*", "音"],
  ["/v1/models/%E9%9F", "/models/*", "%E9%9F"],
  ["/v1/models/v1", "/models/*", "v1"],
  ["/api/v1/openai/v1/models/x", "/models/*", "x"],
];
Deno.test("matchRoute: finds the route and the decoded rest", () => {
  for (const [pathname, path, rest = ""] of FOUND) {
    const match = matchRoute(ROUTES, pathname);
    assertEquals([match?.route.path, match?.rest], [path, rest], pathname);
  }
});

Deno.test("matchRoute: a later route hides an earlier one of the same path", () => {
  const later = { path: "/models", POST: answer };
  assertEquals(matchRoute([...ROUTES, later], "/models")?.route, later);
});

const UNKNOWN: readonly [pathname: string, hasHint: boolean][] = [
  ["/v2/chat/completions", true],
  ["/v1/chat/completions/v1/chat/completions", true],
  ["/health/v1/chat/completions", true],
  ["/v1/chat/completions/extra", false],
  ["/v1/chat", false],
  ["/Chat/Completions", false],
  ["/v1/chat%2Fcompletions", false],
  ["/chat/completions;x=1", false],
  ["/modelsx", false],
  ["/v1x", false],
];
Deno.test("notFound: hints at a path that an app added twice", () => {
  for (const [pathname, hasHint] of UNKNOWN) {
    assertEquals(matchRoute(ROUTES, pathname), undefined, pathname);
    const { code, message } = notFound(ROUTES, pathname);
    assertEquals(
      [code, message.includes("enter the address up to /v1 only")],
      ["not_found", hasHint],
      pathname,
    );
  }
});

Deno.test("notFound: shows the decoded path", () => {
  assertMatch(notFound(ROUTES, "/%E9%9F%B3").message, /^There is nothing at \/音\./);
});

Deno.test("methodOf, allowedMethods: HEAD goes with GET", () => {
  const get: Route = { path: "/", GET: answer };
  const post: Route = { path: "/", POST: answer };
  const all: Route = { path: "/", GET: answer, POST: answer, DELETE: answer };
  assertEquals([get, post, all].map(allowedMethods), [
    "GET, HEAD, OPTIONS",
    "POST, OPTIONS",
    "GET, HEAD, POST, DELETE, OPTIONS",
  ]);
  const methods = ["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS", "get"];
  const answered = (route: Route) => methods.filter((method) => methodOf(route, method) !== undefined);
  assertEquals(answered(get), ["GET", "HEAD"]);
  assertEquals(answered(post), ["POST"]);
  assertEquals(answered(all), ["GET", "HEAD", "POST", "DELETE"]);
});

Deno.test("listEndpoints: lists the documented methods with their public paths", () => {
  const listed = listEndpoints(ROUTES).map(({ route, ...endpoint }) => [route.path, endpoint]);
  assertEquals(listed, [
    ["/chat/completions", { method: "POST", path: "/v1/chat/completions", name: "chat", summary: "Chat" }],
    ["/models/*", { method: "GET", path: "/v1/models/{id}", summary: "One model" }],
    ["/health", { method: "GET", path: "/health", name: "health", summary: "Health" }],
  ]);
});
