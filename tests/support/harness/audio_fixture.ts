/** A voice and a recognizer in place of the server's, and the sound of a microphone, for tests of the stage. @module */

import type { Page } from "playwright-core";
import { encodeWav } from "../../../lib/speech/wav.ts";
import { until } from "./server_process.ts";

/** Samples in a second of the fake voice, and characters that it speaks in a second. */
const RATE = 24_000;
const CHARS_PER_S = 60;

/** A sentence that the page let the server speak. */
export interface Spoken {
  readonly input: string;
  readonly voice: string;
}

/** Answers the page's requests for speech and transcripts. */
export class FakeAudio {
  readonly spoken: Spoken[] = [];
  /** The recordings that were sent, as files. */
  readonly recordings: Uint8Array[] = [];
  /** The words of the next recordings, or the errors in place of them. */
  readonly said: (string | Error)[] = [];
  /** The words of the recordings after these. */
  saidLater = "";
  /** Sentences that are spoken without a sound. */
  readonly silent = new Set<string>();
  /** The status of answers to requests for speech. */
  status = 200;
  /** The characters that the voice speaks in a second. */
  charsPerS = CHARS_PER_S;
  voices = [{ id: "one", name: "One", language: "en-US" }, { id: "two", name: "Two", language: "en-GB" }];

  /** Takes the place of the server's audio routes in a page. */
  async serve(page: Page): Promise<void> {
    await page.route("**/v1/audio/voices", (route) => route.fulfill({ json: { voices: this.voices } }));
    await page.route("**/v1/audio/speech", async (route) => {
      const { input, voice, response_format } = route.request().postDataJSON();
      if (response_format !== "pcm") throw new Error(`The page asked for ${response_format}.`);
      this.spoken.push({ input, voice });
      if (this.status !== 200) {
        const error = { message: "The voice is hoarse." };
        return await route.fulfill({ status: this.status, json: { error } });
      }
      const body = vowel(RATE, input.length / this.charsPerS, this.silent.has(input) ? 0 : 0.5);
      await route.fulfill({ contentType: "audio/pcm", body: Buffer.from(body.buffer) });
    });
    await page.route("**/v1/audio/transcriptions", async (route) => {
      this.recordings.push(fileOf(route.request().postDataBuffer()!));
      const said = this.said.shift() ?? this.saidLater;
      if (typeof said === "string") await route.fulfill({ json: { text: said } });
      else await route.fulfill({ status: 500, json: { error: { message: said.message } } });
    });
  }

  /** Resolves once so many sentences were asked for. */
  async untilSpoken(count: number): Promise<readonly string[]> {
    return (await until(() => this.spoken, ({ length }) => length >= count)).map(({ input }) => input);
  }

  /** Resolves once so many recordings came. */
  untilRecorded(count: number): Promise<readonly Uint8Array[]> {
    return until(() => this.recordings, ({ length }) => length >= count);
  }
}

/** Takes the file out of a form. */
function fileOf(form: Uint8Array): Uint8Array {
  const start = Buffer.from(form).indexOf("RIFF");
  const length = new DataView(form.buffer, form.byteOffset).getUint32(start + 4, true) + 8;
  return form.slice(start, start + length);
}

/** Makes the sound of somebody who says syllables with one vowel. */
function vowel(rate: number, seconds: number, amplitude: number): Int16Array<ArrayBuffer> {
  return Int16Array.from({ length: Math.round(rate * seconds) }, (_, index) => {
    const time = index / rate;
    const pitch = 2 * Math.PI * (140 * time + 3 * Math.sin(2 * Math.PI * 1.7 * time));
    const wave = [1, 0.6, 0.8, 0.5, 0.3].reduce(
      (sum, part, at) => sum + part * Math.sin((at + 1) * pitch),
      0,
    );
    const syllable = Math.max(0, Math.sin(2 * Math.PI * 4 * time)) ** 0.5;
    return 32_767 * amplitude * syllable * wave / 3.2;
  });
}

/** Seconds of silence before and after the talk: an answer can be spoken until the talk is heard again. */
const BEFORE_S = 0.6;
const AFTER_S = 3.4;

/** Writes the file of a microphone: a talk between silence; Chromium plays it over and over. */
export async function writeTalk(path: string): Promise<void> {
  const rate = 48_000;
  const talk = vowel(rate, 1.5, 0.6);
  const samples = new Int16Array(rate * BEFORE_S + talk.length + rate * AFTER_S);
  samples.set(talk, rate * BEFORE_S);
  await Deno.writeFile(path, encodeWav({ rate, samples }));
}

/** Flags of Chromium with a microphone that hears a file. */
export function microphoneFlags(path: string): string[] {
  return [
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    `--use-file-for-fake-audio-capture=${path}`,
  ];
}

/** A script of the page that counts what makes sound and what listens, as `audioUse`. */
export const COUNT_AUDIO = `
  globalThis.audioUse = { contexts: [], started: 0, stopped: 0, playing: 0, microphones: 0, open: 0, utterances: [] };
  const { AudioContext: Context } = globalThis;
  globalThis.AudioContext = class extends Context {
    constructor(...args) {
      super(...args);
      audioUse.contexts.push(this);
    }
  };
  const { start, stop } = AudioBufferSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function (...args) {
    audioUse.started++;
    audioUse.playing++;
    this.addEventListener("ended", () => audioUse.playing--);
    return start.apply(this, args);
  };
  AudioBufferSourceNode.prototype.stop = function (...args) {
    audioUse.stopped++;
    return stop.apply(this, args);
  };
  const getUserMedia = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
  if (getUserMedia) navigator.mediaDevices.getUserMedia = async (constraints) => {
    const stream = await getUserMedia(constraints);
    audioUse.microphones++;
    audioUse.open++;
    for (const track of stream.getTracks()) {
      const end = track.stop.bind(track);
      track.stop = () => {
        if (track.readyState === "live") audioUse.open--;
        end();
      };
    }
    return stream;
  };
`;

/**
 * A script of the page: a `speechSynthesis` whose voices a test adds with `addVoices`. It speaks at once, or with
 * `isHeld` until the test calls `endSpeech`.
 */
export const FAKE_SYNTHESIS = `
  const voices = [];
  const listeners = [];
  globalThis.addVoices = (...added) => {
    voices.push(...added.map(([voiceURI, name, lang]) => ({ voiceURI, name, lang, default: false, localService: true })));
    for (const listener of listeners) listener();
  };
  globalThis.SpeechSynthesisUtterance = class {
    constructor(text) {
      this.text = text;
    }
  };
  Object.defineProperty(globalThis, "speechSynthesis", { value: {
    getVoices: () => voices,
    addEventListener: (_type, listener) => listeners.push(listener),
    cancel() {},
    speak(utterance) {
      audioUse.utterances.push([utterance.voice.voiceURI, utterance.text]);
      globalThis.endSpeech = () => utterance.onend();
      queueMicrotask(() => {
        utterance.onstart();
        if (!globalThis.isHeld) endSpeech();
      });
    },
  } });
`;

/** A script of the page: a recognition of the browser that hears what a test says with `say`. */
export const FAKE_RECOGNITION = `
  globalThis.recognitions = 0;
  globalThis.SpeechRecognition = class {
    start() {
      recognitions++;
      globalThis.recognition = this;
    }
    stop() {
      globalThis.recognition = undefined;
      queueMicrotask(() => this.onend());
    }
    abort() {
      globalThis.recognition = undefined;
    }
  };
  globalThis.say = (transcript) => {
    recognition.onspeechstart();
    recognition.onresult({ resultIndex: 0, results: [Object.assign([{ transcript }], { isFinal: true })] });
  };
`;
