/** Sections of the benchmark that measure streams, memory and starts. Each starts its programs and measures them in turns. @module */

import { ChatConnection, type DelayListener, type PartialOrder } from "./clients.ts";
import {
  type Checkouts,
  columnsOf,
  EXECUTABLE,
  type Program,
  ROOT,
  startColumn,
  startExecutable,
  startPrograms,
} from "./programs.ts";
import {
  atMost,
  type Column,
  type Columns,
  difference,
  mapColumns,
  measureInTurns,
  median,
  medians,
  percentileMs,
  perUnit,
  ratioAtLeast,
  ratioAtMost,
  type Row,
} from "./report.ts";

/** How much is measured. */
export interface Scale {
  /** Runs of each program, of which the median counts. */
  readonly runs: number;
  /** Tokens of a flood over all streams. */
  readonly floodTokens: number;
  /** Time for which paced streams are measured. */
  readonly pacedMs: number;
  /** Requests in section `first`. */
  readonly firstTokens: number;
  readonly starts: number;
  /** Turns of each program before it is measured. */
  readonly warmUpTurns: number;
  /** Time for which a program rests before its memory is measured. */
  readonly settleMs: number;
  /** Section `fanout`: frames of a flood over all watchers, at least, and the length of a paced turn. */
  readonly fanOut: { readonly floodFrames: number; readonly pacedMs: number };
}

/** Arguments of a section. */
export interface Context {
  readonly scale: Scale;
  readonly checkouts: Checkouts;
  /** Adds a note under the table. */
  note(text: string): void;
}

/** Measures something. */
export type Section = (context: Context) => Promise<Row[]>;

const FLOOD_STREAMS = [1, 16, 256];
const PACED_STREAMS = [64, 256];
const PACED_EVERY_MS = 10;
/** Phases of paced streams: many tokens in one read, or one token in each read. */
const PHASES = ["in step", "spread"] as const;
const MANY_STREAMS = 1_000;
/** Turns at once while a program warms up. */
const CHURN = 32;
/** Time for each stream to open, if many have to be open before the first token. */
const OPENING_MS = 2;
/** Longest time to make the executable. */
const COMPILE_MS = 60_000;

/** As many tokens as possible: tokens per second and processor time per token. */
export async function flood(context: Context): Promise<Row[]> {
  const { scale } = context;
  await using programs = await startPrograms(context.checkouts, warmUp(scale));
  const speeds: Row[] = [];
  const costs: Row[] = [];
  for (const streams of FLOOD_STREAMS) {
    const tokens = Math.ceil(scale.floodTokens / streams);
    const runs = await measureInTurns(
      scale.runs,
      programs.columns,
      (program) => floodOnce(program, streams, tokens),
    );
    const figure = `flood, ${streams} ${streams === 1 ? "stream" : "streams"}`;
    noteIncomplete(figure, runs, context.note);
    speeds.push({
      figure: `${figure}: tokens per second`,
      values: medians(runs, ({ perSecond }) => perSecond),
      target: ratioAtLeast(0.8),
    });
    costs.push({
      figure: `${figure}: CPU per token, µs`,
      values: medians(runs, ({ micros }) => micros),
      digits: 1,
    });
  }
  return [...speeds, ...costs];
}

async function floodOnce(program: Program, streams: number, tokens: number) {
  let firstAt = Infinity;
  const startAt = performance.now() + 200 + streams * OPENING_MS;
  using clients = await Clients.open(program, streams);
  let before: number | undefined;
  const measuring = pause(startAt - performance.now() - 10).then(() => before = program.cpuMicros());
  const incomplete = await clients.countFailed(async (client) => {
    await client.request({ tokens, everyMs: 0, firstMs: Math.max(0, startAt - performance.now()) });
    await client.readTokens(1);
    firstAt = Math.min(firstAt, performance.now());
    return await client.finish(tokens);
  });
  const seconds = (performance.now() - firstAt) / 1000;
  await measuring;
  const micros = perUnit(difference(program.cpuMicros(), before), clients.tokens);
  return { perSecond: clients.tokens / seconds, micros, incomplete };
}

/** Streams of 100 tokens a second: processor time per token and delay of tokens. */
export async function paced(context: Context): Promise<Row[]> {
  const { scale } = context;
  await using programs = await startPrograms(context.checkouts, warmUp(scale));
  const costs: Row[] = [];
  const delays: Row[] = [];
  for (const streams of PACED_STREAMS) {
    for (const phase of PHASES) {
      const runs = await measureInTurns(
        scale.runs,
        programs.columns,
        (program) => pacedOnce(program, streams, phase, scale.pacedMs),
      );
      const figure = `${streams} streams of 100 tokens/s, ${phase}`;
      noteIncomplete(figure, runs, context.note);
      costs.push({
        figure: `${figure}: CPU per token, µs`,
        values: medians(runs, ({ micros }) => micros),
        digits: 1,
        target: ratioAtMost(1.3),
      });
      const target = streams === 64 ? { target: atMost(5, "ms") } : {};
      delays.push(...percentileRows(`${figure}: delay`, runs, ({ delays }) => delays, {}, target));
    }
  }
  return [...costs, ...delays];
}

/** Measures streams of {@linkcode PACED_EVERY_MS} at once. */
export async function pacedOnce(
  program: Program,
  streams: number,
  phase: (typeof PHASES)[number],
  measureMs: number,
) {
  const settleMs = 400;
  const delays: number[] = [];
  let isMeasuring = false;
  const listener: DelayListener = { token: (delay) => isMeasuring && delays.push(delay) };
  const tokens = Math.ceil((measureMs + 2 * settleMs + streams * OPENING_MS) / PACED_EVERY_MS);
  using clients = await Clients.open(program, streams, listener);
  const opened: Promise<void>[] = [];
  const finished = clients.countFailed(async (client, index) => {
    const request = client.request({
      tokens,
      everyMs: PACED_EVERY_MS,
      phase: phase === "spread" ? index / streams : 0,
    });
    opened.push(request);
    await request;
    return await client.finish(tokens);
  });
  await Promise.allSettled(opened);
  await pause(settleMs);
  const before = { cpu: program.cpuMicros(), tokens: clients.tokens };
  isMeasuring = true;
  await pause(measureMs);
  isMeasuring = false;
  const micros = perUnit(difference(program.cpuMicros(), before.cpu), clients.tokens - before.tokens);
  return { micros, delays, incomplete: await finished };
}

/** Requests one after the other: delay of the first token, and of the prompt. */
export async function first(context: Context): Promise<Row[]> {
  const { scale } = context;
  await using programs = await startPrograms(context.checkouts, warmUp(scale));
  const runs = await measureInTurns(
    scale.runs,
    programs.columns,
    (program) => firstOnce(program, scale.firstTokens),
  );
  noteIncomplete("first tokens", runs, context.note);
  const target = { target: atMost(5, "ms") };
  return [
    ...percentileRows("first token: delay", runs, ({ after }) => after, target, target),
    ...percentileRows("request to agent: delay", runs, ({ before }) => before),
  ];
}

/** The head is sent well before the first token, so that the token does not wait for the head's acknowledgement. */
export async function firstOnce(program: Program, requests: number) {
  const before: number[] = [];
  const after: number[] = [];
  let delays: number[] = [];
  let incomplete = 0;
  using clients = await Clients.open(program, 1, {
    token: (delay) => delays.push(delay),
    prompt: (delay) => before.push(delay),
  });
  for (let i = 0; i < requests; i++) {
    delays = [];
    incomplete += await clients.countFailed(async (client) => {
      await client.request({ tokens: 3, everyMs: 1, firstMs: 15 });
      return await client.finish(3);
    });
    if (delays[0] !== undefined) after.push(delays[0]);
  }
  return { before, after, incomplete };
}

/** Requests that start together: time from the first request to each first token. */
export async function together({ scale, checkouts, note }: Context): Promise<Row[]> {
  await using programs = await startPrograms(checkouts, warmUp(scale));
  const rows: Row[] = [];
  for (const requests of [64, 256]) {
    const runs = await measureInTurns(
      scale.runs,
      programs.columns,
      (program) => togetherOnce(program, requests),
    );
    const figure = `first token of ${requests} requests that start together`;
    noteIncomplete(figure, runs, note);
    const target = { target: ratioAtMost(2) };
    rows.push(...percentileRows(figure, runs, ({ micros }) => micros, target, target));
  }
  return rows;
}

async function togetherOnce(program: Program, requests: number) {
  const micros: number[] = [];
  using clients = await Clients.open(program, requests);
  const startedAt = performance.now();
  const incomplete = await clients.countFailed(async (client) => {
    await client.request({ tokens: 3, everyMs: 1 });
    await client.readTokens(1);
    micros.push((performance.now() - startedAt) * 1000);
    return await client.finish(3);
  });
  return { micros, incomplete };
}

/** Memory of a program at rest, and of a thousand streams without tokens. */
export async function idle({ scale, checkouts, note }: Context): Promise<Row[]> {
  await using programs = await startPrograms(checkouts, warmUp(scale), { inspect: true });
  const kbPerStream = (mb: number | undefined) => perUnit(mb, MANY_STREAMS / 1024);
  const runs = await measureInTurns(1, programs.columns, async (program) => {
    const heap = await program.heapMb();
    await pause(scale.settleMs);
    const rss = program.rssMb();
    using clients = await Clients.open(program, MANY_STREAMS);
    const order: PartialOrder = { tokens: 1, everyMs: 1, firstMs: 600_000 };
    const incomplete = await clients.countFailed(async (client) => (await client.request(order), true));
    await pause(scale.settleMs);
    return {
      rss,
      rssKb: kbPerStream(difference(program.rssMb(), rss)),
      heapKb: kbPerStream(await program.heapMb() - heap),
      incomplete,
    };
  });
  noteIncomplete("idle streams", runs, note);
  const figure = `${MANY_STREAMS.toLocaleString("en")} idle streams`;
  return [
    { figure: "memory of the idle program, MB", values: medians(runs, ({ rss }) => rss) },
    { figure: `${figure}: memory per stream, KB`, values: medians(runs, ({ rssKb }) => rssKb) },
    { figure: `${figure}: heap per stream, collected, KB`, values: medians(runs, ({ heapKb }) => heapKb) },
  ];
}

/** Time from the start to the first response, from source and of the executable, and the executable's size. */
export async function start({ scale, checkouts, note }: Context): Promise<Row[]> {
  const excessBytes = await makeExecutable(note);
  const columns: Columns<Column> = Object.fromEntries(columnsOf(checkouts).map((column) => [column, column]));
  const source = await measureInTurns(scale.starts, columns, async (column) => {
    await using program = await startColumn(column, checkouts);
    return program.startMs;
  });
  const target = atMost(300, "ms");
  const figure = "start to the first response";
  const rows: Row[] = [{ figure: `${figure}, from source, ms`, values: medians(source, (ms) => ms), target }];
  if (excessBytes === undefined) return rows;
  const executable: number[] = [];
  while (executable.length < scale.starts) {
    await using program = await startExecutable();
    executable.push(program.startMs);
  }
  const { size } = await Deno.stat(EXECUTABLE);
  const excess = { server: excessBytes / 1e6 };
  return [
    ...rows,
    { figure: `${figure}, executable, ms`, values: { server: median(executable) }, target },
    { figure: "size of the executable, MB", values: { server: size / 1e6 }, digits: 1 },
    { figure: "- above an empty program, MB", values: excess, digits: 2, target: atMost(1.5, "MB") },
  ];
}

/** Runs `deno task compile --measure`. Returns the bytes above an empty program, if that works. */
async function makeExecutable(note: (text: string) => void): Promise<number | undefined> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "compile", "--measure"],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
    signal: AbortSignal.timeout(COMPILE_MS),
  }).output();
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  const excess = /^(\d+) bytes above an empty program/m.exec(text)?.[1];
  if (success && excess !== undefined) return Number(excess);
  note(`the executable could not be made: ${text.trim().split("\n").at(-1)}`);
  return undefined;
}

export function warmUp({ warmUpTurns }: Scale): (program: Program) => Promise<void> {
  return async (program) => {
    await churn(program, warmUpTurns, false);
    await churn(program, warmUpTurns / 5, true);
    await floodOnce(program, 16, 2_000);
  };
}

/** Runs turns, some at once, to their end or to their first token. Returns how many failed. */
async function churn(program: Program, count: number, isAborted: boolean): Promise<number> {
  let next = 0;
  let failed = 0;
  using clients = await Clients.open(program, CHURN);
  await clients.countFailed(async (client) => {
    while (next++ < count) {
      failed += await countFailed([client], async () => {
        if (isAborted) {
          using aborted = await ChatConnection.open(program);
          await aborted.request({ tokens: 1_000, everyMs: 5 });
          await aborted.readTokens(1);
          return aborted.tokens > 0;
        }
        await client.request({ tokens: 3, everyMs: 0 });
        return await client.finish(3);
      });
    }
    return true;
  });
  return failed;
}

/** Connections to one program. */
class Clients implements Disposable {
  readonly #all: readonly ChatConnection[];

  private constructor(all: readonly ChatConnection[]) {
    this.#all = all;
  }

  static async open(program: Program, count: number, listener?: DelayListener): Promise<Clients> {
    return new Clients(
      await Promise.all(Array.from({ length: count }, () => ChatConnection.open(program, listener))),
    );
  }

  /** Tokens of all current replies. */
  get tokens(): number {
    return this.#all.reduce((sum, { tokens }) => sum + tokens, 0);
  }

  countFailed(work: (client: ChatConnection, index: number) => Promise<boolean>): Promise<number> {
    return countFailed(this.#all, work);
  }

  [Symbol.dispose](): void {
    for (const client of this.#all) client[Symbol.dispose]();
  }
}

/** Works on all items at once; returns how many threw or returned false. */
async function countFailed<T>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<boolean>,
): Promise<number> {
  const results = await Promise.all(items.map((item, index) => work(item, index).catch(() => false)));
  return results.filter((isOk) => !isOk).length;
}

type RowTarget = Pick<Row, "target">;

export function percentileRows<T>(
  figure: string,
  runs: Columns<readonly T[]>,
  micros: (run: T) => readonly number[],
  p50: RowTarget = {},
  p99: RowTarget = {},
): Row[] {
  return ([[0.5, p50], [0.99, p99]] as const).map(([part, target]) => ({
    figure: `${figure} p${part * 100}, ms`,
    values: medians(runs, (run) => percentileMs(micros(run), part)),
    digits: 2,
    ...target,
  }));
}

/** Notes how many replies or frames did not arrive whole. */
export function noteIncomplete(
  what: string,
  runs: Columns<readonly { readonly incomplete: number }[]>,
  note: (text: string) => void,
): void {
  mapColumns(runs, (results, column) => {
    const count = results.reduce((sum, { incomplete }) => sum + incomplete, 0);
    if (count > 0) note(`${what}: ${count} of the ${column} failed or were incomplete`);
  });
}

/** Waits. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
