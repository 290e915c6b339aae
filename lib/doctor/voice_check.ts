/** The doctor's check of the voice: speaks and transcribes a word, and finds programs that could. @module */

import { programEnvironment } from "../acp/environment.ts";
import type { AgentDeps } from "../acp/create_agent.ts";
import type { Config } from "../config/load.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { USUAL_SPEECH_MODEL, USUAL_TRANSCRIPTION_MODEL } from "../speech/config.ts";
import { createSpeechToText, createTextToSpeech, type MachinePrograms } from "../speech/create.ts";
import { recordingOf } from "../speech/speech_to_text.ts";
import { findFfmpeg } from "../speech/ffmpeg.ts";
import { LISTENING_RATE } from "../speech/pcm.ts";
import { encodeWav } from "../speech/wav.ts";
import { findProgram } from "./checks.ts";
import { type Finding, ok, warn } from "./report.ts";

/** The word that is spoken and heard. */
const WORD = "hello";
/** Characters of a transcript that are reported. */
const MAX_HEARD_CHARS = 60;

/** Arguments of programs that speak, best voices first. */
const SPEAKERS: Readonly<Record<string, readonly [args: readonly string[], voices?: readonly string[]]>> = {
  "kokoro-tts": [["{input}", "{output}", "--voice", "{voice}", "--speed", "{speed}"], ["af_sky"]],
  piper: [["--model", "~/voices/en_US-lessac-medium.onnx", "--output_file", "-"]],
  "sherpa-onnx-offline-tts": [[]],
  say: [["-v", "{voice}", "-r", "{speed*175}", "--data-format=LEI16@22050", "-o", "{output}"], ["Samantha"]],
  "espeak-ng": [["-v", "{voice}", "-s", "{speed*175}", "--stdin", "--stdout"], ["en-us", "de", "ja"]],
  flite: [["-voice", "{voice}", "--setf", "duration_stretch={1/speed}", "-", "-o", "{output}"], ["slt"]],
};
/** Arguments of programs that transcribe recordings. */
const LISTENERS: Readonly<Record<string, readonly string[]>> = {
  "whisper-cli": ["--model", "~/models/ggml-base.bin", "--language", "{language}", "--file", "{input}"],
  "sherpa-onnx-offline": [],
  pocketsphinx_continuous: ["-infile", "{input}", "-logfn", "/dev/null"],
};
/** Commands of programs that need a shell: the first takes its text as an argument, the second prints it on stderr. */
const SHELL_SCRIPTS: Readonly<Record<string, readonly string[]>> = {
  "sherpa-onnx-offline-tts": [
    'sherpa-onnx-offline-tts --vits-model=MODEL.onnx --vits-tokens=tokens.txt "--output-filename=$0" " $(cat)"',
    "{output}",
  ],
  "sherpa-onnx-offline": [
    'sherpa-onnx-offline --tokens=tokens.txt --paraformer=MODEL.onnx "$0" 2>&1',
    "{input}",
  ],
};

/** Returns the two or three lines of `config.toml` that use a known program. */
export function providerLines(program: string): string[] {
  const [args = LISTENERS[program] ?? [], voices] = SPEAKERS[program] ?? [];
  const script = SHELL_SCRIPTS[program];
  const command = script ? ["sh", "-c", ...script] : [program, ...args];
  // JSON's lists and texts are also TOML's.
  const list = (words: readonly string[]) => `[${words.map((word) => JSON.stringify(word)).join(", ")}]`;
  return [
    program in SPEAKERS ? "[speech]" : "[transcription]",
    `command = ${list(command)}`,
    ...voices ? [`voices = ${list(voices)}`] : [],
  ];
}

/** Checks that the configured providers work; else finds the programs that could speak and listen. */
export async function checkVoice(
  { speech, transcription }: Pick<Config, "speech" | "transcription">,
  machine: Pick<AgentDeps, "own" | "windows" | "programFolders"> & { redact(text: string): string },
  signal: AbortSignal,
): Promise<Finding[]> {
  const env = programEnvironment(machine);
  const programs = { programs: { env, redact: machine.redact }, ffmpeg: undefined };
  const ffmpeg = await findFfmpeg(programs.programs);
  const found: Finding[] = [
    ok(
      ffmpeg
        ? `ffmpeg makes ${ffmpeg.formats.join(", ")}, and decodes recordings`
        : "without ffmpeg on the PATH, the built-in voice and programs make and read WAV only",
    ),
  ];
  const suggest = async (names: readonly string[]) => {
    for (const command of names) {
      const path = await findProgram({ command, cwd: "/", env, windows: machine.windows });
      if (path) {
        found.push({
          ...ok(`${command} was found. To use it, in config.toml:`),
          lines: providerLines(command),
        });
      }
    }
  };
  const spoken = await trySpeech(speech, programs, found, signal);
  if (speech.provider === "builtin") await suggest(Object.keys(SPEAKERS));
  if (transcription === undefined) {
    found.push(ok("transcription: not configured"));
    await suggest(Object.keys(LISTENERS));
  } else {
    found.push(await tryTranscription(transcription, programs, spoken, signal));
  }
  return found;
}

/** Speaks a word. Resolves to its sound as WAV, if there is some. */
async function trySpeech(
  config: Config["speech"],
  programs: MachinePrograms,
  found: Finding[],
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  await using speech = createTextToSpeech(config, programs) ?? null;
  if (speech === null) {
    found.push(ok("speech: turned off"));
    return undefined;
  }
  const startedMs = performance.now();
  try {
    const stream = await speech.speak({
      ...{ text: WORD, voice: undefined, speed: 1, format: "wav" },
      ...{ model: USUAL_SPEECH_MODEL, instructions: undefined },
    }, signal);
    const sound = await new Response(stream).bytes();
    found.push(
      ok(`speech: ${nameOf(config)} speaks a word in ${Math.round(performance.now() - startedMs)} ms`),
    );
    return sound;
  } catch (error) {
    found.push(failure("speech", error, signal));
    return undefined;
  }
}

/** Lets the recognizer hear the word, or silence if nothing could speak it. */
async function tryTranscription(
  config: NonNullable<Config["transcription"]>,
  programs: MachinePrograms,
  spoken: Uint8Array<ArrayBuffer> | undefined,
  signal: AbortSignal,
): Promise<Finding> {
  const sound = spoken ?? encodeWav({ rate: LISTENING_RATE, samples: new Int16Array(LISTENING_RATE) });
  try {
    const recording = recordingOf("word.wav", sound, { model: USUAL_TRANSCRIPTION_MODEL });
    const { text } = await createSpeechToText(config, programs)!.transcribe(recording, signal);
    const heard = JSON.stringify(text.trim().slice(0, MAX_HEARD_CHARS).toWellFormed());
    return ok(
      spoken
        ? `transcription: ${nameOf(config)} heard ${heard} when the voice said "${WORD}"`
        : `transcription: ${nameOf(config)} answers`,
    );
  } catch (error) {
    return failure("transcription", error, signal);
  }
}

function nameOf(config: Config["speech"] | NonNullable<Config["transcription"]>): string {
  switch (config.provider) {
    case "command":
      return config.command[0]!;
    case "upstream":
      return "the server";
    case "builtin":
      return "the built-in voice";
    case "off":
      return "nothing";
    default:
      return config satisfies never;
  }
}

function failure(table: "speech" | "transcription", error: unknown, signal: AbortSignal): Finding {
  signal.throwIfAborted();
  const { cause } = error instanceof AppError ? error : { cause: undefined };
  // The cause of `fetch failed` has the system's words.
  const reason = cause instanceof Error ? ` ${messageOf(cause.cause ?? cause)}` : "";
  return warn(
    `${table} does not work: ${messageOf(error)}${reason}`,
    `Correct [${table}] in config.toml: the page Voice has the commands of known programs.`,
  );
}
