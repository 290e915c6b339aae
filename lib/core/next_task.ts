/** Lets other tasks run between the steps of long work. @module */

/**
 * Resolves in a later task of the event loop. Uses a timer, because Deno seldom accepts new requests while
 * `setImmediate` is in use (2.9.6).
 */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
