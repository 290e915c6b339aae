import { assert, assertEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { decodeWithFfmpeg, type Ffmpeg, findFfmpeg, withFfmpeg } from "../../lib/speech/ffmpeg.ts";
import { toBytes } from "../../lib/speech/wav.ts";
import type { SpeechFormat, TextToSpeech } from "../../lib/speech/text_to_speech.ts";
import { PROGRAM_DEPS, testWith } from "../support/harness/programs.ts";

const NEVER = new AbortController().signal;
const SECOND = Int16Array.from({ length: 24_000 }, (_, i) => 9_000 * Math.sin(i / 8));

async function ffmpegHere(): Promise<Ffmpeg> {
  const ffmpeg = await findFfmpeg(PROGRAM_DEPS);
  if (ffmpeg === undefined) throw new Error("ffmpeg was not found");
  return ffmpeg;
}

/** A provider that speaks this sound. */
function fakeSpeech(sound: () => ReadableStream<Uint8Array<ArrayBuffer>>): TextToSpeech {
  return {
    formats: ["wav", "pcm"],
    voices: () => Promise.resolve([]),
    speak: ({ format }) => {
      assertEquals(format, "pcm");
      return Promise.resolve(sound());
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

const request = (format: SpeechFormat) => ({
  ...{ text: "a", voice: undefined, speed: 1, format, model: undefined, instructions: undefined },
});

async function readAll(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Makes a file with ffmpeg itself. */
async function makeFile(ending: string, ...args: string[]): Promise<Uint8Array<ArrayBuffer>> {
  const path = await Deno.makeTempFile({ suffix: `.${ending}` });
  try {
    const command = new Deno.Command("ffmpeg", {
      args: ["-loglevel", "error", "-y", ...args, path],
      stdin: "null",
    });
    const { success, stderr } = await command.output();
    assert(success, new TextDecoder().decode(stderr));
    return await Deno.readFile(path);
  } finally {
    await Deno.remove(path);
  }
}

const sine = (secs: number) => ["-f", "lavfi", "-i", `sine=frequency=440:duration=${secs}`];

Deno.test("findFfmpeg: without ffmpeg there is none", async () => {
  assertEquals(await findFfmpeg({ ...PROGRAM_DEPS, env: { PATH: "/nowhere" } }), undefined);
});

const STARTS: [format: SpeechFormat, bytes: RegExp][] = [
  ["mp3", /^ff[ef]/],
  ["opus", /^4f676753/],
  ["aac", /^fff[19]/],
  ["flac", /^664c6143/],
];
for (const [format, bytes] of STARTS) {
  testWith(["ffmpeg"], `withFfmpeg: makes ${format} that lasts as long as the speech`, async () => {
    const ffmpeg = await ffmpegHere();
    await using speech = withFfmpeg(
      fakeSpeech(() => ReadableStream.from([toBytes(SECOND), toBytes(SECOND)])),
      ffmpeg,
    );
    assertEquals(speech.formats, ["wav", "pcm", "mp3", "opus", "aac", "flac"]);
    const file = await readAll(await speech.speak(request(format), NEVER));
    assert(bytes.test(file.toHex()), file.subarray(0, 8).toHex());
    assert(file.length < SECOND.length * 3);
    const { samples, rate } = await decodeWithFfmpeg(ffmpeg, file, NEVER);
    const secs = samples.length / rate;
    assert(secs >= 2 && secs < 2.2, `${secs} s`);
  });

  testWith(["ffmpeg"], `withFfmpeg: the first ${format} leaves before the speech has ended`, async () => {
    const isRead = Promise.withResolvers<void>();
    async function* sound() {
      yield toBytes(SECOND);
      yield toBytes(SECOND);
      await isRead.promise;
      yield toBytes(SECOND);
    }
    const speech = withFfmpeg(fakeSpeech(() => ReadableStream.from(sound())), await ffmpegHere());
    const stream = await speech.speak(request(format), NEVER);
    const reader = stream.getReader();
    let size = 0;
    // More than the header of a file.
    while (size < 4_000) size += (await reader.read()).value!.length;
    isRead.resolve();
    for (let read = await reader.read(); !read.done; read = await reader.read()) size += read.value.length;
    assert(size > 8_000, `${size} bytes`);
  });
}

testWith(["ffmpeg"], "withFfmpeg: a provider that fails before its first sound makes an error", async () => {
  const error = new AppError("upstream_error", "The voice has failed.");
  const failing = () =>
    new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        controller.error(error);
      },
    });
  const speech = withFfmpeg(fakeSpeech(failing), await ffmpegHere());
  await assertRejects(() => speech.speak(request("mp3"), NEVER), AppError, "The voice has failed.");
});

testWith(["ffmpeg"], "withFfmpeg: a provider that fails later errors the stream", async () => {
  async function* sound() {
    yield toBytes(SECOND);
    await isRead.promise;
    throw new AppError("upstream_error", "The voice has failed.");
  }
  const isRead = Promise.withResolvers<void>();
  const speech = withFfmpeg(fakeSpeech(() => ReadableStream.from(sound())), await ffmpegHere());
  const stream = await speech.speak(request("mp3"), NEVER);
  isRead.resolve();
  await assertRejects(() => readAll(stream), AppError, "The voice has failed.");
});

testWith(["ffmpeg"], "withFfmpeg: a client that leaves cancels the speech", async () => {
  const cancelled = Promise.withResolvers<void>();
  const endless = () =>
    new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: (controller) => controller.enqueue(toBytes(SECOND)),
      cancel: () => cancelled.resolve(),
    }, { highWaterMark: 0 });
  const speech = withFfmpeg(fakeSpeech(endless), await ffmpegHere());
  const stream = await speech.speak(request("mp3"), NEVER);
  await stream.cancel();
  await cancelled.promise;
});

const CONTAINERS: [ending: string, ...args: string[]][] = [
  ["wav", "-c:a", "adpcm_ms"],
  ["mp3"],
  ["m4a", "-c:a", "aac"],
  ["ogg", "-c:a", "libopus"],
  ["webm", "-c:a", "libopus"],
  ["flac"],
  ["aac"],
  ["caf"],
  ["aiff"],
  ["mp4", "-f", "lavfi", "-i", "color=size=64x64:duration=1", "-shortest"],
];
for (const [ending, ...args] of CONTAINERS) {
  testWith(["ffmpeg"], `decodeWithFfmpeg: reads ${[ending, ...args].join(" ")}`, async () => {
    const file = await makeFile(ending, ...sine(1), ...args);
    const { rate, samples } = await decodeWithFfmpeg(await ffmpegHere(), file, NEVER);
    assertEquals(rate, 16_000);
    assert(Math.abs(samples.length - 16_000) < 1_600, `${samples.length} samples`);
    assert(samples.some((sample) => sample > 1_000));
  });
}

testWith(["ffmpeg"], "decodeWithFfmpeg: reads an MP4 of a minute, whose index is at its end", async () => {
  const file = await makeFile("m4a", ...sine(60), "-c:a", "aac");
  assert(file.length > 300_000, `${file.length} bytes`);
  const { samples } = await decodeWithFfmpeg(await ffmpegHere(), file, NEVER);
  assert(Math.abs(samples.length - 60 * 16_000) < 1_600, `${samples.length} samples`);
});

/** Listens on a port, and calls a function for who comes. */
function listen(onVisitor: () => void): Deno.TcpListener {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const connection of listener) {
      onVisitor();
      connection.close();
    }
  })();
  return listener;
}

const HOSTILE: [name: string, text: (target: string) => string][] = [
  [
    "an HLS playlist",
    (target) => `#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n${target}\n#EXT-X-ENDLIST\n`,
  ],
  ["a list for concat", (target) => `ffconcat version 1.0\nfile '${target}'\n`],
  ["an SVG", (target) => `<svg xmlns="http://www.w3.org/2000/svg"><image href="${target}"/></svg>`],
  [
    "a DASH manifest",
    (target) =>
      `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1"><BaseURL>${target}</BaseURL></Representation></AdaptationSet></Period></MPD>`,
  ],
  ["an SDP", () => "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"],
  ["a filter graph", (target) => `amovie=${target}`],
  ["text", () => "hello\n".repeat(100)],
  ["nothing", () => ""],
];
for (const [name, text] of HOSTILE) {
  testWith(["ffmpeg"], `decodeWithFfmpeg: refuses ${name}, and opens nothing that it names`, async () => {
    const ffmpeg = await ffmpegHere();
    let visitors = 0;
    using listener = listen(() => visitors++);
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeFile(`${folder}/secret.wav`, await makeFile("wav", ...sine(1)));
      for (
        const target of [
          `${folder}/secret.wav`,
          `file:${folder}/secret.wav`,
          `http://127.0.0.1:${listener.addr.port}/a.wav`,
        ]
      ) {
        const bytes = new TextEncoder().encode(text(target));
        const error = await assertRejects(() => decodeWithFfmpeg(ffmpeg, bytes, NEVER), AppError, "WAV, MP3");
        assertEquals([error.code, error.message.includes(folder)], ["unsupported_value", false]);
      }
      assertEquals(visitors, 0);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

testWith(["ffmpeg"], "decodeWithFfmpeg: refuses an hour of silence in a small file", async () => {
  const silence = await makeFile(
    "flac",
    "-f",
    "lavfi",
    "-i",
    "anullsrc=r=8000:cl=mono",
    "-t",
    "3700",
  );
  assert(silence.length < 1_000_000, `${silence.length} bytes`);
  const ffmpeg = await ffmpegHere();
  const error = await assertRejects(
    () => decodeWithFfmpeg(ffmpeg, silence, NEVER),
    AppError,
    "longer than 60 minutes",
  );
  assertEquals(error.code, "body_too_large");
});

testWith(["ffmpeg"], "decodeWithFfmpeg: a film without sound is refused", async () => {
  const film = await makeFile("mp4", "-f", "lavfi", "-i", "color=size=64x64:duration=1");
  const ffmpeg = await ffmpegHere();
  await assertRejects(() => decodeWithFfmpeg(ffmpeg, film, NEVER), AppError, "with sound in it");
});
