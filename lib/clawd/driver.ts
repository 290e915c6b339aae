/**
 * Drives a clawd-on-desk desktop pet: finds it, subscribes it to the events, posts the states, and forwards its user's
 * answers to permission requests. The pet may start and stop at any time, and nothing waits for it.
 *
 * @module
 */

import { setTimeout } from "node:timers/promises";
import { messageOf } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { PermissionAnswer } from "../turn/permission.ts";
import { encodePermission, MAX_SHOWN_CHARS, PetStates } from "./payload.ts";
import { findPet, type PetClient, PORTS } from "./pet_client.ts";
import { CLAWD_EVENTS, IDENTITY, isClawdEvent, type PetTransport, type RequestEvent } from "./wire.ts";

/** States that can wait. The pet answers in milliseconds, and a pet that hangs is given up soon. */
const MAX_WAITING = 100;
/** Permission requests that are shown at once; further ones are left to the other clients. */
const MAX_REQUESTS = 12;
const ANSWERS = { allow: "allow", always: "allow_always", deny: "reject" } as const;

/** Dependencies of the driver. */
export interface ClawdOptions {
  /** Subscribes the pet to the events of these names, until the subscription is disposed of. May throw. */
  readonly subscribe: (pet: PetTransport, events: readonly string[]) => Disposable;
  /** Answers a permission request; throws if it is no longer open. */
  readonly answer: (id: string, answer: PermissionAnswer, by: string) => unknown;
  /** Reads `~/.clawd/runtime.json`; `undefined` if that is not possible. */
  readonly readRuntime: () => Promise<string | undefined>;
  /** The folder that the pet shows for its sessions. */
  readonly cwd: string;
  readonly log: Log;
  /** The ports to search, besides the port in `runtime.json`. */
  readonly ports?: readonly number[];
  /** Longest wait for a response, in milliseconds. */
  readonly responseMs?: number;
  /** Between two checks that the pet is still there, in milliseconds. */
  readonly checkMs?: number;
  /** Between two searches, in milliseconds. */
  readonly retryMs?: number;
}

/** Finds the pet and drives it, until the driver is disposed of. */
export class ClawdDriver implements AsyncDisposable {
  readonly #options: ClawdOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: ClawdOptions) {
    this.#options = options;
  }

  /** Starts the search. */
  start(): void {
    this.#running ??= this.#run(this.#stopping.signal);
  }

  /** Withdraws the permission requests and stops. The pet forgets its sessions by itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { readRuntime, ports = PORTS, responseMs = 1_000, retryMs = 5_000 } = this.#options;
    while (!signal.aborted) {
      const pet = await findPet(await readRuntime(), ports, responseMs, signal);
      if (pet && !signal.aborted) await this.#drive(pet, signal);
      await sleep(retryMs, signal);
    }
  }

  /** Drives the pet until it is gone or the driver stops. Never throws. */
  async #drive(pet: PetClient, signal: AbortSignal): Promise<void> {
    const { subscribe, log, checkMs = 30_000 } = this.#options;
    log.info(`found ${IDENTITY}`, { port: pet.port });
    await using connection = new PetConnection(pet, this.#options);
    const ended = AbortSignal.any([signal, connection.lost]);
    try {
      using _subscription = subscribe(connection, CLAWD_EVENTS);
      do await sleep(checkMs, ended); while (!ended.aborted && await pet.isThere(ended));
    } catch (error) {
      log.debug(`${IDENTITY} is not driven`, { reason: messageOf(error) });
    }
    if (!signal.aborted) log.info(`lost ${IDENTITY}`, { port: pet.port });
  }
}

/** A pet that was found, as a subscriber of the events. */
class PetConnection implements PetTransport, AsyncDisposable {
  readonly backlog = 0;
  readonly internal = { canAnswer: true };
  readonly #pet: PetClient;
  readonly #options: ClawdOptions;
  readonly #states: PetStates;
  readonly #ended = new AbortController();
  #waiting = 0;
  /** Settles when the last state was posted. */
  #posting: Promise<void> = Promise.resolve();
  /** The permission requests that the pet shows, by id. */
  readonly #requests = new Map<string, { readonly withdraw: () => void; readonly ended: Promise<void> }>();

  constructor(pet: PetClient, options: ClawdOptions) {
    this.#pet = pet;
    this.#options = options;
    this.#states = new PetStates(options.cwd);
  }

  /** Aborts when the pet does not answer, or the connection is disposed of. */
  get lost(): AbortSignal {
    return this.#ended.signal;
  }

  /** Takes an event. Never throws, never waits. */
  send({ event }: { readonly event: { readonly type: string } }): void {
    if (!isClawdEvent(event) || this.#ended.signal.aborted) return;
    switch (event.type) {
      case "agent_state":
        return this.#post(this.#states.encode(event));
      case "notification":
        return this.#post(this.#states.encodeNotification());
      case "permission_request":
        return this.#show(event);
      case "permission_resolved":
        // The end of the HTTP request removes the pet's bubble.
        return this.#requests.get(event.request_id)?.withdraw();
      default:
        return event satisfies never;
    }
  }

  /** Does nothing: the hub closes when the server stops, which disposes of the driver. */
  close(): void {}

  /** Withdraws the permission requests. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await Promise.all([this.#posting, ...this.#requests.values().map(({ ended }) => ended)]);
  }

  /** Posts a state after the ones before it. A pet that does not answer is lost. */
  #post(body: string | undefined): void {
    if (body === undefined || this.#waiting >= MAX_WAITING) return;
    const { signal } = this.#ended;
    const { log } = this.#options;
    this.#waiting++;
    this.#posting = this.#posting.then(async () => {
      this.#waiting--;
      if (signal.aborted) return;
      const status = await this.#pet.postState(body, signal);
      if (status >= 400) log.debug(`${IDENTITY} rejected a state`, { status });
    }).catch((error) => {
      log.debug(`${IDENTITY} did not answer`, { reason: messageOf(error) });
      this.#ended.abort();
    });
  }

  /** Shows a permission request until it is decided or resolved elsewhere. */
  #show(request: RequestEvent): void {
    const { request_id: id, tool } = request;
    // Nobody may allow what the bubble does not show whole.
    if ((tool.detail?.length ?? 0) > MAX_SHOWN_CHARS) return;
    if (this.#requests.has(id) || this.#requests.size >= MAX_REQUESTS) return;
    const withdrawal = new AbortController();
    const ended = this.#ask(request, AbortSignal.any([this.#ended.signal, withdrawal.signal]))
      .catch((error) => {
        // A request that was withdrawn, or that the pet closed because it is set to "do not disturb", or a late answer.
        const reason = messageOf(error);
        this.#options.log.debug(`a permission request has no answer of ${IDENTITY}`, { reason });
      }).finally(() => this.#requests.delete(id));
    this.#requests.set(id, { withdraw: () => withdrawal.abort(), ended });
  }

  async #ask(request: RequestEvent, signal: AbortSignal): Promise<void> {
    const decision = await this.#pet.askPermission(encodePermission(request), signal);
    if (decision === undefined || signal.aborted) return;
    this.#options.answer(request.request_id, { decision: ANSWERS[decision] }, IDENTITY);
  }
}

/** Waits `ms` milliseconds, or until the signal aborts. */
async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => {});
}
