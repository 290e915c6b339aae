/**
 * Section `upstream`: sound of an upstream on its way through the server, beside a bare proxy, whose bytes never reach
 * JavaScript.
 *
 * @module
 */

import { type Program, startPrograms } from "./programs.ts";
import { atMost, difference, measureInTurns, medians, perUnit, type Row } from "./report.ts";
import { type Context, noteIncomplete, percentileRows } from "./sections.ts";

/** Sounds at once, and megabytes of each. A minute of `wav` has three. */
const SOUNDS = 8;
const SOUND_MB = 8;
/** Bytes that the upstream makes at once: a fifth of a second of `wav`. */
const CHUNK_BYTES = 10_000;
const CHUNK = new Uint8Array(CHUNK_BYTES);
CHUNK.set(new TextEncoder().encode("ID3"));
const WARM_UP_SOUNDS = 100;

/** Measures the time to the first sound, one request after the other, and the processor time of many long sounds. */
export async function upstream({ scale, checkouts, note }: Context): Promise<Row[]> {
  await using sounds = serveSounds();
  await using programs = await startPrograms(checkouts, warmUp, { speechUrl: sounds.url });
  const first = await measureInTurns(scale.runs, programs.columns, async (program) => {
    const micros: number[] = [];
    let incomplete = 0;
    for (let i = 0; i < scale.firstTokens; i++) {
      const sound = await listen(program, CHUNK_BYTES);
      micros.push(sound.firstMicros);
      if (!sound.isWhole) incomplete++;
    }
    return { micros, incomplete };
  });
  noteIncomplete("short sounds", first, note);
  const long = await measureInTurns(scale.runs, programs.columns, async (program) => {
    const before = program.cpuMicros();
    const startedAt = performance.now();
    const sounds = await Promise.all(Array.from({ length: SOUNDS }, () => listen(program, SOUND_MB * 1e6)));
    const secs = (performance.now() - startedAt) / 1000;
    return {
      micros: perUnit(difference(program.cpuMicros(), before), SOUNDS * SOUND_MB),
      perSecond: SOUNDS * SOUND_MB / secs,
      incomplete: sounds.filter(({ isWhole }) => !isWhole).length,
    };
  });
  noteIncomplete("long sounds", long, note);
  const figure = `speech, ${SOUNDS} sounds of ${SOUND_MB} MB`;
  return [
    ...percentileRows("speech, first sound of the upstream", first, ({ micros }) => micros, {
      target: atMost(5, "ms"),
    }),
    { figure: `${figure}: MB per second`, values: medians(long, ({ perSecond }) => perSecond) },
    { figure: `${figure}: CPU per MB, µs`, values: medians(long, ({ micros }) => micros) },
  ];
}

async function warmUp(program: Program): Promise<void> {
  for (let i = 0; i < WARM_UP_SOUNDS; i++) await listen(program, 10 * CHUNK_BYTES);
}

/** Reads a sound of so many bytes to its end. */
async function listen({ port }: Program, bytes: number) {
  const startedAt = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}/v1/audio/speech`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model: "tts-1",
      voice: "alloy",
      input: `${bytes} bytes.`,
      response_format: "mp3",
    }),
  });
  let firstMicros = 0;
  let size = 0;
  for await (const chunk of response.body ?? []) {
    if (size === 0) firstMicros = (performance.now() - startedAt) * 1000;
    size += chunk.byteLength;
  }
  return { firstMicros, isWhole: response.ok && size === bytes };
}

/** Serves sounds whose length is the number in their text. */
function serveSounds() {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    let rest = parseInt((await request.json()).input);
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const size = Math.min(rest, CHUNK_BYTES);
        rest -= size;
        if (size === 0) controller.close();
        else controller.enqueue(CHUNK.slice(0, size));
      },
    });
    return new Response(body, { headers: { "content-type": "audio/mpeg" } });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
