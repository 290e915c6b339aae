/**
 * Section `matching`: the time that a request takes to its agent while its conversation has to be found among many, by
 * its messages. The same requests to a server without memory (`--sessions stateless`) show what matching adds.
 *
 * @module
 */

import { ChatConnection, orderText } from "./clients.ts";
import { type Program, startColumn } from "./programs.ts";
import {
  atMost,
  type Column,
  type Columns,
  difference,
  mapColumns,
  percentileMs,
  type Row,
} from "./report.ts";
import { type Context, noteIncomplete } from "./sections.ts";

/** Conversations that a server remembers at most. */
const CONVERSATIONS = 1_000;
/** Messages in a request, without the persona and the new message. */
const HISTORY = 40;
/** Longest time that matching may add. */
const ADDED_MS = 5;
const ORDER = { tokens: 1, everyMs: 1 };
const PERSONA = "You are Ani, a cheerful companion. Begin each sentence with a tag like [happy].";

/** Measures each server with memory and without. */
export async function matching({ checkouts, scale, note }: Context): Promise<Row[]> {
  const servers: Column[] = checkouts.against === undefined ? ["server"] : ["server", "against"];
  const measureMode = async (flags: string[]): Promise<Columns<number[]>> => {
    const delays: Partial<Record<Column, number[]>> = {};
    for (const column of servers) {
      await using program = await startColumn(column, checkouts, { flags });
      const result = await measure(program, scale.matches);
      noteIncomplete("matching", { [column]: [result] }, note);
      delays[column] = result.delays;
    }
    return delays;
  };
  const remembered = await measureMode([]);
  const stateless = await measureMode(["--sessions", "stateless"]);
  const figure = `${HISTORY} messages, ${CONVERSATIONS.toLocaleString("en")} conversations: request to agent`;
  return [0.5, 0.99].flatMap((part) => {
    const [withMemory, without] = [remembered, stateless].map((delays) =>
      mapColumns(delays, (micros) => percentileMs(micros, part))
    );
    const suffix = `p${part * 100}, ms`;
    return [
      { figure: `${figure} ${suffix}`, values: withMemory!, digits: 2 },
      { figure: `- without memory (stateless) ${suffix}`, values: without!, digits: 2 },
      {
        figure: `- memory adds ${suffix}`,
        values: mapColumns(withMemory!, (value, column) => difference(value, without![column])),
        digits: 2,
        ...part === 0.5 ? { target: atMost(ADDED_MS, "ms") } : {},
      },
    ];
  });
}

/** Starts all conversations, then continues them, each another than the one before. */
async function measure({ port }: Program, turns: number) {
  const delays: number[] = [];
  let incomplete = 0;
  let isMeasuring = false;
  using client = await ChatConnection.open(port, {
    token() {},
    prompt: (delay) => isMeasuring && delays.push(delay),
  });
  for (let i = 0; i < CONVERSATIONS + turns; i++) {
    isMeasuring = i >= CONVERSATIONS;
    const conversation = i % CONVERSATIONS;
    const turn = HISTORY / 2 + Math.floor(i / CONVERSATIONS);
    await client.request(ORDER, historyOf(conversation, turn), question(conversation, turn));
    if (!await client.finish(1)) incomplete++;
  }
  return { delays, incomplete };
}

/** The persona and the newest messages before a turn of a conversation. */
function historyOf(conversation: number, turn: number): object[] {
  const messages = Array.from({ length: turn }, (_, index) => [
    { role: "user", content: question(conversation, index) + orderText(ORDER) },
    { role: "assistant", content: `[happy] Fact ${index} of subject ${conversation} is a long story.` },
  ]).flat();
  return [{ role: "system", content: PERSONA }, ...messages.slice(-HISTORY)];
}

/** All conversations begin alike, as if their client sent a greeting. */
function question(conversation: number, turn: number): string {
  return turn < 2 ? `Greeting ${turn}\n` : `Tell me fact ${turn} of subject ${conversation}\n`;
}
