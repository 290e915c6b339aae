import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import {
  encodeWav,
  openWav,
  parseWav,
  streamWav,
  toBytes,
  wavHeader,
  wavSecs,
} from "../../lib/speech/wav.ts";
import { fuzzWav } from "../fuzz/wav_input.ts";
import { data, FLOAT, fmt, INTEGER, riff, wavFile, type WavFormat } from "../support/harness/wav_file.ts";

const NEVER = new AbortController().signal;
const MIX = [...Array(32).keys()];

/** Samples as a format writes them, and as they are read. */
const FORMATS: readonly [
  name: string,
  format: WavFormat,
  values: readonly number[],
  read: readonly number[],
][] = [
  ["8 bits, unsigned", { bits: 8 }, [0, 0x40, 0x80, 0xff], [-32_768, -16_384, 0, 32_512]],
  ["16 bits", {}, [0, 1, -1, 32_767, -32_768], [0, 1, -1, 32_767, -32_768]],
  ["24 bits", { bits: 24 }, [0, 0x100, -0x100, 0x7fffff, -0x800000], [0, 1, -1, 32_767, -32_768]],
  ["32 bits", { bits: 32 }, [0, 0x10000, -0x10000, 0x7fffffff, -0x80000000], [0, 1, -1, 32_767, -32_768]],
  ["32-bit floats", { tag: FLOAT, bits: 32 }, [0, 0.5, -0.5, 1, -1], [0, 16_384, -16_384, 32_767, -32_768]],
  ["64-bit floats", { tag: FLOAT, bits: 64 }, [0, 0.5, -0.5, 1, -1], [0, 16_384, -16_384, 32_767, -32_768]],
  ["floats that are too loud", { tag: FLOAT, bits: 32 }, [2, -7, 1e30, -1e30], [
    32_767,
    -32_768,
    32_767,
    -32_768,
  ]],
  ["floats that are no numbers", { tag: FLOAT, bits: 64 }, [NaN, Infinity, -Infinity], [0, 32_767, -32_768]],
  ["two channels", { channels: 2 }, [100, 300, -100, 101], [200, 1]],
  ["two channels that cancel", { channels: 2 }, [32_767, -32_767], [0]],
  ["two channels of 8 bits", { channels: 2, bits: 8 }, [0x80, 0x90, 0xff, 0x81], [2_048, 16_384]],
  ["32 channels of 24 bits", { channels: 32, bits: 24 }, MIX.map((i) => i * 0x200), [31]],
  ["an extensible format", { guid: true }, [1, 2], [1, 2]],
  ["an extensible format of floats", { guid: true, tag: FLOAT, bits: 32 }, [0.5], [16_384]],
  ["a low rate", { rate: 1_000 }, [1], [1]],
  ["a high rate", { rate: 384_000 }, [1], [1]],
  ["no samples", {}, [], []],
];
for (const [name, format, values, read] of FORMATS) {
  Deno.test(`parseWav: reads ${name}`, () => {
    const { rate, samples } = parseWav(wavFile(format, values));
    assertEquals([rate, [...samples]], [format.rate ?? 16_000, [...read]]);
  });
}

const SAMPLES = data({}, [1, 2, 3]);
const FMT = fmt();
const INFO = ["LIST", new TextEncoder().encode("INFOISFT")] as const;
const FILES: readonly [name: string, file: Uint8Array<ArrayBuffer>, samples: readonly number[]][] = [
  ["chunks before the format and the data", riff([INFO, FMT, INFO, ["data", SAMPLES]]), [1, 2, 3]],
  ["chunks behind the data", riff([FMT, ["data", SAMPLES], INFO]), [1, 2, 3]],
  ["a chunk of an odd length", riff([FMT, ["odd ", new Uint8Array(3)], ["data", SAMPLES]]), [1, 2, 3]],
  ["an empty chunk", riff([FMT, ["null", new Uint8Array()], ["data", SAMPLES]]), [1, 2, 3]],
  ["a longer format chunk", riff([["fmt ", fmtOf(18)], ["data", SAMPLES]]), [1, 2, 3]],
  ["the first of two formats", riff([FMT, fmt({ rate: 8_000 }), ["data", SAMPLES]]), [1, 2, 3]],
  ["the first of two sounds", riff([FMT, ["data", SAMPLES], ["data", SAMPLES]]), [1, 2, 3]],
  ["a sound of length 0, up to the end", riff([FMT, ["data", SAMPLES, 0]]), [1, 2, 3]],
  ["a sound of a stream, up to the end", riff([FMT, ["data", SAMPLES, 0xffff_ffff]]), [1, 2, 3]],
  ["the length that espeak-ng writes", riff([FMT, ["data", SAMPLES, 0x7fff_f000]]), [1, 2, 3]],
  ["a sound that is cut off", riff([FMT, ["data", SAMPLES]]).subarray(0, -2), [1, 2]],
  ["a sample that is cut off", riff([FMT, ["data", SAMPLES]]).subarray(0, -1), [1, 2]],
  ["a shorter sound than the file", riff([FMT, ["data", SAMPLES, 4]]), [1, 2]],
  ["an RF64 file", riff([["ds64", new Uint8Array(28)], FMT, ["data", SAMPLES, 0xffff_ffff]], "RF64"), [
    1,
    2,
    3,
  ]],
];
for (const [name, file, samples] of FILES) {
  Deno.test(`parseWav: reads ${name}`, () => {
    assertEquals([...parseWav(file).samples], [...samples]);
    // The same file in the middle of other bytes.
    const around = new Uint8Array(file.length + 7).fill(0x55);
    around.set(file, 3);
    assertEquals([...parseWav(around.subarray(3, 3 + file.length)).samples], [...samples]);
  });
}

function fmtOf(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(FMT[1]);
  return bytes;
}

const ascii = (text: string) => new TextEncoder().encode(text);
const REFUSED: readonly [name: string, file: Uint8Array<ArrayBuffer>, message: RegExp][] = [
  ["an empty file", new Uint8Array(), /no WAV/],
  ["a short file", ascii("RIFF"), /no WAV/],
  ["an MP3", ascii("ID3\u0003\0\0\0\0\0\0\0\0\0\0"), /no WAV/],
  ["another RIFF file", riff([FMT], "RIFF", "AVI "), /no WAV/],
  ["a big-endian file", riff([FMT, ["data", SAMPLES]], "RIFX"), /no WAV/],
  ["no chunks", riff([]), /no fmt chunk/],
  ["no format", riff([["data", SAMPLES]]), /no fmt chunk before its data/],
  ["no data", riff([FMT]), /no data chunk/],
  [
    "a chunk that is longer than the file",
    riff([FMT, ["LIST", SAMPLES, 0x7000_0000], ["data", SAMPLES]]),
    /no data chunk/,
  ],
  [
    "1,001 chunks",
    riff([FMT, ...Array(1_000).fill(["null", new Uint8Array()]), ["data", SAMPLES]]),
    /no data chunk/,
  ],
  [
    "a short format",
    riff([["fmt ", fmtOf(16).subarray(0, 14)], ["data", SAMPLES]]),
    /fmt chunk of the WAV is too short/,
  ],
  [
    "a short extensible format",
    riff([["fmt ", fmt({ guid: true })[1].subarray(0, 26)], ["data", SAMPLES]]),
    /too short/,
  ],
  ["an unknown subformat", wavFile({ guid: "01".repeat(16) }, [1]), /unknown subformat/],
  ["μ-law", wavFile({ tag: 7, bits: 8 }, [1]), /format tag 7/],
  ["no bits", wavFile({ bits: 0 }, []), /0-bit integers/],
  ["12 bits", wavFile({ bits: 12, blockBytes: 2 }, []), /12-bit integers/],
  ["64-bit integers", wavFile({ bits: 64 }, []), /64-bit integers/],
  ["16-bit floats", wavFile({ tag: FLOAT }, []), /16-bit floats/],
  ["no channels", wavFile({ channels: 0 }, [1]), /0 channels/],
  ["33 channels", wavFile({ channels: 33 }, [1]), /33 channels/],
  ["a rate of 0", wavFile({ rate: 0 }, [1]), /0 samples in a second/],
  ["a rate of 999", wavFile({ rate: 999 }, [1]), /999 samples in a second/],
  ["a rate of 384,001", wavFile({ rate: 384_001 }, [1]), /384001 samples in a second/],
  [
    "blocks of another size",
    wavFile({ bits: 24, blockBytes: 4 }, [1]),
    /blocks of 4 bytes for 1 samples of 3 bytes/,
  ],
];
for (const [name, file, message] of REFUSED) {
  Deno.test(`parseWav: refuses ${name}, and says what is accepted`, () => {
    const error = assertThrows(() => parseWav(file), AppError);
    assertEquals([error.code, error.param], ["unsupported_value", undefined]);
    assert(message.test(error.message), error.message);
    assert(error.message.endsWith("1000 to 384000 Hz and 1 to 32 channels."), error.message);
  });
}

Deno.test("parseWav: refuses more than an hour", () => {
  const hour = 1_000 * 3_600;
  const file = (samples: number) => riff([fmt({ rate: 1_000, bits: 8 }), ["data", new Uint8Array(samples)]]);
  assertEquals(parseWav(file(hour)).samples.length, hour);
  const { code, param, message } = assertThrows(() => parseWav(file(hour + 1)), AppError);
  assertEquals([code, param], ["body_too_large", undefined]);
  assertEquals(message, "The recording is longer than 60 minutes: send it in parts.");
});

Deno.test("streamWav: makes a file at another rate", async () => {
  const values = Array.from({ length: 4_800 }, (_, i) => Math.sin(2 * Math.PI * 440 * i / 48_000) / 2);
  const file = wavFile(
    { tag: FLOAT, bits: 32, rate: 48_000, channels: 2 },
    values.flatMap((value) => [value, value]),
  );
  const made = await new Response(streamWav(openWav(file), 16_000, NEVER)).bytes();
  const { rate, samples } = parseWav(made);
  assertEquals(made, encodeWav({ rate, samples }));
  assertEquals([rate, samples.length], [16_000, 1_600]);
  for (let i = 100; i < 1_500; i++) {
    assert(Math.abs(samples[i]! - 16_384 * Math.sin(2 * Math.PI * 440 * i / 16_000)) < 30, `sample ${i}`);
  }
});

Deno.test("streamWav: has a step of the longest recording in memory, and makes no sound ahead of its reader", async () => {
  const [rate, secs] = [1_000, 3_600];
  let read = 0;
  const sound = {
    rate,
    length: rate * secs,
    read(from: number, to: number) {
      read += to - from;
      return new Int16Array(to - from);
    },
  };
  const stop = new AbortController();
  const reader = streamWav(sound, 16_000, stop.signal).getReader();
  const { value: header } = await reader.read();
  assertEquals(header, wavHeader(16_000, 16_000 * secs * 2));
  for (let bytes = 0; bytes < 1_000_000;) {
    const { value } = await reader.read();
    assert(value!.length <= 256 * 1024, `${value!.length} bytes`);
    bytes += value!.length;
    // A second is 32,000 bytes. One step more is ready, and some samples are read for two steps.
    assert(read / rate <= bytes / 32_000 + 10, `${read / rate} s are read for ${bytes / 32_000} s`);
  }
  stop.abort(new Error("stopped"));
  await assertRejects(
    async () => {
      while (!(await reader.read()).done);
    },
    Error,
    "stopped",
  );
});

Deno.test("encodeWav: makes a file that parseWav reads", () => {
  const pcm = { rate: 24_000, samples: Int16Array.of(0, 1, -1, 32_767, -32_768) };
  assertEquals(parseWav(encodeWav(pcm)), pcm);
  assertEquals(encodeWav(pcm), wavFile({ rate: 24_000, tag: INTEGER }, [...pcm.samples]));
});

Deno.test("wavHeader: begins a stream of unknown length", () => {
  const samples = Int16Array.of(1, -2);
  const file = new Uint8Array([...wavHeader(24_000), ...toBytes(samples)]);
  assertEquals(parseWav(file), { rate: 24_000, samples });
});

const HEADS: [name: string, head: Uint8Array, fileBytes: number, secs: number | undefined][] = [
  ["a file", wavHeader(16_000, 48_000), 48_044, 1.5],
  ["a file that is cut off", wavHeader(16_000, 48_000), 16_044, 0.5],
  ["a stream", wavHeader(16_000), 48_044, 1.5],
  ["a stream of two channels of 24 bits", wavFile({ channels: 2, bits: 24, rate: 8_000 }, []), 24_044, 0.5],
  ["a file with chunks behind its data", wavHeader(16_000, 32_000), 48_044, 1],
  ["a head that is cut off", wavHeader(16_000, 48_000).subarray(0, 40), 48_044, undefined],
  ["no WAV", new Uint8Array(44), 48_044, undefined],
];
for (const [name, head, fileBytes, secs] of HEADS) {
  Deno.test(`wavSecs: ${name}`, () => assertEquals(wavSecs(head, fileBytes), secs));
}

Deno.test("toBytes: takes the samples of a part only", () => {
  assertEquals(toBytes(Int16Array.of(1, 0x1234, -1).subarray(1, 2)), Uint8Array.of(0x34, 0x12));
});

Deno.test("parseWav: reads or refuses 100,000 mutated files, and never reads past their end", () => {
  const { accepted, refused } = fuzzWav(1, 100_000);
  // Both happen often, or the files are not mutated well.
  assert(accepted > 10_000 && refused > 10_000, `${accepted} accepted, ${refused} refused`);
});
