/** Turns a reply into an HTTP response: a stream of frames, or the collected text. @module */

import { type AppError, toAppError } from "../core/errors.ts";
import { errorBody } from "../http/error_response.ts";
import { EVENT_STREAM_HEADERS, EventStream } from "../http/sse.ts";
import { collectTurn, type Turn } from "../turn/turn.ts";
import { type Frames, safeJson } from "./chunk.ts";
import {
  failedReply,
  type ReplyEnd,
  type ReplyOptions,
  ReplyReader,
  type ReplySink,
  sentenceOf,
} from "./reply_reader.ts";
import { MAX_WIDE_CHARS, splitDeltas } from "./skin_text.ts";
import { extractJson } from "./structured_output.ts";

/** Heartbeats of a silent stream: an empty chunk, OpenAB's comment, or nothing. */
export const HEARTBEATS = ["chunk", "comment", "off"] as const;
/** How a stream reports a failed turn: as a spoken sentence, or as an error event. */
export const ERROR_MODES = ["speak", "event"] as const;

/** Settings of all streams. */
export interface StreamOptions {
  readonly heartbeat: (typeof HEARTBEATS)[number];
  readonly heartbeatMs: number;
  readonly errors: (typeof ERROR_MODES)[number];
}

/** Settings of one stream. */
export interface StreamRequest extends StreamOptions {
  readonly frames: Frames;
  readonly includeUsage: boolean;
  readonly includeAgentEvents: boolean;
}

/** A stream that is open. */
export interface ReplyStream {
  readonly response: Response;
  readonly sink: ReplySink;
  /** Closes the stream without a response. */
  discard(): void;
}

/** A whole reply. */
export interface CollectedReply {
  readonly text: string;
  readonly end: ReplyEnd;
}

/** Opens a stream and sends its first frame. `onGone` is called when the client hangs up or reads too slowly. */
export function openStream(request: StreamRequest, onGone: () => void): ReplyStream {
  const { frames, errors, heartbeat, heartbeatMs, includeUsage, includeAgentEvents } = request;
  const stream = new EventStream({
    heartbeatMs: heartbeat === "off" ? 0 : heartbeatMs,
    heartbeat: heartbeat === "comment"
      ? (stream) => stream.comment("waiting for agent")
      : (stream) => stream.send(frames.empty),
    onDisconnect: onGone,
  });
  if (frames.opening) stream.send(frames.opening);
  return {
    response: new Response(stream.body, { headers: EVENT_STREAM_HEADERS }),
    discard: () => stream.end(),
    sink: {
      text(text, isPlain) {
        if (isPlain && text.length <= MAX_WIDE_CHARS) stream.send(frames.text(text, true));
        else for (const delta of splitDeltas(text)) stream.send(frames.text(delta));
      },
      agentEvent: includeAgentEvents ? (event) => stream.send(frames.agentEvent(event)) : () => {},
      end({ failure, finish, usage, tail }) {
        if (tail !== "") stream.send(frames.text(tail));
        if (failure && errors === "event") {
          stream.send(safeJson(errorBody(failure)));
        } else {
          if (failure) stream.send(frames.text(sentenceOf(failure) + "\n"));
          stream.send(frames.finish(finish));
          if (includeUsage) stream.send(frames.usage(usage));
        }
        stream.send("[DONE]");
        stream.end();
      },
    },
  };
}

/**
 * Streams the reply of a turn. A structured reply is collected first, because text that is sent cannot be taken back.
 *
 * @throws {AppError} the turn's failure, if the turn failed before any text: a status can still report the failure.
 */
export function streamReply(turn: Turn, options: ReplyOptions, request: StreamRequest): Response {
  if (options.format) return streamCollected(turn, options, request);
  let stopReading = () => {};
  const { response, sink, discard } = openStream(request, () => stopReading());
  let isStarted = false;
  let failure: AppError | undefined;
  const reader = new ReplyReader(options, {
    text(text, isPlain) {
      isStarted = true;
      sink.text(text, isPlain);
    },
    agentEvent: sink.agentEvent,
    end(end) {
      if (end.failure && !isStarted) failure = end.failure;
      else sink.end(end);
      turn.cancel();
    },
  });
  stopReading = turn.read(reader.read);
  isStarted = true;
  if (failure) {
    discard();
    throw failure.afterPrompt();
  }
  return response;
}

function streamCollected(turn: Turn, options: ReplyOptions, request: StreamRequest): Response {
  const hangUp = new AbortController();
  const { response, sink } = openStream(request, () => hangUp.abort());
  collectReply(turn, options, hangUp.signal).then(({ text, end }) => {
    sink.text(text, false);
    sink.end({ ...end, tail: "\n" });
  }, (error) => sink.end(failedReply(toAppError(error, "internal_error"), options)));
  return response;
}

/**
 * Collects the reply of a turn.
 *
 * @throws {AppError} the turn's failure, or `invalid_output` if the reply lacks the JSON that the request asks for; the
 * signal's reason if it aborts, which ends the reading of the turn.
 */
export async function collectReply(
  turn: Turn,
  options: ReplyOptions,
  signal: AbortSignal,
): Promise<CollectedReply> {
  const reply = await collectTurn<CollectedReply>(turn, ({ resolve, reject }) => {
    let text = "";
    const reader = new ReplyReader(options, {
      text: (piece) => void (text += piece),
      agentEvent() {},
      end(end) {
        if (end.failure) reject(end.failure.afterPrompt());
        else resolve({ text: text + end.tail, end });
        turn.cancel();
      },
    });
    return reader.read;
  }, signal);
  const { format } = options;
  return format ? { ...reply, text: extractJson(format, reply.text, reply.end.isCancelled) } : reply;
}
