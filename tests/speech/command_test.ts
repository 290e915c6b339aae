import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { speakBySentences } from "../../lib/speech/by_sentence.ts";
import {
  commandFault,
  commandTranscription,
  commandVoice,
  parseTranscript,
  removeStaleFolders,
} from "../../lib/speech/command.ts";
import { findFfmpeg } from "../../lib/speech/ffmpeg.ts";
import type { Pcm } from "../../lib/speech/pcm.ts";
import { ProgramRuns } from "../../lib/speech/program.ts";
import { type Recording, recordingOf, type TranscriptionOptions } from "../../lib/speech/speech_to_text.ts";
import { encodeWav, parseWav } from "../../lib/speech/wav.ts";
import { heardPart, PROGRAM_DEPS, testWith } from "../support/harness/programs.ts";
import { until } from "../support/harness/server_process.ts";

const NEVER = new AbortController().signal;
const MANNER = { voice: undefined, speed: 1 };
const SENTENCE = "The quick brown fox jumps over the lazy dog.";
const TONE = encodeWav({
  rate: 16_000,
  samples: Int16Array.from({ length: 1_600 }, (_, i) => 9_000 * Math.sin(i / 3)),
});

const sh = (script: string, ...args: string[]) => ["sh", "-c", script, ...args];

function voiceOf(command: string[], voices: string[] = [], timeoutMs = 20_000) {
  return commandVoice({ provider: "command", command, voices }, PROGRAM_DEPS, { timeoutMs });
}

function request(audio: Uint8Array<ArrayBuffer>, options?: TranscriptionOptions): Recording {
  return recordingOf("a.wav", audio, options);
}

function listenerOf(command: string[], ffmpeg?: Awaited<ReturnType<typeof findFfmpeg>>) {
  return commandTranscription({ provider: "command", command }, PROGRAM_DEPS, ffmpeg, { timeoutMs: 20_000 });
}

/** Writes down what a program on the PATH was given: its arguments, its stdin and its variables. */
async function observe(script: string, run: (command: string[]) => Promise<unknown>): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${folder}/tone.wav`, TONE);
    await run(sh(`cd ${folder}; ${script}`, "sh"));
    return await Deno.readTextFile(`${folder}/seen`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("commandVoice: the text comes on stdin, and is never an argument", async () => {
  const text = "--help; $(touch x) `y` ä";
  const seen = await observe(
    'cat >seen; echo "$#" >>seen; cat tone.wav',
    (command) => voiceOf(command).speakSentence(text, MANNER, NEVER),
  );
  assertEquals(seen, `${text}\n0\n`);
});

Deno.test("commandVoice: a program gets no variable but those of its environment", async () => {
  Deno.env.set("VTUBER_SPEECH_KEY", "secret-of-mine");
  try {
    const seen = await observe(
      "env >seen; cat tone.wav",
      (command) => voiceOf(command).speakSentence("a", MANNER, NEVER),
    );
    const names = seen.split("\n").map((line) => line.split("=")[0]).filter(Boolean).sort();
    const ours = ["HOME", "OAB_VTUBER_AGENT_MARK", "PATH", "PYTHONUTF8"];
    assertEquals(names.filter((name) => !["PWD", "OLDPWD", "SHLVL", "_"].includes(name!)), ours);
  } finally {
    Deno.env.delete("VTUBER_SPEECH_KEY");
  }
});

const VOICES: [voice: string | undefined, argument: string][] = [
  [undefined, "en"],
  ["de", "de"],
  ["alloy", "en"],
  ["de; reboot", "en"],
  ["--help", "en"],
];
for (const [voice, argument] of VOICES) {
  Deno.test(`commandVoice: the voice ${voice} is the argument ${argument}`, async () => {
    const seen = await observe(
      'echo "$1 $2" >seen; cat tone.wav',
      (command) =>
        voiceOf([...command, "-v={voice}", "x"], ["en", "de"])
          .speakSentence("a", { voice, speed: 1 }, NEVER),
    );
    assertEquals(seen, `-v=${argument} x\n`);
  });
}

const SPEEDS: [placeholder: string, speed: number, argument: string][] = [
  ["{speed}", 1, "1"],
  ["{speed}", 0.25, "0.25"],
  ["{speed*175}", 2, "350"],
  ["{1/speed}", 1.5, "0.667"],
  ["{1/speed*2}", 4, "0.5"],
  ["--rate={speed}", 4, "--rate=4"],
];
for (const [placeholder, speed, argument] of SPEEDS) {
  Deno.test(`commandVoice: ${placeholder} at the speed ${speed} is ${argument}`, async () => {
    const seen = await observe(
      'echo "$1" >seen; cat tone.wav',
      (command) => voiceOf([...command, placeholder]).speakSentence("a", { voice: undefined, speed }, NEVER),
    );
    assertEquals(seen, `${argument}\n`);
  });
}

Deno.test("commandVoice: {input} and {output} are files that only the owner can read, and are removed", async () => {
  const seen = await observe(
    'cat "$1" >seen; cp tone.wav "$2"; stat -c %a "$1" "$(dirname "$1")" >>seen; echo "$1" >>seen; echo noise',
    async (command) => {
      const { samples } = await voiceOf([...command, "{input}", "{output}"]).speakSentence(
        "hello",
        MANNER,
        NEVER,
      );
      assertEquals(samples.length, 1_600);
    },
  );
  const [text, file, folder, path = ""] = seen.split("\n");
  assertEquals([text, file, folder], ["hello", "600", "700"]);
  await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
});

const WAVELESS = "The speech program sh made no WAV.";
const FAULTS: [name: string, command: string[], code: string, message: RegExp][] = [
  [
    "a program that is not there",
    ["no-such-voice"],
    "upstream_unavailable",
    /no-such-voice was not found: install it, or correct VTUBER_SPEECH_COMMAND, or command of \[speech\] in config.toml\.$/,
  ],
  [
    "a file that is no program",
    ["/etc/passwd"],
    "upstream_unavailable",
    /passwd cannot be started \(.*\): make it/,
  ],
  [
    "an exit code",
    sh("echo 'bad model' >&2; exit 3"),
    "upstream_error",
    /^The speech program sh exited with code 3: bad model\.$/,
  ],
  ["a crash", sh("kill -SEGV $$"), "upstream_error", /^The speech program sh was ended by SIGSEGV\.$/],
  ["no output", sh("true"), "upstream_error", new RegExp(`^${WAVELESS} It wrote nothing\\.$`)],
  [
    "output that is no WAV",
    sh("echo hello"),
    "upstream_error",
    new RegExp(`^${WAVELESS} The file is no WAV`),
  ],
  ["no output file", sh("true", "{output}"), "upstream_error", /did not write the file \{output\}\.$/],
  ["a secret on stderr", sh("echo key=secret-of-mine >&2; exit 1"), "upstream_error", /: key=\[secret\]\.$/],
  [
    "a flood of stderr",
    sh("head -c 30000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; exit 1"),
    "upstream_error",
    /^.{0,400}x \/ last\.$/,
  ],
  [
    "control characters on stderr",
    sh("printf '\\033[31mred\\007\\n' >&2; exit 1"),
    "upstream_error",
    /: \[31mred\.$/,
  ],
  ["a flood of output", sh("exec cat /dev/zero"), "upstream_error", /sh wrote more than 64 MiB\.$/],
];
for (const [name, command, code, message] of FAULTS) {
  Deno.test(`commandVoice: ${name} is an error`, async () => {
    const error = await assertRejects(() => voiceOf(command).speakSentence("a", MANNER, NEVER), AppError);
    assertMatch(error.message, message);
    assertEquals(error.code, code);
  });
}

/** Waits until a process is gone. */
async function untilGone(pid: number): Promise<void> {
  for (;;) {
    const { stdout } = await new Deno.Command("ps", { args: ["-o", "stat=", "-p", String(pid)] }).output();
    const state = new TextDecoder().decode(stdout).trim();
    if (state === "" || state.startsWith("Z")) return;
  }
}

/** Runs a script that writes the process ids of its children to the file `$1`. */
async function withChildren(
  script: string,
  run: (command: string[], started: () => Promise<number>) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  await Deno.writeFile(`${folder}/tone.wav`, TONE);
  const started = async () => {
    for (;;) {
      const text = await Deno.readTextFile(`${folder}/pid`).catch(() => "");
      if (text.endsWith("\n")) return Number(text);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  try {
    await run(sh(`cd ${folder}; ${script}`), started);
    await untilGone(await started());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("commandVoice: a program that hangs is ended with its children", async () => {
  await withChildren("sleep 600 & echo $! >pid; wait", async (command) => {
    const error = await assertRejects(
      () => voiceOf(command, [], 1_000).speakSentence("a", MANNER, NEVER),
      AppError,
      "The speech program sh did not end within 1 seconds.",
    );
    assertEquals(error.code, "upstream_timeout");
  });
});

Deno.test("commandVoice: a program whose request is cancelled is ended with its children", async () => {
  await withChildren("setsid sleep 600 & echo $! >pid; wait", async (command, started) => {
    const cancelled = new AbortController();
    const speaking = voiceOf(command).speakSentence("a", MANNER, cancelled.signal);
    speaking.catch(() => {});
    await started();
    cancelled.abort(new Error("the client has left"));
    await assertRejects(() => speaking, Error, "the client has left");
  });
});

Deno.test("commandVoice: the end of this program ends the programs, waits for it, and removes their files", async () => {
  for (const end of ["in order", "at once"]) {
    const runs = new ProgramRuns();
    const folder = await Deno.makeTempDir();
    const command = sh("echo $$ $1 >$0/new; mv $0/new $0/seen; sleep 60", folder, "{input}");
    const voice = commandVoice({ provider: "command", command, voices: [] }, { ...PROGRAM_DEPS, runs });
    const refused = assertRejects(() => voice.speakSentence("a", MANNER, NEVER), AppError);
    const [pid, input] = (await until(() => Deno.readTextFile(`${folder}/seen`).catch(() => ""))).trim()
      .split(" ");
    if (end === "at once") runs.kill();
    else await runs[Symbol.asyncDispose]();
    await assertRejects(() => Deno.stat(input!), Deno.errors.NotFound);
    const error = await refused;
    assertThrows(() => Deno.kill(Number(pid), "SIGCONT"), Deno.errors.NotFound);
    if (end === "in order") assertEquals(error.code, "shutting_down");
    await Deno.remove(folder, { recursive: true });
  }
});

for (const [name, start] of [["in its group", ""], ["in a session of its own", "setsid "]] as const) {
  Deno.test(`commandVoice: a child ${name} that a program leaves behind does not delay the sound`, async () => {
    await withChildren(`${start}sleep 600 & echo $! >pid; cat tone.wav`, async (command) => {
      const { samples } = await voiceOf(command).speakSentence("a", MANNER, NEVER);
      assertEquals(samples.length, 1_600);
    });
  });
}

Deno.test("commandVoice: a program need not read the text", async () => {
  const text = "a ".repeat(100_000);
  const seen = await observe("echo >seen; cat tone.wav", async (command) => {
    assertEquals((await voiceOf(command).speakSentence(text, MANNER, NEVER)).samples.length, 1_600);
  });
  assertEquals(seen, "\n");
});

Deno.test("commandVoice: lists the configured voices with their languages", async () => {
  const ids = ["en", "en-us", "en_US-lessac-medium", "zh_CN-huayan-x_low", "af_sky", "Samantha", "cmn"];
  const voices = await voiceOf(["piper", "{voice}"], ids).voices(NEVER);
  assertEquals(voices.map(({ id }) => id), ids);
  assertEquals(voices.map(({ language }) => language), [
    "en",
    "en-US",
    "en-US",
    "zh-CN",
    undefined,
    undefined,
    undefined,
  ]);
  assertEquals(await voiceOf(["/usr/bin/piper"]).voices(NEVER), [
    { id: "default", name: "piper", language: undefined },
  ]);
});

const COMMANDS: [
  kind: "speech" | "transcription",
  command: string[],
  voices: string[],
  fault: RegExp | undefined,
][] = [
  ["speech", ["piper"], [], undefined],
  ["speech", ["say", "-v", "{voice}", "-o", "{output}", "-r", "{speed*175}"], ["Samantha"], undefined],
  ["speech", ["x", '{"json": "{}"}', "${HOME}", "{1/speed}"], [], undefined],
  [
    "speech",
    ["x", "{text}"],
    [],
    /^has the unknown placeholder \{text\}\. The placeholders are \{input\}, \{output\}, /,
  ],
  ["speech", ["x", "{voice}"], [], /^has \{voice\}: list the voices/],
  ["speech", ["x"], ["en"], /^needs \{voice\}/],
  ["speech", [" "], [], /empty/],
  ["transcription", ["x", "-l", "{language}", "{input}"], [], undefined],
  ["transcription", ["x", "{voice}"], [], /^has the unknown placeholder \{voice\}/],
];
for (const [kind, command, voices, fault] of COMMANDS) {
  Deno.test(`commandFault: ${kind} by ${JSON.stringify(command)}`, () => {
    const found = commandFault(kind, command, voices);
    if (fault === undefined) assertEquals(found, undefined);
    else assertMatch(found ?? "", fault);
  });
}

Deno.test("commandTranscription: the program gets a WAV of 16 kHz on stdin, and its lines are the text", async () => {
  const pieces: string[] = [];
  const audio = encodeWav({ rate: 48_000, samples: new Int16Array(48_000) });
  const transcript = await listenerOf(sh("head -c 44 | od -An -tu4 -j24 -N4; cat >/dev/null; echo ' hello '"))
    .transcribe(request(audio, { onText: (piece) => pieces.push(piece) }), NEVER);
  assertEquals(transcript, {
    text: "16000\nhello",
    segments: undefined,
    words: undefined,
    language: undefined,
    durationSecs: 1,
  });
  assertEquals(pieces, ["16000\nhello"]);
});

const LANGUAGES: [language: string | undefined, argument: string][] = [
  [undefined, "auto"],
  ["de", "de"],
  ["--help", "auto"],
  ["de;ls", "auto"],
];
for (const [language, argument] of LANGUAGES) {
  Deno.test(`commandTranscription: the language ${language} is the argument ${argument}`, async () => {
    const { text } = await listenerOf(sh('echo "$1"', "sh", "{language}")).transcribe(
      request(TONE, { language }),
      NEVER,
    );
    assertEquals(text, argument);
  });
}

Deno.test("commandTranscription: without ffmpeg only WAV is accepted", async () => {
  const mp3 = new Uint8Array([0xff, 0xfb, 0x90, 0x64, ...new Uint8Array(400)]);
  const error = await assertRejects(
    () => listenerOf(["true"]).transcribe(request(mp3), NEVER),
    AppError,
    "WAV",
  );
  assertEquals(error.code, "unsupported_value");
  assertMatch(error.message, /32 channels\. ffmpeg, once it is installed, reads other recordings too\.$/);
});

const TRANSCRIPTS: [name: string, output: string, text: string, segments?: [number, number, string][]][] = [
  ["lines", "hello\nworld\n", "hello\nworld"],
  ["nothing", "\n", ""],
  [
    "whisper-cli",
    "whisper_init: loading\n\n[00:00:00.000 --> 00:00:02.500]   Hello there.\n[00:01:02.500 --> 01:00:00.000]  Bye.\n",
    "Hello there. Bye.",
    [[0, 2.5, "Hello there."], [62.5, 3600, "Bye."]],
  ],
  ["whisper", "Detected language: English\n[00:00.000 --> 00:02,000]  Hi.\n", "Hi.", [[0, 2, "Hi."]]],
  ["silence", "[00:00:00.000 --> 00:00:02.500]   [BLANK_AUDIO]\n", "", []],
  [
    "sherpa-onnx",
    'Started\n/tmp/a.wav\n{"lang": "", "text": " Hello", "tokens": []}\n----\nDone in 1 s\n',
    "Hello",
  ],
  ["braces", "{not json}\n", "{not json}"],
];
for (const [name, output, text, segments] of TRANSCRIPTS) {
  Deno.test(`parseTranscript: ${name}`, () => {
    const expected = segments?.map(([start, end, text]) => ({ start, end, text }));
    assertEquals(parseTranscript(output), { text, segments: expected });
  });
}

testWith(["espeak-ng"], "commandVoice: espeak-ng speaks", async () => {
  const voice = voiceOf(["espeak-ng", "-v", "{voice}", "-s", "{speed*175}", "--stdin", "--stdout"], [
    "en-us",
    "de",
  ]);
  const speak = (speed: number) => voice.speakSentence(SENTENCE, { voice: "de", speed }, NEVER);
  const loudest = ({ samples }: Pcm) => samples.reduce((max, sample) => Math.max(max, sample), 0);
  const [slow, fast] = await Promise.all([speak(1), speak(2)]);
  assertEquals(slow.rate, 22_050);
  assert(loudest(slow) > 5_000);
  assert(fast.samples.length < 0.7 * slow.samples.length);
});

testWith(["espeak-ng"], "commandVoice: espeak-ng speaks a long text, sentence by sentence", async () => {
  await using speech = speakBySentences(voiceOf(["espeak-ng", "--stdin", "--stdout"]));
  const stream = await speech.speak({
    ...{ text: `${SENTENCE} ${SENTENCE} ${SENTENCE}`, voice: undefined, speed: 1, format: "wav" },
    ...{ model: undefined, instructions: undefined },
  }, NEVER);
  const { rate, samples } = parseWav(new Uint8Array(await new Response(stream).arrayBuffer()));
  assertEquals(rate, 24_000);
  assert(samples.length > 5 * rate);
});

const POCKETSPHINX = ["pocketsphinx_continuous", "-infile", "{input}", "-logfn", "/dev/null"];
testWith(["flite", "pocketsphinx_continuous"], "pocketsphinx hears what flite says", async () => {
  const voice = voiceOf(["flite", "-voice", "{voice}", "-", "-o", "{output}"], ["slt"]);
  const spoken = await voice.speakSentence(SENTENCE, MANNER, NEVER);
  const { text, durationSecs = 0 } = await listenerOf(POCKETSPHINX).transcribe(
    request(encodeWav(spoken)),
    NEVER,
  );
  assert(heardPart(text, SENTENCE) >= 0.7, text);
  assert(Math.abs(durationSecs - spoken.samples.length / spoken.rate) < 0.01);
});

testWith(
  ["flite", "ffmpeg", "pocketsphinx_continuous"],
  "pocketsphinx hears an MP4 through ffmpeg",
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const spoken = await voiceOf(["flite", "-voice", "slt", "-", "-o", "{output}"])
        .speakSentence(SENTENCE, MANNER, NEVER);
      await Deno.writeFile(`${folder}/a.wav`, encodeWav(spoken));
      const { success } = await new Deno.Command("ffmpeg", {
        args: ["-loglevel", "error", "-i", "a.wav", "-c:a", "aac", "a.m4a"],
        cwd: folder,
        stdin: "null",
      }).output();
      assert(success);
      const listener = listenerOf(POCKETSPHINX, await findFfmpeg(PROGRAM_DEPS));
      const { text } = await listener.transcribe(request(await Deno.readFile(`${folder}/a.m4a`)), NEVER);
      assert(heardPart(text, SENTENCE) >= 0.7, text);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("commandTranscription: recordings beyond those that wait are refused", async () => {
  const listener = listenerOf(sh("cat >/dev/null; echo ok"));
  const all = await Promise.allSettled(
    Array.from({ length: 19 }, () => listener.transcribe(request(TONE), NEVER)),
  );
  const refused = all.filter((one) => one.status === "rejected");
  assertEquals(refused.map(({ reason }) => reason.code), ["rate_limit_exceeded"]);
});

Deno.test("removeStaleFolders: removes what programs left behind an hour ago, and nothing else", async () => {
  const parent = await Deno.makeTempDir();
  try {
    const now = Date.now() / 1000;
    for (
      const [name, age] of [
        ["oab-vtuber-voice-old", 3_700],
        ["oab-vtuber-voice-new", 60],
        ["another-old", 9_000],
      ] as const
    ) {
      await Deno.mkdir(`${parent}/${name}`);
      await Deno.writeTextFile(`${parent}/${name}/input.wav`, "");
      await Deno.utime(`${parent}/${name}`, now - age, now - age);
    }
    await removeStaleFolders(parent);
    const kept = (await Array.fromAsync(Deno.readDir(parent))).map(({ name }) => name);
    assertEquals(kept.sort(), ["another-old", "oab-vtuber-voice-new"]);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
});
