import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  type Command,
  encodeFrame,
  parseCommand,
  parseNotification,
  parsePermissionAnswer,
} from "../../lib/events/wire.ts";
import { AppError } from "../../lib/core/errors.ts";

const COMMANDS: readonly [text: string, command: Command][] = [
  ['{"type":"ping"}', { type: "ping" }],
  ['{"type":"hello"}', { type: "hello", client: undefined }],
  ['{"type":"hello","client":null}', { type: "hello", client: undefined }],
  ['{"type":"hello","client":"  "}', { type: "hello", client: undefined }],
  ['{"type":"hello","client":"timeout"}', { type: "hello", client: undefined }],
  ['{"type":"hello","client":" Mao\\n"}', { type: "hello", client: "Mao" }],
  ['{"type":"subscribe","events":[]}', { type: "subscribe", events: [] }],
  ['{"type":"subscribe","events":["say","nonsense"]}', { type: "subscribe", events: ["say", "nonsense"] }],
  [
    '{"type":"permission_response","request_id":"p1","option_id":"yes"}',
    { type: "permission_response", requestId: "p1", answer: { optionId: "yes" } },
  ],
  ...(["allow", "allow_always", "reject", "reject_always"] as const).map((decision): [string, Command] => [
    `{"type":"permission_response","request_id":"p1","decision":"${decision}"}`,
    { type: "permission_response", requestId: "p1", answer: { decision } },
  ]),
  [
    '{"type":"permission_response","request_id":"p1","decision":"deny"}',
    { type: "permission_response", requestId: "p1", answer: { decision: "reject" } },
  ],
  ['{"type":"interrupt"}', { type: "interrupt", sessionId: undefined }],
  ['{"type":"interrupt","session_id":null}', { type: "interrupt", sessionId: undefined }],
  ['{"type":"interrupt","session_id":"mao"}', { type: "interrupt", sessionId: "mao" }],
];
for (const [text, command] of COMMANDS) {
  Deno.test(`parseCommand: ${text}`, () => assertEquals(parseCommand(text), command));
}

Deno.test("parseCommand: ignores unknown fields", () => {
  const { type } = parseCommand('{"id":1,"type":"ping","ts":0,"events":7}');
  assertEquals(type, "ping");
});

const REJECTED: readonly [name: string, text: string, code: string, part: string][] = [
  ["an empty text", "", "invalid_json", "JSON object"],
  ["an incomplete object", '{"type":"pin', "invalid_json", '{"type":"ping"}'],
  ["a bare word", "ping", "invalid_json", "JSON"],
  ["a list", "[]", "invalid_value", ""],
  ["null", "null", "invalid_value", ""],
  ["a string", '"ping"', "invalid_value", ""],
  ["no type", "{}", "invalid_value", "ping"],
  ["an unknown type", '{"type":"dance"}', "invalid_value", "hello, subscribe, ping"],
  ["a type in capitals", '{"type":"PING"}', "invalid_value", "ping"],
  ["a numeric type", '{"type":1}', "invalid_value", "type"],
  ["a subscription without events", '{"type":"subscribe"}', "invalid_value", '"events"'],
  ["a subscription to a string", '{"type":"subscribe","events":"say"}', "invalid_value", '"events"'],
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
    "an answer without an option or a decision",
    '{"type":"permission_response","request_id":"p"}',
    "invalid_value",
    '"option_id"',
  ],
  [
    "an answer with an option and a decision",
    '{"type":"permission_response","request_id":"p","option_id":"yes","decision":"allow"}',
    "invalid_value",
    "not both",
  ],
  [
    "an unknown decision",
    '{"type":"permission_response","request_id":"p","decision":"maybe"}',
    "invalid_value",
    "allow, allow_always, reject, reject_always",
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

Deno.test("parsePermissionAnswer: an answer and its sender", () => {
  const { client, answer } = parsePermissionAnswer({ option_id: "yes", client: " Mao " });
  assertEquals([client, answer], ["Mao", { optionId: "yes" }]);
  assertEquals(parsePermissionAnswer({ decision: "deny" }), {
    answer: { decision: "reject" },
    client: undefined,
  });
  assertEquals(parsePermissionAnswer({ decision: "allow_always", client: "" }).client, undefined);
});

for (
  const value of [null, [], "allow", {}, { option_id: "" }, { decision: 1 }, {
    option_id: "a",
    decision: "allow",
  }]
) {
  Deno.test(`parsePermissionAnswer: rejects ${JSON.stringify(value)}`, () => {
    assertEquals(assertThrows(() => parsePermissionAnswer(value), AppError).code, "invalid_value");
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
  ["Build done", undefined],
  [{}, "text"],
  [{ text: "" }, "text"],
  [{ text: " \n" }, "text"],
  [{ text: 1 }, "text"],
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

Deno.test("encodeFrame: one line of JSON with type and time first", () => {
  assertEquals(
    encodeFrame({ type: "agent_state", state: "idle" }, 1_700_000_000_999),
    '{"type":"agent_state","ts":1700000000,"state":"idle"}',
  );
  assertEquals(encodeFrame({ type: "pong" }, 0), '{"type":"pong","ts":0}');
  const frame = encodeFrame({ type: "notification", text: "a\nb\u2028c", urgency: "low" });
  assertEquals(frame.includes("\n"), false);
  assertEquals(Math.abs(JSON.parse(frame).ts - Date.now() / 1000) < 60, true);
});
