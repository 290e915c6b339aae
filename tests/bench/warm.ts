/**
 * Section `warm`: the time that a remembered conversation saves, with an agent that is slow to start and slow to open a
 * session. The client sends its whole history with each turn and does not name the conversation, as most skins do.
 *
 * @module
 */

import { MARK, parseSessionReport, type SessionReport } from "./agent.ts";
import { orderText } from "./clients.ts";
import { startColumn } from "./programs.ts";
import { atMost, type Column, type Columns, mapColumns, median, ratioAtMost, type Row } from "./report.ts";
import { type Context, pause } from "./sections.ts";

/** The agent's delays. */
const START_MS = 2_000;
const SESSION_MS = 1_000;
/** Time after a turn until a session is open in advance. */
const ADVANCE_MS = SESSION_MS + 300;
/** Longest time to the first token of a turn that needs neither. */
const WARM_MS = 50;
const TURN_MS = 15_000;
/** Messages in a request, without the persona. */
const WINDOW = 40;
const PERSONA = "You are Ani, a cheerful companion. Begin each sentence with a tag like [happy].";
const TOKENS = 5;

interface Message {
  readonly role: "user" | "assistant";
  readonly content: string;
}

interface Conversation {
  readonly port: number;
  readonly topic: string;
  readonly messages: Message[];
}

interface MeasuredTurn extends SessionReport {
  /** Time from the request to the first token. */
  readonly firstMs: number;
}

/** Times to the first token, in milliseconds. */
interface Times {
  readonly cold: number;
  /** Second turns, right after the first. */
  readonly second: number[];
  /** First turns with a session that was opened in advance. */
  readonly advance: number[];
  /** Turns of a conversation whose session was closed. */
  readonly resumed: number[];
  /** Sessions of the first conversation. */
  readonly sessions: number;
}

/** Measures all programs at the same time, because they mostly wait. */
export async function warmTurns({ checkouts, scale: { warm }, note }: Context): Promise<Row[]> {
  const agentArgs = [`${START_MS}`, `${SESSION_MS}`];
  const run = (column: Column, flags: string[], turns: number, others: number) =>
    measure(() => startColumn(column, checkouts, { agentArgs, flags }), turns, others, note);
  const servers: Column[] = checkouts.against === undefined ? ["server"] : ["server", "against"];
  const runs = servers.map((column) => [
    // With room for one session, each conversation closes the session of the one before.
    run(column, ["--max-sessions", "1"], warm.turns, warm.others),
    run(column, ["--sessions", "stateless"], warm.turns, 0),
  ]);
  const relay = await run("relay", [], 2, 0);
  const results = await Promise.all(runs.map((both) => Promise.all(both)));
  const byColumn = (index: number): Columns<Times> =>
    Object.fromEntries(servers.map((column, at) => [column, results[at]![index]!]));
  const [remembered, stateless] = [byColumn(0), byColumn(1)];
  note(`warm: the agent takes ${START_MS / 1000} s to start and ${SESSION_MS / 1000} s to open a session`);
  const target = atMost(WARM_MS, "ms");
  return [
    {
      figure: "first turn after the start: first token, ms",
      values: { ...mapColumns(remembered, ({ cold }) => cold), relay: relay.cold },
      target: ratioAtMost(1.1),
    },
    {
      figure: "second turn of a conversation: first token, ms",
      values: { ...mapColumns(remembered, ({ second }) => median(second)), relay: median(relay.second) },
      digits: 1,
      target,
    },
    {
      figure: "- without memory (stateless), ms",
      values: mapColumns(stateless, ({ second }) => median(second)),
    },
    {
      figure: "first turn of another conversation: first token, ms",
      values: mapColumns(remembered, ({ advance }) => median(advance)),
      digits: 1,
      target,
    },
    {
      figure: "turn whose session was closed: first token, ms",
      values: mapColumns(remembered, ({ resumed }) => median(resumed)),
      digits: 1,
      target,
    },
    {
      figure: `${warm.turns} turns of a conversation: sessions`,
      values: mapColumns(remembered, ({ sessions }) => sessions),
      target: atMost(1),
    },
    { figure: "- without memory (stateless)", values: mapColumns(stateless, ({ sessions }) => sessions) },
  ];
}

async function measure(
  start: () => ReturnType<typeof startColumn>,
  turns: number,
  others: number,
  note: (text: string) => void,
): Promise<Times> {
  await using program = await start();
  const begin = (topic: string): Conversation => ({ port: program.port, topic, messages: [] });
  const first = begin("cats");
  const measured: MeasuredTurn[] = [];
  while (measured.length < turns) measured.push(await runTurn(first));
  const times: Times = {
    cold: measured[0]!.firstMs,
    second: [measured[1]!.firstMs],
    advance: [],
    resumed: [],
    sessions: new Set(measured.map(({ session }) => session)).size,
  };
  for (let i = 1; i <= others; i++) {
    await pause(ADVANCE_MS);
    const other = begin(`dogs, number ${i}`);
    const [opening, second, resumed] = [await runTurn(other), await runTurn(other), await runTurn(first)];
    if (second.session !== opening.session) note("warm: a second turn ran in another session");
    if (resumed.resumed === second.resumed) note("warm: a session was opened anew instead of resumed");
    times.advance.push(opening.firstMs);
    times.second.push(second.firstMs);
    times.resumed.push(resumed.firstMs);
  }
  return times;
}

/** Sends the next message and reads the whole reply. */
async function runTurn({ port, topic, messages }: Conversation): Promise<MeasuredTurn> {
  const order = orderText({ tokens: TOKENS, everyMs: 1, reportsSession: true });
  const question = `Tell me more about ${topic}: fact ${messages.length / 2 + 1}`;
  messages.push({ role: "user", content: `${question}\n${order}` });
  const startedAt = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify({
      model: "bench",
      stream: true,
      messages: [{ role: "system", content: PERSONA }, ...messages.slice(-WINDOW)],
    }),
    signal: AbortSignal.timeout(TURN_MS),
  });
  let firstMs: number | undefined;
  let stream = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    stream += text;
    if (stream.includes(MARK)) firstMs ??= performance.now() - startedAt;
  }
  const report = parseSessionReport(stream);
  if (firstMs === undefined || report === undefined) throw new Error(`a turn has this reply: ${stream}`);
  const pieces = stream.matchAll(/"content":("(?:[^"\\]|\\.)*")/g);
  messages.push({ role: "assistant", content: [...pieces].map(([, piece]) => JSON.parse(piece!)).join("") });
  return { firstMs, ...report };
}
