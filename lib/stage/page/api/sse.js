// @ts-check
/** Server-sent events out of text that comes in pieces. @module */

/** Characters of one event; a longer one is no event of ours. */
const MAX_EVENT_CHARS = 4 * 1024 * 1024;

export class SseReader {
  #line = "";
  #data = /** @type {string[]} */ ([]);
  #afterCr = false;

  /**
   * Takes the next piece, however it is cut.
   *
   * @param {string} piece
   * @returns {string[]} The data of the events that are whole now.
   */
  push(piece) {
    /** @type {string[]} */
    const events = [];
    for (const part of piece.split(/(\r\n|\n|\r)/)) {
      if (part !== "\n" && part !== "\r" && part !== "\r\n") {
        if (part !== "") this.#afterCr = false;
        this.#line += part;
        if (this.#line.length > MAX_EVENT_CHARS) throw new Error("The answer is no stream of events.");
        continue;
      }
      // A line break that was cut in two is still one.
      const rest = part === "\n" && this.#afterCr;
      this.#afterCr = part === "\r";
      if (!rest) this.#take(events);
    }
    return events;
  }

  /** @param {string[]} events */
  #take(events) {
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
