/** The whole loop with the real program and Debian's programs: the voice speaks, and a recognizer hears it. */

import { assert, assertEquals } from "@std/assert";
import OpenAI, { toFile } from "npm:openai@7.55.0";
import { parseWav } from "../../lib/speech/wav.ts";
import { heardPart, testWith } from "../support/harness/programs.ts";
import { startServer } from "../support/harness/server_process.ts";

const SENTENCE = "The quick brown fox jumps over the lazy dog.";
const POCKETSPHINX = "pocketsphinx_continuous -infile {input} -logfn /dev/null";

testWith(
  ["pocketsphinx_continuous"],
  "pocketsphinx hears the built-in voice, in a file and in a chat",
  async () => {
    await using server = await startServer({
      agent: "demo",
      env: { VTUBER_TRANSCRIPTION_COMMAND: POCKETSPHINX },
    });
    const { audio, chat } = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "anything" });
    const speech = await audio.speech.create({
      ...{ model: "tts-1", voice: "slt", input: SENTENCE, response_format: "wav" },
    });
    const wav = new Uint8Array(await speech.arrayBuffer());

    const { text } = await audio.transcriptions.create({
      file: await toFile(wav, "a.wav"),
      model: "whisper-1",
    });
    assert(heardPart(text, SENTENCE) >= 0.7, text);

    // The demo agent takes no sounds, and says what it was told.
    const sound = { type: "input_audio", input_audio: { data: wav.toBase64(), format: "wav" } } as const;
    const answer = await chat.completions.create({
      model: "gpt-audio",
      messages: [{ role: "user", content: [sound] }],
      modalities: ["text", "audio"],
      audio: { voice: "alloy", format: "wav" },
    });
    const reply = answer.choices[0]!.message.audio!;
    assert(heardPart(reply.transcript, text) >= 0.9, reply.transcript);
    const { rate, samples } = parseWav(Uint8Array.fromBase64(reply.data));
    // The demo agent's greeting takes long to say.
    assert(samples.length > 10 * rate);
  },
);

testWith(["espeak-ng"], "espeak-ng speaks for the program, and streams a chat reply", async () => {
  const command = "espeak-ng -v {voice} --stdin --stdout";
  await using server = await startServer({
    agent: "demo",
    env: { VTUBER_SPEECH_COMMAND: command, VTUBER_SPEECH_VOICES: "en-us, de" },
  });
  const { audio, chat } = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "anything" });
  const speech = await audio.speech.create({
    ...{ model: "tts-1", voice: "de", input: "Guten Morgen.", response_format: "wav" },
  });
  assert(parseWav(new Uint8Array(await speech.arrayBuffer())).samples.some((sample) => sample > 3_000));

  const stream = await chat.completions.create({
    model: "gpt-audio",
    messages: [{ role: "user", content: "Hello." }],
    modalities: ["text", "audio"],
    audio: { voice: "en-us", format: "pcm16" },
    stream: true,
  });
  let [transcript, bytes, finish] = ["", 0, ""];
  for await (const { choices: [choice] } of stream) {
    // The library's types lack the sound of a stream.
    const { audio = {} } = choice!.delta as { audio?: { transcript?: string; data?: string } };
    transcript += audio.transcript ?? "";
    bytes += Uint8Array.fromBase64(audio.data ?? "").length;
    finish = choice!.finish_reason ?? finish;
  }
  assert(transcript.includes("I am the demo agent."));
  // 16-bit sound of 24,000 samples in a second.
  assert(bytes > 5 * 24_000 * 2);
  assertEquals(finish, "stop");
});
