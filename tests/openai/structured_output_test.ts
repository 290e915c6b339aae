import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import {
  parseFormat,
  type ResponseFormat,
  withCorrection,
  withInstruction,
} from "../../lib/openai/structured_output.ts";

const OBJECT = parseFormat({ type: "json_object" })!;
const SCHEMA = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer", minimum: 0 } },
  required: ["name", "age"],
  additionalProperties: false,
};
const PERSON = parseFormat({
  type: "json_schema",
  json_schema: { name: "person", strict: true, schema: SCHEMA },
})!;
const LIST = parseFormat({
  type: "json_schema",
  json_schema: { name: "list", schema: { type: "array", items: { type: "number" } } },
})!;

for (const value of [undefined, null, { type: "text" }]) {
  Deno.test(`parseFormat: ${JSON.stringify(value)} is plain text`, () => {
    assertEquals(parseFormat(value), undefined);
  });
}

Deno.test("parseFormat: the agent is told to answer with JSON alone, and with which", () => {
  assertMatch(OBJECT.instruction, /one JSON object and nothing else/);
  assertEquals(PERSON.instruction.startsWith(OBJECT.instruction), true);
  assertEquals(PERSON.instruction.includes(JSON.stringify(SCHEMA)), true);
});

const FITS: [name: string, format: ResponseFormat, reply: string, json: string][] = [
  ["an object", OBJECT, '{"a":1}', '{"a":1}'],
  ["an empty object", OBJECT, "{}", "{}"],
  ["an object in lines", OBJECT, '{\n  "a": 1\n}\n', '{\n  "a": 1\n}'],
  ["an object in a fence", OBJECT, '```json\n{"a":1}\n```\n', '{"a":1}'],
  ["an object in a fence without a language", OBJECT, '```\n{"a":1}\n```', '{"a":1}'],
  ["words around an object", OBJECT, 'Here it is: {"a":[1]} Have fun!', '{"a":[1]}'],
  ["brackets inside of strings", OBJECT, '{"a":"}]{["}', '{"a":"}]{["}'],
  ["Japanese and emoji", OBJECT, '{"a":"語😀"}\n', '{"a":"語😀"}'],
  ["what fits a schema", PERSON, '{"name":"Mao","age":3}', '{"name":"Mao","age":3}'],
  ["what fits a schema, fenced", PERSON, '```json\n{"age":3,"name":"Mao"}\n```', '{"age":3,"name":"Mao"}'],
  ["a list, where a schema asks for one", LIST, "[1, 2.5]\n", "[1, 2.5]"],
  ["a list, fenced", LIST, "```json\n[]\n```", "[]"],
  ["an object after an emotion tag, which the persona asks for", OBJECT, '[happy] {"a":1}\n', '{"a":1}'],
];

for (const [name, format, reply, json] of FITS) {
  Deno.test(`check: ${name} is as asked for`, () => {
    assertEquals(format.check(reply), json);
    JSON.parse(format.check(reply));
  });
}

const FAILS: [name: string, format: ResponseFormat, reply: string, why: RegExp][] = [
  ["nothing", OBJECT, "", /no JSON/],
  ["words", OBJECT, "Sorry, I cannot.\n", /no JSON/],
  ["a number", OBJECT, "42", /no JSON/],
  ["brackets the wrong way round", OBJECT, "} {", /./],
  ["a list, where an object is asked for", OBJECT, "[1]", /./],
  ["half an object", OBJECT, '{"a":1', /./],
  ["two objects", OBJECT, '{"a":1}\n{"b":2}', /./],
  ["single quotes", OBJECT, "{'a':1}", /./],
  ["a comma too many", OBJECT, '{"a":1,}', /./],
  ["a field that is missing", PERSON, '{"name":"Mao"}', /age/],
  ["a field of another type", PERSON, '{"name":7,"age":3}', /name/],
  ["a number below the least", PERSON, '{"name":"Mao","age":-1}', /age/],
  ["a field too many", PERSON, '{"name":"Mao","age":3,"x":1}', /x/],
  ["an item of another type", LIST, '[1,"2"]', /1/],
  ["an object, where a list is asked for", LIST, '{"a":1}', /./],
];

for (const [name, format, reply, why] of FAILS) {
  Deno.test(`check: ${name} is not as asked for`, () => {
    const error: Error = assertThrows(() => format.check(reply), Error);
    assertMatch(error.message, why);
  });
}

const said = (role: Message["role"], text: string): Message => ({ role, parts: [{ type: "text", text }] });

Deno.test("withInstruction: said right before what the user said last", () => {
  const [persona, hi, hello, last] = [
    said("system", "Be kind."),
    said("user", "Hi"),
    said("assistant", "Hello"),
    said("user", "Give me JSON"),
  ] as const;
  const instruction = { ...said("system", OBJECT.instruction), isAdded: true };
  assertEquals(withInstruction([persona, hi, hello, last], OBJECT), [persona, hi, hello, instruction, last]);
  assertEquals(withInstruction([hi], OBJECT), [instruction, hi]);
  assertEquals(withInstruction([hi, said("assistant", "x")], OBJECT)[0], instruction);
});

Deno.test("withInstruction: where only a tool has answered, nothing is lost", () => {
  const messages = [said("assistant", "call"), said("tool", "42")];
  const asked = withInstruction(messages, OBJECT);
  assertEquals(asked.length, 3);
  assertEquals(asked.filter(({ role }) => role !== "system"), messages);
});

Deno.test("withComplaint: the reply, what is wrong with it, and what to do", () => {
  const asked = [said("user", "Give me JSON")];
  const [first, reply, complaint] = withCorrection(asked, "no", "it holds no JSON");
  assertEquals(first, asked[0]);
  assertEquals(reply, said("assistant", "no"));
  assertEquals(complaint?.role, "user");
  assertMatch(JSON.stringify(complaint), /it holds no JSON\. Answer again, with the JSON and nothing else/);
});
