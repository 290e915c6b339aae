/** The page's listener with a microphone that a test lets sound. */

import { assertEquals } from "@std/assert";
import { parseWav } from "../../lib/speech/wav.ts";
import { until } from "../support/harness/server_process.ts";

// Imported by address, because these modules are type-checked with the types of the DOM and this file is not.
const { createListening } = await import(
  new URL("../../lib/stage/page/voice/listening.js", import.meta.url).href
);

const RATE = 16_000;
/** A frame of 20 ms. */
const FRAME_SAMPLES = RATE / 50;

/** A frame of somebody who talks, or of silence. */
function frame(isVoiced: boolean): Float32Array {
  const amplitude = isVoiced ? 0.3 : 0.0005;
  return Float32Array.from(
    { length: FRAME_SAMPLES },
    (_, index) => amplitude * Math.sin(2 * Math.PI * 200 * index / RATE),
  );
}

/** A listener with the server's recognizer, and what it did. */
async function listeningFixture(isHandsFree: boolean) {
  const port: { onmessage(event: { data: Float32Array }): void } = { onmessage() {} };
  const log: string[] = [];
  const track = { stop: () => void log.push("closed"), onended: () => {} };
  const stream = { getTracks: () => [track] };
  Object.assign(globalThis, {
    AudioWorkletNode: class {
      readonly port = port;
      connect() {}
      disconnect() {}
    },
  });
  Object.defineProperty(navigator, "mediaDevices", {
    value: { getUserMedia: () => Promise.resolve(stream) },
    configurable: true,
  });
  const context = {
    sampleRate: RATE,
    audioWorklet: { addModule: () => Promise.resolve() },
    createMediaStreamSource: () => ({ connect: (node: unknown) => node, disconnect() {} }),
  };
  let engine = "";
  const { promise: opened, resolve: onOpened } = Promise.withResolvers<void>();
  const answers: PromiseWithResolvers<string>[] = [];
  const seconds: number[] = [];
  const listening = createListening({
    audio: { open: () => context },
    recognizer: () => "server",
    async transcribe(recording: Blob) {
      const answer = Promise.withResolvers<string>();
      answers.push(answer);
      seconds.push(parseWav(await recording.bytes()).samples.length / RATE);
      return await answer.promise;
    },
    voiceEngine: () => engine,
    onTalk: () => void log.push("talk"),
    onText: (text: string) => void log.push(text),
    onState: (state: string) => ["waiting", "recording"].includes(state) && onOpened(),
    onProblem: (problem: string) => void log.push(problem),
  });
  if (isHandsFree) listening.setHandsFree(true);
  else listening.press();
  await opened;
  return {
    listening,
    log,
    answers,
    seconds,
    setEngine: (next: string) => engine = next,
    /** Lets the microphone sound for some seconds. */
    hear(seconds: number, isVoiced: boolean) {
      for (let count = 0; count < seconds * 50; count++) port.onmessage({ data: frame(isVoiced) });
    },
  };
}

Deno.test("listening: hands-free, each talk is sent, and its words come in order", async () => {
  const { listening, log, answers, hear } = await listeningFixture(true);
  for (let talk = 0; talk < 2; talk++) {
    hear(1, false);
    hear(1, true);
  }
  hear(1, false);
  assertEquals([log, answers.length], [["talk", "talk"], 2]);
  answers[1]!.resolve("second");
  answers[0]!.resolve("first");
  await until(() => log.includes("second"));
  assertEquals(log.slice(2), ["first", "second"]);
  listening.setHandsFree(false);
  assertEquals(log.slice(4), ["closed"]);
});

Deno.test("listening: hands-free, a voice of the browser is not heard, nor the talk that it cuts", async () => {
  const { listening, log, answers, hear, setEngine } = await listeningFixture(true);
  hear(1, false);
  setEngine("browser");
  hear(3, true);
  hear(1, false);
  assertEquals([log, answers.length], [[], 0]);
  setEngine("");
  hear(1, false);
  hear(0.5, true);
  assertEquals(log, ["talk"]);
  setEngine("browser");
  hear(1, true);
  setEngine("");
  hear(1, false);
  assertEquals([log, answers.length], [["talk"], 0]);
  listening.setHandsFree(false);
});

Deno.test("listening: hands-free, recordings that the server does not keep up with are dropped", async () => {
  const { listening, log, answers, hear } = await listeningFixture(true);
  for (let talk = 0; talk < 4; talk++) {
    hear(1, false);
    hear(1, true);
  }
  hear(1, false);
  assertEquals(answers.length, 3);
  assertEquals(log.at(-1), "The server is too slow: this was not heard.");
  listening.setHandsFree(false);
});

Deno.test("listening: a held button records for a minute at most, and a slip of it nothing", async () => {
  const long = await listeningFixture(false);
  long.hear(70, true);
  assertEquals([long.log, long.listening.isOn], [["talk", "closed"], false]);
  long.answers[0]!.resolve("words");
  await until(() => long.log.includes("words"));
  assertEquals(long.seconds, [60]);
  const short = await listeningFixture(false);
  short.hear(0.2, true);
  short.listening.release();
  assertEquals(short.answers.length, 0);
  assertEquals(short.log.at(-1), "Hold the button while you talk, and release it then.");
});
