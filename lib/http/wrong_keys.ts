/** Refuses wrong keys: slowly if an address sends several. A right key never comes here, so it never waits. @module */

import { delay } from "@std/async/delay";
import { BoundedMap } from "../core/bounded_map.ts";
import { AppError } from "../core/errors.ts";

/** Wrong keys of an address that are answered at once, and the wait of each further one, in milliseconds. */
const FREE_GUESSES = 5;
const GUESS_MS = 1_000;
/** How long the wrong keys of an address are remembered, in milliseconds, and of how many addresses. */
const FORGET_GUESSES_MS = 60_000;
const MAX_ADDRESSES = 1_000;
/** Wrong keys that wait at a time, of one address and of all. Further ones are refused without a wait. */
export const MAX_WAITING_PER_ADDRESS = 100;
export const MAX_WAITING = 1_000;

/** The wrong keys of an address: their number, how many of them wait, and the time of the last. */
interface Guesses {
  count: number;
  waiting: number;
  at: number;
}

/** The wrong keys of the last minute, by address. */
export class WrongKeys {
  readonly #byAddress = new BoundedMap<string, Guesses>(MAX_ADDRESSES);
  /** Wrong keys of all addresses that wait for their answer. */
  #waiting = 0;

  /**
   * Counts a wrong key, waits if its address has sent several, and refuses it.
   *
   * @throws {AppError} `invalid_api_key`, or `rate_limit_exceeded` if too many wait; the signal's reason if the client
   * hangs up first.
   */
  async refuse(address: string | undefined, signal: AbortSignal): Promise<never> {
    const network = networkOf(address ?? "");
    const guesses = this.#byAddress.get(network) ?? { count: 0, waiting: 0, at: 0 };
    this.#byAddress.set(network, guesses);
    const now = performance.now();
    guesses.count = now - guesses.at > FORGET_GUESSES_MS ? 1 : guesses.count + 1;
    guesses.at = now;
    if (guesses.count > FREE_GUESSES) await this.#wait(guesses, signal);
    throw new AppError(
      "invalid_api_key",
      "The key is wrong: it is neither VTUBER_AUTH_KEY nor a key of [keys.NAME] in config.toml.",
    );
  }

  async #wait(guesses: Guesses, signal: AbortSignal): Promise<void> {
    if (guesses.waiting >= MAX_WAITING_PER_ADDRESS || this.#waiting >= MAX_WAITING) {
      throw new AppError(
        "rate_limit_exceeded",
        "The key is wrong, and so are many others that wait for their answer. Correct the key of the client that " +
          "sends them, and try again in 5 seconds.",
        { retryAfterSecs: 5 },
      );
    }
    guesses.waiting++;
    this.#waiting++;
    try {
      await delay(GUESS_MS, { signal });
    } finally {
      guesses.waiting--;
      this.#waiting--;
    }
  }
}

/**
 * Returns the part of an address that stands for one client: the whole of IPv4, and the first 64 bits of IPv6, because
 * a provider gives each customer the other 64 bits or more.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { networkOf } from "./wrong_keys.ts";
 * assertEquals(networkOf("2001:db8::7"), "2001:db8:0:0");
 * assertEquals(networkOf("::ffff:192.168.1.7"), "192.168.1.7");
 * ```
 */
export function networkOf(address: string): string {
  const ipv4 = /^(?:::ffff:)?(\d+(?:\.\d+){3})$/i.exec(address)?.[1];
  if (ipv4 !== undefined) return ipv4;
  const [front = [], back] = address.split("::").map((half) =>
    half.split(":").filter((group) => group !== "")
  );
  const zeros = back ? Array(Math.max(0, 8 - front.length - back.length)).fill("0") : [];
  return [...front, ...zeros, ...back ?? []].slice(0, 4).join(":");
}
