import { assertEquals } from "@std/assert";
import { createRedactor } from "../../lib/core/redact.ts";

const PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nabc\n-----END KEY-----";

const CASES: readonly [name: string, secrets: readonly string[], text: string, shown: string][] = [
  ["no secret", [], "all of it", "all of it"],
  ["an empty secret", [""], "all of it", "all of it"],
  [
    "anywhere in the text, in this case only",
    ["s3cret"],
    "s3cret, as3creta, S3CRET",
    "[secret], a[secret]a, S3CRET",
  ],
  [
    "a secret that is the start of another",
    ["token", "token-long-tail"],
    "token-long-tail token",
    "[secret] [secret]",
  ],
  ["the same in another order", ["token-long-tail", "token"], "token-long-tail token", "[secret] [secret]"],
  ["in JSON", ['a"b'], JSON.stringify({ key: 'a"b' }), '{"key":"[secret]"}'],
  ["several lines", [PEM], `it is ${PEM}.`, "it is [secret]."],
  ["several lines in JSON", [PEM], JSON.stringify([PEM]), '["[secret]"]'],
  ["one long line of several", [PEM], "stderr: MIIEvQIBADANBgkqhkiG9w0", "stderr: [secret]"],
  ["one short line of several stays", [PEM], "abc", "abc"],
];

for (const [name, secrets, text, shown] of CASES) {
  Deno.test(`createRedactor: ${name}`, () => assertEquals(createRedactor(secrets)(text), shown));
}
