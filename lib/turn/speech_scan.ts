/**
 * Finds the emotions and the speech of a turn's text in one scan, which runs only as far as somebody needs it.
 *
 * @module
 */

import { EmotionScanner, type EmotionWords } from "./emotion.ts";
import type { TurnEvent } from "./event.ts";
import { ProseReader } from "./prose.ts";

/** Characters of text that wait for a scan while nobody wants speech. */
const UNSCANNED_LIMIT = 64 * 1024;

/**
 * Scans the text of one turn. While somebody wants speech, the text is scanned at once. Otherwise the text is kept, and
 * scanned for its emotions alone as soon as it pauses.
 */
export class SpeechScan {
  readonly #scanner: EmotionScanner;
  readonly #prose: ProseReader;
  readonly #wantsSpeech: () => boolean;
  /** Text that came while nobody wanted speech. */
  #unscanned = "";
  /** Whether the scan in progress emits speech, or emotions only. */
  #emitsSpeech = false;
  /** Length of the turn's speech so far, whether it was emitted or not. */
  #speechChars = 0;

  /** @param emit Receives `emotion` and `speech`. */
  constructor(words: EmotionWords, wantsSpeech: () => boolean, emit: (event: TurnEvent) => void) {
    this.#wantsSpeech = wantsSpeech;
    this.#prose = new ProseReader((text) => {
      this.#speechChars += text.length;
      if (this.#emitsSpeech) emit({ type: "speech", text });
    });
    this.#scanner = new EmotionScanner(words, {
      emotion: (tag, intensity) => {
        this.#prose.break();
        emit({ type: "emotion", tag, intensity, at: this.#speechChars });
      },
      speak: (text) => this.#prose.push(text),
    });
  }

  /** Takes the next piece of text. */
  push(text: string): void {
    if (!this.#wantsSpeech()) {
      this.#unscanned += text;
      if (this.#unscanned.length > UNSCANNED_LIMIT) this.#scanKept();
      return;
    }
    this.#scanKept();
    this.#emitsSpeech = true;
    this.#scanner.push(text);
  }

  /** Says that something else follows the text so far. */
  pause(): void {
    this.#scanKept();
    this.#scanner.pause();
    this.#prose.break();
  }

  /** Says that the text is over. */
  end(): void {
    this.#scanKept();
    this.#scanner.pause();
    this.#scanner.end();
    this.#prose.end();
  }

  #scanKept(): void {
    if (this.#unscanned === "") return;
    this.#emitsSpeech = false;
    this.#scanner.push(this.#unscanned);
    this.#unscanned = "";
  }
}
