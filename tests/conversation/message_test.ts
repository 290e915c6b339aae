import { assertEquals } from "@std/assert";
import { type Message, personaOf, textOf } from "../../lib/conversation/message.ts";
import { assistant, image, system, user } from "./said.ts";

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

const PERSONAS: readonly (readonly [string, readonly Message[], string])[] = [
  ["nobody spoke", [], ""],
  ["no system message", [user("hi")], ""],
  ["one", [system("Mao"), user("hi")], "Mao"],
  ["two", [system("Mao"), system("Be kind."), user("hi")], "Mao\n\nBe kind."],
  ["not the later ones", [system("Mao"), user("hi"), system("It is late."), user("ho")], "Mao"],
  ["only system messages", [system("Mao"), system("Be kind.")], "Mao\n\nBe kind."],
  ["an assistant first", [assistant("hi"), system("Mao")], ""],
];
for (const [name, messages, persona] of PERSONAS) {
  Deno.test(`personaOf: ${name}`, () => assertEquals(personaOf(messages), persona));
}
