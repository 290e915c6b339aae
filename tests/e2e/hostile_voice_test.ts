/** Hostile clients of the voice, against the real program: it answers `/health` at once, and leaves nothing behind. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { listProcesses } from "../../lib/core/process_tree.ts";
import { encodeWav } from "../../lib/speech/wav.ts";
import { assertHealthyDuring } from "../support/harness/health_monitor.ts";
import { residentMiB } from "../support/harness/inspector.ts";
import { testWith } from "../support/harness/programs.ts";
import {
  isAlive,
  script,
  type ServerProcess,
  startServer,
  terminateAgain,
  until,
} from "../support/harness/server_process.ts";

/** Most memory of a server at any time, in MiB: bodies have 128, twice while they are joined. */
const MAX_PEAK_MIB = 700;
/** Bytes of the largest recording. */
const FILE_BYTES = 25 * 1024 * 1024;
const PIECE_BYTES = 256 * 1024;

/** Declares a test of a server that stays healthy and small, and speaks afterwards. */
function testHostile(
  name: string,
  work: (server: ServerProcess) => Promise<void>,
  env: Record<string, string> = {},
): void {
  Deno.test(`hostile voice: ${name}`, async () => {
    const programs = { VTUBER_TRANSCRIPTION_COMMAND: "wc -c", ...env };
    await using server = await startServer({ agent: "demo", env: { VTUBER_LOG: "info", ...programs } });
    await assertSpeaks(server);
    await assertHealthyDuring(server, () => work(server));
    // Texts whose clients have left free their places soon.
    await until(() => assertSpeaks(server).then(() => true, () => false));
    const peak = residentMiB(server.pid, "most") ?? 0;
    assert(peak < MAX_PEAK_MIB, `${Math.round(peak)} MiB of memory`);
  });
}

async function assertSpeaks(server: ServerProcess): Promise<void> {
  const response = await speak(server, "Yes.");
  assert((await response.bytes()).length > 1_000);
  assertEquals(response.status, 200);
}

function speak(server: ServerProcess, input: string, signal?: AbortSignal): Promise<Response> {
  const init = signal === undefined ? {} : { signal };
  return server.post("/v1/audio/speech", { model: "tts-1", voice: "x", input, response_format: "wav" }, init);
}

/** Sends a recording in pieces: a whole form would stop this process, and with it the watch over the server. */
async function transcribe(server: ServerProcess, bytes: Uint8Array<ArrayBuffer>): Promise<number> {
  const part = '--b\r\ncontent-disposition: form-data; name="file"; filename="--help.wav"\r\n\r\n';
  const encoder = new TextEncoder();
  let at = 0;
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => controller.enqueue(encoder.encode(part)),
    pull(controller) {
      controller.enqueue(bytes.subarray(at, at += PIECE_BYTES));
      if (at < bytes.length) return;
      controller.enqueue(encoder.encode("\r\n--b--\r\n"));
      controller.close();
    },
  });
  const headers = { "content-type": "multipart/form-data; boundary=b" };
  const response = await fetch(`${server.url}/v1/audio/transcriptions`, { method: "POST", body, headers });
  await response.body?.cancel();
  return response.status;
}

testHostile("20 recordings of 25 MB at once are read or refused", async (server) => {
  const { hostname, port } = new URL(server.url);
  const encoder = new TextEncoder();
  const boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
  const start = `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n`;
  const end = `\r\n--${boundary}--\r\n`;
  const head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n" +
    `content-type: multipart/form-data; boundary=${boundary}\r\ncontent-length: ${
      start.length + FILE_BYTES + end.length
    }\r\n\r\n`;
  const piece = new Uint8Array(1024 * 1024);
  using stack = new DisposableStack();
  await Promise.all(Array.from({ length: 20 }, async () => {
    const connection = stack.use(await Deno.connect({ hostname, port: Number(port) }));
    const send = async (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    };
    // The server may refuse a recording before it has all of it, and closes the connection then.
    const sending = (async () => {
      await send(encoder.encode(head + start));
      for (let sent = 0; sent < FILE_BYTES; sent += piece.length) await send(piece);
      await send(encoder.encode(end));
    })().catch(() => {});
    const bytes = new Uint8Array(1024);
    const length = await connection.read(bytes).catch(() => null);
    if (length === null) return await sending;
    assertMatch(new TextDecoder().decode(bytes.subarray(0, length)), /^HTTP\/1.1 (400|429|503) /);
  }));
});

testHostile("a form of line breaks only", async (server) => {
  assertEquals(await transcribe(server, new Uint8Array(FILE_BYTES).fill(13)), 400);
  const bytes = new TextEncoder().encode("\r\n".repeat(FILE_BYTES / 2));
  assertEquals(await transcribe(server, bytes), 400);
});

testHostile("forms in chunks of single bytes", async ({ url }) => {
  const { hostname, port } = new URL(url);
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
  const form = chunk('--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n') +
    chunk("a").repeat(20_000) + chunk("\r\n--b--\r\n") + "0\r\n\r\n";
  const head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n" +
    "content-type: multipart/form-data; boundary=b\r\ntransfer-encoding: chunked\r\n\r\n";
  await Promise.all(Array.from({ length: 6 }, async () => {
    using connection = await Deno.connect({ hostname, port: Number(port) });
    const bytes = new TextEncoder().encode(head + form);
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    const answer = new Uint8Array(1024);
    const length = await connection.read(answer);
    assertMatch(new TextDecoder().decode(answer.subarray(0, length ?? 0)), /^HTTP\/1.1 400 /);
  }));
});

/** Texts of 16,000 characters. */
const TEXTS = ["[", "a", "“(", "1. ", "\u202e٠", "\u200b", "👨‍👩‍👧‍👦", "`\n", "A. ", "[a]("].map((unit) =>
  unit.repeat(Math.ceil(16_000 / unit.length)).slice(0, 16_000).toWellFormed()
);

testHostile("100 texts of 16,000 characters whose sound nobody reads", async (server) => {
  const leaving = new AbortController();
  const statuses = await Promise.all(Array.from({ length: 100 }, async (_, index) => {
    const first = AbortSignal.any([leaving.signal, AbortSignal.timeout(4_000)]);
    try {
      const { status, body } = await speak(server, TEXTS[index % TEXTS.length]!, first);
      if (status !== 200) await body?.cancel();
      return status;
    } catch {
      return "left";
    }
  }));
  leaving.abort();
  assert(statuses.every((status) => [200, 400, 429, "left"].includes(status)), statuses.join(" "));
});

/** A program that speaks one sentence, and then hangs with a child. Tells its pids and its folder in `seen`. */
const HANGING = `if mkdir first 2>/dev/null; then cat tone.wav; exit; fi
sleep 600 &
echo $$ $! $(dirname $1) >new; mv new seen
wait`;

for (const end of ["a signal", "a second signal"] as const) {
  testWith(
    ["ffmpeg"],
    `hostile voice: ${end} ends programs that hang, and leaves no file of theirs`,
    async () => {
      const folder = await Deno.makeTempDir();
      await Deno.writeTextFile(`${folder}/hang.sh`, `cd ${folder}\n${HANGING}`);
      const tone = Int16Array.from({ length: 48_000 }, (_, index) => 9_000 * Math.sin(index / 8));
      await Deno.writeFile(`${folder}/tone.wav`, encodeWav({ rate: 24_000, samples: tone }));
      const command = `sh ${folder}/hang.sh {input}`;
      const env = { VTUBER_SPEECH_COMMAND: command, VTUBER_SHUTDOWN_GRACE_SECS: "600" };
      await using server = await startServer({ env });
      const speech = await server.post("/v1/audio/speech", { input: "One. Two.", response_format: "mp3" });
      const seen = await until(() => Deno.readTextFile(`${folder}/seen`).catch(() => ""));
      const [pid, child, temporary] = seen.trim().split(" ");
      const started = (await listProcesses()).filter(({ parent }) => parent === server.pid);
      const pids = [Number(pid), Number(child), ...started.map(({ pid }) => pid)];
      assert(
        pids.length >= 5 && pids.every(isAlive),
        "the agent, the encoder, the program and its child run",
      );
      if (end === "a signal") {
        await server.end("SIGTERM");
      } else {
        // The server waits for this turn.
        const turn = await server.chat(script({ text: "." }, { hang: true }));
        server.signal("SIGTERM");
        await server.logged('"message":"shutting down"');
        await terminateAgain(server);
        await turn.text().catch(() => {});
      }
      await speech.bytes().catch(() => {});
      await until(() => !pids.some(isAlive));
      assertEquals(await Deno.stat(temporary!).then(() => "left behind", () => "gone"), "gone");
      await Deno.remove(folder, { recursive: true });
    },
  );
}
