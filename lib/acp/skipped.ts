/** Lines of an agent that cannot be read: skipped, and said, but not without end. @module */

import type { Log } from "../ops/log.ts";
import type { Hide } from "./rpc.ts";

/** Characters of a skipped line that are logged. */
const LOGGED_LINE_CHARS = 200;
/** How many lines are told of in a minute. */
const MAX_A_MINUTE = 5;
const MINUTE_MS = 60_000;

/**
 * Makes a function that says why a line is skipped: a few times in a minute, and then how many it did not tell of. An
 * agent that writes its log where its messages belong would fill this program's.
 */
export function skippedLines(
  log: Pick<Log, "warn">,
  hide: Hide,
  now: () => number,
): (line: string, why: string) => void {
  let since = -Infinity;
  let told = 0;
  let untold = 0;
  return (line, why) => {
    if (now() - since >= MINUTE_MS) {
      since = now();
      told = 0;
    }
    if (++told > MAX_A_MINUTE) {
      untold++;
      return;
    }
    // What is cut may end within a secret.
    const fields = { why, line: hide(line).slice(0, LOGGED_LINE_CHARS) };
    log.warn("skipped a line of the agent", untold > 0 ? { ...fields, untold } : fields);
    untold = 0;
  };
}
