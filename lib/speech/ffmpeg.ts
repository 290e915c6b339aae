/** ffmpeg, if it is installed: compresses speech, and decodes recordings that are no WAV. @module */

import { AppError } from "../core/errors.ts";
import { Semaphore } from "../core/semaphore.ts";
import { LISTENING_RATE, MAX_RECORDING_SECS, type Pcm, requireLength, SPEECH_RATE } from "./pcm.ts";
import { type ProgramDeps, type ProgramRun, runProgram, startProgram } from "./program.ts";
import type { SpeechFormat, TextToSpeech } from "./text_to_speech.ts";

/**
 * Longest times, in milliseconds: for the list of encoders, a recording, and a text. A client may read a text as slowly as
 * the text is heard, which takes more than an hour at the slowest speed.
 */
const FIND_MS = 10_000;
const DECODE_MS = 60_000;
const ENCODE_MS = 7_200_000;
/** Bytes of a compressed text, and of the list of encoders. */
const MAX_ENCODED_BYTES = 256 * 1024 * 1024;
const MAX_LIST_BYTES = 1024 * 1024;
/**
 * Most texts and recordings that are converted at once, each by its own process, and that wait. The process of a text runs
 * until the client has read the sound, or the response breaks off.
 */
const MAX_ENCODING = 32;
const MAX_DECODING = 2;
const MAX_WAITING = 32;
const BYTES_PER_SAMPLE = 2;

/** The encoder and the options of each format that ffmpeg makes. Small pages and packets keep the delay short. */
const ENCODINGS = {
  mp3: {
    encoder: "libmp3lame",
    options: ["-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3"],
  },
  opus: { encoder: "libopus", options: ["-b:a", "32k", "-page_duration", "100000", "-f", "ogg"] },
  aac: { encoder: "aac", options: ["-b:a", "64k", "-f", "adts"] },
  flac: { encoder: "flac", options: ["-f", "flac"] },
} satisfies Partial<Record<SpeechFormat, { encoder: string; options: string[] }>>;
type Encoding = keyof typeof ENCODINGS;

/**
 * Containers and formats of recordings. Each holds its sound itself: lists of other files, such as HLS, are not among
 * them.
 */
const DEMUXERS =
  "aac,ac3,aiff,amr,asf,au,avi,caf,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpegts,ogg,w64,wav";

/** An ffmpeg that was found. */
export interface Ffmpeg {
  /** The formats that its encoders make. */
  readonly formats: readonly Encoding[];
  readonly deps: ProgramDeps;
}

function ffmpegRun(
  args: readonly string[],
  run: Pick<ProgramRun, "input" | "timeoutMs" | "maxBytes">,
): ProgramRun {
  return {
    command: "ffmpeg",
    args: ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", ...args],
    subject: "The program",
    fix: "take it off the PATH",
    ...run,
  };
}

/** Finds the ffmpeg on the PATH of the programs. */
export async function findFfmpeg(deps: ProgramDeps): Promise<Ffmpeg | undefined> {
  const run = { input: new Uint8Array(), timeoutMs: FIND_MS, maxBytes: MAX_LIST_BYTES };
  try {
    const list = await runProgram(ffmpegRun(["-encoders"], run), deps, new AbortController().signal);
    const encoders = new Set(
      [...new TextDecoder().decode(list).matchAll(/^ A\S* (\S+)/gm)].map(([, name]) => name),
    );
    const formats = (Object.keys(ENCODINGS) as Encoding[]).filter((format) =>
      encoders.has(ENCODINGS[format].encoder)
    );
    return { formats, deps };
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

/** Adds the formats of ffmpeg to those of a provider. */
export function withFfmpeg(speech: TextToSpeech, ffmpeg: Ffmpeg): TextToSpeech {
  const added = ffmpeg.formats.filter((format) => !speech.formats.includes(format));
  const places = new Semaphore({
    places: MAX_ENCODING,
    maxWaiting: MAX_WAITING,
    full: "Too many texts wait to be compressed.",
  });
  return {
    formats: [...speech.formats, ...added],
    voices: (signal) => speech.voices(signal),
    async speak(request, signal) {
      const encoding = added.find((format) => format === request.format);
      if (encoding === undefined) return await speech.speak(request, signal);
      const place = await places.take(signal);
      try {
        const pcm = await speech.speak({ ...request, format: "pcm" }, signal);
        return await withFirstChunk(encode(pcm, encoding, ffmpeg, signal), () => place[Symbol.dispose]());
      } catch (error) {
        place[Symbol.dispose]();
        throw error;
      }
    },
    [Symbol.asyncDispose]: () => speech[Symbol.asyncDispose](),
  };
}

function encode(
  pcm: ReadableStream<Uint8Array<ArrayBuffer>>,
  encoding: Encoding,
  { deps }: Ffmpeg,
  signal: AbortSignal,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { encoder, options } = ENCODINGS[encoding];
  const input = ["-f", "s16le", "-ar", String(SPEECH_RATE), "-ac", "1", "-probesize", "32", "-i", "pipe:0"];
  const output = ["-c:a", encoder, ...options, "-flush_packets", "1", "pipe:1"];
  const run = { input: pcm, timeoutMs: ENCODE_MS, maxBytes: MAX_ENCODED_BYTES };
  return startProgram(ffmpegRun([...input, ...output], run), deps, signal);
}

/** Waits for the first chunk of a stream, so that an error before it is thrown. `onEnd` is called once. */
async function withFirstChunk(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  onEnd: () => void,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const reader = stream.getReader();
  let first: ReadableStreamReadResult<Uint8Array<ArrayBuffer>> | undefined = await reader.read();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { value } = first ?? await reader.read();
        first = undefined;
        if (value !== undefined) return controller.enqueue(value);
        onEnd();
        controller.close();
      } catch (error) {
        onEnd();
        throw error;
      }
    },
    async cancel(reason) {
      onEnd();
      await reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}

const decoding = new Semaphore({
  places: MAX_DECODING,
  maxWaiting: MAX_WAITING,
  full: "Too many recordings wait to be decoded.",
});

/**
 * Decodes a recording of any container to 16,000 Hz. ffmpeg can read nothing but these bytes: a playlist that names
 * files or addresses is refused.
 *
 * @throws {AppError} if the recording cannot be read, or is too long.
 */
export async function decodeWithFfmpeg(
  { deps }: Ffmpeg,
  bytes: Uint8Array<ArrayBuffer>,
  signal: AbortSignal,
): Promise<Pcm> {
  using _place = await decoding.take(signal);
  const maxSecs = MAX_RECORDING_SECS + 1;
  // The cache makes the pipe seekable: the index of an MP4 may be at its end.
  const input = ["-protocol_whitelist", "cache,pipe", "-format_whitelist", DEMUXERS, "-i", "cache:pipe:0"];
  const output = [
    "-map",
    "0:a:0",
    "-t",
    String(maxSecs),
    "-ar",
    String(LISTENING_RATE),
    "-ac",
    "1",
  ];
  const args = [...input, ...output, "-f", "s16le", "pipe:1"];
  const maxBytes = maxSecs * LISTENING_RATE * BYTES_PER_SAMPLE;
  const run = { input: bytes, timeoutMs: DECODE_MS, maxBytes };
  let sound: Uint8Array<ArrayBuffer>;
  try {
    sound = await runProgram(ffmpegRun(args, run), deps, signal);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "upstream_error") throw error;
    throw new AppError(
      "unsupported_value",
      "The recording cannot be decoded: send WAV, MP3, MP4, Ogg, WebM, FLAC or AAC with sound in it.",
      { cause: error },
    );
  }
  const samples = new Int16Array(sound.buffer, 0, Math.floor(sound.byteLength / BYTES_PER_SAMPLE));
  requireLength(samples.length, LISTENING_RATE);
  return { rate: LISTENING_RATE, samples };
}
