/** Local programs as providers: one that speaks text, and one that transcribes recordings. @module */

import { basename, dirname, join } from "node:path";
import { AppError, toAppError } from "../core/errors.ts";
import { Semaphore } from "../core/semaphore.ts";
import type { SentenceOptions, SentenceVoice } from "./by_sentence.ts";
import type { CommandConfig, SpeechConfig } from "./config.ts";
import { decodeWithFfmpeg, type Ffmpeg } from "./ffmpeg.ts";
import { LISTENING_RATE, type Pcm, type Sound, soundOf } from "./pcm.ts";
import { type ProgramDeps, type ProgramRun, runProgram } from "./program.ts";
import { readRecording, type SpeechToText, type TimedText, type Transcript } from "./speech_to_text.ts";
import type { Voice } from "./text_to_speech.ts";
import { openWav, parseWav, streamWav } from "./wav.ts";

/** Longest time for a sentence and for a recording, in milliseconds. Node's `fetch` gives up on us after 300 seconds. */
const SPEAK_MS = 60_000;
const LISTEN_MS = 240_000;
/** Bytes of the sound of a sentence, and of the words of a recording. */
const MAX_SOUND_BYTES = 64 * 1024 * 1024;
const MAX_TEXT_BYTES = 1024 * 1024;
/** Recordings that are transcribed at once, and that wait: recognizers use every core. */
const MAX_LISTENING = 2;
const MAX_WAITING = 16;
/** The name of the voice of a program whose voices are not configured. */
const ONLY_VOICE = "default";

/** Limits that tests replace. */
export interface CommandLimits {
  readonly timeoutMs?: number;
}

/** A placeholder in an argument: a word, or the speed with a factor. A shell's `${NAME}` is none. */
const PLACEHOLDER = /(?<!\$)\{([\w./*]+)\}/g;
/** `speed`, `speed*175` (such as words in a minute) and `1/speed` (such as the length of a sound). */
const SPEED = /^(1\/)?speed(?:\*(\d+(?:\.\d+)?))?$/;
const PLACEHOLDERS = {
  speech: ["input", "output", "voice", "speed", "speed*175", "1/speed"],
  transcription: ["input", "output", "language"],
} as const;

/** Returns the mistake in a command, as the end of a sentence; `undefined` without one. */
export function commandFault(
  kind: "speech" | "transcription",
  command: readonly string[],
  voices: readonly string[] = [],
): string | undefined {
  const known: readonly string[] = PLACEHOLDERS[kind];
  const used = command.flatMap((word) => [...word.matchAll(PLACEHOLDER)].map(([, name = ""]) => name));
  const unknown = used.find((name) => !known.includes(name) && !(kind === "speech" && SPEED.test(name)));
  if (unknown !== undefined) {
    const names = known.map((name) => `{${name}}`).join(", ");
    return `has the unknown placeholder {${unknown}}. The placeholders are ${names}`;
  }
  if (command[0] !== undefined && command[0].trim() === "") return "begins with the program, which is empty";
  if (kind === "transcription") return undefined;
  const hasVoice = used.includes("voice");
  if (hasVoice && voices.length === 0) return "has {voice}: list the voices in voices, the default first";
  if (!hasVoice && voices.length > 0) return "needs {voice} where the program takes one of the voices";
  return undefined;
}

/** Creates the voice of a program. The text reaches it on stdin or in a file, and is never an argument. */
export function commandVoice(
  { command, voices }: Extract<SpeechConfig, { provider: "command" }>,
  deps: ProgramDeps,
  { timeoutMs = SPEAK_MS }: CommandLimits = {},
): SentenceVoice {
  const run = createRunner("speech", command, deps, { timeoutMs, maxBytes: MAX_SOUND_BYTES });
  const listed: Voice[] = voices.length > 0
    ? voices.map((id) => ({ id, name: id, language: languageOf(id) }))
    : [{ id: ONLY_VOICE, name: basename(command[0]!), language: undefined }];
  return {
    voices: () => Promise.resolve(listed),
    async speakSentence(text: string, { voice, speed }: SentenceOptions, signal: AbortSignal): Promise<Pcm> {
      const values = {
        // Only a configured name becomes an argument.
        voice: voices.find((name) => name === voice) ?? voices[0] ?? "",
        speed,
      };
      const output = await run(new TextEncoder().encode(`${text}\n`), "txt", "wav", values, signal);
      try {
        return parseWav(output);
      } catch (error) {
        const { message } = toAppError(error, "upstream_error");
        const hint = output.length === 0 ? "It wrote nothing." : message;
        throw new AppError(
          "upstream_error",
          `The speech program ${basename(command[0]!)} made no WAV. ${hint}`,
        );
      }
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Finds the language in the name of a voice: `en`, `en-us`, `en_US-lessac-medium`. */
function languageOf(voice: string): string | undefined {
  const [, language, region] = /^([a-z]{2})(?:[-_]([A-Z]{2})(?=$|-)|-([a-z]{2})$|$)/.exec(voice) ?? [];
  const area = region ?? /^[a-z]{2}-([a-z]{2})$/.exec(voice)?.[1];
  return language && (area ? `${language}-${area.toUpperCase()}` : language);
}

/**
 * Creates a recognizer of a program. It gets WAV, 16-bit mono at 16,000 Hz, whatever the client sent.
 *
 * @param ffmpeg Reads what is no WAV; without it, only WAV is accepted.
 */
export function commandTranscription(
  { command }: CommandConfig,
  deps: ProgramDeps,
  ffmpeg: Ffmpeg | undefined,
  { timeoutMs = LISTEN_MS }: CommandLimits = {},
): SpeechToText {
  const run = createRunner("transcription", command, deps, { timeoutMs, maxBytes: MAX_TEXT_BYTES });
  const places = new Semaphore({
    places: MAX_LISTENING,
    maxWaiting: MAX_WAITING,
    full: "Too many recordings wait to be transcribed.",
  });
  return {
    async transcribe(recording, signal): Promise<Transcript> {
      const { bytes, options: { language, onText } } = await readRecording(recording);
      using _place = await places.take(signal);
      const sound = await openRecording(bytes, ffmpeg, signal);
      // Two or three letters can be no option of a program.
      const values = { language: /^[a-z]{2,3}$/.test(language ?? "") ? language! : "auto" };
      const output = await run(streamWav(sound, LISTENING_RATE, signal), "wav", "txt", values, signal);
      const { text, segments } = parseTranscript(new TextDecoder().decode(output));
      if (text !== "") onText?.(text);
      return {
        text,
        segments,
        language,
        durationSecs: sound.length / sound.rate,
        words: undefined,
      };
    },
  };
}

/** Opens a recording of any format. @throws {AppError} that says what is accepted. */
async function openRecording(
  audio: Uint8Array<ArrayBuffer>,
  ffmpeg: Ffmpeg | undefined,
  signal: AbortSignal,
): Promise<Sound> {
  const isWav = new TextDecoder("latin1").decode(audio.subarray(0, 12)).match(/^(RIFF|RF64|BW64)....WAVE$/s);
  // ffmpeg also knows the compressed kinds of WAV, which `openWav` refuses.
  if (isWav || ffmpeg === undefined) {
    try {
      return openWav(audio);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "unsupported_value") throw error;
      if (ffmpeg === undefined) {
        const message = `${error.message} ffmpeg, once it is installed, reads other recordings too.`;
        throw new AppError(error.code, message, { cause: error });
      }
    }
  }
  return soundOf(await decodeWithFfmpeg(ffmpeg, audio, signal));
}

/** Values of the placeholders. */
interface Values {
  readonly voice?: string;
  readonly speed?: number;
  readonly language?: string;
}

/** Runs a command with an input. Resolves to what the program writes to stdout, or to the file `{output}`. */
type Runner = (
  input: ProgramRun["input"],
  inputEnding: string,
  outputEnding: string,
  values: Values,
  signal: AbortSignal,
) => Promise<Uint8Array<ArrayBuffer>>;

function createRunner(
  kind: "speech" | "transcription",
  [program = "", ...args]: readonly string[],
  deps: ProgramDeps,
  { timeoutMs, maxBytes }: { readonly timeoutMs: number; readonly maxBytes: number },
): Runner {
  const names = new Set(args.flatMap((arg) => [...arg.matchAll(PLACEHOLDER)].map(([, name]) => name)));
  const [hasInput, hasOutput] = [names.has("input"), names.has("output")];
  const subject = `The ${kind} program`;
  const fix = `correct VTUBER_${kind.toUpperCase()}_COMMAND, or command of [${kind}] in config.toml`;
  return async (input, inputEnding, outputEnding, { speed = 1, ...values }, signal) => {
    // Only the owner can read the folder.
    await using folder = hasInput || hasOutput ? await makeFolder(deps) : undefined;
    const files = folder && {
      input: join(folder.path, `input.${inputEnding}`),
      output: join(folder.path, `output.${outputEnding}`),
    };
    if (hasInput) await Deno.writeFile(files!.input, input, { mode: 0o600 });
    const all: Readonly<Record<string, string>> = { ...values, ...files };
    const fill = (arg: string) =>
      arg.replace(PLACEHOLDER, (_all, name: string) => all[name] ?? fillSpeed(name, speed));
    const run = {
      ...{ command: program, args: args.map(fill), subject, fix, timeoutMs, maxBytes },
      input: hasInput ? new Uint8Array() : input,
    };
    const stdout = await runProgram(run, deps, signal);
    if (!hasOutput) return stdout;
    const name = `${subject} ${basename(program)}`;
    const { size } = await Deno.stat(files!.output).catch(() => {
      throw new AppError("upstream_error", `${name} did not write the file {output}.`);
    });
    if (size > maxBytes) {
      throw new AppError("upstream_error", `${name} wrote more than ${maxBytes / 1024 ** 2} MiB.`);
    }
    return await Deno.readFile(files!.output, { signal });
  };
}

const FOLDER_PREFIX = "oab-vtuber-voice-";
/** Age of a folder that no running program uses any more, in milliseconds: many times the longest run. */
const STALE_FOLDER_MS = 3_600_000;

/** Removes the folders of programs that were killed with this one: they may have recordings. */
export async function removeStaleFolders(parent: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(parent)) {
    if (!isDirectory || !name.startsWith(FOLDER_PREFIX)) continue;
    const path = join(parent, name);
    const { mtime } = await Deno.lstat(path);
    if (Date.now() - (mtime?.getTime() ?? 0) > STALE_FOLDER_MS) await Deno.remove(path, { recursive: true });
  }
}

let removingStale: Promise<void> | undefined;

/** Makes a folder that is removed when it is disposed of, and before this program ends. */
async function makeFolder({ runs }: ProgramDeps): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ prefix: FOLDER_PREFIX });
  // Once. A folder of another user cannot be removed.
  await (removingStale ??= removeStaleFolders(dirname(path)).catch(() => {}));
  const removed = Promise.withResolvers<void>();
  runs?.track(removed.promise, () => {
    try {
      Deno.removeSync(path, { recursive: true });
    } catch {
      // It is removed already, or the program still writes.
    }
  });
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await Deno.remove(path, { recursive: true }).catch(() => {});
      removed.resolve();
    },
  };
}

function fillSpeed(name: string, speed: number): string {
  const [, inverse, factor = "1"] = SPEED.exec(name)!;
  return String(Number(((inverse ? 1 / speed : speed) * Number(factor)).toFixed(3)));
}

/** A line of whisper's output: the times of a segment, and its text. */
const SEGMENT = /^\s*\[((?:\d+:)?\d+:\d+[.,]\d+) --> ((?:\d+:)?\d+:\d+[.,]\d+)\](.*)$/;

/**
 * Reads what a recognizer prints: lines with times, as those of whisper; lines of JSON with a `text`, as those of
 * sherpa-onnx; or text. Only the lines of the first of these kinds count, because the others are messages. Pure.
 */
export function parseTranscript(output: string): Pick<Transcript, "text" | "segments"> {
  const lines = output.split(/\r?\n/);
  const segments: TimedText[] = lines.flatMap((line) => {
    const [, start, end, said = ""] = SEGMENT.exec(line) ?? [];
    const text = said.trim();
    if (start === undefined || end === undefined || text === "" || text === "[BLANK_AUDIO]") return [];
    return [{ start: toSeconds(start), end: toSeconds(end), text }];
  });
  if (lines.some((line) => SEGMENT.test(line))) {
    return { text: segments.map(({ text }) => text).join(" "), segments };
  }
  const objects = lines.flatMap((line) => parseTextLine(line) ?? []);
  const texts = objects.length > 0 ? objects : lines;
  return { text: texts.map((text) => text.trim()).filter(Boolean).join("\n"), segments: undefined };
}

function toSeconds(time: string): number {
  return time.replace(",", ".").split(":").reduce((total, part) => total * 60 + Number(part), 0);
}

/** Returns the `text` of a line of JSON. */
function parseTextLine(line: string): string | undefined {
  if (!/^\s*\{/.test(line)) return undefined;
  try {
    const { text } = JSON.parse(line);
    return typeof text === "string" ? text : undefined;
  } catch {
    return undefined;
  }
}
