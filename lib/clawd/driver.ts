/**
 * Drives a clawd-on-desk desktop pet: finds it, subscribes it to the events, posts the states, and forwards its user's
 * answers to permission requests. The pet may start and stop at any time, and nothing waits for it.
 *
 * @module
 */

import { messageOf } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { PermissionAnswer } from "../turn/permission.ts";
import { Outbox } from "./outbox.ts";
import { encodeState, type StateBody } from "./payload.ts";
import { PendingPermissions } from "./pending_permissions.ts";
import { type Fetch, findPet, isPet, PORTS, postState, withTimeout } from "./pet_client.ts";
import { PetState, type Step } from "./pet_state.ts";
import { CLAWD_EVENTS, IDENTITY, isClawdEvent, type PetTransport } from "./wire.ts";

/** Times, in milliseconds. */
export interface ClawdTimes {
  /** Longest wait for a response of the pet, and to end its sessions on shutdown. */
  readonly responseMs: number;
  /** Between two checks that the pet is still there. */
  readonly checkMs: number;
  /** Between two refreshes of the running sessions. */
  readonly refreshMs: number;
  /** Between the first two searches; doubled after each one that finds nothing, up to the longest. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
  /** How long a pet that did not ask its user counts as unable to answer. */
  readonly unavailableMs: number;
}

/** The default {@linkcode ClawdTimes}. The pet ends a session after 5 minutes without news. */
export const CLAWD_TIMES: ClawdTimes = {
  responseMs: 1_000,
  checkMs: 30_000,
  refreshMs: 4 * 60_000,
  retryMs: 2_000,
  retryMaxMs: 60_000,
  unavailableMs: 60_000,
};

/** Dependencies of the driver. */
export interface ClawdOptions {
  /** Subscribes the pet to the events of these names, until the subscription is disposed of. May throw. */
  readonly subscribe: (pet: PetTransport, events: readonly string[]) => Disposable;
  /** Answers a permission request; throws if it is no longer open. */
  readonly answer: (id: string, answer: PermissionAnswer, by: string) => unknown;
  /** Reads `~/.clawd/runtime.json`. */
  readonly readRuntime: () => Promise<string | undefined>;
  /** The folder that the pet shows for its sessions. */
  readonly cwd: string;
  readonly log: Log;
  readonly fetch?: Fetch;
  /** The time in milliseconds since 1970. */
  readonly now?: () => number;
  readonly times?: Partial<ClawdTimes>;
  /** The ports to search, besides the port in `runtime.json`. */
  readonly ports?: readonly number[];
}

type Resolved = Required<Omit<ClawdOptions, "times">> & { readonly times: ClawdTimes };

/** Finds the pet and drives it, until the driver is disposed of. */
export class ClawdDriver implements AsyncDisposable {
  readonly #options: Resolved;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: ClawdOptions) {
    const { fetch = globalThis.fetch, now = Date.now, ports = PORTS } = options;
    this.#options = { ...options, fetch, now, ports, times: { ...CLAWD_TIMES, ...options.times } };
  }

  /** Starts the search. */
  start(): void {
    this.#running ??= this.#run(this.#stopping.signal);
  }

  /** Ends the pet's sessions and stops. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { log, times } = this.#options;
    let retryMs = times.retryMs;
    while (!signal.aborted) {
      const port = await findPet({ ...this.#options, timeoutMs: times.responseMs }, signal);
      if (signal.aborted) return;
      if (port === undefined) {
        log.debug(`no ${IDENTITY} found`);
      } else {
        log.info(`found ${IDENTITY}`, { port });
        retryMs = times.retryMs;
        await this.#drive(new PetConnection(port, this.#options, signal));
        if (!signal.aborted) log.info(`lost ${IDENTITY}`, { port });
      }
      await sleep(retryMs, signal);
      if (port === undefined) retryMs = Math.min(retryMs * 2, times.retryMaxMs);
    }
  }

  /** Drives the pet until it is gone or the driver stops. Never throws. */
  async #drive(connection: PetConnection): Promise<void> {
    try {
      using _subscription = this.#options.subscribe(connection, CLAWD_EVENTS);
      await connection.run();
    } catch (error) {
      this.#options.log.debug(`${IDENTITY} is not driven`, { reason: messageOf(error) });
    }
    await connection.finish();
  }
}

/** The pet on one port, as a subscriber of the events. */
class PetConnection implements PetTransport {
  readonly backlog = 0;
  readonly internal: PetTransport["internal"];
  readonly #port: number;
  readonly #options: Resolved;
  readonly #state = new PetState();
  readonly #outbox = new Outbox();
  readonly #permissions: PendingPermissions;
  /** Aborts when the pet is gone. */
  readonly #gone = new AbortController();
  /** Aborts when the pet is gone or the driver stops. */
  readonly #ended: AbortSignal;
  /** Wakes {@linkcode PetConnection.run} before the next check is due. */
  #wake = new AbortController();
  #sending: Promise<void> | undefined;
  /**
   * When the pet's user can answer again. A pet that did not ask its user, because it is set to "do not disturb" or hides
   * its bubbles, counts as unable to for a while.
   */
  #unavailableUntil = -Infinity;

  constructor(port: number, options: Resolved, signal: AbortSignal) {
    this.#port = port;
    this.#options = options;
    this.#ended = AbortSignal.any([signal, this.#gone.signal]);
    const canAnswer = () => options.now() >= this.#unavailableUntil;
    this.internal = {
      get canAnswer() {
        return canAnswer();
      },
    };
    this.#permissions = new PendingPermissions({ ...options, onClosed: (has) => this.#onAnswer(has) });
  }

  /** Takes an event. Never throws, never waits. */
  send({ event }: { readonly event: { readonly type: string } }): void {
    if (!isClawdEvent(event)) return;
    try {
      this.#push(this.#state.apply(event));
    } catch (error) {
      this.#options.log.error(`an event could not be shown by ${IDENTITY}`, {
        type: event.type,
        error: messageOf(error),
      });
    }
  }

  /** Does nothing: the hub closes when the server stops, which disposes of the driver. */
  close(): void {}

  /** Checks the pet and refreshes its sessions, until the pet is gone or the driver stops. */
  async run(): Promise<void> {
    const { now, times } = this.#options;
    let refreshedAt = now();
    while (!this.#ended.aborted) {
      this.#wake = new AbortController();
      await sleep(times.checkMs, AbortSignal.any([this.#ended, this.#wake.signal]));
      if (this.#ended.aborted) return;
      if (!await this.#isThere() && !this.#ended.aborted) return this.#gone.abort();
      if (now() - refreshedAt < times.refreshMs) continue;
      refreshedAt = now();
      this.#push(this.#state.refresh());
    }
  }

  /** Withdraws the permission requests and, if the pet is still there, ends its sessions. */
  async finish(): Promise<void> {
    this.#outbox.clear();
    this.#permissions.releaseAll();
    await Promise.all([this.#sending, this.#permissions.released()]);
    if (this.#gone.signal.aborted) return;
    await withTimeout(this.#options.times.responseMs, this.#gone.signal, async (signal) => {
      for (const step of this.#state.close()) {
        if (step.type === "post" && !await this.#post(step.body, signal)) break;
      }
    });
  }

  #push(steps: readonly Step[]): void {
    if (this.#ended.aborted) return;
    for (const step of steps) {
      if (step.type === "release") this.#permissions.release(step.requestId);
      this.#outbox.push(step);
    }
    if (this.#outbox.size > 0) this.#sending ??= this.#sendAll().finally(() => this.#sending = undefined);
  }

  /** Sends the waiting steps one after the other. Never throws. */
  async #sendAll(): Promise<void> {
    // Collect the steps of events that come together.
    await Promise.resolve();
    for (let step = this.#outbox.shift(); step !== undefined; step = this.#outbox.shift()) {
      if (step.type === "ask") {
        this.#permissions.show(this.#port, step.request, step.sessionId);
        continue;
      }
      // The pet takes some states for the answer to an open request, so withdrawn requests have to close first.
      await this.#permissions.released();
      if (await this.#post(step.body, this.#ended)) continue;
      if (await this.#isThere() && await this.#post(step.body, this.#ended)) continue;
      this.#outbox.clear();
      if (!this.#ended.aborted) this.#gone.abort();
    }
  }

  /** Posts a state. @returns Whether the pet answered. Never throws. */
  async #post(body: StateBody, signal: AbortSignal): Promise<boolean> {
    const { fetch, cwd, log, times } = this.#options;
    const text = encodeState(body, cwd);
    try {
      const status = await withTimeout(
        times.responseMs,
        signal,
        (signal) => postState(fetch, this.#port, text, signal),
      );
      if (status >= 400) log.debug(`${IDENTITY} rejected a state`, { status, state: body.state });
      return true;
    } catch (error) {
      if (!signal.aborted) {
        log.debug(`${IDENTITY} did not answer`, { state: body.state, reason: messageOf(error) });
      }
      return false;
    }
  }

  #isThere(): Promise<boolean> {
    const { fetch, times: { responseMs: timeoutMs } } = this.#options;
    return isPet(this.#port, { fetch, timeoutMs }, this.#ended);
  }

  /** A pet that closes a request without a decision is set to "do not disturb", or has quit. */
  #onAnswer(hasDecision: boolean): void {
    const { now, times } = this.#options;
    this.#unavailableUntil = hasDecision ? -Infinity : now() + times.unavailableMs;
    if (!hasDecision) this.#wake.abort();
  }
}

/** Waits `ms` milliseconds, or until the signal aborts. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  return promise.finally(() => clearTimeout(timer));
}
