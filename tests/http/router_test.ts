import { assertEquals, assertMatch } from "@std/assert";
import {
  allowedMethods,
  canonicalPath,
  handlerOf,
  matchRoute,
  notFound,
  type Route,
} from "../../lib/http/router.ts";

const answer = () => new Response("ok");
const ROUTES: Route[] = [
  { path: "/chat/completions", POST: answer },
  { path: "/completions", POST: answer },
  { path: "/models", GET: answer },
  { path: "/models/*", GET: answer },
  { path: "/health", open: true, GET: answer },
  { path: "/vtuber/ws", GET: answer },
  { path: "/", open: true, GET: answer },
];

const CANONICAL: [written: string, meant: string][] = [
  ["/", "/"],
  ["", "/"],
  ["//", "/"],
  ["/v1", "/"],
  ["/v1/", "/"],
  ["/v1/v1/", "/"],
  ["/api/v1/openai", "/"],
  ["/api/v1/openai/v1", "/"],
  ["/chat/completions", "/chat/completions"],
  ["/v1/chat/completions", "/chat/completions"],
  ["/v1/chat/completions/", "/chat/completions"],
  ["/v1/v1/chat/completions", "/chat/completions"],
  ["/v1/v1/v1/chat/completions", "/chat/completions"],
  ["//v1//chat///completions//", "/chat/completions"],
  ["/v1//v1/chat/completions", "/chat/completions"],
  ["/api/v1/openai/chat/completions", "/chat/completions"],
  ["/api/v1/openai/v1/chat/completions", "/chat/completions"],
  ["//api//v1/openai/v1/v1/chat/completions", "/chat/completions"],
  ["//v1/vtuber/ws", "/vtuber/ws"],
  ["/v1/v1/vtuber/ws", "/vtuber/ws"],
  ["/v1/models/a%2Fb", "/models/a%2Fb"],
  ["/v10/models", "/v10/models"],
  ["/v1x", "/v1x"],
  ["/api/v1/openaix/models", "/api/v1/openaix/models"],
  ["/models/v1", "/models/v1"],
];

for (const [written, meant] of CANONICAL) {
  Deno.test(`canonicalPath: ${JSON.stringify(written)} means ${meant}`, () => {
    assertEquals(canonicalPath(written), meant);
    assertEquals(canonicalPath(meant), meant, "what is meant means itself");
  });
}

const FOUND: [pathname: string, path: string, rest?: string][] = [
  ["/", "/"],
  ["/v1", "/"],
  ["/health", "/health"],
  ["/v1/health", "/health"],
  ["/v1/models", "/models"],
  ["/models/", "/models"],
  ["/v1/models//", "/models"],
  ["/v1/models/openab", "/models/*", "openab"],
  ["/v1/v1/models/openab/", "/models/*", "openab"],
  ["/v1/models/openclaw%2Fdefault", "/models/*", "openclaw/default"],
  ["/v1/models/a%20b", "/models/*", "a b"],
  ["/v1/models/%E9%9F%B3", "/models/*", "音"],
  ["/v1/models/%E9%9F", "/models/*", "%E9%9F"],
  ["/v1/models/100%", "/models/*", "100%"],
  ["/v1/models/v1", "/models/*", "v1"],
  ["/api/v1/openai/v1/models/x", "/models/*", "x"],
];

for (const [pathname, path, rest = ""] of FOUND) {
  Deno.test(`matchRoute: ${pathname} is ${path}`, () => {
    const match = matchRoute(ROUTES, pathname);
    assertEquals([match?.route.path, match?.rest], [path, rest]);
  });
}

const HINT = "give it the address up to /v1 only";
const LOST: [pathname: string, hinted: boolean][] = [
  ["/v2/chat/completions", true],
  ["/v1/chat/completions/v1/chat/completions", true],
  ["/chat/completions/chat/completions", true],
  ["/v1/chat/completions/models", true],
  ["/v1/chat/completions/v1/models", true],
  ["/health/v1/chat/completions", true],
  ["/v1/chat/completions/extra", false],
  ["/chat", false],
  ["/v1/chat", false],
  ["/Chat/Completions", false],
  ["/V1/nothing", false],
  ["/v1/chat%2Fcompletions", false],
  ["/v1%2Fmodels", false],
  ["/chat/completions;x=1", false],
  ["/modelsx", false],
  ["/api/tags", false],
  ["/favicon.ico", false],
  ["/v1x", false],
];

for (const [pathname, hinted] of LOST) {
  Deno.test(`matchRoute: there is nothing at ${pathname}${hinted ? ", with a hint" : ""}`, () => {
    assertEquals(matchRoute(ROUTES, pathname), undefined);
    const failure = notFound(ROUTES, pathname);
    assertEquals(failure.code, "not_found");
    assertEquals(failure.message.includes(HINT), hinted, failure.message);
  });
}

Deno.test("notFound: what is not there is named as the client wrote it, decoded", () => {
  assertMatch(notFound(ROUTES, "/%E9%9F%B3").message, /^There is nothing at \/音\./);
});

Deno.test("handlerOf and allowedMethods: a table of methods", () => {
  const get: Route = { path: "/", GET: answer };
  const post: Route = { path: "/", POST: answer };
  const both: Route = { path: "/", GET: answer, POST: answer };
  assertEquals([get, post, both].map(allowedMethods), [
    "GET, HEAD, OPTIONS",
    "POST, OPTIONS",
    "GET, HEAD, POST, OPTIONS",
  ]);
  const methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get"];
  const answered = (route: Route) => methods.filter((method) => handlerOf(route, method) !== undefined);
  assertEquals(answered(get), ["GET", "HEAD"]);
  assertEquals(answered(post), ["POST"]);
  assertEquals(answered(both), ["GET", "HEAD", "POST"]);
});
