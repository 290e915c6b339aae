/**
 * Checks JSON against a client's JSON schema. A schema can make a check run for ever (a pattern such as `^(a+)+$`,
 * nested alternatives), so each check runs in a worker that is stopped in time, and the server goes on meanwhile.
 *
 * @module
 */

import { z } from "zod";
import { abortable } from "../core/abortable.ts";
import { messageOf } from "../core/errors.ts";
import { Semaphore } from "../core/semaphore.ts";

/** Longest check, and longest start of its worker, in milliseconds. */
const CHECK_TIMEOUT_MS = 2_000;
const START_TIMEOUT_MS = 20_000;
/** Checks that run at a time, and that wait for those. */
const MAX_RUNNING = 2;
const MAX_WAITING = 32;
/** The worker runs this module, or in the executable the bundle with this module. */
const WORKER_NAME = "json-schema";
/** The first message of the worker. */
const READY = "ready";

/** A schema, and the JSON to check; without JSON only the schema is checked. */
interface Check {
  readonly schema: Record<string, unknown>;
  readonly json?: string;
}

/** The faults of a schema and of the JSON. */
interface Faults {
  readonly schema?: string;
  readonly json?: string;
}

const checks = new Semaphore({
  places: MAX_RUNNING,
  maxWaiting: MAX_WAITING,
  full: "Too many requests with a JSON schema wait for their check.",
});

/**
 * Checks a schema, and JSON against the schema.
 *
 * @returns The faults, none of which is there if all is fine.
 * @throws {AppError} `rate_limit_exceeded` if too many checks wait; the signal's reason if it aborts.
 */
export async function checkJson(check: Check, signal: AbortSignal): Promise<Faults> {
  using _place = await checks.take(signal);
  return await checkInWorker(check, signal);
}

async function checkInWorker(check: Check, signal: AbortSignal): Promise<Faults> {
  const { promise, resolve, reject } = Promise.withResolvers<Faults>();
  const worker = new Worker(import.meta.url, { type: "module", name: WORKER_NAME });
  const fault = `the check takes longer than ${CHECK_TIMEOUT_MS / 1000} seconds`;
  const giveUp = () => resolve(check.json === undefined ? { schema: fault } : { json: fault });
  let timeout = setTimeout(giveUp, START_TIMEOUT_MS);
  worker.onmessage = ({ data }) => {
    if (data !== READY) return resolve(data);
    clearTimeout(timeout);
    timeout = setTimeout(giveUp, CHECK_TIMEOUT_MS);
    worker.postMessage(check);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(event.message));
  };
  try {
    return await abortable(promise, signal);
  } finally {
    clearTimeout(timeout);
    worker.terminate();
  }
}

function findFaults({ schema, json }: Check): Faults {
  let type: z.ZodType;
  try {
    type = z.fromJSONSchema(schema);
  } catch (error) {
    return { schema: messageOf(error) };
  }
  const issue = json === undefined ? undefined : type.safeParse(JSON.parse(json)).error?.issues[0];
  return issue ? { json: `${issue.path.join(".") || "it"}: ${issue.message}` } : {};
}

declare function postMessage(message: Faults | typeof READY): void;

if (globalThis.name === WORKER_NAME) {
  globalThis.addEventListener("message", (event) => {
    if (event instanceof MessageEvent) postMessage(findFaults(event.data));
  });
  postMessage(READY);
}
