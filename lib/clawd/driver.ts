/**
 * Drives a clawd-on-desk desktop pet: finds it, subscribes it to the events, posts the states, and forwards its user's
 * answers to permission requests. The pet may start and stop at any time, and nothing waits for it.
 *
 * @module
 */

import { messageOf } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { PermissionAnswer } from "../turn/permission.ts";
import { encodeState, type StateBody } from "./payload.ts";
import { PendingPermissions } from "./pending_permissions.ts";
import { type Fetch, findPet, isPet, PORTS, postState, withTimeout } from "./pet_client.ts";
import { enqueue, PetState, type QueuedStep, type Step } from "./pet_state.ts";
import { CLAWD_EVENTS, IDENTITY, isClawdEvent, type PetTransport } from "./wire.ts";

/** Between two refreshes of the running sessions, in milliseconds. The pet ends a session after 5 minutes without news. */
const REFRESH_MS = 4 * 60_000;
/** Longest time between two searches, in milliseconds. */
const MAX_RETRY_MS = 60_000;
/** How long a pet that did not ask its user counts as unable to answer, in milliseconds. */
const UNAVAILABLE_MS = 60_000;
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
  /** The ports to search, besides the port in `runtime.json`. */
  readonly ports?: readonly number[];
  /** Longest wait for a response, and to end the sessions on shutdown, in milliseconds. */
  readonly responseMs?: number;
  /** Between two checks that the pet is still there, in milliseconds. */
  readonly checkMs?: number;
  /** Between the first two searches, in milliseconds; doubled after each search that finds nothing. */
  readonly retryMs?: number;
}

/** Finds the pet and drives it, until the driver is disposed of. */
export class ClawdDriver implements AsyncDisposable {
  readonly #options: Required<ClawdOptions>;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: ClawdOptions) {
    this.#options = {
      fetch: globalThis.fetch,
      now: Date.now,
      ports: PORTS,
      responseMs: 1_000,
      checkMs: 30_000,
      retryMs: 2_000,
      ...options,
    };
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
    const { log, responseMs: timeoutMs } = this.#options;
    let { retryMs } = this.#options;
    while (!signal.aborted) {
      const port = await findPet({ ...this.#options, timeoutMs }, signal);
      if (signal.aborted) return;
      if (port === undefined) {
        log.debug(`no ${IDENTITY} found`);
      } else {
        log.info(`found ${IDENTITY}`, { port });
        retryMs = this.#options.retryMs;
        await this.#drive(new PetConnection(port, this.#options, signal));
        if (!signal.aborted) log.info(`lost ${IDENTITY}`, { port });
      }
      await sleep(retryMs, signal);
      if (port === undefined) retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
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
  readonly #options: Required<ClawdOptions>;
  readonly #state = new PetState();
  /** Steps to send, oldest first. */
  #waiting: readonly QueuedStep[] = [];
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

  constructor(port: number, options: Required<ClawdOptions>, signal: AbortSignal) {
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
    const { now, checkMs } = this.#options;
    let refreshedAt = now();
    while (!this.#ended.aborted) {
      this.#wake = new AbortController();
      await sleep(checkMs, AbortSignal.any([this.#ended, this.#wake.signal]));
      if (this.#ended.aborted) return;
      if (!await this.#isThere() && !this.#ended.aborted) return this.#gone.abort();
      if (now() - refreshedAt < REFRESH_MS) continue;
      refreshedAt = now();
      this.#push(this.#state.refresh());
    }
  }

  /** Withdraws the permission requests and, if the pet is still there, ends its sessions. */
  async finish(): Promise<void> {
    this.#waiting = [];
    this.#permissions.releaseAll();
    await Promise.all([this.#sending, this.#permissions.released()]);
    if (this.#gone.signal.aborted) return;
    await withTimeout(this.#options.responseMs, this.#gone.signal, async (signal) => {
      for (const step of this.#state.close()) {
        if (step.type === "post" && !await this.#post(step.body, signal)) break;
      }
    });
  }

  #push(steps: readonly Step[]): void {
    if (this.#ended.aborted) return;
    for (const step of steps) {
      if (step.type === "release") this.#permissions.release(step.requestId);
      this.#waiting = enqueue(this.#waiting, step);
    }
    if (this.#waiting.length > 0) this.#sending ??= this.#sendAll().finally(() => this.#sending = undefined);
  }

  /** Sends the waiting steps one after the other. Never throws. */
  async #sendAll(): Promise<void> {
    // Collect the steps of events that come together.
    await Promise.resolve();
    for (let [step] = this.#waiting; step !== undefined; [step] = this.#waiting) {
      this.#waiting = this.#waiting.slice(1);
      if (step.type === "ask") {
        this.#permissions.show(this.#port, step.request, step.sessionId);
        continue;
      }
      // The pet takes some states for the answer to an open request, so withdrawn requests have to close first.
      await this.#permissions.released();
      if (await this.#post(step.body, this.#ended)) continue;
      if (await this.#isThere() && await this.#post(step.body, this.#ended)) continue;
      this.#waiting = [];
      if (!this.#ended.aborted) this.#gone.abort();
    }
  }

  /** Posts a state. @returns Whether the pet answered. Never throws. */
  async #post(body: StateBody, signal: AbortSignal): Promise<boolean> {
    const { fetch, cwd, log, responseMs } = this.#options;
    const text = encodeState(body, cwd);
    try {
      const send = (signal: AbortSignal) => postState(fetch, this.#port, text, signal);
      const status = await withTimeout(responseMs, signal, send);
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
    const { fetch, responseMs: timeoutMs } = this.#options;
    return isPet(this.#port, { fetch, timeoutMs }, this.#ended);
  }

  /** A pet that closes a request without a decision is set to "do not disturb", or has quit. */
  #onAnswer(hasDecision: boolean): void {
    const { now } = this.#options;
    this.#unavailableUntil = hasDecision ? -Infinity : now() + UNAVAILABLE_MS;
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
