/**
 * Drives a clawd-on-desk desktop pet: finds it, posts what the agent does, and takes its user's answers to permission
 * requests. The pet may come and go; nothing waits for it.
 *
 * @module
 */

import type { Log } from "../core/log.ts";
import { messageOf } from "../core/errors.ts";
import type { PermissionAnswer } from "../turn/permission.ts";
import { type StateBody, stateText } from "./payload.ts";
import { isRead } from "./wire.ts";
import { findPet, isPet, PORTS } from "./discovery.ts";
import { PendingPermissions } from "./pending_permissions.ts";
import { PetState } from "./pet_state.ts";
import { Outbox } from "./outbox.ts";
import { type Fetch, inTime, post } from "./request.ts";
import type { Step } from "./pet_state.ts";
import { IDENTITY } from "./wire.ts";

/** How long things take, in milliseconds. */
export interface ClawdTimes {
  /** An answer to "is it you?". */
  readonly probeMs: number;
  /** An answer to a state. */
  readonly postMs: number;
  /** Between looks at a pet that was found. */
  readonly lookMs: number;
  /** After which a state is posted again: the pet takes one of 5 minutes for over. */
  readonly refreshMs: number;
  /** Before a lost pet is looked for, doubled each time up to the most. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
  /** How long a pet that did not ask its user counts as nobody. */
  readonly unavailableMs: number;
  /** All of the farewell. */
  readonly farewellMs: number;
}

/** The times of {@linkcode ClawdTimes} unless a test shortens them. */
export const CLAWD_TIMES: ClawdTimes = {
  probeMs: 1_000,
  postMs: 3_000,
  lookMs: 30_000,
  refreshMs: 4 * 60_000,
  retryMs: 2_000,
  retryMaxMs: 60_000,
  unavailableMs: 60_000,
  farewellMs: 1_000,
};

/** Sessions of which it is known when they were posted. */
const MAX_POSTED = 200;

/** What a driver is made of. */
export interface ClawdOptions {
  /** The text of `~/.clawd/runtime.json`, or `undefined`. */
  readonly readRuntime: () => Promise<string | undefined>;
  readonly log: Log;
  /** Answers a permission request (`PermissionDesk.answer`); throws if it is too late. */
  readonly answer: (id: string, answer: PermissionAnswer, by: string) => unknown;
  /** Told to the pet as the folder of its sessions. */
  readonly cwd: string;
  readonly fetch?: Fetch;
  /** The time in milliseconds since 1970, for tests. */
  readonly now?: () => number;
  readonly times?: Partial<ClawdTimes>;
  /** Where it is looked for, beside the port that it wrote down. */
  readonly ports?: readonly number[];
}

/** Drives the pet. */
export class ClawdDriver implements AsyncDisposable {
  readonly #options: Required<Omit<ClawdOptions, "times">>;
  readonly #times: ClawdTimes;
  readonly #map = new PetState();
  readonly #queue = new Outbox();
  readonly #held: PendingPermissions;
  readonly #stopping = new AbortController();
  /** When each of the pet's sessions was posted last. */
  readonly #posted = new Map<string, number>();
  /** The port on which the pet answers. */
  #port: number | undefined;
  /** When it was sent what it answered last. */
  #heardAt = -Infinity;
  #isDeafUntil = -Infinity;
  #retryMs: number;
  #started = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #looking: Promise<void> | undefined;
  #telling: Promise<void> | undefined;

  constructor(options: ClawdOptions) {
    const { fetch = globalThis.fetch, now = Date.now, ports = PORTS } = options;
    this.#options = { ...options, fetch, now, ports };
    this.#times = { ...CLAWD_TIMES, ...options.times };
    this.#retryMs = this.#times.retryMs;
    const { log, answer } = options;
    this.#held = new PendingPermissions({ fetch, log, now, answer, decided: (did) => this.#decided(did) });
  }

  /**
   * Whether there is a pet whose user can answer permission requests. One that did not ask its user, since it is told
   * not to disturb or to show no bubbles, does not count for a while.
   */
  get present(): boolean {
    return this.#port !== undefined && this.#options.now() >= this.#isDeafUntil;
  }

  /** Looks for the pet, now and from now on, until this is disposed of. */
  start(): void {
    if (this.#started || this.#stopping.signal.aborted) return;
    this.#started = true;
    this.#look();
  }

  /** Takes an event of the hub. Never throws, never waits. */
  take(event: { readonly type: string }): void {
    if (this.#stopping.signal.aborted || !isRead(event)) return;
    try {
      this.#tell(this.#map.take(event));
    } catch (error) {
      this.#options.log.error("the pet could not be told", { type: event.type, error: messageOf(error) });
    }
  }

  /** Says goodbye and stops. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    clearTimeout(this.#timer);
    this.#queue.clear();
    this.#held.releaseAll();
    await Promise.all([this.#looking, this.#telling, this.#held.released()]);
    const port = this.#port;
    this.#port = undefined;
    if (port === undefined) return;
    await inTime(this.#times.farewellMs, new AbortController().signal, async (signal) => {
      for (const step of this.#map.farewell()) {
        if (step.type === "post" && !await this.#send(port, step.body, signal)) break;
      }
    });
  }

  #tell(steps: readonly Step[]): void {
    for (const step of steps) {
      // What is taken away goes at once.
      if (step.type === "release") this.#held.release(step.requestId);
      // Without a pet nothing gets in line: when it is found, it is told what is so then.
      if (this.#port === undefined) continue;
      if (step.type === "post") this.#remember(step.body);
      this.#queue.push(step);
    }
    if (this.#telling !== undefined || this.#queue.size === 0) return;
    this.#telling = this.#drain().finally(() => {
      this.#telling = undefined;
      this.#tell([]);
    });
  }

  #remember({ session_id, event }: StateBody): void {
    this.#posted.delete(session_id);
    if (event === "SessionEnd") return;
    this.#posted.set(session_id, this.#options.now());
    for (const oldest of this.#posted.keys()) {
      if (this.#posted.size <= MAX_POSTED) break;
      this.#posted.delete(oldest);
    }
  }

  /** Does what waits, one after the other, while there is a pet. Never throws. */
  async #drain(): Promise<void> {
    // What is told in one go gets in line together.
    await Promise.resolve();
    const { signal } = this.#stopping;
    for (let step = this.#queue.shift(); step !== undefined; step = this.#queue.shift()) {
      const port = this.#port;
      if (port === undefined) return this.#queue.clear();
      if (step.type === "ask") {
        this.#held.hold(port, step.ask, step.sessionId);
        continue;
      }
      // The pet would take some states for the answer to a bubble that is still there.
      await this.#held.released();
      if (await this.#send(port, step.body, signal)) continue;
      if (await this.#isThere(port) && await this.#send(port, step.body, signal)) continue;
      this.#lost(port);
    }
  }

  /** Posts a state. @returns Whether the pet answered. Never throws. */
  async #send(port: number, body: StateBody, signal: AbortSignal): Promise<boolean> {
    const { fetch, cwd, log, now } = this.#options;
    const sentAt = now();
    try {
      const status = await inTime(this.#times.postMs, signal, async (signal) => {
        const response = await post(fetch, `http://127.0.0.1:${port}/state`, stateText(body, cwd), signal);
        await response.body?.cancel();
        return response.status;
      });
      if (status >= 400) log.debug("the pet refused a state", { status, state: body.state });
    } catch (error) {
      if (!signal.aborted) log.debug("the pet did not answer", { state: body.state, why: messageOf(error) });
      return false;
    }
    this.#heardAt = sentAt;
    return true;
  }

  /** Looks for the pet, or after it, and will again; one look at a time. */
  #look(): void {
    clearTimeout(this.#timer);
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined;
      this.#lookLater();
    });
  }

  #lookLater(): void {
    clearTimeout(this.#timer);
    if (this.#stopping.signal.aborted) return;
    const { lookMs, retryMaxMs } = this.#times;
    this.#timer = setTimeout(() => this.#look(), this.#port === undefined ? this.#retryMs : lookMs);
    if (this.#port === undefined) this.#retryMs = Math.min(this.#retryMs * 2, retryMaxMs);
  }

  /** Never throws. */
  async #lookOnce(): Promise<void> {
    const { log, now } = this.#options;
    const { probeMs, lookMs, refreshMs } = this.#times;
    const port = this.#port;
    if (port === undefined) {
      const found = await findPet({ ...this.#options, probeMs }, this.#stopping.signal);
      if (found === undefined) return log.debug(`no ${IDENTITY} found`);
      return this.#found(found);
    }
    if (now() - this.#heardAt >= lookMs && !await this.#isThere(port)) return this.#lost(port);
    this.#tell(this.#map.refresh((id) => now() - (this.#posted.get(id) ?? -Infinity) >= refreshMs));
  }

  async #isThere(port: number): Promise<boolean> {
    const { fetch, now } = this.#options;
    const askedAt = now();
    const isThere = await isPet(port, { fetch, probeMs: this.#times.probeMs }, this.#stopping.signal);
    if (isThere) this.#heardAt = askedAt;
    return isThere;
  }

  #found(port: number): void {
    if (this.#stopping.signal.aborted) return;
    this.#options.log.info(`found ${IDENTITY}`, { port });
    this.#port = port;
    this.#heardAt = this.#options.now();
    this.#isDeafUntil = -Infinity;
    this.#retryMs = this.#times.retryMs;
    this.#tell(this.#map.present);
  }

  #lost(port: number): void {
    if (this.#stopping.signal.aborted || this.#port !== port) return;
    this.#options.log.info(`lost ${IDENTITY}`, { port });
    this.#port = undefined;
    this.#queue.clear();
    this.#posted.clear();
    this.#held.releaseAll();
    this.#lookLater();
  }

  /** A pet that did not ask its user is told not to, or is gone. */
  #decided(did: boolean): void {
    if (did) {
      this.#isDeafUntil = -Infinity;
      return;
    }
    this.#isDeafUntil = this.#options.now() + this.#times.unavailableMs;
    this.#heardAt = -Infinity;
    this.#look();
  }
}
