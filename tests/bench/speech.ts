/** Section `speech`: how soon and how fast the built-in voice speaks, and the delay of tokens meanwhile. @module */

import { SPEECH_RATE } from "../../lib/speech/pcm.ts";
import { orderText } from "./clients.ts";
import { type Program, startPrograms } from "./programs.ts";
import { atMost, measureInTurns, medians, type Row } from "./report.ts";
import { type Context, noteIncomplete, pacedOnce, percentileRows, warmUp } from "./sections.ts";

/** A key keeps the relay, which cannot speak, from being started. */
const KEY = "the-key-of-the-benchmark";
/** Texts of a run. */
const TEXTS = 10;
const SENTENCE = "This is a sentence of a common length, which says nothing new.";
const TEXT = Array(5).fill(SENTENCE).join(" ");
/** The words of {@linkcode TEXT} and the time between two of them, as fast as fast models write. */
const WORDS = TEXT.split(/(?= )/);
const WORD_MS = 10;
const STREAMS = 64;

/** Measures texts one after the other, then streams of tokens in silence and while texts are spoken. */
export async function speech({ scale, checkouts, note }: Context): Promise<Row[]> {
  await using programs = await startPrograms(checkouts, warmUp(scale), { authKey: KEY });
  const cold = await measureInTurns(1, programs.columns, speakOnce);
  const warm = await measureInTurns(scale.runs, programs.columns, async (program) => {
    const spoken: Spoken[] = [];
    for (let i = 0; i < TEXTS; i++) spoken.push(await speakOnce(program));
    const sum = (figure: (one: Spoken) => number) => spoken.reduce((sum, one) => sum + figure(one), 0);
    return {
      firstMs: sum(({ firstMs }) => firstMs) / TEXTS,
      factor: sum(({ secs }) => secs) / sum(({ wholeMs }) => wholeMs) * 1000,
      rssMb: program.rssMb(),
    };
  });
  const replies = await measureInTurns(scale.runs, programs.columns, async (program) => {
    let sum = 0;
    for (let i = 0; i < TEXTS; i++) sum += await replyOnce(program);
    return sum / TEXTS;
  });
  const rows: Row[] = [
    { figure: "first speech of a program: first sound, ms", values: medians(cold, ({ firstMs }) => firstMs) },
    { figure: "speech: first sound, ms", values: medians(warm, ({ firstMs }) => firstMs) },
    { figure: "reply: from its first sentence to the first sound, ms", values: medians(replies, (ms) => ms) },
    { figure: "speech of 5 sentences: times real time", values: medians(warm, ({ factor }) => factor) },
    { figure: "speech: resident memory, MB", values: medians(warm, ({ rssMb }) => rssMb) },
  ];
  let silent: number | undefined;
  for (const isSpeaking of [false, true]) {
    const runs = await measureInTurns(scale.runs, programs.columns, async (program) => {
      using _speaker = isSpeaking ? new Speaker(program) : undefined;
      return await pacedOnce(program, STREAMS, "spread", scale.pacedMs);
    });
    const figure = `${STREAMS} streams of 100 tokens/s, ${isSpeaking ? "while it speaks" : "silent"}: delay`;
    noteIncomplete(figure, runs, note);
    const target = silent === undefined ? {} : { target: atMost(2 * Math.ceil(silent), "ms") };
    const delays = percentileRows(figure, runs, ({ delays }) => delays, {}, target);
    silent = delays[1]?.values.server;
    rows.push(...delays);
  }
  return rows;
}

/** The times of a text: until its first sound and its last, and the length of its sound. */
interface Spoken {
  readonly firstMs: number;
  readonly wholeMs: number;
  readonly secs: number;
}

async function speakOnce({ port }: Program, signal?: AbortSignal): Promise<Spoken> {
  const startedAt = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}/v1/audio/speech`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${KEY}` },
    body: JSON.stringify({ input: TEXT, response_format: "pcm" }),
    ...signal && { signal },
  });
  if (!response.ok) throw new Error(await response.text());
  let [bytes, firstMs] = [0, 0];
  for await (const chunk of response.body!) {
    if (bytes === 0) firstMs = performance.now() - startedAt;
    bytes += chunk.length;
  }
  return { firstMs, wholeMs: performance.now() - startedAt, secs: bytes / 2 / SPEECH_RATE };
}

/**
 * Reads a spoken reply. The word after a sentence shows its end.
 *
 * @returns The time from the last word of its first sentence to its first sound, in milliseconds.
 */
async function replyOnce({ port }: Program): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${KEY}` },
    body: JSON.stringify({
      stream: true,
      modalities: ["text", "audio"],
      audio: { voice: "slt", format: "pcm16" },
      messages: [{
        role: "user",
        content: orderText({ tokens: WORDS.length, everyMs: WORD_MS, words: WORDS }),
      }],
    }),
  });
  if (!response.ok) throw new Error(await response.text());
  let [text, said, saidAt, heardAt] = ["", "", 0, 0];
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (text + piece).split("\n");
    text = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith("data: {")) continue;
      const { transcript = "", data } = JSON.parse(line.slice("data: ".length)).choices[0]?.delta.audio ?? {};
      said += transcript;
      if (saidAt === 0 && said.startsWith(SENTENCE)) saidAt = performance.now();
      if (heardAt === 0 && data) heardAt = performance.now();
    }
  }
  if (saidAt === 0 || heardAt === 0) throw new Error(`The reply was not spoken: ${said}`);
  return heardAt - saidAt;
}

/** Lets the server speak, text after text, until it is disposed of. */
class Speaker implements Disposable {
  readonly #leaving = new AbortController();

  constructor(program: Program) {
    this.#speak(program);
  }

  async #speak(program: Program): Promise<void> {
    const { signal } = this.#leaving;
    try {
      while (!signal.aborted) await speakOnce(program, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#leaving.abort();
  }
}
