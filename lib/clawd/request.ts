/** Requests to the pet. @module */

import { LimitedBytesTransformStream } from "@std/streams/limited-bytes-transform-stream";
import { toText } from "@std/streams/to-text";

/** How requests are made. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Bytes of an answer that are read. */
const MAX_ANSWER_BYTES = 256 * 1024;

/** Posts JSON. A connection serves one request: the pet closes idle ones, and a request on such a one would fail. */
export function post(fetch: Fetch, url: string, body: string, signal: AbortSignal): Promise<Response> {
  const headers = { "content-type": "application/json", connection: "close" };
  return fetch(url, { method: "POST", headers, body, redirect: "error", signal });
}

/** The text of an answer. @throws {RangeError} if it is too long. */
export async function textOf(response: Response): Promise<string> {
  if (response.body === null) return "";
  return await toText(
    response.body.pipeThrough(new LimitedBytesTransformStream(MAX_ANSWER_BYTES, { error: true })),
  );
}

/** What `work` gives; its signal aborts with the other one, or when the time is over. */
export async function inTime<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`no answer in ${ms} ms`)), ms);
  try {
    return await work(AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}
