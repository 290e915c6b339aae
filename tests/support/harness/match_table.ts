/** The expected decisions about requests, as rows. @module */

import { assertEquals } from "@std/assert";
import {
  MatchHarness,
  messagesOf,
  type RequestResult,
  type TranscriptLine,
  type TurnEnd,
} from "./fingerprint_fixture.ts";
import { assistant, user } from "./message_fixture.ts";

/** An earlier request, and how its turn ended. */
export type Step = readonly [end: TurnEnd, ...lines: TranscriptLine[]];
/** A request after others, and the decision about it. */
export type Row = readonly [
  name: string,
  earlier: readonly Step[],
  request: string | readonly TranscriptLine[],
  expected: RequestResult,
];

/** The request starts a conversation. */
export const starts = (decision: "new" | "fork", conversation: number, ...sent: string[]): RequestResult => ({
  decision,
  conversation,
  sent,
  isRetry: false,
});
/** The request continues a conversation. */
export const continues = (conversation: number, ...sent: string[]): RequestResult => ({
  decision: "continue",
  conversation,
  sent,
  isRetry: false,
});
/** The request sends a conversation's last turn again. */
export const retries = (conversation: number, sent: string): RequestResult => ({
  ...continues(conversation, sent),
  isRetry: true,
});

/** A reply that is not distinctive. */
export const SHORT_REPLY = () => "ok";

/** Makes the requests of a conversation of so many turns. */
export function steps(
  count: number,
  reply: (turn: number) => string,
  words = (turn: number) => `turn ${turn}`,
): Step[] {
  const history: TranscriptLine[] = [];
  return Array.from({ length: count }, (_, turn) => {
    history.push(user(words(turn)));
    const step: Step = [reply(turn), ...history];
    history.push(assistant(reply(turn)));
    return step;
  });
}

/** Registers a test for each row. */
export function testMatches(part: string, rows: readonly Row[]): void {
  for (const [name, earlier, request, expected] of rows) {
    Deno.test(`match, ${part}: ${name}`, () => {
      const harness = new MatchHarness();
      for (const [end, ...lines] of earlier) harness.send(messagesOf(...lines), end);
      const lines = typeof request === "string" ? [request] : request;
      assertEquals(harness.send(messagesOf(...lines), "ok"), expected);
    });
  }
}
