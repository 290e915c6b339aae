/** Turns a reply into an HTTP response: a stream of frames, or the collected text. @module */

import { AppError, type ErrorCode, toAppError } from "../core/errors.ts";
import { settlesWithin } from "../core/deadline.ts";
import { errorBody } from "../http/error_response.ts";
import { EVENT_STREAM_HEADERS, EventStream } from "../http/sse.ts";
import { sentenceOf } from "../turn/error_sentences.ts";
import { collectTurn, type Turn } from "../turn/turn.ts";
import { type FinishReason, type Frames, safeJson, type SpokenFrames } from "./chunk.ts";
import {
  createReplyReader,
  failedReply,
  type ReplyEnd,
  type ReplyOptions,
  type ReplySink,
} from "./reply_reader.ts";
import { ReplyVoice, type ReplyVoiceOptions } from "./reply_voice.ts";
import { MAX_DELTA_CHARS, splitDeltas } from "./skin_text.ts";
import { toBase64Pieces } from "./speech.ts";
import { extractJson, type ResponseFormat } from "./structured_output.ts";
import type { CompletionRequest } from "./wire.ts";

/** Characters of a reply that is sent in one piece. A longer one is cut there, as `length`. */
const MAX_COLLECTED_CHARS = 8 * 1024 * 1024;
/** Longest wait of a stream's head for the agent to take the prompt, in milliseconds. */
export const HEAD_MS = 5_000;
/** Heartbeats of a silent stream: an empty chunk, OpenAB's comment, or nothing. */
export const HEARTBEATS = ["chunk", "comment", "off"] as const;
/** How a stream reports a failed turn: as a spoken sentence, or as an error event. */
export const ERROR_MODES = ["speak", "event"] as const;

/** Settings of all streams. */
export interface StreamOptions {
  readonly heartbeat: (typeof HEARTBEATS)[number];
  readonly heartbeatMs: number;
  readonly errors: (typeof ERROR_MODES)[number];
  /** Replaces {@linkcode HEAD_MS} in tests. */
  readonly headMs?: number;
}

/** The voice of a streamed reply. */
export interface StreamVoice {
  readonly frames: SpokenFrames;
  readonly options: Pick<ReplyVoiceOptions, "textToSpeech" | "request" | "words" | "onFailure">;
  /** Receives the whole text at its end. */
  readonly onEnd: (text: string) => void;
  /** Is called when the stream has ended, or its reader is gone. */
  readonly onClose: () => void;
}

type StreamRequest = ReplyOptions & Pick<CompletionRequest, "format" | "includeUsage" | "includeAgentEvents">;

/**
 * Streams the reply of a turn. The stream opens once the agent has the prompt, or after {@linkcode HEAD_MS}. Later
 * failures go into the stream.
 *
 * @throws {AppError} if the turn fails to start before that, or fails before any text: a status can then report it.
 *   `turn_cancelled` if a repeated request can no longer read the turn from its start.
 */
export async function streamReply(
  starting: Promise<Turn>,
  request: StreamRequest,
  frames: Frames,
  settings: StreamOptions,
  signal: AbortSignal,
  voice?: StreamVoice,
): Promise<Response> {
  const { format, promptTokens } = request;
  const isTaken = await settlesWithin(settings.headMs ?? HEAD_MS, starting);
  let stopReading = () => {};
  const gone = new AbortController();
  const { stream, sink } = openStream(request, frames, settings, () => {
    gone.abort();
    stopReading();
  });
  if (voice) void stream.closed.then(voice.onClose);
  const output = format
    ? jsonSink(format, sink, "\n", signal)
    : voice
    ? speakingSink(voice, stream, sink, settings.errors, gone)
    : sink;

  function read(turn: Turn): void {
    let isStarted = false;
    let failure: AppError | undefined;
    const reader = createReplyReader(request, {
      text(text, isPlain) {
        isStarted = true;
        output.text(text, isPlain);
      },
      agentEvent: output.agentEvent,
      end(end) {
        if (end.failure && !isStarted) failure = end.failure;
        else output.end(end);
        if (end.cut) turn.endReply(end.cut);
      },
    }, format && MAX_COLLECTED_CHARS);
    const isGone = !stream.isOpen;
    stopReading = turn.read(reader);
    isStarted = true;
    // The client hung up before the turn began.
    if (isGone) stopReading();
    if (failure !== undefined) throw failure.afterPrompt();
  }

  if (isTaken) {
    try {
      read(await starting);
    } catch (error) {
      stream.end();
      throw error;
    }
  } else {
    starting.then(read).catch((error) => {
      output.end(failedReply(toAppError(error, "internal_error"), promptTokens));
      // A fault of this program goes to the log, as every uncaught error does.
      if (!(error instanceof AppError) && !signal.aborted) throw error;
    });
  }
  return new Response(stream.body, { headers: EVENT_STREAM_HEADERS });
}

/** Opens a stream and sends its first frame. `onGone` is called when the client hangs up or reads too slowly. */
function openStream(
  { includeUsage, includeAgentEvents }: StreamRequest,
  frames: Frames,
  { errors, heartbeat, heartbeatMs }: StreamOptions,
  onGone: () => void,
): { readonly stream: EventStream; readonly sink: ReplySink } {
  const stream = new EventStream({
    heartbeatMs: heartbeat === "off" ? 0 : heartbeatMs,
    heartbeat: heartbeat === "comment"
      ? (stream) => stream.comment("waiting for agent")
      : (stream) => stream.send(frames.empty),
    onDisconnect: onGone,
  });
  if (frames.opening) stream.send(frames.opening);
  const sink: ReplySink = {
    text(text, isPlain) {
      if (isPlain && text.length <= MAX_DELTA_CHARS) return stream.send(frames.text(text, true));
      for (const delta of splitDeltas(text)) {
        if (!stream.isOpen) return;
        stream.send(frames.text(delta));
      }
    },
    agentEvent: includeAgentEvents ? (event) => stream.send(frames.agentEvent(event)) : () => {},
    end({ failure, finish, usage, tail }) {
      if (tail !== "") stream.send(frames.text(tail));
      if (failure && errors === "event") {
        stream.send(safeJson(errorBody(failure)));
      } else {
        const apology = apologyOf(failure, errors);
        if (apology !== "") stream.send(frames.text(apology));
        stream.send(frames.finish(finish));
        if (includeUsage) stream.send(frames.usage(usage));
      }
      stream.send("[DONE]");
      stream.end();
    },
  };
  return { stream, sink };
}

/** Returns the sentence that tells the reader of a failure; empty if the reply needs none. */
function apologyOf(failure: AppError | undefined, errors: StreamOptions["errors"]): string {
  // A cancelled turn needs no apology.
  const isSpoken = failure && errors === "speak" && failure.code !== "turn_cancelled";
  return isSpoken ? `${sentenceOf(failure)}\n` : "";
}

/** Speaks a reply while it is passed on. The end of the reply waits for the voice. @param gone The client has left. */
function speakingSink(
  { frames, options, onEnd }: StreamVoice,
  stream: EventStream,
  sink: ReplySink,
  errors: StreamOptions["errors"],
  gone: AbortController,
): ReplySink {
  let whole = "";
  const voice = new ReplyVoice({
    ...options,
    signal: gone.signal,
    async onSound(sound) {
      for (const base64 of toBase64Pieces(sound)) {
        stream.send(frames.sound(base64));
        await stream.waitForRoom();
      }
    },
  });
  return {
    text(text, isPlain) {
      whole += text;
      sink.text(text, isPlain);
      voice.push(text);
    },
    agentEvent(event) {
      sink.agentEvent(event);
      voice.pause();
    },
    end(end) {
      onEnd(whole);
      // Nobody wants to hear the rest of a reply that was cancelled.
      if (end.isCancelled) gone.abort();
      voice.pause();
      voice.push(apologyOf(end.failure, errors));
      voice.end().then(() => {
        stream.send(frames.expiry);
        sink.end(end);
      });
    },
  };
}

/** Collects a structured reply and passes its JSON on in one piece, because text that is sent cannot be taken back. */
export function jsonSink(
  format: ResponseFormat,
  sink: ReplySink,
  tail: string,
  signal: AbortSignal,
): ReplySink {
  let reply = "";
  async function endWithJson(end: ReplyEnd): Promise<void> {
    try {
      const json = await extractJson(format, reply + end.tail, end.isCancelled, signal);
      sink.text(json, false);
      sink.end({ ...end, tail });
    } catch (error) {
      sink.end({ ...end, finish: "error", failure: toAppError(error, "internal_error"), tail: "" });
    }
  }
  return {
    text: (text) => void (reply += text),
    agentEvent: sink.agentEvent,
    // The JSON comes after the answer to a permission request.
    end: (end) => end.failure || end.asks ? sink.end({ ...end, tail: "" }) : void endWithJson(end),
  };
}

/** Failures that leave an unfinished text, and how its reply ends. */
export const UNFINISHED: Readonly<Partial<Record<ErrorCode, FinishReason>>> = {
  agent_timeout: "length",
  agent_crashed: "error",
  shutting_down: "error",
};

/**
 * Collects the reply of a turn.
 *
 * @throws {AppError} the turn's failure, unless it leaves an unfinished text; or `invalid_output` if the reply lacks
 * the JSON that the request asks for; the signal's reason if it aborts, which ends the reading of the turn.
 */
export async function collectReply(
  turn: Turn,
  options: ReplyOptions & Pick<CompletionRequest, "format">,
  signal: AbortSignal,
): Promise<{ readonly text: string; readonly end: ReplyEnd }> {
  return await collectTurn(turn, ({ resolve, reject }) => {
    let text = "";
    const sink: ReplySink = {
      text: (piece) => void (text += piece),
      agentEvent() {},
      end(end) {
        const { failure } = end;
        const kept = failure && text !== "" ? UNFINISHED[failure.code] : undefined;
        if (failure && kept === undefined) return reject(failure.afterPrompt());
        const finish = kept ?? end.finish;
        resolve({ text: text + end.tail, end: { ...end, finish } });
      },
    };
    const output = options.format ? jsonSink(options.format, sink, "", signal) : sink;
    return createReplyReader(options, {
      ...output,
      end(end) {
        output.end(end);
        if (end.cut) turn.endReply(end.cut);
      },
    }, MAX_COLLECTED_CHARS);
  }, signal);
}
