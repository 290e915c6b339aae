/** HTTP requests to a clawd-on-desk on this machine. @module */

import { LimitedBytesTransformStream } from "@std/streams/limited-bytes-transform-stream";
import { toText } from "@std/streams/to-text";
import { IDENTITY, IDENTITY_HEADER, parseDecision, parseRuntime, type PetDecision } from "./wire.ts";

/** The ports that the pet tries, in this order. */
export const PORTS: readonly number[] = [23333, 23334, 23335, 23336, 23337];
/** Largest response that is read, in bytes. */
const MAX_RESPONSE_BYTES = 256 * 1024;

/** The part of `fetch` that is used. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Where to look for the pet. */
export interface FindOptions {
  readonly fetch: Fetch;
  /** Reads `~/.clawd/runtime.json`, in which the pet writes its port. */
  readonly readRuntime: () => Promise<string | undefined>;
  /** Ports to try after the written one. */
  readonly ports: readonly number[];
  /** Longest wait for a response, in milliseconds. */
  readonly timeoutMs: number;
}

/** Finds the port on which the pet answers. Never throws. */
export async function findPet(options: FindOptions, signal: AbortSignal): Promise<number | undefined> {
  const text = await Promise.try(options.readRuntime).catch(() => undefined);
  const written = parseRuntime(text ?? "");
  for (const port of new Set([...(written === undefined ? [] : [written]), ...options.ports])) {
    if (signal.aborted) return undefined;
    if (await isPet(port, options, signal)) return port;
  }
  return undefined;
}

/** Whether the pet, and no other program, answers on this port. Never throws. */
export async function isPet(
  port: number,
  { fetch, timeoutMs }: Pick<FindOptions, "fetch" | "timeoutMs">,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const response = await withTimeout(timeoutMs, signal, async (signal) => {
      const response = await fetch(urlOf(port, "state"), { ...SINGLE_REQUEST, signal });
      await response.body?.cancel();
      return response;
    });
    return response.headers.get(IDENTITY_HEADER) === IDENTITY;
  } catch {
    return false;
  }
}

/** Posts a state. @returns The status of the response. @throws If the pet does not answer. */
export async function postState(
  fetch: Fetch,
  port: number,
  body: string,
  signal: AbortSignal,
): Promise<number> {
  const response = await fetch(urlOf(port, "state"), postInit(body, signal));
  await response.body?.cancel();
  return response.status;
}

/** Shows a permission request until it is decided or the signal aborts. @throws If the pet closes the connection. */
export async function askPermission(
  fetch: Fetch,
  port: number,
  body: string,
  signal: AbortSignal,
): Promise<PetDecision | undefined> {
  const response = await fetch(urlOf(port, "permission"), postInit(body, signal));
  if (response.body === null) return undefined;
  const limit = new LimitedBytesTransformStream(MAX_RESPONSE_BYTES, { error: true });
  return parseDecision(await toText(response.body.pipeThrough(limit)));
}

/** Runs `work` with a signal that also aborts after `ms` milliseconds. */
export async function withTimeout<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(new Error(`no answer within ${ms} ms`)), ms);
  try {
    return await work(AbortSignal.any([signal, timeout.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** One request per connection: the pet closes idle connections, and a request on a closed one would fail. */
const SINGLE_REQUEST = { headers: { connection: "close" }, redirect: "error" } as const;

function postInit(body: string, signal: AbortSignal): RequestInit {
  const headers = { ...SINGLE_REQUEST.headers, "content-type": "application/json" };
  return { ...SINGLE_REQUEST, method: "POST", headers, body, signal };
}

function urlOf(port: number, path: string): string {
  return `http://127.0.0.1:${port}/${path}`;
}
