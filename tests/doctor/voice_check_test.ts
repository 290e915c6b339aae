import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Finding, linesOf } from "../../lib/doctor/report.ts";
import { checkVoice, providerLines } from "../../lib/doctor/voice_check.ts";
import { commandTranscription, commandVoice } from "../../lib/speech/command.ts";
import { recordingOf } from "../../lib/speech/speech_to_text.ts";
import { encodeWav } from "../../lib/speech/wav.ts";
import { configOf } from "../support/harness/doctor_fixture.ts";
import { FakeUpstream } from "../support/harness/fake_upstream.ts";
import { PROGRAM_DEPS, testWith } from "../support/harness/programs.ts";

const NEVER = new AbortController().signal;
const TONE = encodeWav({ rate: 16_000, samples: new Int16Array(1_600).fill(900) });
const KNOWN = ["kokoro-tts", "piper", "sherpa-onnx-offline-tts", "say", "espeak-ng", "flite"];
const HEARING = ["whisper-cli", "sherpa-onnx-offline", "pocketsphinx_continuous"];

async function check(text: string, path = Deno.env.get("PATH")!): Promise<readonly Finding[]> {
  const machine = {
    own: { PATH: path, HOME: "/nowhere" },
    windows: false,
    redact: (text: string) => text.replaceAll("sk-voice-1", "[secret]"),
  };
  return await checkVoice(configOf({}, text), machine, NEVER);
}

for (const program of [...KNOWN, ...HEARING]) {
  Deno.test(`providerLines: those of ${program} load without a mistake`, () => {
    const { speech, transcription } = configOf({}, providerLines(program).join("\n"));
    const used = KNOWN.includes(program) ? speech : transcription;
    assert(used?.provider === "command" && used.command.join(" ").includes(program));
  });
}

/** Runs a test with a program in a folder of its own, first on the PATH. */
async function withProgram(
  name: string,
  script: string,
  run: (deps: typeof PROGRAM_DEPS, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${folder}/tone.wav`, TONE);
    await Deno.writeTextFile(`${folder}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const env = { ...PROGRAM_DEPS.env, PATH: `${folder}:${PROGRAM_DEPS.env.PATH}` };
    await run({ ...PROGRAM_DEPS, env }, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("providerLines: the script of sherpa-onnx-offline-tts passes any text as one argument", async () => {
  const script =
    'cd "$(dirname "$0")"; for arg; do echo "<$arg>"; case "$arg" in --output-filename=*) cp tone.wav "${arg#*=}";; esac; done >seen';
  await withProgram("sherpa-onnx-offline-tts", script, async (deps, folder) => {
    const { speech } = configOf({}, providerLines("sherpa-onnx-offline-tts").join("\n"));
    if (speech.provider !== "command") throw new Error("There is no command.");
    await commandVoice(speech, deps).speakSentence(
      '--help "$(touch x)" `y`; z',
      { voice: undefined, speed: 1 },
      NEVER,
    );
    const args = (await Deno.readTextFile(`${folder}/seen`)).trimEnd().split("\n");
    assertEquals([args.length, args.at(-1)], [4, '< --help "$(touch x)" `y`; z>']);
  });
});

Deno.test("providerLines: the script of sherpa-onnx-offline gets the text that it prints on stderr", async () => {
  const script = `echo '{"lang": "", "text": " HELLO", "tokens": []}' >&2`;
  await withProgram("sherpa-onnx-offline", script, async (deps) => {
    const { transcription } = configOf({}, providerLines("sherpa-onnx-offline").join("\n"));
    if (transcription?.provider !== "command") throw new Error("There is no command.");
    const listener = commandTranscription(transcription, deps, undefined);
    const { text } = await listener.transcribe(recordingOf("a.wav", TONE), NEVER);
    assertEquals(text, "HELLO");
  });
});

Deno.test("checkVoice: lists the programs that could speak and listen, with their lines", async () => {
  await withProgram("piper", "", async (_deps, folder) => {
    await Deno.writeTextFile(`${folder}/whisper-cli`, "#!/bin/sh\n", { mode: 0o755 });
    const lines = (await check("", folder)).flatMap((finding) => linesOf(finding));
    const piper = lines.indexOf("ok   piper was found. To use it, in config.toml:");
    assertEquals(lines.slice(piper + 1, piper + 3), [
      "     [speech]",
      '     command = ["piper", "--model", "~/voices/en_US-lessac-medium.onnx", "--output_file", "-"]',
    ]);
    assert(lines.includes("ok   whisper-cli was found. To use it, in config.toml:"));
  });
});

const FAULTS: [name: string, table: string, text: RegExp][] = [
  [
    "a missing program",
    '[speech]\ncommand = ["no-such-voice"]\n',
    /^speech does not work: .*no-such-voice was not found/,
  ],
  [
    "a program that fails",
    '[speech]\ncommand = ["sh", "-c", "echo key sk-voice-1 >&2; exit 1"]\n',
    /^speech does not work: .* exited with code 1: key \[secret\]\.$/,
  ],
  [
    "a recognizer that fails",
    '[speech]\nprovider = "off"\n[transcription]\ncommand = ["sh", "-c", "exit 2"]\n',
    /^transcription does not work: .* exited with code 2\.$/,
  ],
  [
    "a server that cannot be reached",
    '[speech]\nprovider = "off"\n[transcription]\nbase_url = "http://127.0.0.1:1"\nmodel = "a"\n',
    /^transcription does not work: The transcription server cannot be reached/,
  ],
];
for (const [name, table, text] of FAULTS) {
  Deno.test(`checkVoice: ${name} is a warning`, async () => {
    const warnings = (await check(table)).filter(({ level }) => level === "warn");
    assertEquals(warnings.length, 1);
    assertMatch(warnings[0]!.text, text);
    assertMatch(warnings[0]!.fix!, /^Correct \[(speech|transcription)\] in config\.toml/);
  });
}

Deno.test("checkVoice: a server whose model is not set gets the usual one", async () => {
  const tone = () => new Response(TONE, { headers: { "content-type": "audio/wav" } });
  await using upstream = new FakeUpstream(({ path }) =>
    path === "/v1/audio/speech" ? tone() : Response.json({ text: "Hello." })
  );
  const table = `base_url = "${upstream.url}"\n`;
  const found = await check(`[speech]\n${table}[transcription]\n${table}`);
  assertEquals(found.filter(({ level }) => level !== "ok"), []);
  const [speech, transcription] = upstream.calls;
  assertEquals([speech!.body.model, transcription!.form!.get("model")], ["tts-1", "whisper-1"]);
});

for (const speaker of ["espeak-ng", "flite"]) {
  testWith(
    [speaker, "pocketsphinx_continuous"],
    `checkVoice: the lines of ${speaker} and pocketsphinx speak and hear a word`,
    async () => {
      const found = await check(
        [...providerLines(speaker), ...providerLines("pocketsphinx_continuous")].join("\n"),
      );
      assertEquals(found.filter(({ level }) => level !== "ok"), []);
      const texts = found.map(({ text }) => text).join("\n");
      assertMatch(texts, new RegExp(`^speech: ${speaker} speaks a word in \\d+ ms$`, "m"));
      assertMatch(texts, /^transcription: pocketsphinx_continuous heard "[a-z]+"/m);
      const { speech } = configOf({}, providerLines(speaker).join("\n"));
      if (speech.provider !== "command") throw new Error("There is no command.");
      const speak = (speed: number) =>
        commandVoice(speech, PROGRAM_DEPS).speakSentence("Good morning.", { voice: undefined, speed }, NEVER);
      const ratio = (await speak(2)).samples.length / (await speak(1)).samples.length;
      assert(ratio > 0.4 && ratio < 0.7, `${ratio} times as long at twice the speed`);
    },
  );
}

Deno.test("providerLines: the page Voice has the same commands", async () => {
  const page = await Deno.readTextFile(new URL("../../.github/docs/voice.md", import.meta.url));
  for (const program of ["espeak-ng", "pocketsphinx_continuous", "say", "whisper-cli"]) {
    assert(page.includes(`\n${providerLines(program).join("\n")}\n`), program);
  }
});
