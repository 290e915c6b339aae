/**
 * The built-in voice: flite, an English synthesizer with a free licence. flite runs in a worker, because a sentence would
 * block the event loop. The worker starts with the first list of voices or the first sentence, and ends when it is idle.
 *
 * @module
 */

import { abortable } from "../core/abortable.ts";
import { startBackgroundTimer, type Timer } from "../core/background_timer.ts";
import { AppError, shuttingDown } from "../core/errors.ts";
import type { SpeechAnswer, SpeechTask } from "./builtin_worker.ts";
import { type SentenceOptions, type SentenceVoice, speakBySentences } from "./by_sentence.ts";
import { type Pcm, SPEECH_RATE } from "./pcm.ts";
import type { TextToSpeech, Voice } from "./text_to_speech.ts";

/** Longest start of the worker, and longest computation of a sentence, in milliseconds. */
const START_TIMEOUT_MS = 60_000;
const SENTENCE_TIMEOUT_MS = 30_000;
/** Idle time after which the worker ends and its memory of about 200 MB is released, in milliseconds. */
const IDLE_MS = 600_000;
/** flite uses one thread, and is many times faster than the sound that it makes. */
const SENTENCES_AT_ONCE = 1;

/** Name of the worker, which runs this module. In the executable, this module is part of the bundle. */
const WORKER_NAME = "builtin-voice";

/** The voices in flite. The first one is the default. */
const VOICES: readonly Voice[] = [
  { id: "slt", name: "SLT (female)", language: "en-US" },
  { id: "rms", name: "RMS (male)", language: "en-US" },
  { id: "awb", name: "AWB (male, Scottish accent)", language: "en-US" },
  { id: "kal16", name: "KAL (male, robotic)", language: "en-US" },
];

/**
 * Creates the built-in voice. flite is loaded with the first list of voices or the first sentence. An unknown name, such
 * as OpenAI's `alloy`, selects the default voice.
 */
export function createBuiltinVoice(): TextToSpeech {
  const speech = speakBySentences(new BuiltinVoice(), SENTENCES_AT_ONCE);
  return {
    ...speech,
    async speak(request, signal) {
      requireLatin(request.text);
      return await speech.speak(request, signal);
    },
  };
}

class BuiltinVoice implements SentenceVoice {
  /** Settles when the newest use of the worker is over. */
  #last: Promise<unknown> = Promise.resolve();
  #worker: SpeechWorker | undefined;
  #release: Timer | undefined;
  #isDisposed = false;

  /** Lists the voices, and starts the worker: a client that lists voices usually speaks soon. */
  voices(): Promise<readonly Voice[]> {
    this.#enqueue(() => this.#use((worker) => worker.start())).catch(() => {});
    return Promise.resolve(VOICES);
  }

  async speakSentence(
    sentence: string,
    { voice, speed }: SentenceOptions,
    signal: AbortSignal,
  ): Promise<Pcm> {
    const text = toAscii(sentence);
    if (!/[a-z0-9]/i.test(text)) return { rate: SPEECH_RATE, samples: new Int16Array() };
    const { id } = VOICES.find(({ id }) => id === voice) ?? VOICES[0]!;
    // An aborted sentence is computed to its end, because to end the worker and start another would take longer.
    const samples = this.#enqueue(() => {
      signal.throwIfAborted();
      return this.#use((worker) => worker.speak({ text, voice: id, speed }));
    });
    return { rate: SPEECH_RATE, samples: await abortable(samples, signal) };
  }

  /** Calls a function when all earlier calls are over. */
  #enqueue<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#last.then(run);
    this.#last = result.catch(() => {});
    return result;
  }

  async #use<T>(use: (worker: SpeechWorker) => Promise<T>): Promise<T> {
    if (this.#isDisposed) throw shuttingDown();
    clearTimeout(this.#release);
    if (this.#worker?.hasFailed) this.#end();
    const worker = this.#worker ??= new SpeechWorker();
    try {
      return await use(worker);
    } catch (error) {
      this.#end();
      throw error;
    } finally {
      if (this.#worker) this.#release = startBackgroundTimer(() => this.#end(), IDLE_MS);
    }
  }

  #end(): void {
    clearTimeout(this.#release);
    this.#worker?.[Symbol.dispose]();
    this.#worker = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    this.#end();
    return Promise.resolve();
  }
}

/** A running worker. It cannot be used after an error. */
class SpeechWorker implements Disposable {
  readonly #worker = new Worker(import.meta.url, { type: "module", name: WORKER_NAME });
  #answer = nextAnswer();
  #isReady = false;
  #hasFailed = false;

  constructor() {
    this.#worker.onmessage = ({ data }) => this.#answer.resolve(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#hasFailed = true;
      this.#answer.reject(failed(event.message));
    };
  }

  /** Whether the worker has failed, perhaps while nobody waited for an answer. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Resolves once the worker can speak. */
  async start(): Promise<void> {
    if (!this.#isReady) await this.#receive(START_TIMEOUT_MS);
    this.#isReady = true;
  }

  /** Speaks a sentence. Must not be called before the last sentence is over. */
  async speak(task: SpeechTask): Promise<Int16Array<ArrayBuffer>> {
    await this.start();
    this.#worker.postMessage(task);
    const answer = await this.#receive(SENTENCE_TIMEOUT_MS);
    if (answer.type === "samples") return answer.samples;
    throw failed(answer.type === "error" ? answer.message : "it started twice");
  }

  /** Waits for the next answer. */
  async #receive(timeoutMs: number): Promise<SpeechAnswer> {
    const late = failed(`it took longer than ${timeoutMs / 1000} seconds`);
    const timer = setTimeout(() => this.#answer.reject(late), timeoutMs);
    try {
      return await this.#answer.promise;
    } finally {
      clearTimeout(timer);
      this.#answer = nextAnswer();
    }
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
    this.#answer.reject(shuttingDown());
  }
}

/** Creates the promise of an answer. Its error counts only for those who wait for the answer. */
function nextAnswer(): PromiseWithResolvers<SpeechAnswer> {
  const answer = Promise.withResolvers<SpeechAnswer>();
  answer.promise.catch(() => {});
  return answer;
}

function failed(fault: string): AppError {
  return new AppError("internal_error", `The built-in voice failed: ${fault}.`);
}

/**
 * Requires that a text is not mostly in a script that the voice cannot read, such as Chinese.
 *
 * @throws {AppError} `unsupported_value`. The message says how to get another voice.
 */
function requireLatin(text: string): void {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  const latin = text.match(/\p{Script=Latin}/gu)?.length ?? 0;
  if (letters <= 2 * latin) return;
  throw new AppError(
    "unsupported_value",
    "The built-in voice speaks English only. For another language set VTUBER_SPEECH_COMMAND to a program that speaks " +
      "it, or VTUBER_SPEECH_BASE_URL to a server.",
    { param: "input" },
  );
}

/** ASCII spellings of characters that Unicode normalization (NFKD) does not turn into ASCII. */
const SPELLINGS: ReadonlyMap<string, string> = new Map([
  ["‘", "'"],
  ["’", "'"],
  ["“", '"'],
  ["”", '"'],
  ["«", '"'],
  ["»", '"'],
  ["–", ", "],
  ["—", ", "],
  ["。", ". "],
  ["、", ", "],
  ["€", " euros "],
  ["£", " pounds "],
  ["¥", " yen "],
  ["°", " degrees "],
  ["×", " times "],
  ["ß", "ss"],
  ["æ", "ae"],
  ["Æ", "Ae"],
  ["œ", "oe"],
  ["Œ", "Oe"],
  ["ø", "o"],
  ["Ø", "O"],
  ["ł", "l"],
  ["Ł", "L"],
]);

/** Spells a text in printable ASCII, because flite reads nothing else. Replaces other characters by spaces. */
function toAscii(text: string): string {
  return text
    .replace(/[€£¥](?=\d)([\d.,]*\d)/g, (amount, number) => `${number} ${amount[0]}`)
    .normalize("NFKD")
    .replace(/\p{M}+/gu, "")
    .replace(/[^\x20-\x7e]/gu, (character) => SPELLINGS.get(character) ?? " ")
    // 250 "…" are more periods than flite can read.
    .replace(/\.{4,}/g, "...")
    .trim();
}

if (globalThis.name === WORKER_NAME) {
  const { serveSpeech } = await import("./builtin_worker.ts");
  await serveSpeech();
}
