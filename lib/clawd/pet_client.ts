/** HTTP requests to a clawd-on-desk on this machine. @module */

import { LimitedBytesTransformStream } from "@std/streams/limited-bytes-transform-stream";
import { toText } from "@std/streams/to-text";
import { IDENTITY, IDENTITY_HEADER, parseDecision, parseRuntime, type PetDecision } from "./wire.ts";

/** The ports that the pet tries, in this order. */
export const PORTS: readonly number[] = [23333, 23334, 23335, 23336, 23337];
/** Largest response that is read, in bytes. */
const MAX_RESPONSE_BYTES = 256 * 1024;
/** One request per connection: the pet closes idle connections, and a request on a closed one would fail. */
const HEADERS = { connection: "close", "content-type": "application/json" };

/**
 * Finds the pet: on the port that it wrote into `runtime.json`, or on one of its usual ports. Never throws.
 *
 * @param runtime The text of `~/.clawd/runtime.json`.
 */
export async function findPet(
  runtime: string | undefined,
  ports: readonly number[],
  responseMs: number,
  signal: AbortSignal,
): Promise<PetClient | undefined> {
  const written = parseRuntime(runtime ?? "");
  for (const port of new Set(written === undefined ? ports : [written, ...ports])) {
    const pet = new PetClient(port, responseMs);
    if (await pet.isThere(signal)) return pet;
  }
  return undefined;
}

/** A pet on a port. */
export class PetClient {
  readonly port: number;
  /** Longest wait for a response to a state, in milliseconds. */
  readonly #responseMs: number;

  constructor(port: number, responseMs: number) {
    this.port = port;
    this.#responseMs = responseMs;
  }

  /** Whether the pet, and no other program, answers on this port. Never throws. */
  async isThere(signal: AbortSignal): Promise<boolean> {
    const response = await this.#requestState({}, signal).catch(() => undefined);
    return response?.headers.get(IDENTITY_HEADER) === IDENTITY;
  }

  /** Posts a state. @returns The status of the response. @throws If the pet does not answer. */
  async postState(body: string, signal: AbortSignal): Promise<number> {
    const { status } = await this.#requestState({ method: "POST", body }, signal);
    return status;
  }

  /** Shows a permission request until it is decided or the signal aborts. @throws If the pet closes the connection. */
  async askPermission(body: string, signal: AbortSignal): Promise<PetDecision | undefined> {
    const response = await this.#fetch("permission", { method: "POST", body }, signal);
    if (response.body === null) return undefined;
    const limit = new LimitedBytesTransformStream(MAX_RESPONSE_BYTES, { error: true });
    return parseDecision(await toText(response.body.pipeThrough(limit)));
  }

  async #requestState(init: RequestInit, signal: AbortSignal): Promise<Response> {
    const response = await this.#fetch(
      "state",
      init,
      AbortSignal.any([signal, AbortSignal.timeout(this.#responseMs)]),
    );
    await response.body?.cancel();
    return response;
  }

  #fetch(path: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
    const url = `http://127.0.0.1:${this.port}/${path}`;
    return fetch(url, { ...init, headers: HEADERS, redirect: "error", signal });
  }
}
