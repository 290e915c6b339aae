/** Lines out of a byte stream, each looked at once. @module */

import type { Log } from "../core/log.ts";
import type { Redact } from "../core/redact.ts";

/** Size of the one buffer that a byte stream is read into. */
const BUFFER_BYTES = 64 * 1024;

/** A reader at work. */
export interface LineReader {
  /** Resolves at the end of the stream; rejects when reading fails, a line is too long or `onLine` throws. */
  readonly done: Promise<void>;
  /** Stops reading. */
  cancel(): Promise<void>;
}

type Read = () => Promise<Uint8Array | undefined>;

/**
 * Calls `onLine` for every line of UTF-8 text, without its `\n`, synchronously as bytes arrive; the last one need not
 * be terminated. A byte stream is read into one buffer that is used again (agents write a line per token, and a fresh
 * buffer for each costs more than everything else here); other streams are read as they come.
 */
export function readLines(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
  maxChars: number,
): LineReader {
  const { read, cancel } = openReader(stream);
  const decoder = new TextDecoder();
  // The pieces of an unfinished line: joined once when it ends, so that a long line is not scanned again and again.
  let pieces: string[] = [];
  let pieceChars = 0;

  function feed(text: string): void {
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
    if (pieceChars > maxChars) {
      throw new RangeError(`A line is longer than ${maxChars} characters.`);
    }
  }

  async function run(): Promise<void> {
    try {
      for (let bytes = await read(); bytes !== undefined; bytes = await read()) {
        feed(decoder.decode(bytes, { stream: true }));
      }
      feed(decoder.decode());
      if (pieces.length > 0) onLine(pieces.join(""));
    } catch (error) {
      await cancel();
      throw error;
    }
  }

  return { done: run(), cancel };
}

function openReader(stream: ReadableStream<Uint8Array>): { read: Read; cancel: () => Promise<void> } {
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

/** Characters of a skipped line that are logged. */
const LOGGED_LINE_CHARS = 200;
/** How many lines are told of in a minute. */
const MAX_A_MINUTE = 5;
const MINUTE_MS = 60_000;

/**
 * Makes a function that says why a line is skipped: a few times in a minute, and then how many it did not tell of. An
 * agent that writes its log where its messages belong would fill this program's.
 */
export function logInvalidLines(
  log: Pick<Log, "warn">,
  redact: Redact,
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
    const fields = { why, line: redact(line).slice(0, LOGGED_LINE_CHARS) };
    log.warn("skipped a line of the agent", untold > 0 ? { ...fields, untold } : fields);
    untold = 0;
  };
}
