/** Reads a turn's events into a reply: its text as skins can speak it, its finish reason and its usage. Pure. @module */

import type { AppError, ErrorCode } from "../core/errors.ts";
import type { StopReason, TurnEvent, Usage } from "../turn/event.ts";
import type { AgentEvent, FinishReason } from "./chunk.ts";
import { NOT_PLAIN, scanPlain, SkinText } from "./skin_text.ts";
import { StopFilter } from "./stop_filter.ts";
import type { ResponseFormat } from "./structured_output.ts";
import { type CompletionUsage, completionUsage, TokenCount } from "./usage.ts";

/** What a request asks of a reply. */
export interface ReplyOptions {
  readonly stop: readonly string[];
  readonly maxTokens: number | undefined;
  readonly format: ResponseFormat | undefined;
  /** Estimated tokens of the prompt. */
  readonly promptTokens: number;
}

/** The end of a reply. */
export interface ReplyEnd {
  readonly finish: FinishReason;
  readonly usage: CompletionUsage;
  /** The usage is an estimate, because the agent reported none. */
  readonly isEstimated: boolean;
  /** The turn was cancelled by a client, a newer request or the stage. */
  readonly isCancelled: boolean;
  readonly failure: AppError | undefined;
  /** Text that ends the reply, perhaps empty. */
  readonly tail: string;
}

/** Receives a reply. */
export interface ReplySink {
  /** Receives text that is not empty. @param isPlain As {@linkcode scanPlain} finds. */
  text(text: string, isPlain: boolean): void;
  agentEvent(event: AgentEvent): void;
  /** Receives the end, as the last call. */
  end(end: ReplyEnd): void;
}

/** Reads a turn into a {@linkcode ReplySink}. */
export class ReplyReader {
  readonly #options: ReplyOptions;
  readonly #sink: ReplySink;
  readonly #filter: StopFilter | undefined;
  readonly #skinText = new SkinText();
  readonly #tokens = new TokenCount();
  #usage: Usage | undefined;
  #isOver = false;

  constructor(options: ReplyOptions, sink: ReplySink) {
    this.#options = options;
    this.#sink = sink;
    const { stop, maxTokens } = options;
    if (stop.length > 0 || maxTokens !== undefined) this.#filter = new StopFilter(stop, maxTokens);
  }

  /** Reads the turn's next event. Events after the end of the reply are ignored. */
  readonly read = (event: TurnEvent): void => {
    if (this.#isOver) return;
    switch (event.type) {
      case "text":
        return this.#readText(event.text);
      case "thought":
      case "tool":
      case "plan":
        return this.#sink.agentEvent(event);
      case "speech":
      case "emotion":
      case "permission":
      case "permission_resolved":
        return;
      case "usage":
        this.#usage = event.usage;
        return;
      case "end":
        return this.#end(FINISH[event.reason], undefined, event.reason === "cancelled");
      case "failure":
        return this.#end("error", event.failure);
      default:
        return event satisfies never;
    }
  };

  #readText(text: string): void {
    const wide = this.#filter ? NOT_PLAIN : scanPlain(text);
    if (wide !== NOT_PLAIN && this.#skinText.pushPlain(text)) {
      this.#tokens.addCounted(text.length, wide);
      return this.#sink.text(text, true);
    }
    this.#tokens.add(text);
    const filtered = this.#filter?.push(text);
    this.#send(this.#skinText.push(filtered?.text ?? text));
    if (filtered?.finish) this.#close(filtered.finish);
  }

  #send(text: string): void {
    if (text !== "") this.#sink.text(text, false);
  }

  /** Ends the reply with the turn. */
  #end(finish: FinishReason, failure: AppError | undefined, isCancelled = false): void {
    const filtered = this.#filter?.end();
    if (filtered) this.#send(this.#skinText.push(filtered.text));
    this.#close(failure ? finish : filtered?.finish ?? finish, failure, isCancelled);
  }

  #close(finish: FinishReason, failure?: AppError, isCancelled = false): void {
    this.#isOver = true;
    const completion = this.#tokens.value;
    this.#sink.end({
      finish,
      usage: completionUsage(this.#usage, { prompt: this.#options.promptTokens, completion }),
      isEstimated: this.#usage === undefined,
      isCancelled,
      failure,
      tail: failure ? this.#skinText.breakOff() : this.#skinText.end(),
    });
  }
}

/** The end of a reply that failed as a whole. */
export function failedReply(failure: AppError, { promptTokens }: ReplyOptions): ReplyEnd {
  const usage = completionUsage(undefined, { prompt: promptTokens, completion: 1 });
  return { finish: "error", usage, isEstimated: true, isCancelled: false, failure, tail: "" };
}

/** OpenAI's finish reason for each of ACP's stop reasons. The text of a cancelled turn stands as far as it came. */
const FINISH: Readonly<Record<StopReason, FinishReason>> = {
  end_turn: "stop",
  max_tokens: "length",
  max_turn_requests: "length",
  refusal: "content_filter",
  cancelled: "stop",
};

/** The sentence with which a character reports a failure, because skins show nothing else. */
export function sentenceOf({ code }: AppError): string {
  return SENTENCES[code] ?? "Sorry, something went wrong with my agent.";
}

const SENTENCES: Readonly<Partial<Record<ErrorCode, string>>> = {
  agent_timeout: "Sorry, that took too long, so I stopped.",
  agent_crashed: "Sorry, my agent stopped unexpectedly. Please try again.",
  agent_cancelled: "I stopped, because something I wanted to do was not permitted.",
  shutting_down: "I have to go now: my server is shutting down.",
};
