/** Reads a turn's events into a reply: its text as skins speak it, its finish reason and its usage. Pure. @module */

import type { AppError } from "../core/errors.ts";
import { emptyTurnError } from "../turn/error_sentences.ts";
import type { PermissionRequest, StopReason, TurnReader, Usage } from "../turn/event.ts";
import type { AgentEvent, FinishReason } from "./chunk.ts";
import { NOT_PLAIN, scanPlain, SkinText } from "./skin_text.ts";
import { StopFilter } from "./stop_filter.ts";
import { type CompletionUsage, completionUsage, TokenCount } from "./usage.ts";
import type { CompletionRequest } from "./wire.ts";

/** The limits of a reply, and the estimated tokens of its prompt. */
export interface ReplyOptions extends Pick<CompletionRequest, "stop" | "maxTokens"> {
  readonly promptTokens: number;
}

/** The end of a reply. */
export interface ReplyEnd {
  readonly finish: FinishReason;
  readonly usage: CompletionUsage;
  /** The usage is an estimate, because the agent reported none. */
  readonly isEstimated: boolean;
  /** The reply was cut, and its turn may go on: see `Turn.endReply`. */
  readonly cut: "length" | "stop" | undefined;
  /** The turn was cancelled by a client, a newer request or the stage. */
  readonly isCancelled: boolean;
  readonly failure: AppError | undefined;
  /** The turn waits for the client's answer to this request. */
  readonly asks: PermissionRequest | undefined;
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

/**
 * Creates a reader that passes a turn on as a reply. The reply may end before the turn.
 *
 * @param maxChars Characters after which the reply ends as too long.
 */
export function createReplyReader(
  { stop, maxTokens, promptTokens }: ReplyOptions,
  sink: ReplySink,
  maxChars = Infinity,
): TurnReader {
  const filter = stop.length > 0 || maxTokens !== undefined ? new StopFilter(stop, maxTokens) : undefined;
  const skinText = new SkinText();
  const tokens = new TokenCount();
  let reported: Usage | undefined;
  let chars = 0;
  let isOver = false;

  function readText(text: string): void {
    chars += text.length;
    if (chars > maxChars) return close("length", { cut: "length" });
    if (filter !== undefined) {
      const filtered = filter.push(text);
      send(filtered.text);
      if (filtered.finish) close(filtered.finish, { cut: filtered.finish });
      return;
    }
    const wide = scanPlain(text);
    if (wide === NOT_PLAIN || !skinText.pushPlain(text)) return send(text);
    tokens.addCounted(text.length, wide);
    sink.text(text, true);
  }

  function send(text: string): void {
    tokens.add(text);
    const prepared = skinText.push(text);
    if (prepared !== "") sink.text(prepared, false);
  }

  /** Ends the reply with the turn. */
  function end(finish: FinishReason, facts: Partial<ReplyEnd> = {}): void {
    const filtered = filter?.end();
    if (filtered) send(filtered.text);
    close(facts.failure ? finish : filtered?.finish ?? finish, facts);
  }

  function close(finish: FinishReason, facts: Partial<ReplyEnd> = {}): void {
    isOver = true;
    sink.end({
      ...endOf(finish, promptTokens, tokens.value, reported),
      tail: skinText.end(facts.failure !== undefined),
      ...facts,
    });
  }

  return (event) => {
    if (isOver) return;
    switch (event.type) {
      case "text":
        return readText(event.text);
      case "thought":
      case "tool":
      case "plan":
        return sink.agentEvent(event);
      case "speech":
      case "emotion":
      case "permission":
      case "permission_resolved":
      case "question":
      case "question_resolved":
      case "context":
        return;
      case "usage":
        reported = event.usage;
        return;
      case "end":
        if (event.isEmpty) return end("error", { failure: emptyTurnError() });
        return end(FINISH[event.reason], {
          isCancelled: event.reason === "cancelled",
          asks: event.asks,
        });
      case "failure":
        return end("error", { failure: event.failure });
      default:
        return event satisfies never;
    }
  };
}

/** Ends a reply that could not begin. */
export function failedReply(failure: AppError, promptTokens: number): ReplyEnd {
  return { ...endOf("error", promptTokens, 0), failure };
}

function endOf(finish: FinishReason, prompt: number, completion: number, reported?: Usage): ReplyEnd {
  return {
    finish,
    usage: completionUsage(reported, { prompt, completion }),
    isEstimated: reported === undefined,
    cut: undefined,
    isCancelled: false,
    failure: undefined,
    asks: undefined,
    tail: "",
  };
}

/** OpenAI's finish reason for each of ACP's stop reasons; `stop` says that the reply is complete. */
const FINISH: Readonly<Record<StopReason, FinishReason>> = {
  end_turn: "stop",
  max_tokens: "length",
  max_turn_requests: "length",
  refusal: "content_filter",
  cancelled: "error",
};
