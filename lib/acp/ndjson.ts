/** Lines of a byte stream, for JSON messages and stderr. @module */

/** Size of the one buffer that a byte stream is read into. */
const BUFFER_BYTES = 64 * 1024;

/** A running {@linkcode readLines}. */
export interface LineReader {
  /** Resolves at the end of the stream. Rejects when reading fails or `onLine` throws. */
  readonly done: Promise<void>;
  /** Stops reading. */
  cancel(): Promise<void>;
}

/**
 * Calls `onLine` for every line of UTF-8 text, without its `\n`, synchronously as bytes arrive. The last line need not
 * be terminated.
 *
 * @param stream A stream of type `bytes`. It is read into one buffer that is used again: agents write a line per token,
 *   and a fresh buffer for each read costs 2 to 3 times the CPU of everything else here.
 * @param onLine Called with each line. Called with the start of a line that is too long, and `isCut`, before its end
 *   has come; the rest is dropped.
 * @param maxChars Longest line, in characters.
 */
export function readLines(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string, isCut: boolean) => void,
  maxChars: number,
): LineReader {
  const reader = stream.getReader({ mode: "byob" });
  const cancel = () => reader.cancel().catch(() => {});
  const decoder = new TextDecoder();
  // Pieces of an unfinished line are joined once, at its end, so that a long line is not scanned again and again.
  let pieces: string[] = [];
  let pieceChars = 0;
  /** Whether the start of the current line was handed out, because the line is too long. */
  let isDropping = false;

  function add(piece: string): void {
    if (isDropping) return;
    pieces.push(piece);
    pieceChars += piece.length;
    if (pieceChars > maxChars) {
      isDropping = true;
      onLine(takeLine().slice(0, maxChars), true);
    }
  }

  function takeLine(): string {
    const line = pieces.join("");
    pieces = [];
    pieceChars = 0;
    return line;
  }

  function split(text: string): void {
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      const piece = text.slice(start, end);
      start = end + 1;
      if (pieces.length === 0 && !isDropping && piece.length <= maxChars) {
        onLine(piece, false);
      } else {
        add(piece);
        if (!isDropping) onLine(takeLine(), false);
        isDropping = false;
      }
    }
    if (start < text.length) add(text.slice(start));
  }

  async function run(): Promise<void> {
    let buffer = new ArrayBuffer(BUFFER_BYTES);
    try {
      for (;;) {
        const { value, done } = await reader.read(new Uint8Array(buffer));
        if (done || value === undefined) break;
        split(decoder.decode(value, { stream: true }));
        buffer = value.buffer;
      }
      split(decoder.decode());
      if (pieces.length > 0) onLine(takeLine(), false);
    } catch (error) {
      await cancel();
      throw error;
    }
  }

  return { done: run(), cancel };
}
