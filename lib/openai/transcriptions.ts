/** Serves `POST /v1/audio/transcriptions`. @module */

import { z } from "zod";
import { AppError, toAppError } from "../core/errors.ts";
import { holdBodyUntil, holdMore } from "../http/body.ts";
import { errorBody } from "../http/error_response.ts";
import { type FormFields, openUpload } from "../http/form_body.ts";
import { KeyLimit } from "../http/key_limit.ts";
import type { Handler } from "../http/router.ts";
import { EVENT_STREAM_HEADERS, EventStream } from "../http/sse.ts";
import type { Recording, SpeechToText, TimedText, Transcript } from "../speech/speech_to_text.ts";
import type { AudioMeter } from "./speech.ts";
import { TokenCount } from "./usage.ts";
import { modelName, parse } from "./wire.ts";

/** Most bytes of a recording: OpenAI's limit. */
const MAX_FILE_BYTES = 25 * 1024 * 1024;
const MAX_LANGUAGE_CHARS = 32;
const MAX_PROMPT_CHARS = 10_000;
/** Most recordings of one key that arrive, wait or are transcribed: half of the 18 that a program takes from all keys. */
const MAX_RECORDINGS_PER_KEY = 9;
/** Codes of the errors that mean that a recording cannot be read. */
const UNREADABLE: ReadonlySet<string> = new Set(["unsupported_value", "body_too_large"]);
/** Length of the only segment of a recording whose length is unknown, in seconds. */
const UNKNOWN_SECS = 1;

/** The parts of the program that transcriptions need. */
export interface TranscriptionDeps {
  /** The recognizer; `undefined` if the owner has set none. */
  readonly speechToText: SpeechToText | undefined;
  readonly measureTranscription: () => Pick<AudioMeter, "onEnd">;
}

const text = (maxChars: number) =>
  z.string().max(maxChars).transform((value) => value.trim() || undefined).optional();
const TEMPERATURE = "must be from 0 to 1";
const GRANULARITIES = ["segment", "word"] as const;
const formFields = z.object({
  model: modelName,
  language: text(MAX_LANGUAGE_CHARS),
  prompt: text(MAX_PROMPT_CHARS),
  temperature: text(MAX_LANGUAGE_CHARS)
    .transform((value) => value === undefined ? undefined : Number(value))
    .pipe(z.number("must be a number").min(0, TEMPERATURE).max(1, TEMPERATURE).optional()),
  response_format: text(MAX_LANGUAGE_CHARS),
  stream: text(MAX_LANGUAGE_CHARS).pipe(
    z.enum(["true", "True", "1", "false", "False", "0"], "must be true or false").optional(),
  ).transform((value) => /^(t|1)/i.test(value ?? "")),
  timestamp_granularities: z.array(z.enum(GRANULARITIES, "must be segment or word")),
});

/** Kinds of timestamps. */
type Times = readonly (typeof GRANULARITIES[number])[];

/** A `response_format`. */
interface Format {
  /** The timestamps that the format contains. */
  readonly times: Times;
  readonly write: (
    transcript: Transcript,
    secs: number | undefined,
    times: Times,
  ) => Response;
}

/** The only format in which `timestamp_granularities` chooses the timestamps. */
const VERBOSE: Format = {
  times: ["segment"],
  write: (transcript, secs, times) => Response.json(verboseJson(transcript, secs, times)),
};
const FORMATS: ReadonlyMap<string, Format> = new Map<string, Format>([
  ["json", { times: [], write: ({ text }, secs) => Response.json({ text, ...durationUsage(secs) }) }],
  ["text", { times: [], write: ({ text }) => textResponse(`${text}\n`, "text/plain") }],
  ["verbose_json", VERBOSE],
  ["srt", {
    times: ["segment"],
    write: (transcript, secs) =>
      textResponse(
        segmentsOf(transcript, secs).map((segment, index) => `${index + 1}\n${cue(segment, ",")}`).join(""),
        "text/plain",
      ),
  }],
  ["vtt", {
    times: ["segment"],
    write: (transcript, secs) =>
      textResponse(
        `WEBVTT\n\n${segmentsOf(transcript, secs).map((segment) => cue(segment, ".")).join("")}`,
        "text/vtt",
      ),
  }],
]);

/** Creates the handler of `POST /audio/transcriptions`. */
export function transcriptionHandler({ speechToText, measureTranscription }: TranscriptionDeps): Handler {
  if (speechToText === undefined) {
    return () => {
      throw new AppError(
        "not_configured",
        "No program transcribes recordings: set command or base_url of [transcription] in config.toml, or " +
          "VTUBER_TRANSCRIPTION_COMMAND or VTUBER_TRANSCRIPTION_BASE_URL.",
      );
    };
  }
  const recordings = new KeyLimit(MAX_RECORDINGS_PER_KEY, "recordings that arrive or are transcribed");
  return async (http, { caller }) => {
    // A recording counts before its file begins, because the fields before the file are in memory.
    using placeGuard = new DisposableStack();
    placeGuard.use(recordings.take(caller));
    using upload = await openUpload(http, { field: "file", maxBytes: MAX_FILE_BYTES });
    const place = placeGuard.move();
    const requested = Promise.withResolvers<{ format: Format; times: Times; stream?: TranscriptStream }>();
    let meter = measureTranscription();

    async function* readAudio(): Recording["audio"] {
      const { format, language, model, times, stream: isStreamed, ...hints } = parseFields(
        yield* upload.content,
      );
      // Restarts the meter, because the duration must not include the upload.
      meter = measureTranscription();
      const stream = isStreamed ? new TranscriptStream() : undefined;
      requested.resolve({ format, times, ...stream && { stream } });
      return {
        ...hints,
        language: language === "auto" ? undefined : language,
        model: model || undefined,
        times,
        onText: stream && ((piece) => stream.add(piece)),
      };
    }

    const transcribe = async () => {
      using _place = place;
      try {
        const recording = {
          filename: upload.filename,
          audio: readAudio(),
          hold: (bytes: number) => holdMore(http, bytes),
        };
        const transcript = await speechToText.transcribe(recording, http.signal);
        meter.onEnd("");
        return transcript;
      } catch (error) {
        const failure = toAppError(error, "internal_error");
        meter.onEnd(http.signal.aborted ? "cancelled" : failure.code);
        throw inRecordingField(error, "file");
      }
    };
    const transcription = transcribe();
    const { format, times, stream } = await Promise.race([
      requested.promise,
      transcription.then(() => requested.promise),
    ]);
    if (stream) {
      holdBodyUntil(http, transcription);
      return await stream.respond(transcription);
    }
    const transcript = await transcription;
    return format.write(transcript, transcript.durationSecs, times);
  };
}

/** Adds the field of a recording to an error that says why the recording cannot be read. */
export function inRecordingField(error: unknown, field: string): unknown {
  return error instanceof AppError && UNREADABLE.has(error.code) ? error.inField(field) : error;
}

/** Parses the fields of a form. Of a field that is no list, the last value counts. */
function parseFields(fields: FormFields) {
  const LIST = "timestamp_granularities[]";
  const parsed = parse(formFields, {
    ...Object.fromEntries([...fields].map(([name, values]) => [name, values.at(-1)])),
    timestamp_granularities: [LIST, LIST.slice(0, -2)].flatMap((name) => fields.get(name) ?? []),
  });
  const { response_format = "json", stream, timestamp_granularities, ...others } = parsed;
  const format = FORMATS.get(response_format);
  if (format === undefined) {
    const message = `"response_format" must be one of ${[...FORMATS.keys()].join(", ")} here.`;
    throw new AppError("unsupported_value", message, { param: "response_format" });
  }
  if (stream && format.times.length > 0) {
    const message =
      `"stream" cannot be true with ${response_format}: send json or text in "response_format".`;
    throw new AppError("unsupported_value", message, { param: "stream" });
  }
  const times = format === VERBOSE && timestamp_granularities.length > 0
    ? timestamp_granularities
    : format.times;
  return { ...others, format, stream, times };
}

/** A transcript that is sent to the client while the recording is transcribed. */
class TranscriptStream {
  // `onDisconnect` is empty, because the request's signal ends the work if the client leaves.
  readonly #stream = new EventStream({ heartbeatMs: 0, heartbeat() {}, onDisconnect() {} });
  readonly #first = Promise.withResolvers<void>();
  #isEmpty = true;

  /** Sends a piece of the text. */
  add(delta: string): void {
    this.#isEmpty = false;
    this.#send("transcript.text.delta", { delta });
    this.#first.resolve();
  }

  /** Responds after the first piece of text, so that an earlier failure has an error status. */
  async respond(transcription: Promise<Transcript>): Promise<Response> {
    const ended = transcription.then(({ text }) => this.#end(text));
    try {
      await Promise.race([this.#first.promise, ended]);
    } catch (error) {
      this.#stream.end();
      throw error;
    }
    ended.catch((error) => {
      this.#stream.send(JSON.stringify(errorBody(toAppError(error, "internal_error"))), "error");
      this.#stream.end();
    });
    return new Response(this.#stream.body, { headers: EVENT_STREAM_HEADERS });
  }

  #end(text: string): void {
    if (this.#isEmpty && text !== "") this.add(text);
    const count = new TokenCount();
    count.add(text);
    const usage = { type: "tokens", input_tokens: 0, output_tokens: count.value, total_tokens: count.value };
    this.#send("transcript.text.done", { text, usage });
    this.#stream.end();
  }

  #send(type: string, data: object): void {
    this.#stream.send(JSON.stringify({ type, ...data }), type);
  }
}

function textResponse(text: string, type: string): Response {
  return new Response(text, { headers: { "content-type": `${type}; charset=utf-8` } });
}

function durationUsage(secs: number | undefined) {
  return secs === undefined ? {} : { usage: { type: "duration", seconds: Math.ceil(secs) } };
}

/** Returns the segments of a transcript. Without timestamps, the whole recording is one segment. */
function segmentsOf({ text, segments }: Transcript, secs: number = UNKNOWN_SECS): readonly TimedText[] {
  if (segments) return segments;
  return text.trim() === "" ? [] : [{ start: 0, end: secs, text }];
}

/** Creates OpenAI's `verbose_json`. Values of the model that are unknown here, such as `avg_logprob`, are neutral. */
function verboseJson(transcript: Transcript, secs: number | undefined, times: Times) {
  const { text, language, words } = transcript;
  const segments = segmentsOf(transcript, secs);
  const duration = secs ?? segments.at(-1)?.end ?? 0;
  return {
    task: "transcribe",
    language: languageName(language),
    duration,
    text,
    ...times.includes("segment") && {
      segments: segments.map(({ start, end, text }, id) => ({
        ...{ id, seek: 0, start, end, text, tokens: [], temperature: 0 },
        ...{ avg_logprob: 0, compression_ratio: 1, no_speech_prob: 0 },
      })),
    },
    ...times.includes("word") && words && {
      words: words.map(({ start, end, text }) => ({ word: text, start, end })),
    },
    ...durationUsage(duration),
  };
}

/** Returns the name of a language as OpenAI writes it, such as `english`. */
function languageName(language = "unknown"): string {
  if (!/^[a-z]{2,3}(-\w+)?$/i.test(language)) return language;
  return new Intl.DisplayNames("en", { type: "language" }).of(language.slice(0, 3).split("-")[0]!)!
    .toLowerCase();
}

/** Writes a subtitle. Its text must contain no empty line and no `-->`, which would end the subtitle. */
function cue({ start, end, text }: TimedText, decimal: "," | "."): string {
  const lines = text.trim().replace(/\s*\n\s*/g, "\n").replaceAll("-->", "→");
  return `${timestamp(start, decimal)} --> ${timestamp(end, decimal)}\n${lines}\n\n`;
}

/** Writes a time as `00:00:01.200`. */
function timestamp(secs: number, decimal: string): string {
  const ms = Math.round(secs * 1000);
  const part = (value: number, digits: number) => String(Math.floor(value)).padStart(digits, "0");
  const clock = [ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60].map((value) => part(value, 2)).join(":");
  return `${clock}${decimal}${part(ms % 1000, 3)}`;
}
