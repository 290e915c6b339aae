// @ts-check
/** Parses server-sent events. @module */

/** Longest line, in characters. */
const MAX_LINE_CHARS = 4 * 1024 * 1024;

/** Parses a stream of server-sent events that arrives in pieces of any length. */
export class SseReader {
  #line = "";
  #data = /** @type {string[]} */ ([]);
  #afterCr = false;

  /**
   * Adds a piece of the stream.
   *
   * @param {string} piece
   * @returns {string[]} The data of the events that this piece completes.
   * @throws {Error} if a line is too long.
   */
  push(piece) {
    /** @type {string[]} */
    const events = [];
    for (const part of piece.split(/(\r\n|\n|\r)/)) {
      if (part !== "\n" && part !== "\r" && part !== "\r\n") {
        if (part !== "") this.#afterCr = false;
        this.#line += part;
        if (this.#line.length > MAX_LINE_CHARS) throw new Error("The server sent a line that is too long.");
        continue;
      }
      // A CR LF can be cut in two: the LF then ends no second line.
      const isSecondHalf = part === "\n" && this.#afterCr;
      this.#afterCr = part === "\r";
      if (!isSecondHalf) this.#endLine(events);
    }
    return events;
  }

  /** @param {string[]} events */
  #endLine(events) {
    const line = this.#line;
    this.#line = "";
    if (line !== "") {
      if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      return;
    }
    if (this.#data.length > 0) events.push(this.#data.join("\n"));
    this.#data = [];
  }
}
