/** Lets other work have its turn. @module */

/**
 * Resolves in a later task, for work that comes in steps. A timer on purpose: while `setImmediate` is used, Deno seldom
 * looks for new requests (2.9.6).
 */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
