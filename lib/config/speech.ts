/** The voice: the tables `[speech]` and `[transcription]`, and the variables that beat them. Pure. @module */

import { z } from "zod";
import {
  SPEECH_PROVIDERS,
  type SpeechConfig,
  TRANSCRIPTION_PROVIDERS,
  type TranscriptionConfig,
} from "../speech/config.ts";
import { commandFault } from "../speech/command.ts";
import { isTable, type Problems, type TableReader, text } from "./config_file.ts";
import { expandHome } from "./parsers.ts";
import type { Settings } from "./settings.ts";
import { baseUrl, optionalText, upstreamKey } from "./upstreams.ts";

const texts = (example: string) => z.array(text, `must be a list of texts, such as ${example}`);
const provider = <const T extends readonly string[]>(words: T) =>
  z.enum(words, `must be one of ${words.join(", ")}`).optional();

const transcriptionTable = z.object({
  provider: provider(TRANSCRIPTION_PROVIDERS),
  command: texts('["whisper-cli", "--model", "ggml-base.bin", "-"]').default([]),
  base_url: baseUrl.optional(),
  key: upstreamKey,
  model: optionalText,
}, "must be a table: [transcription]");
const speechTable = z.object({
  ...transcriptionTable.shape,
  provider: provider(SPEECH_PROVIDERS),
  command: texts('["espeak-ng", "--stdin", "--stdout"]').default([]),
  voices: texts('["en", "de"]').default([]),
}, "must be a table: [speech]");

/** The names of the keys of `[speech]`; all but `voices` are keys of `[transcription]` too. */
export const SPEECH_SETTINGS: readonly string[] = Object.keys(speechTable.shape);

/** The sources of the configuration of the voice. */
export interface VoiceSources {
  readonly reader: TableReader;
  readonly settings: Settings;
  /** The labels of this server's keys, by the variables that hold them, in capital letters. */
  readonly owners: ReadonlyMap<string, string>;
  readonly env: Readonly<Record<string, string>>;
}

type VoiceTable = "speech" | "transcription";

/** Names a setting in both of its places. */
function settingOf(table: VoiceTable, name: string): string {
  return `VTUBER_${table.toUpperCase()}_${name.toUpperCase()}, or ${name} of [${table}] in config.toml`;
}

/** The settings of a provider, of the variables or of the file. */
interface ProviderSettings {
  readonly provider?: SpeechConfig["provider"] | undefined;
  readonly command: readonly string[];
  readonly base_url?: string | undefined;
  readonly key?: string | undefined;
  readonly model?: string | undefined;
}

/** Reads the provider that speaks: the built-in voice, unless another one is set. */
export function readSpeech(sources: VoiceSources, problems: Problems): SpeechConfig {
  const { settings } = sources;
  const table = readTable(sources, speechTable, "speech");
  const chosen = choose("speech", sources, table, problems);
  const voices = settings.speechVoices?.length ? settings.speechVoices : table?.voices ?? [];
  checkCommand("speech", chosen, problems, voices);
  return typeof chosen === "object" ? { ...chosen, voices } : { provider: chosen ?? "builtin" };
}

/** Reads the provider that transcribes recordings; `undefined` if none is set. */
export function readTranscription(
  sources: VoiceSources,
  problems: Problems,
): TranscriptionConfig | undefined {
  const table = readTable(sources, transcriptionTable, "transcription");
  const chosen = choose("transcription", sources, table, problems);
  checkCommand("transcription", chosen, problems);
  return typeof chosen === "object" ? chosen : undefined;
}

/** Adds the mistake in a command. */
function checkCommand(
  kind: VoiceTable,
  chosen: ReturnType<typeof choose>,
  { mistakes }: Problems,
  voices?: readonly string[],
): void {
  if (typeof chosen !== "object" || chosen.provider !== "command") return;
  const fault = commandFault(kind, chosen.command, voices);
  if (fault) mistakes.push(`${settingOf(kind, "command")}: ${fault}.`);
}

/** Reads a table. Its program gets no key of this server. */
function readTable<T>(
  { reader, owners }: VoiceSources,
  schema: z.ZodObject & z.ZodType<T>,
  path: string,
): T | undefined {
  const raw = reader.root[path];
  if (raw === undefined) return undefined;
  if (!isTable(raw)) return reader.read(schema, raw, path);
  const { command, ...rest } = raw;
  const faultOf = (variable: string) => {
    const key = owners.get(variable.toUpperCase());
    return key && `${key} cannot be given to a program: take \${${variable}} out`;
  };
  const expanded = {
    ...reader.expand(rest, path) as typeof rest,
    ...command === undefined ? {} : { command: reader.expand(command, `${path}.command`, faultOf) },
  };
  return reader.read(schema, expanded, path);
}

/** Chooses the provider: the one that the variables name or have the settings of, else the one of the file. */
function choose(
  path: VoiceTable,
  { settings, env }: VoiceSources,
  table: ProviderSettings = { command: [] },
  { mistakes }: Problems,
): TranscriptionConfig | "builtin" | "off" | undefined {
  const variables: ProviderSettings = {
    provider: settings[`${path}Provider`],
    command: settings[`${path}Command`] ?? [],
    base_url: settings[`${path}BaseUrl`],
    key: settings[`${path}Key`],
    model: settings[`${path}Model`],
  };
  const providerOf = ({ provider, command, base_url }: ProviderSettings) => {
    if (provider !== undefined) return provider;
    if (command.length === 0) return base_url === undefined ? undefined : "upstream";
    if (base_url !== undefined) {
      mistakes.push(
        `The ${path} has a command and a base_url: take one out, or set ${settingOf(path, "provider")}.`,
      );
    }
    return "command";
  };
  const provider = providerOf(variables) ?? providerOf(table);
  const lacks = (name: string) =>
    mistakes.push(
      `The provider of ${path} is ${provider}, which needs a ${name}: set ${settingOf(path, name)}.`,
    );
  switch (provider) {
    case "command": {
      const { command } = variables.command.length > 0 ? variables : table;
      if (command.length === 0) lacks("command");
      return { provider, command: command.map((word) => expandHome(word, env)) };
    }
    case "upstream": {
      const { base_url: baseUrl = table.base_url, key = table.key, model = table.model } = variables;
      if (baseUrl === undefined) lacks("base_url");
      return { provider, baseUrl: baseUrl ?? "", key, model };
    }
    default:
      return provider;
  }
}
