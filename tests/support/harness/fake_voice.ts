/** A voice and a recognizer in memory, which do as a test says. @module */

import {
  readRecording,
  type Recording,
  type SpeechToText,
  type Transcript,
  type TranscriptionOptions,
} from "../../../lib/speech/speech_to_text.ts";
import type { SpeechFormat, SpeechRequest, TextToSpeech, Voice } from "../../../lib/speech/text_to_speech.ts";

/** The voice of {@linkcode FakeVoice}. */
export const VOICE: Voice = { id: "slt", name: "SLT", language: "en-US" };

/** A voice whose sound is what `speech` returns. */
export class FakeVoice implements TextToSpeech {
  readonly requests: SpeechRequest[] = [];
  isDisposed = false;

  constructor(
    readonly speech: (
      request: SpeechRequest,
      signal: AbortSignal,
    ) => AsyncIterable<string> | Iterable<string> = ({ text }) => [text],
    readonly formats: readonly SpeechFormat[] = ["wav", "pcm"],
  ) {}

  voices(): Promise<Voice[]> {
    return Promise.resolve([VOICE]);
  }

  async speak(request: SpeechRequest, signal: AbortSignal): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    this.requests.push(request);
    const pieces = ReadableStream.from(this.speech(request, signal));
    // The port promises the first sound.
    const reader = pieces.getReader();
    let first: ReadableStreamReadResult<string> | undefined = await reader.read();
    const encoder = new TextEncoder();
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = first ?? await reader.read();
        first = undefined;
        if (done) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
      cancel: (reason) => reader.cancel(reason),
    }, { highWaterMark: 0 });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.isDisposed = true;
    return Promise.resolve();
  }
}

/** A transcript with these facts. */
export function transcript(facts: Partial<Transcript> = {}): Transcript {
  return {
    ...{ text: "Hello there.", language: undefined, durationSecs: undefined },
    ...{ segments: undefined, words: undefined },
    ...facts,
  };
}

/** A recording as a recognizer gets it. */
export interface HeardRecording extends Omit<TranscriptionOptions, "onText"> {
  readonly filename: string;
  readonly audio: Uint8Array<ArrayBuffer>;
}

/** A recognizer that hears what `hear` returns. */
export class FakeRecognizer implements SpeechToText {
  readonly requests: HeardRecording[] = [];

  constructor(
    readonly hear: (
      request: HeardRecording,
      signal: AbortSignal,
      onText?: (piece: string) => void,
    ) => Transcript | Promise<Transcript> = () => transcript(),
  ) {}

  async transcribe(recording: Recording, signal: AbortSignal): Promise<Transcript> {
    const { bytes, options: { onText, ...options } } = await readRecording(recording);
    const request = { audio: bytes, filename: recording.filename, ...options };
    this.requests.push(request);
    return await this.hear(request, signal, onText);
  }
}
