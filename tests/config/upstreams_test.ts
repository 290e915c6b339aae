import { assertEquals } from "@std/assert";
import { collectSecrets } from "../../lib/config/secrets.ts";
import type { EmbeddingsConfig } from "../../lib/openai/embeddings.ts";
import { type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

const ENV = { EMBEDDINGS_KEY: " sk-upstream-1\n", EMPTY: "" };
const table = (lines: string) => `[embeddings]\n${lines}\n`;
const HERE = 'base_url = "http://127.0.0.1:11434"\n';

const READ: [name: string, lines: string, read: Partial<EmbeddingsConfig>][] = [
  ["an address alone", HERE, { baseUrl: "http://127.0.0.1:11434" }],
  [
    "everything",
    'base_url = " HTTPS://a.example/v1?b=c "\nkey = "${EMBEDDINGS_KEY}"\nmodel = "nomic-embed-text"',
    { baseUrl: "HTTPS://a.example/v1?b=c", key: "sk-upstream-1", model: "nomic-embed-text" },
  ],
  ["empty texts", `${HERE}key = "\${EMPTY}"\nmodel = " "`, { baseUrl: "http://127.0.0.1:11434" }],
];
for (const [name, lines, read] of READ) {
  Deno.test(`embeddings: reads ${name}`, () => {
    const { config, warnings } = load(table(lines), ENV);
    assertEquals(config.embeddings, { key: undefined, model: undefined, ...read } as EmbeddingsConfig);
    assertEquals(warnings, []);
  });
}

Deno.test("embeddings: without the table there are none", () => {
  assertEquals(load().config.embeddings, undefined);
  assertEquals(load('[agent]\ncommand = "a"\n').config.embeddings, undefined);
});

const EXAMPLE = "the address of the server, such as http://127.0.0.1:11434/v1";
const MISTAKES: [text: string, mistake: string][] = [
  ["embeddings = 7\n", "embeddings: must be a table: [embeddings]."],
  [table(""), `embeddings.base_url: is required: ${EXAMPLE}.`],
  [table("base_url = 7"), `embeddings.base_url: must be a text: ${EXAMPLE}.`],
  ...["", "127.0.0.1:11434", "ftp://a.example", "ws://a.example", "http://"].map((url): [string, string] => [
    table(`base_url = "${url}"`),
    "embeddings.base_url: must be an address that begins with http:// or https://.",
  ]),
  ...["http://mao:sk-1@a.example", "http://sk-1@a.example"].map((url): [string, string] => [
    table(`base_url = "${url}"`),
    "embeddings.base_url: cannot have a name or a password in it: put the key into key.",
  ]),
  [table(`${HERE}key = "two words"`), "embeddings.key: must be one word of ASCII characters."],
  [table(`${HERE}key = "schlüssel"`), "embeddings.key: must be one word of ASCII characters."],
  [table(`${HERE}key = "\${NO_KEY}"`), "embeddings.key: ${NO_KEY} is not set."],
  [
    table(`${HERE}modle = "a"`),
    "embeddings.modle is not a setting of this version. Did you mean model?",
  ],
  ["[embedding]\n", "embedding is not read. Did you mean embeddings?"],
];
for (const [text, mistake] of MISTAKES) {
  Deno.test(`embeddings: ${JSON.stringify(text)} is a mistake`, () => {
    assertEquals(mistakesOf(text, ENV), [`config.toml: ${mistake}`]);
  });
}

Deno.test("collectSecrets: the key of an upstream, and the query of its address", () => {
  const secrets = (lines: string, env: Env = {}) => collectSecrets(load(table(lines), env).config, env);
  assertEquals(secrets(HERE), []);
  assertEquals(
    secrets('base_url = "http://a.example/?k=value%2B2"\nkey = "${MY_UPSTREAM}"', { MY_UPSTREAM: "value-1" }),
    ["value-1", "?k=value%2B2", "value+2", "value%2B2"],
  );
});
