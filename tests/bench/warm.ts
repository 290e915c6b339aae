/**
 * What a conversation that lasts saves: the time to the first token with an agent that is slow to start and slow to
 * open a session. The client is as most skins are: it sends all that was said with every turn, and names nothing.
 *
 * @module
 */

import { type Order, type Served, servedIn } from "./agent.ts";
import { relayWith, serverWith, type Start, start } from "./program.ts";
import { pause } from "./runs.ts";
import { atMost, median, ratioAtMost, type Row } from "./table.ts";

/** How much is measured. */
export interface WarmScale {
  /** Turns of the first conversation. */
  readonly turns: number;
  /** Conversations that follow it. */
  readonly others: number;
}

/** How long the agent takes to start, and to open a session. */
const START_MS = 2_000;
const SESSION_MS = 1_000;
/** How long after a turn a session is there that was made ahead. */
const AHEAD_MS = SESSION_MS + 300;
/** What a turn may take that waits for neither. */
const WARM_MS = 50;
/** When a turn is given up. */
const TURN_MS = 15_000;
/** Messages that the client sends, the newest. */
const WINDOW = 40;
const PERSONA = "You are Ani, a cheerful companion. Begin each sentence with a tag like [happy].";
const TOKENS = 5;

interface Message {
  readonly role: "user" | "assistant";
  readonly content: string;
}

/** One conversation, as the client keeps it. */
interface Talk {
  readonly port: number;
  readonly about: string;
  readonly messages: Message[];
}

/** One turn. */
interface Told extends Served {
  /** From the request to the first token. */
  readonly firstMs: number;
}

/** What each kind of turn took, in milliseconds. */
interface Times {
  readonly cold: number;
  /** Second turns, right after the first. */
  readonly second: number[];
  /** First turns when a session was made ahead. */
  readonly ahead: number[];
  /** Turns of a conversation whose session was closed. */
  readonly broughtBack: number[];
  /** Sessions that answered in the first conversation. */
  readonly sessions: number;
}

/** Measures the server, the server without memory, and the relay, side by side: they do little but wait. */
export async function warmTurns({ turns, others }: WarmScale, say: (text: string) => void): Promise<Row[]> {
  const slow = [`${START_MS}`, `${SESSION_MS}`];
  // With room for one session, each conversation closes that of the one before.
  const [lasting, stateless, relay] = await Promise.all([
    measure(serverWith(["--max-sessions", "1"], slow), turns, others, say),
    measure(serverWith(["--sessions", "stateless"], slow), turns, 0, say),
    measure(relayWith(slow), 2, 0, say),
  ]);
  say(`warm: the agent takes ${START_MS / 1000} s to start and ${SESSION_MS / 1000} s to open a session`);
  return [
    {
      figure: "first turn after the start: first token, ms",
      server: lasting.cold,
      relay: relay.cold,
      target: ratioAtMost(1.1),
    },
    {
      figure: "second turn of a conversation: first token, ms",
      server: median(lasting.second),
      relay: median(relay.second),
      digits: 1,
      target: atMost(WARM_MS, "ms"),
    },
    { figure: "- without memory (stateless), ms", server: median(stateless.second) },
    {
      figure: "first turn of another conversation: first token, ms",
      server: median(lasting.ahead),
      digits: 1,
      target: atMost(WARM_MS, "ms"),
    },
    {
      figure: "turn whose session was closed: first token, ms",
      server: median(lasting.broughtBack),
      digits: 1,
      target: atMost(WARM_MS, "ms"),
    },
    { figure: `${turns} turns of a conversation: sessions`, server: lasting.sessions, target: atMost(1) },
    { figure: "- without memory (stateless)", server: stateless.sessions },
  ];
}

async function measure(
  what: Start,
  turns: number,
  others: number,
  say: (text: string) => void,
): Promise<Times> {
  await using program = await start(what);
  const first = talk(program.port, "cats");
  const told = [await turn(first)];
  while (told.length < turns) told.push(await turn(first));
  const [cold, second] = told.map(({ firstMs }) => firstMs);
  const times: Times = {
    cold: cold!,
    second: [second!],
    ahead: [],
    broughtBack: [],
    sessions: new Set(told.map(({ session }) => session)).size,
  };
  for (let i = 1; i <= others; i++) {
    await pause(AHEAD_MS);
    const other = talk(program.port, `dogs, number ${i}`);
    const ahead = await turn(other);
    const next = await turn(other);
    const back = await turn(first);
    if (next.session !== ahead.session) say("warm: a second turn was answered in another session");
    if (back.broughtBack === next.broughtBack) say("warm: a session was not brought back, but opened anew");
    times.ahead.push(ahead.firstMs);
    times.second.push(next.firstMs);
    times.broughtBack.push(back.firstMs);
  }
  return times;
}

function talk(port: number, about: string): Talk {
  return { port, about, messages: [] };
}

/** Says the next thing and reads the whole answer. @throws {Error} if it is none. */
async function turn({ port, about, messages }: Talk): Promise<Told> {
  const order: Order = { tokens: TOKENS, everyMs: 1, firstMs: 0, phase: 0, tells: true };
  const question = `Tell me more about ${about}: fact ${messages.length / 2 + 1}`;
  messages.push({ role: "user", content: `${question}\n${JSON.stringify(order)}` });
  const askedAt = performance.now();
  let firstMs: number | undefined;
  let answer = "";
  for await (const piece of answerTo(port, messages.slice(-WINDOW))) {
    firstMs ??= performance.now() - askedAt;
    answer += piece;
  }
  const served = servedIn(answer);
  if (firstMs === undefined || served === undefined) throw new Error(`a turn was answered with: ${answer}`);
  messages.push({ role: "assistant", content: answer });
  return { firstMs, ...served };
}

/** The pieces of an answer, as they come. */
async function* answerTo(port: number, history: readonly Message[]): AsyncGenerator<string> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify({
      model: "bench",
      stream: true,
      messages: [{ role: "system", content: PERSONA }, ...history],
    }),
    signal: AbortSignal.timeout(TURN_MS),
  });
  if (!response.ok || !response.body) throw new Error(`a turn was answered with ${response.status}`);
  let begun = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (begun + text).split("\n\n");
    begun = events.pop() ?? "";
    for (const event of events) {
      if (event === "data: [DONE]") continue;
      const content = JSON.parse(event.slice("data: ".length)).choices[0]?.delta.content;
      if (content) yield content;
    }
  }
}
