/** The frame of a program that writes to a database until it cannot, or until a test kills it. @module */

/**
 * Prints `start`, then writes one thing after another, with `saved N` after each. Stops when the store has warned.
 *
 * @param open Opens the store, and returns what writes the nth thing.
 */
export async function runWriter(
  open: (log: WriterLog, print: (line: string) => void) => Promise<(nth: number) => Promise<unknown>>,
): Promise<void> {
  const print = (line: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
  print("start");
  let isFailing = false;
  const write = await open({
    warn(message, fields) {
      console.error(message, fields);
      isFailing = true;
    },
  }, print);
  for (let nth = 0; !isFailing; nth++) {
    await write(nth);
    if (!isFailing) print(`saved ${nth}`);
  }
}

/** The log that a store gets. */
export interface WriterLog {
  warn(message: string, fields: Readonly<Record<string, unknown>>): void;
}
