/** Counts the prompts of each key by the day, and refuses prompts beyond its `turns_per_day`. @module */

import { AppError, messageOf } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Caller } from "../turn/caller.ts";
import type { TurnCount, TurnCounts } from "./record.ts";

const DAY_MS = 86_400_000;

/** A prompt that is counted before it is sent. */
export interface Reservation {
  /** Settles a prompt that failed with this error: it is no longer counted, unless the agent has it. */
  settle(error: unknown): void;
}

/** The reservation of a caller without a budget. */
const FREE: Reservation = { settle() {} };

/** Dependencies of {@linkcode TurnBudget}. */
export interface TurnBudgetDeps {
  /** Keeps the counts; without it, no key with a budget is served. */
  readonly counts: TurnCounts | undefined;
  readonly log: Pick<Log, "warn">;
  /** The time in Unix milliseconds. */
  readonly now?: () => number;
}

/** The daily budgets of all keys. Their counts are in the file, and nowhere else. */
export class TurnBudget {
  readonly #counts: TurnCounts | undefined;
  readonly #log: TurnBudgetDeps["log"];
  readonly #now: () => number;
  /** The last prompt could not be counted, which was logged. */
  #isFailing = false;

  constructor({ counts, log, now = Date.now }: TurnBudgetDeps) {
    this.#counts = counts;
    this.#log = log;
    this.#now = now;
  }

  /**
   * Removes the counts of earlier days. The counts of these keys stay, because a clock that is ahead at the start may go
   * back.
   */
  prune(keys: readonly string[]): void {
    try {
      this.#counts?.prune(this.#today, keys);
    } catch (error) {
      this.#log.warn("the counts of earlier days cannot be removed", { error });
    }
  }

  /**
   * Counts a prompt, before it is sent. The count is in the file when this returns.
   *
   * @throws {AppError} `insufficient_quota` if the caller's budget is spent, `internal_error` if the prompt cannot be
   *   counted.
   */
  reserve(caller: Caller | undefined): Reservation {
    if (!caller?.turnsPerDay) return FREE;
    const { id, turnsPerDay } = caller;
    const { day, count } = this.#access((counts) => {
      const current = this.#current(counts, id);
      if (current.count < turnsPerDay) counts.write(id, { ...current, count: current.count + 1 });
      return current;
    });
    if (count >= turnsPerDay) throw spent(caller, day);
    return {
      settle: (error) => {
        if (!(error instanceof AppError && error.prompted)) this.#giveBack(id, day);
      },
    };
  }

  get #today(): number {
    return Math.floor(this.#now() / DAY_MS);
  }

  /** Reads the count of the day. A clock that has gone back begins no new count. */
  #current(counts: TurnCounts, key: string): TurnCount {
    const today = this.#today;
    const { day, count } = counts.read(key) ?? { day: today, count: 0 };
    if (day < today) return { day: today, count: 0 };
    if (day <= today + 1) return { day, count };
    // The clock was far ahead: its day would end too late.
    counts.write(key, { day: today, count });
    return { day: today, count };
  }

  /** Takes a prompt back from the count of its day, if that day is still counted. */
  #giveBack(key: string, day: number): void {
    try {
      const stored = this.#counts?.read(key);
      if (stored?.day === day) this.#counts?.write(key, { day, count: Math.max(0, stored.count - 1) });
    } catch (error) {
      this.#log.warn("a turn that did not reach the agent stays counted", { key, error });
    }
  }

  #access<T>(work: (counts: TurnCounts) => T): T {
    try {
      if (this.#counts === undefined) throw new Error("no file is open");
      const result = work(this.#counts);
      this.#isFailing = false;
      return result;
    } catch (cause) {
      if (!this.#isFailing) {
        this.#log.warn("turns of keys with turns_per_day cannot be counted, and are refused", {
          error: cause,
        });
      }
      this.#isFailing = true;
      throw new AppError(
        "internal_error",
        `The turn cannot be counted in VTUBER_DATA_DIR: ${messageOf(cause)}. No agent was prompted. ` +
          "Free disk space or mend the permissions of the folder, and send the request again.",
        { cause },
      );
    }
  }
}

/** Makes the error of a budget that is spent until the end of a day. */
function spent({ id, turnsPerDay }: Caller, day: number): AppError {
  const end = new Date((day + 1) * DAY_MS).toISOString().replace(".000", "");
  return new AppError(
    "insufficient_quota",
    `This key has used its ${turnsPerDay} turns of the day, which ends at ${end}. Wait until then, or raise ` +
      `turns_per_day of [${id}] in config.toml.`,
  );
}
