/** What is measured. Each section starts the server and the relay and measures them in turns. @module */

import { type Ask, Client, type Listener } from "./client.ts";
import { fanOut, type FanOutScale } from "./fanout.ts";
import { matching } from "./matching.ts";
import { type Program, RELAY, SERVER, start } from "./program.ts";
import { type Both, inTurns, medians, milliseconds, pause, spent } from "./runs.ts";
import { startUp } from "./startup.ts";
import { atMost, ratioAtLeast, ratioAtMost, type Row } from "./table.ts";
import { type WarmScale, warmTurns } from "./warm.ts";

/** How much is measured. */
export interface Scale {
  /** Runs of each program, of which the median counts. */
  readonly runs: number;
  /** Tokens of a flood, over all streams. */
  readonly floodTokens: number;
  /** How long paced streams are watched. */
  readonly pacedMs: number;
  readonly firstTokens: number;
  /** Turns of the two long runs, each with its memory. */
  readonly turns: readonly number[];
  readonly starts: number;
  /** Turns of each program before it is measured. */
  readonly warmTurns: number;
  /** How long a program is left alone before its memory is looked at. */
  readonly settleMs: number;
  readonly fanOut: FanOutScale;
  readonly warm: WarmScale;
  /** Turns that are matched in this process. */
  readonly matched: number;
}

/** The usual scale: about four minutes on two slow cores. */
export const FULL: Scale = {
  runs: 3,
  floodTokens: 150_000,
  pacedMs: 2_000,
  firstTokens: 50,
  turns: [2_000, 5_000, 10_000],
  starts: 5,
  warmTurns: 500,
  settleMs: 1_000,
  fanOut: { runs: 3, floodFrames: 150_000, pacedMs: 1_300, settleMs: 1_000 },
  warm: { turns: 10, others: 5 },
  matched: 500,
};
/** A short look: about a minute. */
export const QUICK: Scale = {
  runs: 1,
  floodTokens: 60_000,
  pacedMs: 600,
  firstTokens: 20,
  turns: [250, 500, 1_000],
  starts: 2,
  warmTurns: 150,
  settleMs: 250,
  fanOut: { runs: 1, floodFrames: 40_000, pacedMs: 800, settleMs: 250 },
  warm: { turns: 3, others: 1 },
  matched: 150,
};

/** Measures something, and says on the way what should be known of it. */
export type Section = (scale: Scale, say: (text: string) => void) => Promise<Row[]>;

/** The sections, by name. */
export const SECTIONS: Readonly<Record<string, Section>> = {
  flood,
  paced,
  first,
  warm: (scale, say) => warmTurns(scale.warm, say),
  matching: ({ matched }) => matching(matched),
  thousand,
  idle,
  turns: (scale, say) => memory("short", scale, say),
  aborts: (scale, say) => memory("aborted", scale, say),
  start: ({ starts }, say) => startUp(starts, say),
  fanout: (scale, say) => fanOut(scale.fanOut, say),
};

/** Streams of the flood, and of the paced runs. */
const FLOOD_STREAMS = [1, 16, 256];
const PACED_STREAMS = [64, 256];
const PACED_EVERY_MS = 10;
/** When their tokens fall due: all together, which are many tokens a read, or evenly spread, which is one a read. */
const PHASES = ["in step", "spread"] as const;
/** Streams that are open at once, and the tokens of each. */
const MANY_STREAMS = 1_000;
const MANY_TOKENS = 20;
/** Turns that run at once in the long runs. */
const CHURN = 32;
/** Time for opening one stream when many must be open before the first token. */
const OPENING_MS = 2;

async function flood(scale: Scale, say: (text: string) => void): Promise<Row[]> {
  await using server = await warm(SERVER, scale);
  await using relay = await warm(RELAY, scale);
  const speeds: Row[] = [];
  const costs: Row[] = [];
  for (const streams of FLOOD_STREAMS) {
    const tokens = Math.ceil(scale.floodTokens / streams);
    const runs = await inTurns(
      scale.runs,
      { server, relay },
      (program) => floodOnce(program, streams, tokens),
    );
    sayIncomplete(`flood of ${streams}`, runs, say);
    speeds.push({
      figure: `flood, ${streams} ${streams === 1 ? "stream" : "streams"}: tokens per second`,
      ...medians(runs, (run) => run.perSecond),
      target: ratioAtLeast(0.8),
    });
    costs.push({
      figure: `flood, ${streams} ${streams === 1 ? "stream" : "streams"}: CPU per token, µs`,
      ...medians(runs, (run) => run.micros),
      digits: 1,
    });
  }
  return [...speeds, ...costs];
}

async function floodOnce(program: Program, streams: number, tokens: number) {
  let firstAt = Infinity;
  const openMs = 200 + streams * OPENING_MS;
  const beginning = performance.now() + openMs;
  const clients = await connectAll(program, streams);
  let before: number | undefined;
  const measuring = pause(beginning - performance.now() - 10).then(() => before = program.cpuMicros());
  const whole = await Promise.all(clients.map((client) =>
    attempt(async () => {
      await client.ask({ tokens, everyMs: 0, firstMs: Math.max(0, beginning - performance.now()) });
      await client.until(1);
      firstAt = Math.min(firstAt, performance.now());
      return await client.finish(tokens);
    })
  ));
  const seconds = (performance.now() - firstAt) / 1000;
  await measuring;
  const received = clients.reduce((sum, client) => sum + client.tokens, 0);
  return {
    perSecond: received / seconds,
    micros: spent(before, program.cpuMicros(), received),
    incomplete: closeAll(clients, whole),
  };
}

async function paced(scale: Scale, say: (text: string) => void): Promise<Row[]> {
  await using server = await warm(SERVER, scale);
  await using relay = await warm(RELAY, scale);
  const costs: Row[] = [];
  const delays: Row[] = [];
  for (const streams of PACED_STREAMS) {
    for (const phase of PHASES) {
      const runs = await inTurns(
        scale.runs,
        { server, relay },
        (program) => pacedOnce(program, streams, phase, scale.pacedMs),
      );
      sayIncomplete(`${streams} paced`, runs, say);
      const figure = `${streams} streams of 100 tokens/s, ${phase}`;
      costs.push({
        figure: `${figure}: CPU per token, µs`,
        ...medians(runs, (run) => run.micros),
        digits: 1,
        target: ratioAtMost(1.3),
      });
      for (const part of [0.5, 0.99]) {
        delays.push({
          figure: `${figure}: delay p${part * 100}, ms`,
          ...medians(runs, (run) => milliseconds(run.delays, part)),
          digits: 2,
          ...streams === 64 && part === 0.99 ? { target: atMost(5, "ms") } : {},
        });
      }
    }
  }
  return [...costs, ...delays];
}

async function pacedOnce(
  program: Program,
  streams: number,
  phase: (typeof PHASES)[number],
  watchMs: number,
) {
  const settleMs = 400;
  const delays: number[] = [];
  let watched = false;
  const listener: Listener = { token: (delay) => watched && delays.push(delay) };
  const tokens = Math.ceil((watchMs + 2 * settleMs + streams * OPENING_MS) / PACED_EVERY_MS);
  const clients = await connectAll(program, streams, listener);
  const received = () => clients.reduce((sum, client) => sum + client.tokens, 0);
  const asked = clients.map((client, index) =>
    attempt(async () => {
      await client.ask({
        tokens,
        everyMs: PACED_EVERY_MS,
        phase: phase === "spread" ? index / streams : 0,
      });
      return true;
    })
  );
  const opened = Promise.all(asked);
  const reading = Promise.all(
    clients.map((client, index) => attempt(async () => await asked[index]! && await client.finish(tokens))),
  );
  await opened;
  await pause(settleMs);
  const before = { cpu: program.cpuMicros(), tokens: received() };
  watched = true;
  await pause(watchMs);
  watched = false;
  const micros = spent(before.cpu, program.cpuMicros(), received() - before.tokens);
  return { micros, delays, incomplete: closeAll(clients, await reading) };
}

async function first(scale: Scale, say: (text: string) => void): Promise<Row[]> {
  await using server = await warm(SERVER, scale);
  await using relay = await warm(RELAY, scale);
  const runs = await inTurns(
    scale.runs,
    { server, relay },
    (program) => firstOnce(program, scale.firstTokens),
  );
  sayIncomplete("first tokens", runs, say);
  const rows: Row[] = [];
  for (const part of [0.5, 0.99]) {
    rows.push({
      figure: `first token: delay p${part * 100}, ms`,
      ...medians(runs, (run) => milliseconds(run.after, part)),
      digits: 2,
      target: atMost(5, "ms"),
    });
  }
  for (const part of [0.5, 0.99]) {
    rows.push({
      figure: `request to agent: delay p${part * 100}, ms`,
      ...medians(runs, (run) => milliseconds(run.before, part)),
      digits: 2,
    });
  }
  return rows;
}

/** The head of the answer goes out well before its first token, which must not wait for the head's acknowledgement. */
async function firstOnce(program: Program, requests: number) {
  const before: number[] = [];
  const after: number[] = [];
  let delays: number[] = [];
  const listener = {
    token: (delay: number) => delays.push(delay),
    asked: (delay: number) => before.push(delay),
  };
  const clients = await connectAll(program, 1, listener);
  const client = clients[0]!;
  const whole: boolean[] = [];
  for (let i = 0; i < requests; i++) {
    delays = [];
    whole.push(
      await attempt(async () => {
        await client.ask({ tokens: 3, everyMs: 1, firstMs: 15 });
        return await client.finish(3);
      }),
    );
    if (delays[0] !== undefined) after.push(delays[0]);
  }
  return { before, after, incomplete: closeAll(clients, whole) };
}

async function thousand(scale: Scale, _say: (text: string) => void): Promise<Row[]> {
  await using server = await warm(SERVER, scale);
  await using relay = await warm(RELAY, scale);
  const { server: [mine], relay: [bare] } = await inTurns(1, { server, relay }, manyOnce);
  const streams = `${MANY_STREAMS.toLocaleString("en")} streams at once`;
  return [
    {
      figure: `${streams}, ${MANY_TOKENS} tokens each: failed or incomplete`,
      server: mine?.incomplete,
      relay: bare?.incomplete,
      target: atMost(0),
    },
    { figure: `${streams}: ms until all are open`, server: mine?.openMs, relay: bare?.openMs },
  ];
}

async function manyOnce(program: Program) {
  const startedAt = performance.now();
  const beginning = startedAt + 500 + MANY_STREAMS * OPENING_MS;
  let openMs = 0;
  const whole = await Promise.all(Array.from({ length: MANY_STREAMS }, () =>
    attempt(async () => {
      using client = await Client.connect(program.port);
      const firstMs = Math.max(0, beginning - performance.now());
      await client.ask({ tokens: MANY_TOKENS, everyMs: 50, firstMs });
      openMs = performance.now() - startedAt;
      return await client.finish(MANY_TOKENS);
    })));
  return { openMs, incomplete: whole.filter((ok) => !ok).length };
}

async function idle(scale: Scale, say: (text: string) => void): Promise<Row[]> {
  await using server = await warm(SERVER, scale, true);
  await using relay = await warm(RELAY, scale, true);
  const runs = await inTurns(1, { server, relay }, (program) => idleOnce(program, scale.settleMs));
  sayIncomplete("idle streams", runs, say);
  const streams = `${MANY_STREAMS.toLocaleString("en")} idle streams`;
  return [
    { figure: "memory of the idle program, MB", ...medians(runs, (run) => run.rss) },
    { figure: `${streams}: memory per stream, KB`, ...medians(runs, (run) => run.rssKb) },
    { figure: `${streams}: heap per stream, collected, KB`, ...medians(runs, (run) => run.heapKb) },
  ];
}

async function idleOnce(program: Program, settleMs: number) {
  const heap = await program.heapMb();
  await pause(settleMs);
  const rss = program.rssMb();
  const clients = await connectAll(program, MANY_STREAMS);
  const order: Ask = { tokens: 1, everyMs: 1, firstMs: 600_000 };
  const whole = await Promise.all(
    clients.map((client) => attempt(async () => (await client.ask(order), true))),
  );
  await pause(settleMs);
  const busy = program.rssMb();
  const perStream = (before: number, after: number) => (after - before) * 1024 / MANY_STREAMS;
  return {
    rss,
    rssKb: rss === undefined || busy === undefined ? undefined : perStream(rss, busy),
    heapKb: perStream(heap, await program.heapMb()),
    incomplete: closeAll(clients, whole),
  };
}

/** Memory is looked at when the garbage was collected: until it must, the engine takes more and gives nothing back. */
async function memory(
  kind: "short" | "aborted",
  scale: Scale,
  say: (text: string) => void,
): Promise<Row[]> {
  const { turns } = scale;
  await using server = await warm(SERVER, scale, true);
  await using relay = await warm(RELAY, scale, true);
  const rows: Row[] = [];
  const looks: Both<{ rss: number | undefined; heap: number; incomplete: number }>[] = [];
  let done = 0;
  for (const count of turns) {
    const runs = await inTurns(1, { server, relay }, async (program) => {
      const incomplete = await churn(program, count - done, kind === "aborted");
      await pause(scale.settleMs);
      return { incomplete, heap: await program.heapMb(), rss: program.rssMb() };
    });
    done = count;
    sayIncomplete(`${kind} turns`, runs, say);
    const look = { server: runs.server[0]!, relay: runs.relay[0]! };
    looks.push(look);
    rows.push({
      figure: `${count.toLocaleString("en")} ${kind} turns: memory, MB`,
      server: look.server.rss,
      relay: look.relay.rss,
    });
  }
  const [first, last] = [looks[0]!, looks.at(-1)!];
  const growth = (before: number | undefined, after: number | undefined) =>
    before === undefined || after === undefined ? undefined : after - before;
  const since = `${kind} turns ${turns[0]?.toLocaleString("en")} to ${turns.at(-1)?.toLocaleString("en")}`;
  for (const what of ["rss", "heap"] as const) {
    rows.push({
      figure: `${since}: growth of ${what === "rss" ? "memory" : "the heap"}, MB`,
      server: growth(first.server[what], last.server[what]),
      relay: growth(first.relay[what], last.relay[what]),
      digits: 1,
      target: atMost(10, "MB"),
    });
  }
  return rows;
}

/** So many turns, some at a time, which either end or are left after their first token; how many went wrong. */
async function churn(program: Program, count: number, aborted: boolean): Promise<number> {
  let next = 0;
  let wrong = 0;
  const worker = async (client: Client) => {
    while (next++ < count) {
      const ok = await attempt(async () => {
        if (aborted) {
          using leaving = await Client.connect(program.port);
          await leaving.ask({ tokens: 1_000, everyMs: 5 });
          await leaving.until(1);
          return leaving.tokens > 0;
        }
        await client.ask({ tokens: 3, everyMs: 0 });
        return await client.finish(3);
      });
      if (!ok) wrong++;
    }
  };
  const clients = await connectAll(program, CHURN);
  await Promise.all(clients.map(worker));
  for (const client of clients) client.close();
  return wrong;
}

/** Starts a program and lets it run in. */
async function warm(what: typeof SERVER, { warmTurns }: Scale, lookInto = false): Promise<Program> {
  const program = await start(what, lookInto);
  await churn(program, warmTurns, false);
  await churn(program, warmTurns / 5, true);
  await floodOnce(program, 16, 2_000);
  return program;
}

function sayIncomplete(
  what: string,
  runs: Both<{ incomplete: number }[]>,
  say: (text: string) => void,
): void {
  for (const [name, found] of Object.entries<{ incomplete: number }[]>({ ...runs })) {
    const count = found.reduce((sum, { incomplete }) => sum + incomplete, 0);
    if (count > 0) say(`${what}: ${count} answers of the ${name} failed or were incomplete`);
  }
}

function connectAll({ port }: Program, count: number, listener?: Listener): Promise<Client[]> {
  return Promise.all(Array.from({ length: count }, () => Client.connect(port, listener)));
}

/** Hangs up; how many answers were not whole. */
function closeAll(clients: readonly Client[], whole: readonly boolean[]): number {
  for (const client of clients) client.close();
  return whole.filter((ok) => !ok).length;
}

/** What goes wrong with one answer is counted, not thrown. */
async function attempt(answer: () => Promise<boolean>): Promise<boolean> {
  try {
    return await answer();
  } catch {
    return false;
  }
}
