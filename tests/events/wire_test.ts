import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import {
  type Command,
  encodeMessage,
  parseCommand,
  parseNotification,
  parsePermissionAnswer,
} from "../../lib/events/wire.ts";
import { AppError } from "../../lib/core/errors.ts";
import { DECISIONS } from "../../lib/turn/permission.ts";

const COMMANDS: readonly [text: string, command: Command][] = [
  ['{"type":"ping"}', { type: "ping" }],
  ['{"type":"hello"}', { type: "hello", client: undefined }],
  ['{"type":"hello","client":"  "}', { type: "hello", client: undefined }],
  ['{"type":"hello","client":"timeout"}', { type: "hello", client: undefined }],
  ['{"type":"hello","client":" Mao\\n"}', { type: "hello", client: "Mao" }],
  ['{"type":"hello","client":"Mao\\u202e\\u009b1A"}', { type: "hello", client: "Mao 1A" }],
  ['{"type":"subscribe","events":[]}', { type: "subscribe", events: [] }],
  ['{"type":"subscribe","events":["say","nonsense"]}', { type: "subscribe", events: ["say", "nonsense"] }],
  [
    '{"type":"permission_response","request_id":"p1","decision":"deny"}',
    { type: "permission_response", request_id: "p1", decision: "deny" },
  ],
  ['{"type":"interrupt"}', { type: "interrupt" }],
  ['{"type":"interrupt","session_id":"\\ud83d"}', { type: "interrupt", session_id: "\ufffd" }],
  ['{"type":"interrupt","session_id":null}', { type: "interrupt", session_id: null }],
  ['{"id":1,"type":"interrupt","session_id":"mao"}', { type: "interrupt", session_id: "mao" }],
];
for (const [text, command] of COMMANDS) {
  Deno.test(`parseCommand: ${text}`, () => assertEquals(parseCommand(text), command));
}

const REJECTED: readonly [name: string, text: string, code: string, part: string][] = [
  ["an empty text", "", "invalid_json", "JSON object"],
  ["an incomplete object", '{"type":"pin', "invalid_json", '{"type":"ping"}'],
  ["a list", "[]", "invalid_value", ""],
  ["no type", "{}", "invalid_value", "ping"],
  ["an unknown type", '{"type":"dance"}', "invalid_value", "hello, subscribe, ping"],
  ["a subscription without events", '{"type":"subscribe"}', "invalid_value", '"events"'],
  ["a subscription to numbers", '{"type":"subscribe","events":[1]}', "invalid_value", '"events.0"'],
  [
    "a subscription to 101 events",
    JSON.stringify({ type: "subscribe", events: Array(101).fill("say") }),
    "invalid_value",
    '"events"',
  ],
  [
    "a name of 101 characters",
    JSON.stringify({ type: "hello", client: "x".repeat(101) }),
    "invalid_value",
    '"client"',
  ],
  [
    "an answer without a request",
    '{"type":"permission_response","decision":"allow"}',
    "invalid_value",
    '"request_id"',
  ],
  [
    "an answer to an empty request id",
    '{"type":"permission_response","request_id":"","decision":"allow"}',
    "invalid_value",
    '"request_id"',
  ],
  [
    "an interrupt of an empty session id",
    '{"type":"interrupt","session_id":""}',
    "invalid_value",
    '"session_id"',
  ],
  [
    "a command of 17 KiB",
    JSON.stringify({ type: "ping", x: "x".repeat(17 * 1024) }),
    "body_too_large",
    "16384",
  ],
];
for (const [name, text, code, part] of REJECTED) {
  Deno.test(`parseCommand: rejects ${name}`, () => {
    const error: AppError = assertThrows(() => parseCommand(text), AppError);
    assertEquals(error.code, code);
    assertStringIncludes(error.message, part);
  });
}

const ANSWERS: readonly [body: unknown, parsed: ReturnType<typeof parsePermissionAnswer>][] = [
  [{ option_id: "yes", client: " Mao " }, { answer: { optionId: "yes" }, client: "Mao" }],
  [{ decision: "allow", detail_chars: 5_000 }, {
    answer: { decision: "allow", detailChars: 5_000 },
    client: undefined,
  }],
  [{ decision: "deny", client: "" }, { answer: { decision: "reject" }, client: undefined }],
  ...DECISIONS.map((decision) =>
    [{ decision, client: null }, { answer: { decision }, client: undefined }] satisfies typeof ANSWERS[number]
  ),
];
for (const [body, parsed] of ANSWERS) {
  Deno.test(`parsePermissionAnswer: ${JSON.stringify(body)}`, () =>
    assertEquals(parsePermissionAnswer(body), parsed));
}

const NO_ANSWERS: readonly [body: unknown, part: string][] = [
  [null, ""],
  [{}, '"option_id"'],
  [{ option_id: "" }, '"option_id"'],
  [{ decision: "maybe" }, "allow, allow_always, reject, reject_always"],
  [{ option_id: "a", decision: "allow" }, "not both"],
];
for (const [body, part] of NO_ANSWERS) {
  Deno.test(`parsePermissionAnswer: rejects ${JSON.stringify(body)}`, () => {
    const error: AppError = assertThrows(() => parsePermissionAnswer(body), AppError);
    assertEquals(error.code, "invalid_value");
    assertStringIncludes(error.message, part);
  });
}

Deno.test("parseNotification: a text with defaults and with all fields", () => {
  assertEquals(parseNotification({ text: " Build done\n" }), {
    text: "Build done",
    urgency: "normal",
    mode: "text",
  });
  assertEquals(parseNotification({ text: "x", urgency: "high", mode: "agent", more: 1 }), {
    text: "x",
    urgency: "high",
    mode: "agent",
  });
  assertEquals(parseNotification({ text: "x".repeat(4_000), urgency: "low" }).urgency, "low");
});

const NOTIFICATIONS: readonly [value: unknown, param: string | undefined][] = [
  [null, undefined],
  [{}, "text"],
  [{ text: " \n" }, "text"],
  [{ text: "x".repeat(4_001) }, "text"],
  [{ text: "x", urgency: "urgent" }, "urgency"],
  [{ text: "x", mode: "both" }, "mode"],
];
for (const [value, param] of NOTIFICATIONS) {
  Deno.test(`parseNotification: rejects ${JSON.stringify(value).slice(0, 40)}`, () => {
    const error: AppError = assertThrows(() => parseNotification(value), AppError);
    assertEquals([error.code, error.param], ["invalid_value", param]);
  });
}

Deno.test("encodeMessage: one line of JSON with type and time first", () => {
  const { frame } = encodeMessage({ type: "notification", text: "a\nb\u2028c", urgency: "low" });
  assertMatch(frame, /^{"type":"notification","ts":\d+,"text":"[^\n]*","urgency":"low"}$/);
  assertEquals(Math.abs(JSON.parse(frame).ts - Date.now() / 1000) < 60, true);
});
