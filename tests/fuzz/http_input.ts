/** Requests to every route of the app: valid ones, changed ones, and bytes that are no request. @module */

import type { Route } from "../../lib/http/router.ts";
import type { Random } from "../support/harness/random.ts";
import { encodeRequest, type HangUp } from "./exchange.ts";
import { damage, mutate, ODD_TEXTS } from "./mutation.ts";
import type { AskedIds } from "./socket_input.ts";

const PIXEL =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const HISTORY = [
  { role: "system", content: "You are Ani." },
  { role: "user", content: "Hello" },
  { role: "assistant", content: "[happy] Hello!" },
  { role: "user", content: "How are you?" },
];

/** Bodies as clients send them. */
const CHATS: readonly Record<string, unknown>[] = [
  { model: "openab", stream: true, messages: HISTORY },
  {
    messages: HISTORY.slice(-1),
    stream: true,
    max_tokens: 5,
    stop: ["\n", "User:"],
    conversation_id: "talk",
  },
  {
    model: "gpt-4o",
    messages: [{
      role: "user",
      content: [{ type: "text", text: "Look" }, {
        type: "image_url",
        image_url: { url: PIXEL, detail: "low" },
      }],
    }],
    stream: true,
    stream_options: { include_usage: true, include_agent_events: true },
    temperature: 0.7,
    metadata: { session_id: "talk" },
  },
  {
    messages: [
      ...HISTORY,
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }],
      },
      { role: "tool", tool_call_id: "c", content: "42" },
    ],
    tools: [{ type: "function", function: { name: "f", parameters: { type: "object" } } }],
    tool_choice: "auto",
    threadId: "9b2f",
  },
  {
    messages: HISTORY,
    response_format: {
      type: "json_schema",
      json_schema: {
        name: "mood",
        schema: { type: "object", properties: { mood: { type: "string", pattern: "^[a-z]+$" } } },
      },
    },
  },
];
const BODIES: Readonly<Record<string, readonly unknown[]>> = {
  "/chat/completions": CHATS,
  "/completions": [{ prompt: "Once upon", stream: true, max_tokens: 20 }, { prompt: ["Say"], echo: false }],
  "/vtuber/notifications": [{ text: "[happy] Done", urgency: "high" }, { text: "Say it", mode: "agent" }],
  "/vtuber/permissions/*": [{ decision: "allow", client: "test" }, { option_id: "yes", detail_chars: 3 }],
  "/vtuber/questions/*": [{ action: "accept", content: { a: "yes" } }, { action: "decline", client: "test" }],
  "/vtuber/interrupt": [{}, { session_id: "talk" }],
};
/** Headers that some rule reads, each with values. */
const HEADERS: readonly (readonly [name: string, values: readonly string[]])[] = [
  ["content-type", ["application/json", "text/plain", "application/json; charset=utf-16", "x"]],
  ["authorization", ["Bearer x", "Basic ", "Bearer"]],
  ["origin", ["http://evil.example", "null", "tauri://localhost", "://", "http://localhost:1"]],
  ["host", ["localhost:abc", "::1", "", "127.0.0.1:1:2", "evil.example", "[::1]:80", "a b"]],
  ["x-session-id", ["talk", "", "%zz", "%E4%BC%9A", "x".repeat(300)]],
  ["idempotency-key", ["k", ""]],
  ["x-stainless-retry-count", ["1", "0", "-1", "x"]],
  ["upgrade", ["websocket", "h2c"]],
  ["content-encoding", ["gzip", "br"]],
  ["accept-encoding", ["gzip", "*;q=0"]],
  ["range", ["bytes=0-1", "bytes=9-1"]],
  ["if-none-match", ["*", 'W/"x"']],
  ["expect", ["100-continue"]],
  ["forwarded", ["for=1.2.3.4"]],
  ["access-control-request-headers", ["authorization, x-odd"]],
];
const METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "BREW"];

/** One request. */
export interface HttpInput {
  readonly bytes: Uint8Array;
  readonly hangUp: HangUp | undefined;
}

/** Makes a request to one of the routes. */
export function httpInput(random: Random, routes: readonly Route[], ids: AskedIds): HttpInput {
  // Half of all requests are chats, because most of the program is behind them.
  const route = random.once(2) ? "/chat/completions" : random.pick(routes).path;
  const template = BODIES[route];
  const method = random.once(8)
    ? random.pick(METHODS)
    : template
    ? "POST"
    : random.pick(["GET", "GET", "DELETE"]);
  const hangUp = random.pick(["sent", "head", undefined, undefined, undefined, undefined] as const);
  const body = method === "GET" ? new Uint8Array() : bodyOf(random, template ?? CHATS);
  const length = random.once(20) ? random.below(2_000_000) : body.length;
  const bytes = encodeRequest(
    `${method} ${pathOf(random, route, ids)} HTTP/1.1`,
    [
      ["connection", "close"],
      ...headersOf(random),
      ...body.length > 0 ? [["content-length", `${length}`] as const] : [],
    ],
    body,
  );
  // A body that never comes is waited for, so its client leaves.
  if (length > body.length) return { bytes, hangUp: "sent" };
  return random.once(15) ? { bytes: damage(random, bytes), hangUp: "sent" } : { bytes, hangUp };
}

function bodyOf(random: Random, templates: readonly unknown[]): Uint8Array {
  const value = random.once(6) ? random.pick(templates) : mutate(random, random.pick(templates));
  const bytes = new TextEncoder().encode(JSON.stringify(value) ?? "");
  return random.once(10) ? damage(random, bytes) : bytes;
}

function pathOf(random: Random, route: string, { permission, question }: AskedIds): string {
  const path = route.replace(
    "*",
    () => encodeURIComponent(random.pick(["talk", "openab", "../x", "%", "会話", permission, question])),
  );
  const prefix = random.pick(["", "/v1", "/v1", "/v1", "//v1", "/v1/v1", "/api/v1/openai/v1", "/v2"]);
  const query = random.once(3)
    ? `?${random.pick(["all=true", "id=talk", "id=", "events=say,*,x", "key=1&key=2", "%", "?"])}`
    : "";
  const odd = random.once(10)
    ? `/${encodeURIComponent(random.pick(ODD_TEXTS).slice(0, 200).toWellFormed())}`
    : "";
  return prefix + path + odd + query;
}

function headersOf(random: Random): [string, string][] {
  const chosen = HEADERS.filter(() => random.once(9)).map((
    [name, values],
  ): [string, string] => [name, random.pick(values)]);
  const names = new Set(chosen.map(([name]) => name));
  return [
    ...chosen,
    ...names.has("host") ? [] : [["host", "127.0.0.1"] as [string, string]],
    ...names.has("content-type") ? [] : [["content-type", "application/json"] as [string, string]],
  ];
}
