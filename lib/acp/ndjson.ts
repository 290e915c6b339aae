/** Lines of a byte stream, for JSON messages and stderr. @module */

import type { Log } from "../core/log.ts";
import type { Redact } from "../core/redact.ts";

/** Size of the one buffer that a byte stream is read into. */
const BUFFER_BYTES = 64 * 1024;

/** A running {@linkcode readLines}. */
export interface LineReader {
  /** Resolves at the end of the stream. Rejects when reading fails, a line is too long or `onLine` throws. */
  readonly done: Promise<void>;
  /** Stops reading. */
  cancel(): Promise<void>;
}

/**
 * Calls `onLine` for every line of UTF-8 text, without its `\n`, synchronously as bytes arrive. The last line need not be
 * terminated.
 *
 * @param maxChars Longest accepted line, in characters.
 */
export function readLines(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
  maxChars: number,
): LineReader {
  const { read, cancel } = openReader(stream);
  const decoder = new TextDecoder();
  // Pieces of an unfinished line are joined once, at its end, so that a long line is not scanned again and again.
  let pieces: string[] = [];
  let pieceChars = 0;

  function split(text: string): void {
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      let line = text.slice(start, end);
      start = end + 1;
      if (pieces.length > 0) {
        pieces.push(line);
        line = pieces.join("");
        pieces = [];
        pieceChars = 0;
      }
      onLine(line);
    }
    if (start === text.length) return;
    pieces.push(start === 0 ? text : text.slice(start));
    pieceChars += text.length - start;
    if (pieceChars > maxChars) throw new RangeError(`A line is longer than ${maxChars} characters.`);
  }

  async function run(): Promise<void> {
    try {
      for (let bytes = await read(); bytes !== undefined; bytes = await read()) {
        split(decoder.decode(bytes, { stream: true }));
      }
      split(decoder.decode());
      if (pieces.length > 0) onLine(pieces.join(""));
    } catch (error) {
      await cancel();
      throw error;
    }
  }

  return { done: run(), cancel };
}

/**
 * Opens a reader of either kind of stream. A byte stream is read into one buffer that is used again: agents write a line
 * per token, and a fresh buffer for each read costs 2 to 3 times the CPU of everything else here.
 */
function openReader(stream: ReadableStream<Uint8Array>): {
  read: () => Promise<Uint8Array | undefined>;
  cancel: () => Promise<void>;
} {
  let byob: ReadableStreamBYOBReader;
  try {
    byob = stream.getReader({ mode: "byob" });
  } catch {
    const reader = stream.getReader();
    return {
      read: async () => (await reader.read()).value,
      cancel: () => reader.cancel().catch(() => {}),
    };
  }
  let buffer = new ArrayBuffer(BUFFER_BYTES);
  return {
    read: async () => {
      const { value, done } = await byob.read(new Uint8Array(buffer));
      if (done || value === undefined) return undefined;
      buffer = value.buffer;
      return value;
    },
    cancel: () => byob.cancel().catch(() => {}),
  };
}

/** Characters of an invalid line that are logged. */
const LOGGED_LINE_CHARS = 200;
/** Invalid lines that are logged per minute. */
const MAX_PER_MINUTE = 5;
const MINUTE_MS = 60_000;

/**
 * Creates a function that logs invalid lines, at most {@linkcode MAX_PER_MINUTE} a minute: an agent that writes its log to
 * stdout would flood this program's log. The next logged line carries the number of `omitted` ones.
 */
export function logInvalidLines(
  log: Pick<Log, "warn">,
  redact: Redact,
  now: () => number,
): (line: string, why: string) => void {
  let minuteStart = -Infinity;
  let logged = 0;
  let omitted = 0;
  return (line, why) => {
    if (now() - minuteStart >= MINUTE_MS) {
      minuteStart = now();
      logged = 0;
    }
    if (++logged > MAX_PER_MINUTE) {
      omitted++;
      return;
    }
    // Redact before cutting: the cut may fall within a secret.
    const fields = { why, line: redact(line).slice(0, LOGGED_LINE_CHARS) };
    log.warn("skipped a line of the agent", omitted > 0 ? { ...fields, omitted } : fields);
    omitted = 0;
  };
}
