/**
 * How one turn's events reach many watchers, beside a bare broadcast of the same frames by the same agent. Delays are
 * those of the frames that carry the stamp of the agent's write, which are all but emotions and some states.
 *
 * @module
 */

import { ACTS, type Order } from "./agent.ts";
import { BROADCAST, type Program, SERVER, type Start, start } from "./program.ts";
import { type Both, inTurns, medians, milliseconds, pause, spent } from "./runs.ts";
import { atMost, ratioAtLeast, ratioAtMost, type Row } from "./table.ts";
import { Watchers } from "./watcher.ts";

/** How much is measured. */
export interface FanOutScale {
  /** Runs of each program, of which the median counts. */
  readonly runs: number;
  /** Frames of a flood, over all watchers, at the least. */
  readonly floodFrames: number;
  /** How long a paced turn is watched. */
  readonly pacedMs: number;
  /** How long a program is left alone before its memory is looked at. */
  readonly settleMs: number;
}

/** Watchers at once, and how often something happens in a paced turn. */
const CROWDS = [
  { watchers: 1, everyMs: 2 },
  { watchers: 100, everyMs: 10 },
  { watchers: 1_000, everyMs: 40 },
] as const;
/** What a turn of the flood does: its frames stay below what the server lets wait for a watcher. */
const FLOOD_ACTS = 12 * ACTS.length;
/** What a turn does that is too much at once. */
const OVERFLOW_ACTS = 50 * ACTS.length;
const OVERFLOW_WATCHERS = [1, 100];
const IDLE_WATCHERS = 1_000;
/** What each program has done before it is measured. */
const WARM_WATCHERS = 4;
const WARM_TURNS = 100;
/** When a turn is given up. */
const TURN_MS = 15_000;
/** How long a paced turn runs before it is watched. */
const PACED_SETTLE_MS = 300;
/** What differs from turn to turn. */
const VARIABLE = /conv_[\da-f]{32}|[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}|(?<="ts":)\d+/g;

/** A program, and those who watch it. */
interface Watched {
  readonly program: Program;
  readonly watchers: Watchers;
}

/** Measures floods, paced turns, turns that are too much, and memory. */
export async function fanOut(scale: FanOutScale, say: (text: string) => void): Promise<Row[]> {
  say("fan-out: the bare relay is a bare broadcast of the same frames");
  await using server = await warm(SERVER);
  await using relay = await warm(BROADCAST);
  const programs = { server, relay };
  const count = await frameCounter(programs, say);
  const floods: Row[] = [];
  const paces: Row[] = [];
  for (const crowd of CROWDS) {
    floods.push(...await flood(programs, crowd.watchers, count, scale, say));
    paces.push(...await paced(programs, crowd, scale));
  }
  const overflows: Row[] = [];
  for (const watchers of OVERFLOW_WATCHERS) overflows.push(await overflow(programs, watchers, count));
  return [...floods, ...paces, ...overflows, ...await idle(scale)];
}

/** How many frames become of so many acts; says so if those of the two programs differ. */
async function frameCounter(
  programs: Both<Program>,
  say: (text: string) => void,
): Promise<(acts: number) => number> {
  const { server: [server], relay: [relay] } = await inTurns(1, programs, async (program) => {
    const frames: string[] = [];
    using watchers = await Watchers.connect(program.port, 1, { frame: (text) => frames.push(text) });
    await turn({ program, watchers }, { tokens: ACTS.length, everyMs: 0 });
    return frames.map((frame) => frame.replace(VARIABLE, ""));
  });
  if (server!.join("\n") !== relay!.join("\n")) {
    say("fan-out: the bare broadcast's frames are not the server's: their ratio says little");
  }
  // The turn's beginning and its end have one each.
  return (acts) => (relay!.length - 2) * acts / ACTS.length + 2;
}

async function flood(
  programs: Both<Program>,
  count: number,
  framesOf: (acts: number) => number,
  { runs, floodFrames }: FanOutScale,
  say: (text: string) => void,
): Promise<Row[]> {
  const frames = framesOf(FLOOD_ACTS) * count;
  // A turn to one watcher is over at once, and costs the program more than its frames.
  const turns = Math.ceil(floodFrames / frames / (count === 1 ? 4 : 1));
  const found = await watched(programs, count, {}, (both) =>
    inTurns(runs, both, async (one) => {
      let [seconds, received] = [0, 0];
      const before = one.program.cpuMicros();
      for (let i = 0; i < turns; i++) {
        const { heard } = await turn(one, { tokens: FLOOD_ACTS, everyMs: 0 });
        seconds += (heard.lastAt - heard.firstAt) / 1000;
        received += heard.frames;
      }
      return {
        perSecond: received / seconds,
        micros: spent(before, one.program.cpuMicros(), received),
        missed: frames * turns - received,
      };
    }));
  for (const [name, measured] of Object.entries<{ missed: number }[]>({ ...found })) {
    const missed = measured.reduce((sum, run) => sum + run.missed, 0);
    if (missed > 0) say(`turns to ${count}: ${missed} frames of the ${name} never came`);
  }
  const figure = `one turn's events to ${named(count)}`;
  return [
    {
      figure: `${figure}: per second, all together`,
      ...medians(found, (run) => run.perSecond),
      target: ratioAtLeast(0.8),
    },
    { figure: `${figure}: CPU of each, µs`, ...medians(found, (run) => run.micros), digits: 1 },
  ];
}

async function paced(
  programs: Both<Program>,
  { watchers: count, everyMs }: (typeof CROWDS)[number],
  { runs, pacedMs }: FanOutScale,
): Promise<Row[]> {
  let delays: number[] | undefined;
  const found = await watched(
    programs,
    count,
    { delay: (micros) => delays?.push(micros) },
    (both) =>
      inTurns(runs, both, async (one) => {
        const rounds = Math.ceil((PACED_SETTLE_MS + pacedMs) / everyMs / ACTS.length);
        const whole = turn(one, { tokens: rounds * ACTS.length, everyMs });
        await pause(PACED_SETTLE_MS);
        const before = { cpu: one.program.cpuMicros(), frames: one.watchers.heard.frames };
        const run = delays = [];
        const { heard } = await whole;
        delays = undefined;
        return {
          delays: run,
          micros: spent(before.cpu, one.program.cpuMicros(), heard.frames - before.frames),
        };
      }),
  );
  const figure = `${1000 / everyMs} events/s to ${named(count)}`;
  const rows: Row[] = [0.5, 0.99].map((part) => ({
    figure: `${figure}: delay p${part * 100}, ms`,
    ...medians(found, (run) => milliseconds(run.delays, part)),
    digits: 2,
    ...part === 0.99 ? { target: ratioAtMost(1.25) } : {},
  }));
  return [...rows, {
    figure: `${figure}: CPU of each, µs`,
    ...medians(found, (run) => run.micros),
    digits: 1,
  }];
}

/** More at once than the server lets wait for one watcher: these watchers read as fast as they can. */
async function overflow(
  programs: Both<Program>,
  count: number,
  framesOf: (acts: number) => number,
): Promise<Row> {
  const frames = framesOf(OVERFLOW_ACTS) * count;
  const missed = await watched(programs, count, {}, (both) =>
    inTurns(1, both, async (one) => {
      const { heard } = await turn(one, { tokens: OVERFLOW_ACTS, everyMs: 0 });
      return (frames - heard.frames) / frames * 100;
    }));
  return {
    figure: `${OVERFLOW_ACTS.toLocaleString("en")} events at once to ${named(count)}: never come, %`,
    server: missed.server[0],
    relay: missed.relay[0],
    digits: 1,
    target: atMost(0),
  };
}

async function idle({ settleMs }: FanOutScale): Promise<Row[]> {
  await using server = await warm(SERVER, true);
  await using relay = await warm(BROADCAST, true);
  const found = await inTurns(1, { server, relay }, async (program) => {
    const heap = await program.heapMb();
    await pause(settleMs);
    const rss = program.rssMb();
    using _watchers = await Watchers.connect(program.port, IDLE_WATCHERS);
    await pause(settleMs);
    const busy = program.rssMb();
    return {
      rss: rss === undefined || busy === undefined ? undefined : (busy - rss) * 2 ** 20 / IDLE_WATCHERS,
      heap: (await program.heapMb() - heap) * 1e6 / IDLE_WATCHERS,
    };
  });
  const figure = `${named(IDLE_WATCHERS)}, idle`;
  return [
    { figure: `${figure}: memory of each, bytes`, ...medians(found, (run) => run.rss) },
    { figure: `${figure}: heap of each, collected, bytes`, ...medians(found, (run) => run.heap) },
  ];
}

/** Has both programs watched by so many while something is measured. */
async function watched<T>(
  { server, relay }: Both<Program>,
  count: number,
  ears: Parameters<typeof Watchers.connect>[2],
  measure: (both: Both<Watched>) => Promise<T>,
): Promise<T> {
  using ofServer = await Watchers.connect(server.port, count, ears);
  using ofRelay = await Watchers.connect(relay.port, count, ears);
  return await measure({
    server: { program: server, watchers: ofServer },
    relay: { program: relay, watchers: ofRelay },
  });
}

/** Has the agent do a turn; resolves when it is answered and all who watch have heard its end, or too late for that. */
async function turn(
  { program, watchers }: Watched,
  order: Pick<Order, "tokens" | "everyMs">,
): Promise<Watchers> {
  watchers.reset();
  const content = JSON.stringify({ firstMs: 0, phase: 0, acts: true, ...order } satisfies Order);
  const limitMs = order.tokens * order.everyMs + TURN_MS;
  const ended = watchers.ended(limitMs);
  const answer = await fetch(`http://127.0.0.1:${program.port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "bench", messages: [{ role: "user", content }] }),
    signal: AbortSignal.timeout(limitMs),
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new Error(`a turn was answered with ${answer.status}`);
  await ended;
  return watchers;
}

/** Starts a program and lets it run in. */
async function warm(what: Start, lookInto = false): Promise<Program> {
  const program = await start(what, lookInto);
  using watchers = await Watchers.connect(program.port, WARM_WATCHERS);
  for (let i = 0; i < WARM_TURNS; i++) await turn({ program, watchers }, { tokens: FLOOD_ACTS, everyMs: 0 });
  return program;
}

function named(watchers: number): string {
  return `${watchers.toLocaleString("en")} ${watchers === 1 ? "watcher" : "watchers"}`;
}
