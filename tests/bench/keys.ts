/** Section `keys`: the delay of requests with the right key, alone and while wrong keys flood the server. @module */

import { type Program, startPrograms } from "./programs.ts";
import { atMost, measureInTurns, medians, type Row } from "./report.ts";
import { type Context, firstOnce, noteIncomplete, pause, percentileRows, warmUp } from "./sections.ts";

const KEY = "the-right-key-of-the-benchmark";
/** Wrong keys that are sent together, and the time between. */
const BURST = 10;
const EVERY_MS = 10;
/** Wrong keys that are not answered yet: several times those that the server lets wait. */
const MAX_OPEN = 500;
/** Time until as many wrong keys wait as can. */
const SETTLE_MS = 300;
const TARGET = { target: atMost(5, "ms") };

/** Measures requests with the right key one after the other. */
export async function keys({ scale, checkouts, note }: Context): Promise<Row[]> {
  await using programs = await startPrograms(checkouts, warmUp(scale), { authKey: KEY });
  const rows: Row[] = [];
  for (const isFlooded of [false, true]) {
    const runs = await measureInTurns(scale.runs, programs.columns, async (program) => {
      using flood = isFlooded ? new Flood(program) : undefined;
      await pause(SETTLE_MS);
      const sentBefore = flood?.sent ?? 0;
      const startedAt = performance.now();
      const { before, incomplete } = await firstOnce(program, scale.firstTokens);
      const perSecond = ((flood?.sent ?? 0) - sentBefore) / (performance.now() - startedAt) * 1000;
      return { before, incomplete, perSecond };
    });
    noteIncomplete("requests with the right key", runs, note);
    const figure = `right key to agent, ${isFlooded ? "while wrong keys flood" : "alone"}: delay`;
    rows.push(...percentileRows(figure, runs, ({ before }) => before, isFlooded ? TARGET : {}));
    if (!isFlooded) continue;
    rows.push({
      figure: "wrong keys in the flood, per second",
      values: medians(runs, ({ perSecond }) => perSecond),
    });
  }
  return rows;
}

/** Sends wrong keys from this machine until it is disposed of. */
class Flood implements Disposable {
  /** Wrong keys so far. */
  sent = 0;
  #open = 0;
  readonly #leaving = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor({ port }: Program) {
    const url = `http://127.0.0.1:${port}/v1/models`;
    this.#timer = setInterval(() => {
      for (let i = 0; i < BURST && this.#open < MAX_OPEN; i++) this.#send(url);
    }, EVERY_MS);
  }

  async #send(url: string): Promise<void> {
    this.#open++;
    const headers = { authorization: `Bearer wrong-${this.sent++}` };
    try {
      await (await fetch(url, { headers, signal: this.#leaving.signal })).text();
    } catch {
      // The flood is over.
    }
    this.#open--;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#leaving.abort();
  }
}
