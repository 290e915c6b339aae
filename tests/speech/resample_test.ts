import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Sound } from "../../lib/speech/pcm.ts";
import { resample, resampleInParts, resampleInSteps } from "../../lib/speech/resample.ts";

/** A sine of half the greatest loudness, for half a second. */
function sine(rate: number, hz: number): Int16Array<ArrayBuffer> {
  const samples = Int16Array.from(
    { length: rate / 2 },
    (_, i) => 16_384 * Math.sin(2 * Math.PI * hz * i / rate),
  );
  return samples as Int16Array<ArrayBuffer>;
}

/** The root mean square of the difference from the same sine, without the ends. */
function errorOf(samples: Int16Array, rate: number, hz: number): number {
  let sum = 0;
  const edge = Math.ceil(rate / 100);
  for (let i = edge; i < samples.length - edge; i++) {
    sum += (samples[i]! - 16_384 * Math.sin(2 * Math.PI * hz * i / rate)) ** 2;
  }
  return Math.sqrt(sum / (samples.length - 2 * edge));
}

/** The loudness, in decibels below the sine's. */
function attenuation(samples: Int16Array): number {
  const sum = samples.reduce((sum, sample) => sum + sample ** 2, 0);
  return 20 * Math.log10(16_384 * Math.SQRT1_2 / (Math.sqrt(sum / samples.length) || 0.01));
}

const IN_USE = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 384_000];
const RATES: readonly (readonly [from: number, to: number])[] = [
  ...IN_USE.flatMap((from) => [[from, 16_000], [from, 24_000]] as const),
  ...[[1_000, 16_000], [24_000, 8_000], [100_003, 16_000], [16_000, 100_003], [12_345, 24_000]] as const,
];

for (const [from, to] of RATES.filter(([from, to]) => from !== to)) {
  const nyquist = Math.min(from, to) / 2;
  Deno.test(`resample: keeps sines up to three quarters of what both ${from} and ${to} Hz hold`, () => {
    for (const part of [0.05, 0.3, 0.75]) {
      const hz = nyquist * part;
      const { rate, samples } = resample({ rate: from, samples: sine(from, hz) }, to);
      assertEquals(rate, to);
      assertEquals(samples.length, Math.round(Math.floor(from / 2) * to / from));
      // 16,384 is the peak: 55 dB below it.
      const error = errorOf(samples, to, hz);
      assert(error < 30, `${hz} Hz: an error of ${error}`);
    }
  });
  if (from < to) continue;
  Deno.test(`resample: removes sines that ${to} Hz cannot hold from ${from} Hz`, () => {
    for (
      const hz of [1.03 * nyquist, 1.5 * nyquist, 0.49 * from].filter((hz) => hz < from / 2 && hz > nyquist)
    ) {
      const edge = Math.ceil(to / 50);
      const { samples } = resample({ rate: from, samples: sine(from, hz) }, to);
      const decibels = attenuation(samples.subarray(edge, -edge));
      assert(decibels > 45, `${hz} Hz: only ${decibels} dB quieter`);
    }
  });
}

Deno.test("resample: keeps silence, the loudest values and short sounds", () => {
  const of = (
    samples: number[],
    from = 16_000,
    to = 24_000,
  ) => [
    ...resample({ rate: from, samples: Int16Array.from(samples) as Int16Array<ArrayBuffer> }, to).samples,
  ];
  assertEquals(of([]), []);
  assertEquals(of([0]), [0, 0]);
  assertEquals(of(Array(100).fill(0)), Array(150).fill(0));
  assertEquals(of(Array(200).fill(32_767)).slice(100, 200), Array(100).fill(32_767));
  assertEquals(of(Array(200).fill(-32_768)).slice(100, 200), Array(100).fill(-32_768));
  assertEquals(of([1, 2, 3], 384_000, 16_000), []);
});

Deno.test("resample: the same rate is the same sound", () => {
  const pcm = { rate: 16_000, samples: Int16Array.of(1, 2) };
  assertEquals(resample(pcm, 16_000), pcm);
});

const soundOf = (samples: Int16Array<ArrayBuffer>, rate: number): Sound => ({
  rate,
  length: samples.length,
  read(from, to) {
    assert(0 <= from && from <= to && to <= samples.length, `${from} to ${to} of ${samples.length}`);
    return samples.slice(from, to);
  },
});

for (const [from, to] of [[8_000, 16_000], [192_000, 16_000], [44_100, 24_000], [16_000, 16_000]] as const) {
  Deno.test(`resampleInParts: makes the same of ${from} Hz in parts as resample at once`, async () => {
    const samples = Int16Array.from({ length: 300_001 }, (_, i) => (i * 7919) % 65_536 - 32_768);
    const whole = resample({ rate: from, samples }, to);
    const { length, parts } = resampleInParts(soundOf(samples, from), to);
    assertEquals(length, whole.samples.length);
    assertEquals(new Int16Array([...parts].flatMap((part) => [...part])), whole.samples);
    assertEquals(await resampleInSteps({ rate: from, samples }, to, AbortSignal.timeout(60_000)), whole);
  });
}

Deno.test("resampleInSteps: lets the program do other work between its steps, and ends with its signal", async () => {
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("stopped")));
  const pcm = { rate: 8_000, samples: new Int16Array(8_000 * 600) };
  await assertRejects(() => resampleInSteps(pcm, 16_000, stop.signal), Error, "stopped");
});
