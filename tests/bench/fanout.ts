/**
 * Section `fanout`: the events of one turn to many watchers, beside the relay's broadcast of the same frames. Delays are
 * those of frames with the stamp of the agent's write: all but emotions and some states.
 *
 * @module
 */

import { UPDATES } from "./agent.ts";
import { orderText, type PartialOrder, Watchers } from "./clients.ts";
import { type Program, startPrograms } from "./programs.ts";
import {
  type Columns,
  difference,
  mapColumns,
  measureInTurns,
  medians,
  percentileMs,
  perUnit,
  ratioAtLeast,
  ratioAtMost,
  type Row,
} from "./report.ts";
import { type Context, noteIncomplete, pause } from "./sections.ts";

/** Watchers at once, and the time between two updates of a paced turn. */
const CROWDS = [
  { watchers: 1, everyMs: 2 },
  { watchers: 100, everyMs: 10 },
  { watchers: 1_000, everyMs: 40 },
] as const;
/** Updates in a turn of the flood: less than the server lets wait for a watcher. */
const FLOOD_UPDATES = 12 * UPDATES.length;
const WARM_UP_WATCHERS = 4;
const WARM_UP_TURNS = 100;
/** Longest time of a turn beyond its own length. */
const TURN_MS = 15_000;
/** Time of a paced turn before it is measured. */
const SETTLE_MS = 300;
interface WatchedProgram {
  readonly program: Program;
  readonly watchers: Watchers;
}

/** Measures floods and paced turns. */
export async function fanOut(context: Context): Promise<Row[]> {
  await using programs = await startPrograms(context.checkouts, warmUp);
  const { columns } = programs;
  const frames = await framesPerUpdates(columns, context);
  const floods: Row[] = [];
  const paced: Row[] = [];
  for (const crowd of CROWDS) {
    floods.push(...await flood(columns, crowd.watchers, frames, context));
    paced.push(...await pace(columns, crowd, context));
  }
  return [...floods, ...paced];
}

/** Counts the frames that become of so many updates. Notes if the programs send different numbers of frames. */
async function framesPerUpdates(
  programs: Columns<Program>,
  { note }: Context,
): Promise<(updates: number) => number> {
  const { server, relay } = await measureInTurns(1, programs, async (program) => {
    using watchers = await Watchers.open(program.port, 1);
    return (await runTurn({ program, watchers }, { tokens: UPDATES.length, everyMs: 0 })).count.frames;
  });
  const frames = relay![0]!;
  if (frames !== server![0]) {
    note("fanout: the server sends other frames than the relay, so their ratio says little");
  }
  // The start and the end of the turn are one frame each.
  return (updates) => (frames - 2) * updates / UPDATES.length + 2;
}

async function flood(
  programs: Columns<Program>,
  count: number,
  framesOf: (updates: number) => number,
  { scale, note }: Context,
): Promise<Row[]> {
  const frames = framesOf(FLOOD_UPDATES) * count;
  // A turn to one watcher is short and costs the program more than its frames.
  const turns = Math.ceil(scale.fanOut.floodFrames / frames / (count === 1 ? 4 : 1));
  const results = await withWatchers(
    programs,
    count,
    undefined,
    (watched) =>
      measureInTurns(scale.runs, watched, async (one) => {
        let [seconds, received] = [0, 0];
        const before = one.program.cpuMicros();
        for (let i = 0; i < turns; i++) {
          const { frames, firstAt, lastAt } =
            (await runTurn(one, { tokens: FLOOD_UPDATES, everyMs: 0 })).count;
          seconds += (lastAt - firstAt) / 1000;
          received += frames;
        }
        return {
          perSecond: received / seconds,
          micros: perUnit(difference(one.program.cpuMicros(), before), received),
          incomplete: frames * turns - received,
        };
      }),
  );
  noteIncomplete(`frames to ${watchersText(count)}`, results, note);
  const figure = `one turn's events to ${watchersText(count)}`;
  return [
    {
      figure: `${figure}: per second, all together`,
      values: medians(results, ({ perSecond }) => perSecond),
      target: ratioAtLeast(0.8),
    },
    { figure: `${figure}: CPU of each, µs`, values: medians(results, ({ micros }) => micros), digits: 1 },
  ];
}

async function pace(
  programs: Columns<Program>,
  { watchers: count, everyMs }: (typeof CROWDS)[number],
  { scale }: Context,
): Promise<Row[]> {
  let delays: number[] | undefined;
  const results = await withWatchers(
    programs,
    count,
    (micros) => delays?.push(micros),
    (watched) =>
      measureInTurns(scale.runs, watched, async (one) => {
        const rounds = Math.ceil((SETTLE_MS + scale.fanOut.pacedMs) / everyMs / UPDATES.length);
        const turn = runTurn(one, { tokens: rounds * UPDATES.length, everyMs });
        await pause(SETTLE_MS);
        const before = { cpu: one.program.cpuMicros(), frames: one.watchers.count.frames };
        const run = delays = [];
        const { count: { frames } } = await turn;
        delays = undefined;
        const micros = perUnit(difference(one.program.cpuMicros(), before.cpu), frames - before.frames);
        return { delays: run, micros };
      }),
  );
  const figure = `${1000 / everyMs} events/s to ${watchersText(count)}`;
  return [
    ...[0.5, 0.99].map((part): Row => ({
      figure: `${figure}: delay p${part * 100}, ms`,
      values: medians(results, (run) => percentileMs(run.delays, part)),
      digits: 2,
      ...part === 0.99 ? { target: ratioAtMost(1.25) } : {},
    })),
    { figure: `${figure}: CPU of each, µs`, values: medians(results, ({ micros }) => micros), digits: 1 },
  ];
}

async function withWatchers<T>(
  programs: Columns<Program>,
  count: number,
  onDelay: ((micros: number) => void) | undefined,
  measure: (watched: Columns<WatchedProgram>) => Promise<T>,
): Promise<T> {
  using stack = new DisposableStack();
  const opening = mapColumns(programs, async (program): Promise<WatchedProgram> => {
    return { program, watchers: stack.use(await Watchers.open(program.port, count, onDelay)) };
  });
  const watched = await Promise.all(Object.values(opening));
  return await measure(
    Object.fromEntries(Object.keys(opening).map((column, index) => [column, watched[index]!])),
  );
}

/** Runs a turn. Resolves when it is answered and all watchers have its end, or the time is up. */
async function runTurn({ program, watchers }: WatchedProgram, order: PartialOrder): Promise<Watchers> {
  watchers.reset();
  const limitMs = order.tokens * order.everyMs + TURN_MS;
  const ended = watchers.turnEnded(limitMs);
  const messages = [{ role: "user", content: orderText({ updates: true, ...order }) }];
  const response = await fetch(`http://127.0.0.1:${program.port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "bench", messages }),
    signal: AbortSignal.timeout(limitMs),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`a turn failed with ${response.status}`);
  await ended;
  return watchers;
}

async function warmUp(program: Program): Promise<void> {
  using watchers = await Watchers.open(program.port, WARM_UP_WATCHERS);
  for (let i = 0; i < WARM_UP_TURNS; i++) {
    await runTurn({ program, watchers }, { tokens: FLOOD_UPDATES, everyMs: 0 });
  }
}

function watchersText(count: number): string {
  return `${count.toLocaleString("en")} ${count === 1 ? "watcher" : "watchers"}`;
}
