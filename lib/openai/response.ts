/** A turn as the answer to a request: streamed as it is made, or gathered. @module */

import { errorBody } from "../http/error_response.ts";
import { EVENT_STREAM_HEADERS, EventStream } from "../http/sse.ts";
import { collectTurn } from "../turn/turn.ts";
import type { AppError } from "../core/errors.ts";
import type { Turn } from "../turn/turn.ts";
import { type Frames, safeJson } from "./chunk.ts";
import { splitDeltas } from "./skin_text.ts";
import { type ReplyEnd, type ReplyOptions, ReplyReader, type ReplySink, sentenceOf } from "./reply_reader.ts";

/** What a stream says after a time of silence: an empty chunk, OpenAB's comment, or nothing. */
export const HEARTBEATS = ["chunk", "comment", "off"] as const;
/** How a stream tells that the turn failed: as a sentence, or as an error event. */
export const ERROR_MODES = ["speak", "event"] as const;

/** How streams behave. */
export interface StreamOptions {
  readonly heartbeat: (typeof HEARTBEATS)[number];
  readonly heartbeatMs: number;
  readonly errors: (typeof ERROR_MODES)[number];
}

/** What one stream is asked for. */
export interface StreamRequest extends StreamOptions {
  readonly frames: Frames;
  readonly includeUsage: boolean;
  readonly includeAgentEvents: boolean;
}

/** A whole answer. */
export interface CollectedReply {
  readonly text: string;
  readonly end: ReplyEnd;
}

/** Where an answer comes from: one turn, or as many as it takes. */
export interface ReplySource {
  readonly turn: Turn;
  /** @throws {AppError} if it failed before anything was said. */
  stream(request: StreamRequest): Response;
  /** @throws {AppError} if it failed. */
  collect(signal: AbortSignal): Promise<CollectedReply>;
}

/** An answer that is being streamed. */
export interface ReplyStream {
  readonly response: Response;
  /** Takes what is said. */
  readonly sink: ReplySink;
  /** Drops the stream unseen: nothing was said yet. */
  drop(): void;
}

/** Opens a stream; its first frame goes out at once. `gone` is called when nobody reads it any more. */
export function openStream(request: StreamRequest, gone: () => void): ReplyStream {
  const { frames, errors, heartbeat, heartbeatMs, includeUsage, includeAgentEvents } = request;
  const stream = new EventStream({
    heartbeatMs: heartbeat === "off" ? 0 : heartbeatMs,
    heartbeat: heartbeat === "comment"
      ? (stream) => stream.comment("waiting for agent")
      : (stream) => stream.send(frames.empty),
    gone,
  });
  const say = (text: string) => stream.send(frames.text(text));
  if (frames.opening) stream.send(frames.opening);
  return {
    response: new Response(stream.body, { headers: EVENT_STREAM_HEADERS }),
    drop: () => stream.end(),
    sink: {
      text(text) {
        for (const delta of splitDeltas(text)) say(delta);
      },
      aside: includeAgentEvents ? (event) => stream.send(asideFrame(frames, event)) : () => {},
      end({ failure, finish, usage, tail }) {
        if (tail !== "") say(tail);
        if (failure && errors === "event") {
          stream.send(safeJson(errorBody(failure)));
        } else {
          if (failure) say(sentenceOf(failure) + "\n");
          stream.send(frames.finish(finish));
          if (includeUsage) stream.send(frames.usage(usage));
        }
        stream.send("[DONE]");
        stream.end();
      },
    },
  };
}

/** The answer that is one turn. */
export function turnSource(turn: Turn, options: ReplyOptions): ReplySource {
  return {
    turn,
    stream: (request) => streamTurn(turn, options, request),
    collect: (signal) => collectReply(turn, options, signal),
  };
}

/**
 * Streams a turn.
 *
 * @throws {AppError} the turn's own, if it failed before anything was said: it can still be told with a status.
 */
function streamTurn(turn: Turn, options: ReplyOptions, request: StreamRequest): Response {
  let leave = () => {};
  const stream = openStream(request, () => leave());
  let said = false;
  let failed: AppError | undefined;
  let opened = false;
  const reply = new ReplyReader(options, {
    text(text) {
      said = true;
      stream.sink.text(text);
    },
    aside: stream.sink.aside,
    end(ending) {
      if (!opened && !said) failed = ending.failure;
      if (failed === undefined) stream.sink.end(ending);
      turn.cancel();
    },
  });
  leave = turn.read(reply.read);
  opened = true;
  if (failed) {
    stream.drop();
    throw failed.afterPrompt();
  }
  return stream.response;
}

/**
 * Gathers a turn.
 *
 * @throws {AppError} the turn's own, if it failed; the signal's reason if it aborts, and the turn is left.
 */
export function collectReply(
  turn: Turn,
  options: ReplyOptions,
  signal: AbortSignal,
): Promise<CollectedReply> {
  return collectTurn(turn, ({ resolve, reject }) => {
    let text = "";
    const reply = new ReplyReader(options, {
      text: (piece) => void (text += piece),
      aside() {},
      end(ending) {
        if (ending.failure) reject(ending.failure.afterPrompt());
        else resolve({ text: text + ending.tail, end: ending });
        turn.cancel();
      },
    });
    return reply.read;
  }, signal);
}

function asideFrame(frames: Frames, event: Parameters<ReplySink["aside"]>[0]): string {
  switch (event.type) {
    case "thought":
      return frames.thought(event.text);
    case "tool":
      return frames.tool(event.tool);
    case "plan":
      return frames.plan(event.entries);
    default:
      return event satisfies never;
  }
}
