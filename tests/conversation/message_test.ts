import { assertEquals } from "@std/assert";
import {
  cleanMessages,
  isSilentReply,
  isTurn,
  leading,
  type Message,
  speakerOf,
  textOf,
} from "../../lib/conversation/message.ts";
import { assistant, image, named, system, tool, user } from "../support/harness/message_fixture.ts";

Deno.test("textOf: the texts among the parts, one a line", () => {
  assertEquals(textOf(user("one", image(), "two")), "one\ntwo");
  assertEquals([textOf(user()), textOf(user(image()))], ["", ""]);
});

const LEADING: readonly (readonly [string, readonly Message[], number])[] = [
  ["no message", [], 0],
  ["no system message", [user("hi")], 0],
  ["one", [system("Mao"), user("hi")], 1],
  ["two", [system("Mao"), system("Be kind."), user("hi")], 2],
  ["without later ones", [system("Mao"), user("hi"), system("It is late."), user("ho")], 1],
  ["only system messages", [system("Mao"), system("Be kind.")], 2],
  ["an assistant first", [assistant("hi"), system("Mao")], 0],
];
for (const [name, messages, count] of LEADING) {
  Deno.test(`leading: ${name}`, () => assertEquals(leading(messages), count));
}

const SPEAKERS: readonly (readonly [message: Message, name: string | undefined])[] = [
  [assistant("Ann: Hello!"), "Ann"],
  [assistant("[happy] Ann Lee:\nHello!"), "Ann Lee"],
  [{ ...assistant("Hello!"), name: "Ann" }, "Ann"],
  [assistant("Hello! Ann: no"), undefined],
  [assistant("http://a.b"), undefined],
  [assistant("12:00 it is"), undefined],
  [assistant(""), undefined],
];
Deno.test("speakerOf: the name of a message, or the one before its text", () => {
  for (const [message, name] of SPEAKERS) assertEquals(speakerOf(message), name, textOf(message));
});

const FAILED = "Sorry, my agent stopped unexpectedly. Please try again.";
const CLEANED: readonly (readonly [name: string, message: Message, cleaned: Message | undefined])[] = [
  ["an empty system message", system(" \n"), undefined],
  ["a system message without text", system(), undefined],
  ["a system message", system("Mao"), system("Mao")],
  ["an empty user message", user(""), user("")],
  ["a sentence alone", assistant(FAILED), undefined],
  [
    "a sentence behind a reply",
    assistant(`[happy] On my way.\n${FAILED}\n`),
    assistant("[happy] On my way."),
  ],
  [
    "a sentence behind a reply without line breaks",
    assistant(`On my way.${FAILED}`),
    assistant("On my way."),
  ],
  ["a sentence of the user", user(FAILED), user(FAILED)],
  ["a reply that is like one", assistant("Sorry, my agent stopped."), assistant("Sorry, my agent stopped.")],
  ["an empty reply at the end", assistant(""), undefined],
  ["a call of a client's tool", { ...assistant("<tool_call>"), isToolCall: true }, {
    ...assistant("<tool_call>"),
    isToolCall: true,
  }],
];
Deno.test("cleanMessages: empty system messages and our own error sentences are removed", () => {
  for (const [name, message, cleaned] of CLEANED) {
    assertEquals(cleanMessages([message]), cleaned ? [cleaned] : [], name);
  }
});

Deno.test("isTurn: messages of users and tools are turns, others are not", () => {
  const turns = [user("hi"), named("Ann", "hi"), tool("clock", "12:00"), tool(undefined, ""), user()];
  assertEquals(turns.map(isTurn), turns.map(() => true));
  assertEquals([system("Mao"), assistant("hi")].map(isTurn), [false, false]);
});

const SILENT = [
  ...["", " \n\t", "[silent]", " [Silent]\n", "[SILENT].", "[silent]...", "[happy]", "[neutral][silent]"],
  ...["[neutral]\n[silent]\n", "[]", "()", "(says nothing)", "(two\nlines)", "[silent]. (looks away)\n"],
];
const SPOKEN = [
  ...[
    "ok",
    ".",
    "…",
    "1",
    "🙂",
    "[silent] No.",
    "No. [silent]",
    "[silent",
    "silent]",
    "[two\nlines]",
    "[silent]!",
  ],
  ...[
    "(smiles) Hi",
    "Hi (smiles)",
    "(a) (b)",
    "(a (b))",
    "(a) [happy]",
    "(smiles",
    "`[silent]`",
    "[link](a) and",
  ],
];

Deno.test("isSilentReply: signs and remarks alone are silent, anything else is not", () => {
  for (const reply of SILENT) assertEquals(isSilentReply(reply), true, JSON.stringify(reply));
  for (const reply of SPOKEN) assertEquals(isSilentReply(reply), false, JSON.stringify(reply));
});

Deno.test("isSilentReply: a long reply takes linear time", () => {
  for (const piece of [" ", "[silent]", "[silent] ", "[silent] . ", ".", "[", "(", "]"]) {
    assertEquals(isSilentReply(`${piece.repeat(100_000)}x`), false, JSON.stringify(piece));
  }
});
