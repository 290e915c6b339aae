import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import {
  extractJson,
  parseFormat,
  requireUsableSchema,
  type ResponseFormat,
  withInstruction,
} from "../../lib/openai/structured_output.ts";

const SCHEMA = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer", minimum: 0 } },
  required: ["name", "age"],
  additionalProperties: false,
};
const schemaFormat = (schema: unknown) => ({
  type: "json_schema",
  json_schema: { name: "x", strict: true, schema },
});
const OBJECT = parseFormat({ type: "json_object" })!;
const PERSON = parseFormat(schemaFormat(SCHEMA))!;
const LIST = parseFormat(schemaFormat({ type: "array", items: { type: "number" } }))!;

for (const value of [undefined, null, { type: "text" }]) {
  Deno.test(`parseFormat: ${JSON.stringify(value)} is text`, () =>
    assertEquals(parseFormat(value), undefined));
}

Deno.test("parseFormat: the instruction asks for JSON alone, and contains the schema", () => {
  assertMatch(OBJECT.instruction, /one JSON object and nothing else/);
  assertEquals(PERSON.instruction.startsWith(OBJECT.instruction), true);
  assertEquals(PERSON.instruction.includes(JSON.stringify(SCHEMA)), true);
});

const FIELD = "response_format";
const REFUSED: [code: ErrorCode, param: string, value: unknown][] = [
  ["unsupported_value", FIELD, "json_object"],
  ["unsupported_value", `${FIELD}.type`, { type: "xml" }],
  ["unsupported_value", `${FIELD}.type`, {}],
  ["unsupported_value", `${FIELD}.json_schema.name`, { type: "json_schema", json_schema: { schema: {} } }],
  ["missing_required_parameter", `${FIELD}.json_schema.schema`, schemaFormat(undefined)],
  ["missing_required_parameter", `${FIELD}.json_schema.schema`, { type: "json_schema" }],
  ["invalid_value", `${FIELD}.json_schema.schema`, schemaFormat({ description: "x".repeat(64 * 1024) })],
];
for (const [code, param, value] of REFUSED) {
  Deno.test(`parseFormat: ${JSON.stringify(value).slice(0, 60)} is refused`, () => {
    const error = assertThrows(() => parseFormat(value), AppError);
    assertEquals([error.code, error.param], [code, param], error.message);
  });
}

Deno.test("parseFormat: text.format has the schema beside its name, and errors name it", async () => {
  const parse = (schema: unknown) => parseFormat({ type: "json_schema", name: "x", schema }, "text.format")!;
  const person = parse(SCHEMA);
  assertEquals(person, { ...PERSON, field: "text.format", isStrict: false });
  const unusable = parse({ type: "unheard-of" });
  const schemaError = await assertRejects(() => requireUsableSchema(unusable, NEVER), AppError);
  assertEquals(schemaError.param, "text.format.schema");
  const outputError = await assertRejects(() => extractJson(person, "Sorry.", false, NEVER), AppError);
  assertEquals([outputError.code, outputError.param], ["invalid_output", "text.format"]);
});

const NEVER = new AbortController().signal;

Deno.test("requireUsableSchema: refuses a schema that cannot be used", async () => {
  await requireUsableSchema(PERSON, NEVER);
  await requireUsableSchema(OBJECT, NEVER);
  const format = parseFormat(schemaFormat({ type: "unheard-of" }))!;
  const error = await assertRejects(() => requireUsableSchema(format, NEVER), AppError, "unheard-of");
  assertEquals([error.code, error.param], ["invalid_value", `${FIELD}.json_schema.schema`]);
});

const MATCHES: [name: string, format: ResponseFormat, reply: string, json: string][] = [
  ["an object", OBJECT, '{"a":1}', '{"a":1}'],
  ["an object in lines", OBJECT, '{\n  "a": 1\n}\n', '{\n  "a": 1\n}'],
  ["an object in a fence", OBJECT, '```json\n{"a":1}\n```\n', '{"a":1}'],
  ["an object among words", OBJECT, 'Here it is: {"a":[1]} Have fun!', '{"a":[1]}'],
  ["brackets in strings", OBJECT, '{"a":"}]{["}', '{"a":"}]{["}'],
  ["an object that matches a schema", PERSON, '{"name":"Mao","age":3}', '{"name":"Mao","age":3}'],
  ["a list that matches a schema", LIST, "[1, 2.5]\n", "[1, 2.5]"],
  ["an object after the persona's emotion tag", OBJECT, '[happy] {"a":1}\n', '{"a":1}'],
];
for (const [name, format, reply, json] of MATCHES) {
  Deno.test(`extractJson: ${name}`, async () => {
    for (const isCancelled of [false, true]) {
      assertEquals(await extractJson(format, reply, isCancelled, NEVER), json);
    }
    JSON.parse(json);
  });
}

const MISMATCHES: [name: string, format: ResponseFormat, reply: string, fault: RegExp][] = [
  ["nothing", OBJECT, "", /no JSON/],
  ["words", OBJECT, "Sorry, I cannot.\n", /no JSON/],
  ["brackets the wrong way round", OBJECT, "} {", /no JSON/],
  ["a list in place of an object", OBJECT, "[1]", /no object/],
  ["a million brackets", OBJECT, "[".repeat(1_000_000) + "]", /nested deeper than 64 levels/],
  ["half an object", OBJECT, '{"a":1', /no JSON/],
  ["two objects", OBJECT, '{"a":1}\n{"b":2}', /not valid JSON/],
  ["a trailing comma", OBJECT, '{"a":1,}', /not valid JSON/],
  ["a missing field", PERSON, '{"name":"Mao"}', /age/],
  ["a field of another type", PERSON, '{"name":7,"age":3}', /name/],
  ["an additional field", PERSON, '{"name":"Mao","age":3,"x":1}', /x/],
  ["an item of another type", LIST, '[1,"2"]', /1/],
];
for (const [name, format, reply, fault] of MISMATCHES) {
  Deno.test(`extractJson: ${name} is invalid output`, async () => {
    const error = await assertRejects(() => extractJson(format, reply, false, NEVER), AppError);
    assertEquals([error.code, error.param, error.prompted], ["invalid_output", FIELD, true]);
    assertMatch(error.message, fault);
    const cancelled = await assertRejects(() => extractJson(format, reply, true, NEVER), AppError);
    assertEquals([cancelled.code, cancelled.prompted], ["turn_cancelled", true]);
  });
}

const message = (role: Message["role"], text: string): Message => ({ role, parts: [{ type: "text", text }] });

Deno.test("withInstruction: goes before the last user message", () => {
  const chat = [message("system", "Be kind."), message("user", "Hi"), message("assistant", "Hello")];
  const last = message("user", "Give me JSON");
  const instruction = { ...message("system", OBJECT.instruction), isAdded: true };
  assertEquals(withInstruction([...chat, last], OBJECT), [...chat, instruction, last]);
  assertEquals(withInstruction([last], OBJECT), [instruction, last]);
  assertEquals(withInstruction([last, chat[2]!], OBJECT)[0], instruction);
  assertEquals(withInstruction([chat[0]!], OBJECT), [chat[0], instruction]);
});

Deno.test("withInstruction: keeps every message if only a tool has answered", () => {
  const messages = [message("assistant", "call"), message("tool", "42")];
  const instructed = withInstruction(messages, OBJECT);
  assertEquals([instructed.length, instructed.filter(({ role }) => role !== "system")], [3, messages]);
});
