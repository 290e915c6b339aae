/** Divides text that comes in pieces into sentences. @module */

/** Characters of the longest sentence. A longer one is divided at a clause, or a space. */
export const MAX_SENTENCE_CHARS = 250;

/** The end of a sentence, with the character that makes it certain. */
const END = /[.!?…]+["'”’)\]]*(?=\s)|[。！？｡]+[」』”’）]*(?=[^。！？｡」』”’）])|\n/g;
const ABBREVIATION = /(?:^|[\s("“])(?:(?:Dr|Mr|Mrs|Ms|Prof|St|No|vs|e\.g|i\.e|etc)|(?:\p{L}\.)*\p{Lu})\.$/u;

/** Divides a text into sentences. */
export class SentenceSplitter {
  #rest = "";

  /** Takes the next piece. @returns The sentences that are complete with it. */
  push(text: string): string[] {
    this.#rest += text;
    const sentences: string[] = [];
    let from = 0;
    END.lastIndex = 0;
    for (let match; (match = END.exec(this.#rest)) !== null;) {
      const end = match.index + match[0].length;
      const sentence = this.#rest.slice(from, end);
      if (ABBREVIATION.test(sentence)) continue;
      sentences.push(...divide(sentence));
      from = end;
    }
    this.#rest = this.#rest.slice(from);
    return sentences;
  }

  /** Says that the text is over. @returns The last sentences. */
  end(): string[] {
    const rest = this.#rest;
    this.#rest = "";
    return divide(rest);
  }
}

function divide(text: string): string[] {
  const sentence = text.trim();
  if (!/[\p{L}\p{N}]/u.test(sentence)) return [];
  if (sentence.length <= MAX_SENTENCE_CHARS) return [sentence];
  const at = sentence.lastIndexOf(" ", MAX_SENTENCE_CHARS);
  const cut = at > 0 ? at : MAX_SENTENCE_CHARS;
  return [...divide(sentence.slice(0, cut)), ...divide(sentence.slice(cut))];
}
