import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { TurnCounts } from "../../lib/conversation/record.ts";
import { TurnBudget } from "../../lib/conversation/turn_budget.ts";
import { AppError } from "../../lib/core/errors.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import type { Caller } from "../../lib/turn/caller.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { StoreFixture } from "../support/harness/store_fixture.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOON = Date.parse("2026-12-01T12:00:00Z");
const OBS: Caller = { id: "keys.obs", scopes: new Set(["chat"]), turnsPerDay: 3 };
const NOT_SENT = new AppError("agent_unavailable", "Not yet.");
const CRASHED = new AppError("agent_crashed", "Gone.", { prompted: true });

/** A budget with a clock that the test sets, and its warnings. */
class Fixture {
  now = NOON;
  readonly store = new MemoryStore();
  readonly warnings: string[] = [];
  readonly budget: TurnBudget;

  constructor(counts?: TurnCounts) {
    this.budget = new TurnBudget({
      counts: counts ?? this.store.turnCounts,
      log: { warn: (message, fields) => void this.warnings.push(`${message} ${fields?.error}`) },
      now: () => this.now,
    });
  }

  /** Reserves so many prompts. Returns how many were granted. */
  spend(count: number, caller = OBS): number {
    return Array.from({ length: count }, () => this.codeOf(caller)).filter((code) => code === "").length;
  }

  codeOf(caller: Caller): string {
    try {
      this.budget.reserve(caller);
      return "";
    } catch (error) {
      return (error as AppError).code;
    }
  }

  get count(): number | undefined {
    return this.store.counts.get(OBS.id)?.count;
  }
}

Deno.test("budget: as many prompts as turns_per_day, each key for itself; then the error names limit, key and end", () => {
  const fixture = new Fixture();
  assertEquals(fixture.spend(5), 3);
  assertEquals(fixture.spend(5, { ...OBS, id: "keys.bot", turnsPerDay: 1 }), 1);
  const error = assertThrows(() => fixture.budget.reserve(OBS), AppError);
  assertEquals([error.code, error.retryAfterSecs], ["insufficient_quota", undefined]);
  for (const part of ["its 3 turns", "2026-12-02T00:00:00Z", "turns_per_day of [keys.obs]"]) {
    assertStringIncludes(error.message, part);
  }
  // A limit that was raised, or lowered, counts at once.
  assertEquals(fixture.spend(5, { ...OBS, turnsPerDay: 4 }), 1);
  assertEquals(fixture.spend(1, { ...OBS, turnsPerDay: 2 }), 0);
});

Deno.test("budget: callers without a budget, and the program itself, touch no file", () => {
  const fixture = new Fixture();
  fixture.store.isFull = true;
  for (const caller of [undefined, { ...OBS, turnsPerDay: undefined }]) {
    fixture.budget.reserve(caller).settle(NOT_SENT);
  }
  new TurnBudget({ counts: undefined, log: NO_LOG }).reserve(undefined);
  assertEquals(fixture.store.calls, []);
});

Deno.test("budget: a prompt that the agent did not get is given back, whatever the error; one that it got is not", () => {
  for (const [error, count] of [[NOT_SENT, 0], [new Error("hung up"), 0], ["gone", 0], [CRASHED, 1]]) {
    const fixture = new Fixture();
    fixture.budget.reserve(OBS).settle(error);
    assertEquals(fixture.count, count);
  }
});

/** The steps of the clock after 2 of 3 prompts at noon, and how many prompts are granted then. */
const CLOCKS: Readonly<Record<string, readonly [steps: readonly number[], granted: number]>> = {
  "the last second of the day": [[12 * HOUR_MS - 1], 1],
  "midnight": [[12 * HOUR_MS], 3],
  "the next week": [[7 * DAY_MS], 3],
  "an hour back": [[-HOUR_MS], 1],
  "a day back": [[-DAY_MS], 1],
  "a year back": [[-365 * DAY_MS], 1],
  "a year back, and a day on from there": [[-365 * DAY_MS, DAY_MS], 1],
  "before 1970": [[-100 * 365 * DAY_MS], 1],
};
for (const [what, [steps, granted]] of Object.entries(CLOCKS)) {
  Deno.test(`budget, the clock: ${what}`, () => {
    const fixture = new Fixture();
    assertEquals(fixture.spend(2), 2);
    for (const step of steps) fixture.now += step;
    assertEquals(fixture.spend(5), granted);
  });
}

Deno.test("budget, the clock: around midnight, back and forth, each of the two days has one budget", () => {
  const fixture = new Fixture();
  let granted = 0;
  for (let second = 0; second < 20; second++) {
    fixture.now = Date.parse("2026-12-02T00:00:00Z") + (second % 2 === 0 ? -500 : 500);
    granted += fixture.spend(1);
  }
  assertEquals(granted, 1 + 3);
});

for (const spent of [2, 3]) {
  Deno.test(`budget, the clock: after a year ahead, a count of ${spent} stays, and ends with the right day`, () => {
    const fixture = new Fixture();
    fixture.now += 365 * DAY_MS;
    assertEquals(fixture.spend(spent), spent);
    fixture.now = NOON;
    assertEquals(fixture.spend(5), 3 - spent);
    const { message } = assertThrows(() => fixture.budget.reserve(OBS), AppError);
    assertStringIncludes(message, "2026-12-02T00:00:00Z");
    fixture.now += DAY_MS;
    assertEquals(fixture.spend(5), 3);
  });
}

Deno.test("budget: what is given back on the next day changes nothing of that day", () => {
  const fixture = new Fixture();
  const yesterday = fixture.budget.reserve(OBS);
  fixture.now += DAY_MS;
  yesterday.settle(NOT_SENT);
  assertEquals(fixture.spend(2), 2);
  yesterday.settle(NOT_SENT);
  assertEquals([fixture.count, fixture.warnings], [2, []]);
});

Deno.test("budget: a count never falls below 0, although the clock goes back over a day and on again", () => {
  const fixture = new Fixture();
  const lost = fixture.budget.reserve(OBS);
  fixture.now -= 2 * DAY_MS;
  fixture.spend(1);
  fixture.now = NOON;
  const reservation = fixture.budget.reserve(OBS);
  for (const each of [lost, reservation]) each.settle(NOT_SENT);
  assertEquals(fixture.count, 0);
});

Deno.test("budget: a prompt that cannot be counted is refused; one that cannot be given back stays counted", () => {
  const fixture = new Fixture();
  const reservation = fixture.budget.reserve(OBS);
  fixture.store.isFull = true;
  reservation.settle(NOT_SENT);
  assertEquals(fixture.warnings.length, 1);
  assertStringIncludes(fixture.warnings[0]!, "stays counted Error: database or disk is full");
  const error = assertThrows(() => fixture.budget.reserve(OBS), AppError);
  assertEquals(error.code, "internal_error");
  for (const part of ["VTUBER_DATA_DIR", "database or disk is full", "Free disk space"]) {
    assertStringIncludes(error.message, part);
  }
  fixture.spend(3);
  assertEquals(fixture.warnings.length, 2);
  assertStringIncludes(fixture.warnings[1]!, "cannot be counted, and are refused");
  fixture.store.isFull = false;
  assertEquals(fixture.spend(5), 2);
});

Deno.test("budget: without a file, a key with a budget is refused", () => {
  const budget = new TurnBudget({ counts: undefined, log: NO_LOG });
  assertEquals(assertThrows(() => budget.reserve(OBS), AppError).code, "internal_error");
});

Deno.test("budget, the file: counts outlive the program; those of removed keys end with their day", async () => {
  using file = new StoreFixture();
  const stored = async (): Promise<[key: string, day: number, count: number][]> => {
    using store = await file.open();
    const keys = ["keys.obs", "keys.bot", "keys.old"];
    return keys.flatMap((key) => {
      const row = store.turnCounts.read(key);
      return row ? [[key, row.day, row.count]] : [];
    });
  };
  const today = Math.floor(NOON / DAY_MS);
  const start = async (work: (fixture: Fixture) => void) => {
    using store = await file.open();
    const fixture = new Fixture(store.turnCounts);
    work(fixture);
    assertEquals(fixture.warnings, []);
  };
  await start((fixture) => {
    for (const id of ["keys.obs", "keys.bot", "keys.old"]) assertEquals(fixture.spend(2, { ...OBS, id }), 2);
    fixture.now += DAY_MS;
    assertEquals(fixture.spend(1, { ...OBS, id: "keys.bot" }), 1);
  });
  await start((fixture) => {
    fixture.budget.prune(["keys.obs"]);
    assertEquals(fixture.spend(5), 1);
  });
  assertEquals(await stored(), [["keys.obs", today, 3], ["keys.bot", today + 1, 1], ["keys.old", today, 2]]);
  await start((fixture) => {
    // The clock is ahead when the program starts, and then goes back.
    fixture.now += DAY_MS;
    fixture.budget.prune(["keys.obs"]);
    fixture.now -= DAY_MS;
    assertEquals(fixture.spend(5), 0);
  });
  assertEquals(await stored(), [["keys.obs", today, 3], ["keys.bot", today + 1, 1]]);
  assertEquals(file.warnings, []);
});

Deno.test("budget, the file: a write that SQLite refuses refuses the prompt, and counts nothing", async () => {
  using file = new StoreFixture();
  await file.fill(1);
  for (const event of ["INSERT", "UPDATE"]) {
    file.change(
      `CREATE TRIGGER no_${event} BEFORE ${event} ON turn_counts WHEN NEW.count > 1 ` +
        "BEGIN SELECT RAISE(FAIL, 'attempt to write a readonly database'); END;",
    );
  }
  {
    using store = await file.open();
    const fixture = new Fixture(store.turnCounts);
    assertEquals(fixture.spend(1), 1);
    const { message } = assertThrows(() => fixture.budget.reserve(OBS), AppError);
    assertStringIncludes(message, "readonly database");
    assertEquals(store.turnCounts.read(OBS.id)?.count, 1);
    store[Symbol.dispose]();
    assertEquals(fixture.codeOf(OBS), "internal_error");
  }
  file.change("DROP TRIGGER no_INSERT; DROP TRIGGER no_UPDATE");
  using store = await file.open();
  assertEquals(new Fixture(store.turnCounts).spend(5), 2);
});
