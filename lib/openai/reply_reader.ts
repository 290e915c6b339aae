/** A turn's events as an answer: what is said, and how it ends. Pure; the two kinds of answer are made of it. @module */

import type { TurnEvent, Usage } from "../turn/event.ts";
import { AppError } from "../core/errors.ts";
import type { FinishReason } from "./chunk.ts";
import { StopFilter } from "./stop_filter.ts";
import { SkinText } from "./skin_text.ts";
import { type CompletionUsage, completionUsage, TokenCount } from "./usage.ts";

/** How an answer ended. */
export interface ReplyEnd {
  readonly finish: FinishReason;
  readonly usage: CompletionUsage;
  /** The agent gave no numbers. */
  readonly estimated: boolean;
  /** Why it broke off, where it did. */
  readonly failure: AppError | undefined;
  /** The last of what is said, perhaps empty: the line break that ends the reply, or the line that broke off. */
  readonly tail: string;
}

/** Takes an answer as it is made. */
export interface ReplySink {
  /** What is said; never empty. */
  text(text: string): void;
  /** What the agent does beside it. */
  aside(event: Extract<TurnEvent, { type: "thought" | "tool" | "plan" }>): void;
  /** The last call. */
  end(ending: ReplyEnd): void;
}

/** What bounds an answer. */
export interface ReplyOptions {
  readonly stop: readonly string[];
  readonly maxTokens: number | undefined;
  /** The estimate of the prompt. */
  readonly promptTokens: number;
}

/** Reads a turn into a {@linkcode ReplySink}. */
export class ReplyReader {
  readonly #options: ReplyOptions;
  readonly #sink: ReplySink;
  readonly #cutter: StopFilter | undefined;
  readonly #speakable = new SkinText();
  readonly #count = new TokenCount();
  #usage: Usage | undefined;
  #over = false;

  constructor(options: ReplyOptions, sink: ReplySink) {
    this.#options = options;
    this.#sink = sink;
    if (options.stop.length > 0 || options.maxTokens !== undefined) {
      this.#cutter = new StopFilter(options.stop, options.maxTokens);
    }
  }

  /** Whether the answer has ended, perhaps before the turn. */
  get over(): boolean {
    return this.#over;
  }

  /** Takes an event of the turn; nothing happens after the answer has ended. */
  readonly read = (event: TurnEvent): void => {
    if (this.#over) return;
    switch (event.type) {
      case "text": {
        this.#count.add(event.text);
        if (this.#cutter === undefined) return this.#say(this.#speakable.push(event.text));
        const { text, finish } = this.#cutter.push(event.text);
        this.#say(this.#speakable.push(text));
        if (finish) this.#end(finish, undefined);
        return;
      }
      case "thought":
      case "tool":
      case "plan":
        return this.#sink.aside(event);
      case "emotion":
      case "permission":
      case "permission_resolved":
        return;
      case "usage":
        this.#usage = event.usage;
        return;
      case "end": {
        const rest = this.#cutter?.end();
        if (rest) this.#say(this.#speakable.push(rest.text));
        return this.#end(rest?.finish ?? FINISH[event.reason], undefined);
      }
      case "failure": {
        const rest = this.#cutter?.end();
        if (rest) this.#say(this.#speakable.push(rest.text));
        return this.#end("error", event.failure);
      }
      default:
        return event satisfies never;
    }
  };

  #say(text: string): void {
    if (text !== "") this.#sink.text(text);
  }

  #end(finish: FinishReason, failure: AppError | undefined): void {
    this.#over = true;
    const tail = failure ? this.#speakable.breakOff() : this.#speakable.end();
    const usage = completionUsage(this.#usage, {
      prompt: this.#options.promptTokens,
      completion: this.#count.tokens,
    });
    this.#sink.end({ finish, usage, estimated: this.#usage === undefined, failure, tail });
  }
}

/** OpenAI's word for each of ACP's. A cancelled turn was cancelled here: what was said so far stands. */
const FINISH: Readonly<Record<Extract<TurnEvent, { type: "end" }>["reason"], FinishReason>> = {
  end_turn: "stop",
  max_tokens: "length",
  max_turn_requests: "length",
  refusal: "content_filter",
  cancelled: "stop",
};

/** One short sentence that a character can say of a failure: skins show nothing else of it. */
export function sentenceOf(failure: AppError): string {
  switch (failure.code) {
    case "agent_timeout":
      return "Sorry, that took too long, so I stopped.";
    case "agent_crashed":
      return "Sorry, my agent stopped unexpectedly. Please try again.";
    case "agent_cancelled":
      return "I stopped, because something I wanted to do was not permitted.";
    case "shutting_down":
      return "I have to go now: my server is shutting down.";
    default:
      return "Sorry, something went wrong with my agent.";
  }
}
