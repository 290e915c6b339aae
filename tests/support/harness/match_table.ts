/** What is expected of requests, as rows. @module */

import { assertEquals } from "@std/assert";
import { type Asked, type Ending, type Line, Room, talk } from "./fingerprint_fixture.ts";
import { assistant, user } from "./message_fixture.ts";

/** A request before the one in question, and how its turn ended. */
export type Step = readonly [ending: Ending, ...lines: Line[]];
/** A request after others, and what it is. */
export type Row = readonly [
  name: string,
  before: readonly Step[],
  request: string | readonly Line[],
  expected: Asked,
];

/** It is a conversation of its own. */
export const begins = (decision: "new" | "fork", of: number, ...news: string[]): Asked => ({
  decision,
  of,
  news,
  isAgain: false,
});
/** It goes on with a conversation. */
export const goesOn = (of: number, ...news: string[]): Asked => ({
  decision: "continue",
  of,
  news,
  isAgain: false,
});
/** It asks a conversation's last turn again. */
export const again = (of: number, news: string): Asked => ({
  decision: "continue",
  of,
  news: [news],
  isAgain: true,
});

/** An answer that proves nothing. */
export const OK = () => "ok";

/** A talk of so many turns, each answered so. */
export function steps(
  count: number,
  answer: (turn: number) => string,
  words = (turn: number) => `turn ${turn}`,
): Step[] {
  const said: Line[] = [];
  return Array.from({ length: count }, (_, turn) => {
    said.push(user(words(turn)));
    const step: Step = [answer(turn), ...said];
    said.push(assistant(answer(turn)));
    return step;
  });
}

/** Makes a test of each row. */
export function checkRows(part: string, rows: readonly Row[]): void {
  for (const [name, before, request, expected] of rows) {
    Deno.test(`match, ${part}: ${name}`, () => {
      const room = new Room();
      for (const [ending, ...lines] of before) room.ask(talk(...lines), ending);
      assertEquals(room.ask(talk(...typeof request === "string" ? [request] : request), "ok"), expected);
    });
  }
}
