/** A skin in which chance decides: its history as it keeps it, changes it and sends it. @module */

import type { Message } from "../../../lib/conversation/message.ts";
import { marksIn } from "../agents/memory_agent.ts";
import type { Random } from "../harness/random.ts";

/** Messages of which some skins send no more. */
const WINDOWS = [4, 7, 1_000, 1_000] as const;
/** Who names its conversation may send its newest message only. */
const NAMED_WINDOWS = [1, ...WINDOWS] as const;
/** What becomes of a question that got no answer: it stays, it is dropped, or what was heard stands for an answer. */
const LEFT_OPEN = ["kept", "dropped", "heard"] as const;
/** What becomes of an answer. */
const REWRITES: readonly ((text: string) => string)[] = [
  (text) => text,
  (text) => text,
  (text) => `[happy] ${text.replaceAll(" ", "  ")}`,
  (text) => text.toUpperCase(),
  (text) => `<heard>${text.slice(0, text.length / 2)}...`,
];

/** What a skin asks. */
export interface Question {
  readonly messages: readonly Message[];
  /** The mark of what is asked. */
  readonly mark: string;
  /** What the session has to know to answer it. */
  readonly needs: readonly string[];
  /** It was asked before, as it is. */
  readonly isAgain: boolean;
}

/** The skin. */
export class RandomSkin {
  readonly owner: string;
  readonly agent: number;
  readonly name: string | undefined;
  /** The number of its persona. */
  readonly persona: number;
  /** Nobody else talks in its conversation. Otherwise what it said before an answer may be known to nobody. */
  isAlone = true;
  readonly #random: Random;
  readonly #window: number;
  readonly #leftOpen: typeof LEFT_OPEN[number];
  readonly #rewrite: (text: string) => string;
  readonly #tellsTime: boolean;
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
    this.#leftOpen = random.pick(LEFT_OPEN);
    this.#rewrite = random.pick(REWRITES);
    this.#tellsTime = random.below(4) === 0;
    this.#opening = random.below(3) === 0 ? "Hello!" : undefined;
  }

  /** Asks the next question, of this number. */
  ask(number: number): Question {
    const chance = this.#random.below(20);
    if (chance === 0) this.#history = [];
    if (chance === 1 && this.#last && this.#history.includes(this.#last.messages.at(-1)!)) {
      return this.#last = { ...this.#last, isAgain: true };
    }
    const mark = `q${number}q`;
    if (this.#history.length === 0 && this.#opening) {
      this.#history.push(said("user", this.#opening), said("assistant", "Hi!"));
    }
    this.#history.push(said("user", `${mark} what?`));
    const sent = this.#history.slice(-this.#window);
    const persona = `s${this.persona}s`;
    const answered = this.isAlone ? 0 : sent.findLastIndex(({ role }) => role === "assistant") + 1;
    const asked = sent.slice(answered).filter(({ role }) => role === "user");
    const needs = [persona, ...asked.flatMap(({ parts }) => marksOf(parts))];
    const messages = [said("system", `You are ${persona}.`), ...sent];
    if (this.#tellsTime) {
      messages.splice(-1, 0, said("system", `It is n${number}n.`));
      needs.push(`n${number}n`);
    }
    return this.#last = { messages, mark, needs, isAgain: false };
  }

  /** It was answered. */
  answered(question: Question, reply: string): void {
    const at = this.#history.indexOf(question.messages.at(-1)!);
    if (at >= 0 && reply !== "") this.#history.splice(at + 1, 0, said("assistant", this.#rewrite(reply)));
  }

  /** It was cancelled, failed or refused, after this was heard. */
  unanswered(question: Question, heard: string): void {
    const at = this.#history.indexOf(question.messages.at(-1)!);
    // It may have been asked twice, and answered once.
    if (at < 0 || this.#history[at + 1]?.role === "assistant") return;
    if (this.#leftOpen === "dropped") this.#history.splice(at, 1);
    else if (this.#leftOpen === "heard" && heard !== "") {
      this.#history.splice(at + 1, 0, said("assistant", heard));
    }
  }
}

function said(role: Message["role"], text: string): Message {
  return { role, parts: [{ type: "text", text }] };
}

function marksOf(parts: Message["parts"]): string[] {
  return parts.flatMap((part) => part.type === "text" ? marksIn(part.text) : []);
}
