import { assertEquals } from "@std/assert";
import { collectSecrets } from "../../lib/config/secrets.ts";
import type { SpeechConfig, TranscriptionConfig } from "../../lib/speech/config.ts";
import { type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

const HERE = "http://127.0.0.1:8880/v1";
const COMMAND = '[speech]\ncommand = ["espeak-ng", "--stdin", "--stdout"]\n';
const WITH_VOICE = '[speech]\ncommand = ["espeak-ng", "-v", "{voice}"]\n';
const SERVER = `[speech]\nbase_url = "${HERE}"\n`;
const upstream = { provider: "upstream" as const, baseUrl: HERE, key: undefined, model: undefined };
const espeak = { provider: "command" as const, command: ["espeak-ng", "--stdin", "--stdout"] };

const SPEECH: [name: string, text: string, env: Env, read: SpeechConfig][] = [
  ["nothing", "", {}, { provider: "builtin" }],
  ["an empty table", "[speech]\n", {}, { provider: "builtin" }],
  ["the provider alone", '[speech]\nprovider = "off"\n', {}, { provider: "off" }],
  ["a command", COMMAND, {}, { ...espeak, voices: [] }],
  ["its voices", `${WITH_VOICE}voices = ["en", "de"]\n`, {}, {
    provider: "command",
    command: ["espeak-ng", "-v", "{voice}"],
    voices: ["en", "de"],
  }],
  ["a server", SERVER, {}, { ...upstream, voices: [] }],
  [
    "everything of a server",
    `${SERVER}key = "\${MY_KEY}"\nmodel = "kokoro"\nvoices = ["af_sky"]\n`,
    { MY_KEY: "sk-voice-1" },
    { ...upstream, key: "sk-voice-1", model: "kokoro", voices: ["af_sky"] },
  ],
  [
    "the home folder and variables in a command",
    '[speech]\ncommand = ["~/bin/piper", "--model", "~/voices/${VOICE}.onnx", "a~/b"]\n',
    { VOICE: "amy" },
    {
      provider: "command",
      command: ["/home/mao/bin/piper", "--model", "/home/mao/voices/amy.onnx", "a~/b"],
      voices: [],
    },
  ],
  [
    "variables without a file",
    "",
    { VTUBER_SPEECH_COMMAND: "espeak-ng -v '{voice}' --stdout", VTUBER_SPEECH_VOICES: "en, de" },
    { provider: "command", command: ["espeak-ng", "-v", "{voice}", "--stdout"], voices: ["en", "de"] },
  ],
  [
    "the server of variables",
    "",
    { VTUBER_SPEECH_BASE_URL: HERE, VTUBER_SPEECH_KEY: "sk-voice-1", VTUBER_SPEECH_MODEL: "tts-1" },
    { ...upstream, key: "sk-voice-1", model: "tts-1", voices: [] },
  ],
  ["a variable that beats the file", COMMAND, { VTUBER_SPEECH_BASE_URL: HERE }, { ...upstream, voices: [] }],
  [
    "a variable beside the file",
    `${SERVER}model = "kokoro"\nkey = "sk-voice-1"\n`,
    { VTUBER_SPEECH_MODEL: "tts-1" },
    { ...upstream, key: "sk-voice-1", model: "tts-1", voices: [] },
  ],
  ["the provider of a variable", COMMAND, { VTUBER_SPEECH_PROVIDER: "Builtin" }, { provider: "builtin" }],
  [
    "a provider that tells which of two it is",
    `${COMMAND}base_url = "${HERE}"\nprovider = "upstream"\n`,
    {},
    { ...upstream, voices: [] },
  ],
];
for (const [name, text, env, read] of SPEECH) {
  Deno.test(`speech: reads ${name}`, () => {
    const { config, warnings } = load(text, env);
    assertEquals(config.speech, read);
    assertEquals(warnings, []);
  });
}

const TRANSCRIPTION: [name: string, text: string, env: Env, read: TranscriptionConfig | undefined][] = [
  ["nothing", "", {}, undefined],
  ["an empty table", "[transcription]\n", {}, undefined],
  ["a server", `[transcription]\nbase_url = "${HERE}"\nmodel = "whisper-1"\n`, {}, {
    ...upstream,
    model: "whisper-1",
  }],
  ["a command", '[transcription]\ncommand = ["whisper-cli", "-"]\n', {}, {
    provider: "command",
    command: ["whisper-cli", "-"],
  }],
  ["variables", "", { VTUBER_TRANSCRIPTION_COMMAND: "whisper-cli -" }, {
    provider: "command",
    command: ["whisper-cli", "-"],
  }],
  [
    "a variable that turns the file's server off",
    `[transcription]\nbase_url = "${HERE}"\n`,
    { VTUBER_TRANSCRIPTION_PROVIDER: "off" },
    undefined,
  ],
];
for (const [name, text, env, read] of TRANSCRIPTION) {
  Deno.test(`transcription: reads ${name}`, () => {
    const { config, warnings } = load(text, env);
    assertEquals(config.transcription, read);
    assertEquals(warnings, []);
  });
}

const IN_FILE = "config.toml: ";
const MISTAKES: [text: string, env: Env, mistake: string][] = [
  ["speech = 7\n", {}, `${IN_FILE}speech: must be a table: [speech].`],
  ["transcription = 7\n", {}, `${IN_FILE}transcription: must be a table: [transcription].`],
  [
    '[speech]\nprovider = "piper"\n',
    {},
    `${IN_FILE}speech.provider: must be one of builtin, command, upstream, off.`,
  ],
  [
    '[transcription]\nprovider = "builtin"\n',
    {},
    `${IN_FILE}transcription.provider: must be one of command, upstream, off.`,
  ],
  [
    "",
    { VTUBER_SPEECH_PROVIDER: "piper" },
    "VTUBER_SPEECH_PROVIDER: must be one of builtin, command, upstream, off.",
  ],
  [
    '[speech]\ncommand = "espeak-ng"\n',
    {},
    `${IN_FILE}speech.command: must be a list of texts, such as ["espeak-ng", "--stdin", "--stdout"].`,
  ],
  [
    '[speech]\nprovider = "command"\n',
    {},
    "The provider of speech is command, which needs a command: set VTUBER_SPEECH_COMMAND, or command of [speech] in " +
    "config.toml.",
  ],
  [
    "",
    { VTUBER_TRANSCRIPTION_PROVIDER: "upstream" },
    "The provider of transcription is upstream, which needs a base_url: set VTUBER_TRANSCRIPTION_BASE_URL, or " +
    "base_url of [transcription] in config.toml.",
  ],
  [
    `${COMMAND}base_url = "${HERE}"\n`,
    {},
    "The speech has a command and a base_url: take one out, or set VTUBER_SPEECH_PROVIDER, or provider of [speech] in " +
    "config.toml.",
  ],
  [
    WITH_VOICE,
    {},
    "VTUBER_SPEECH_COMMAND, or command of [speech] in config.toml: has {voice}: list the voices in voices, the default " +
    "first.",
  ],
  [
    "",
    { VTUBER_TRANSCRIPTION_COMMAND: "whisper-cli {inptu}" },
    "VTUBER_TRANSCRIPTION_COMMAND, or command of [transcription] in config.toml: has the unknown placeholder {inptu}. " +
    "The placeholders are {input}, {output}, {language}.",
  ],
  [
    '[speech]\nbase_url = "localhost"\n',
    {},
    `${IN_FILE}speech.base_url: must be an address that begins with http:// or https://.`,
  ],
  [
    "",
    { VTUBER_SPEECH_BASE_URL: "localhost" },
    "VTUBER_SPEECH_BASE_URL: must be an address that begins with http:// or https://.",
  ],
  [
    "",
    { VTUBER_TRANSCRIPTION_KEY: "two words" },
    "VTUBER_TRANSCRIPTION_KEY: must be one word of ASCII characters.",
  ],
  [
    '[speech]\ncommand = ["curl", "${VTUBER_AUTH_KEY}"]\n',
    { VTUBER_AUTH_KEY: "a-long-key-of-mine" },
    `${IN_FILE}speech.command.1: VTUBER_AUTH_KEY cannot be given to a program: take \${VTUBER_AUTH_KEY} out.`,
  ],
  [
    '[speech]\nvoice = "a"\n',
    {},
    `${IN_FILE}speech.voice is not a setting of this version. Did you mean voices?`,
  ],
];
for (const [text, env, mistake] of MISTAKES) {
  Deno.test(`speech and transcription: ${JSON.stringify([text, env])} is a mistake`, () => {
    assertEquals(mistakesOf(text, env), [mistake]);
  });
}

Deno.test("collectSecrets: the keys of the voice's servers, and the queries of their addresses", () => {
  const text = '[speech]\nbase_url = "http://a.example/?k=value-3"\nkey = "value-1"\n' +
    '[transcription]\nbase_url = "http://b.example/"\nkey = "value-2"\n';
  assertEquals(collectSecrets(load(text).config, {}), ["value-1", "?k=value-3", "value-3", "value-2"]);
  const env = { VTUBER_SPEECH_BASE_URL: HERE, VTUBER_SPEECH_KEY: "value-4" };
  assertEquals(collectSecrets(load("", env).config, env), ["value-4"]);
});
