/** Finds the pet: on the port that it wrote down, or on those that it uses; on this machine only. @module */

import { type Fetch, inTime } from "./request.ts";
import { IDENTITY, IDENTITY_HEADER, parseRuntime } from "./wire.ts";

/** The ports that its server tries, in this order. */
export const PORTS: readonly number[] = [23333, 23334, 23335, 23336, 23337];

/** What finding it takes. */
export interface DiscoveryOptions {
  readonly fetch: Fetch;
  readonly readRuntime: () => Promise<string | undefined>;
  /** Where else to look. */
  readonly ports: readonly number[];
  /** How long an answer may take, in milliseconds. */
  readonly probeMs: number;
}

/** The port on which the pet answers, or `undefined`. Never throws. */
export async function findPet(options: DiscoveryOptions, signal: AbortSignal): Promise<number | undefined> {
  const written = await writtenPort(options);
  for (const port of new Set([...(written === undefined ? [] : [written]), ...options.ports])) {
    if (signal.aborted) return undefined;
    if (await isPet(port, options, signal)) return port;
  }
  return undefined;
}

async function writtenPort({ readRuntime }: DiscoveryOptions): Promise<number | undefined> {
  try {
    return parseRuntime(await readRuntime() ?? "");
  } catch {
    return undefined;
  }
}

/** Whether it is the pet that answers on this port: nothing is posted before that is known. Never throws. */
export async function isPet(
  port: number,
  { fetch, probeMs }: Pick<DiscoveryOptions, "fetch" | "probeMs">,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return await inTime(probeMs, signal, async (signal) => {
      const response = await fetch(`http://127.0.0.1:${port}/state`, {
        headers: { connection: "close" },
        redirect: "error",
        signal,
      });
      await response.body?.cancel();
      return response.headers.get(IDENTITY_HEADER) === IDENTITY;
    });
  } catch {
    return false;
  }
}
