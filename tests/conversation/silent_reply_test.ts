import { assertEquals } from "@std/assert";
import { isSilentReply } from "../../lib/conversation/message.ts";

const SILENT = [
  "",
  " \n\t",
  "[silent]",
  " [Silent]\n",
  "[SILENT].",
  "[silent]...",
  "[happy]",
  "[neutral] [silent]",
  "[neutral][silent]",
  "[neutral]\n[silent]\n",
  "[]",
  "()",
  "(says nothing)",
  "(沈黙)",
  "(two\nlines)",
  "[neutral] (...)",
  "[silent]. (looks away)\n",
];
const SPOKEN = [
  "ok",
  ".",
  "...",
  "…",
  "1",
  "🙂",
  "[silent] No.",
  "No. [silent]",
  "[silent] is what I am not.",
  "[silent",
  "silent]",
  "[two\nlines]",
  "[silent]!",
  "(smiles) Hi",
  "Hi (smiles)",
  "(a) (b)",
  "(a (b))",
  "(a) [happy]",
  "(smiles",
  "`[silent]`",
  "[link](address) and more",
];

for (const [which, isIt, replies] of [["nothing", true, SILENT], ["something", false, SPOKEN]] as const) {
  for (const reply of replies) {
    Deno.test(`isSilent: ${JSON.stringify(reply)} says ${which}`, () =>
      assertEquals(isSilentReply(reply), isIt));
  }
}

Deno.test("isSilent: a long answer is looked at no longer than it is", () => {
  for (const piece of [" ", "[silent]", "[silent] ", "[silent] . ", ".", "[", "(", "]"]) {
    assertEquals(isSilentReply(`${piece.repeat(100_000)}x`), false, JSON.stringify(piece));
  }
});
