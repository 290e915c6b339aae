/** A skin that keeps, changes and sends its history at random. @module */

import type { Message } from "../../../lib/conversation/message.ts";
import { marksIn } from "../agents/memory_agent.ts";
import { assistant, system, user } from "../harness/message_fixture.ts";
import type { Random } from "../harness/random.ts";

/** The window sizes of skins, in messages. */
const WINDOWS = [4, 7, 1_000, 1_000] as const;
/** A skin that names its conversation may send its newest message only. */
const NAMED_WINDOWS = [1, ...WINDOWS] as const;
/** What a skin does with a question without a reply: keeps it, drops it, or keeps it with the part that came. */
const UNANSWERED = ["kept", "dropped", "partial"] as const;
/** How skins rewrite a reply. */
const REWRITES: readonly ((text: string) => string)[] = [
  (text) => text,
  (text) => text,
  (text) => `[happy] ${text.replaceAll(" ", "  ")}`,
  (text) => text.toUpperCase(),
  (text) => `<partial>${text.slice(0, text.length / 2)}...`,
];

/** A request of a skin. */
export interface Question {
  readonly messages: readonly Message[];
  /** The mark of its last message. */
  readonly mark: string;
  /** The marks that the session must have to answer. */
  readonly requiredMarks: readonly string[];
  /** The same request was sent before. */
  readonly isRetry: boolean;
}

export class RandomSkin {
  readonly owner: string;
  readonly agent: number;
  readonly name: string | undefined;
  /** The number of the persona. */
  readonly persona: number;
  /** No other skin shares its conversation. Otherwise messages before a reply may not have reached the session. */
  isAlone = true;
  readonly #random: Random;
  readonly #window: number;
  readonly #unansweredRule: typeof UNANSWERED[number];
  readonly #rewrite: (text: string) => string;
  readonly #sendsTime: boolean;
  readonly #opening: string | undefined;
  #history: Message[] = [];
  #last: Question | undefined;

  constructor(random: Random, isNamed: boolean) {
    this.#random = random;
    this.owner = random.pick(["k1", "k2"]);
    this.agent = random.below(2);
    this.name = isNamed ? random.pick(["a", "b"]) : undefined;
    this.persona = random.below(2);
    this.#window = random.pick(isNamed ? NAMED_WINDOWS : WINDOWS);
    this.#unansweredRule = random.pick(UNANSWERED);
    this.#rewrite = random.pick(REWRITES);
    this.#sendsTime = random.below(4) === 0;
    this.#opening = random.below(3) === 0 ? "Hello!" : undefined;
  }

  /** Makes the next request, with a question of this number. */
  ask(number: number): Question {
    const pick = this.#random.below(20);
    if (pick === 0) this.#history = [];
    if (pick === 1 && this.#last && this.#history.includes(this.#last.messages.at(-1)!)) {
      return this.#last = { ...this.#last, isRetry: true };
    }
    const mark = `q${number}q`;
    if (this.#history.length === 0 && this.#opening) {
      this.#history.push(user(this.#opening), assistant("Hi!"));
    }
    this.#history.push(user(`${mark} what?`));
    const sent = this.#history.slice(-this.#window);
    const persona = `s${this.persona}s`;
    const answered = this.isAlone ? 0 : sent.findLastIndex(({ role }) => role === "assistant") + 1;
    const asked = sent.slice(answered).filter(({ role }) => role === "user");
    const requiredMarks = [persona, ...asked.flatMap(({ parts }) => marksOf(parts))];
    const messages = [system(`You are ${persona}.`), ...sent];
    if (this.#sendsTime) {
      messages.splice(-1, 0, system(`It is n${number}n.`));
      requiredMarks.push(`n${number}n`);
    }
    return this.#last = { messages, mark, requiredMarks, isRetry: false };
  }

  /** Keeps a question with its reply. */
  answered(question: Question, reply: string): void {
    const at = this.#history.indexOf(question.messages.at(-1)!);
    if (at >= 0 && reply !== "") this.#history.splice(at + 1, 0, assistant(this.#rewrite(reply)));
  }

  /** Keeps a question that was cancelled, failed or refused after this part of a reply. */
  unanswered(question: Question, partial: string): void {
    const at = this.#history.indexOf(question.messages.at(-1)!);
    // The question may have been sent twice, and answered once.
    if (at < 0 || this.#history[at + 1]?.role === "assistant") return;
    if (this.#unansweredRule === "dropped") this.#history.splice(at, 1);
    else if (this.#unansweredRule === "partial" && partial !== "") {
      this.#history.splice(at + 1, 0, assistant(partial));
    }
  }
}

function marksOf(parts: Message["parts"]): string[] {
  return parts.flatMap((part) => part.type === "text" ? marksIn(part.text) : []);
}
