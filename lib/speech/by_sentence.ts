/** Speaks long texts with a voice that speaks one sentence at a time. @module */

import { untilAborted } from "../core/abortable.ts";
import { Semaphore } from "../core/semaphore.ts";
import { type Pcm, SPEECH_RATE } from "./pcm.ts";
import { resampleInSteps } from "./resample.ts";
import { MAX_SENTENCE_CHARS, SentenceSplitter } from "./sentences.ts";
import type { SpeechRequest, TextToSpeech, Voice } from "./text_to_speech.ts";
import { toBytes, wavHeader } from "./wav.ts";

/** Most texts that a provider speaks at once. A text counts until all of its sound is read. */
export const MAX_TEXTS = 32;
/** Default number of sentences that a provider makes at once. Each text waits with at most one sentence. */
const SENTENCES_AT_ONCE = 2;
/**
 * Longest sound of a sentence, in seconds. The rest is cut off, because no voice needs as long for the words. A text has
 * at most two sentences in memory, so that all texts together need at most 184 MB.
 */
const MAX_SENTENCE_SECS = 60;
/** Silence that is sent for a text without words, in seconds: some players refuse an empty file. */
const SILENCE_SECS = 0.1;

/** The voice and the speed of a sentence. */
export type SentenceOptions = Pick<SpeechRequest, "voice" | "speed">;

/** A voice that speaks one sentence at a time. */
export interface SentenceVoice extends AsyncDisposable {
  /** Lists the voices, as {@linkcode TextToSpeech} does. */
  voices(signal: AbortSignal): Promise<readonly Voice[]>;
  /**
   * Speaks a sentence. Sound without samples means that there is nothing to speak.
   *
   * @throws {AppError} if the provider fails.
   */
  speakSentence(text: string, options: SentenceOptions, signal: AbortSignal): Promise<Pcm>;
}

/**
 * Creates a provider from a voice that speaks one sentence at a time. While the client reads a sentence, only the next
 * sentence is made.
 *
 * @param sentencesAtOnce Sentences that the voice can make at once.
 */
export function speakBySentences(voice: SentenceVoice, sentencesAtOnce = SENTENCES_AT_ONCE): TextToSpeech {
  const full = `${MAX_TEXTS} texts are being spoken already.`;
  const textPlaces = new Semaphore({ places: MAX_TEXTS, maxWaiting: 0, full });
  const sentencePlaces = new Semaphore({ places: sentencesAtOnce, maxWaiting: MAX_TEXTS, full });
  return {
    formats: ["wav", "pcm"],
    voices: (signal) => voice.voices(signal),
    async speak(request, signal) {
      const place = await textPlaces.take(signal);
      return await openSound(request, signal, () => place[Symbol.dispose](), async (sentence, signal) => {
        using _place = await sentencePlaces.take(signal);
        const { rate, samples } = await voice.speakSentence(sentence, request, signal);
        const limited = { rate, samples: samples.slice(0, MAX_SENTENCE_SECS * rate) };
        return (await resampleInSteps(limited, SPEECH_RATE, signal)).samples;
      });
    },
    [Symbol.asyncDispose]: () => voice[Symbol.asyncDispose](),
  };
}

/** Makes the samples of a sentence. */
type MakeSamples = (sentence: string, signal: AbortSignal) => Promise<Int16Array<ArrayBuffer>>;

/** Returns the sound of a text once its first sentence is made. Calls `onEnd` when the sound is read, cancelled or failed. */
async function openSound(
  { text, format, speed }: SpeechRequest,
  signal: AbortSignal,
  onEnd: () => void,
  make: MakeSamples,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const stop = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal]);
  void untilAborted(stopped).then(onEnd);

  const splitter = new SentenceSplitter(MAX_SENTENCE_CHARS * Math.min(1, speed));
  const sound = soundOf([...splitter.push(text), ...splitter.end()], (sentence) => make(sentence, stopped));
  const readSamples = async () => {
    try {
      const { value } = await sound.next();
      stopped.throwIfAborted();
      if (value === undefined) stop.abort();
      return value;
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  };

  let first = await readSamples();
  return new ReadableStream({
    async pull(controller) {
      if (first !== undefined && format === "wav") controller.enqueue(wavHeader(SPEECH_RATE));
      const samples = first ?? await readSamples();
      first = undefined;
      if (samples === undefined) controller.close();
      else controller.enqueue(toBytes(samples));
    },
    cancel: (reason) => stop.abort(reason),
  }, { highWaterMark: 0 });
}

/** Yields the sound of each sentence, and makes one sentence ahead. Yields a silence if there is nothing to speak. */
async function* soundOf(
  sentences: readonly string[],
  make: (sentence: string) => Promise<Int16Array<ArrayBuffer>>,
): AsyncGenerator<Int16Array<ArrayBuffer>, undefined> {
  const startSentence = (index: number) => {
    const sentence = sentences[index];
    const samples = sentence === undefined ? undefined : make(sentence);
    // Prevents an unhandled rejection: the error is thrown when the reader gets to this sentence.
    samples?.catch(() => {});
    return samples;
  };
  let hasSound = false;
  let next = startSentence(0);
  for (let index = 1; next !== undefined; index++) {
    const samples = await next;
    next = startSentence(index);
    if (samples.length === 0) continue;
    hasSound = true;
    yield samples;
  }
  if (!hasSound) yield new Int16Array(SILENCE_SECS * SPEECH_RATE);
}
