import { assertEquals } from "@std/assert";
import { createRedactor } from "../../lib/core/redact.ts";

const PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nabc\n-----END KEY-----";

const CASES: readonly [name: string, secrets: readonly string[], text: string, shown: string][] = [
  ["nothing is secret", [], "all of it", "all of it"],
  ["an empty secret is none", [""], "all of it", "all of it"],
  ["wherever it stands", ["s3cret"], "s3cret, as3creta, S3CRET", "[secret], a[secret]a, S3CRET"],
  ["one that begins another", ["token", "token-long-tail"], "token-long-tail token", "[secret] [secret]"],
  ["the other way round", ["token-long-tail", "token"], "token-long-tail token", "[secret] [secret]"],
  ["inside of JSON", ['a"b'], JSON.stringify({ key: 'a"b' }), '{"key":"[secret]"}'],
  ["several lines", [PEM], `it is ${PEM}.`, "it is [secret]."],
  ["several lines, inside of JSON", [PEM], JSON.stringify([PEM]), '["[secret]"]'],
  ["a long line of several", [PEM], "stderr: MIIEvQIBADANBgkqhkiG9w0", "stderr: [secret]"],
  ["a short line of several is a word", [PEM], "abc", "abc"],
];

for (const [name, secrets, text, shown] of CASES) {
  Deno.test(`hiderOf: ${name}`, () => assertEquals(createRedactor(secrets)(text), shown));
}
