import { assertEquals } from "@std/assert";
import { isTurn, leading, type Message, textOf } from "../../lib/conversation/message.ts";
import { assistant, image, named, system, tool, user } from "../support/harness/message_fixture.ts";

const TEXTS: readonly (readonly [Message, string])[] = [
  [user(), ""],
  [user("one"), "one"],
  [user("one", "two"), "one\ntwo"],
  [user("one", image(), "two"), "one\ntwo"],
  [user(image()), ""],
];
for (const [message, text] of TEXTS) {
  Deno.test(`textOf: ${message.parts.map((part) => part.type).join(", ") || "nothing"}`, () => {
    assertEquals(textOf(message), text);
  });
}

const LEADING: readonly (readonly [string, readonly Message[], number])[] = [
  ["nobody spoke", [], 0],
  ["no system message", [user("hi")], 0],
  ["one", [system("Mao"), user("hi")], 1],
  ["two", [system("Mao"), system("Be kind."), user("hi")], 2],
  ["not the later ones", [system("Mao"), user("hi"), system("It is late."), user("ho")], 1],
  ["only system messages", [system("Mao"), system("Be kind.")], 2],
  ["an assistant first", [assistant("hi"), system("Mao")], 0],
];
for (const [name, messages, count] of LEADING) {
  Deno.test(`leading: ${name}`, () => assertEquals(leading(messages), count));
}

Deno.test("isTurn: users and tools are answered, the others are not", () => {
  const turns = [user("hi"), named("Ann", "hi"), tool("clock", "12:00"), tool(undefined, ""), user()];
  assertEquals(turns.map(isTurn), turns.map(() => true));
  assertEquals([system("Mao"), assistant("hi")].map(isTurn), [false, false]);
});
