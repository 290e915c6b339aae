import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ConfigError, loadConfig } from "../../lib/config/load.ts";
import { readTls } from "../../lib/config/tls.ts";
import { makeCertificate } from "../support/harness/certificate.ts";

async function mistakeOf(tlsCert: string, tlsKey: string): Promise<string> {
  const { mistakes } = await assertRejects(() => readTls({ tlsCert, tlsKey }), ConfigError);
  assertEquals(mistakes.length, 1);
  return mistakes[0]!;
}

Deno.test("readTls: reads both files, and names the one that cannot be used", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { cert, key } = await makeCertificate(folder);
    const other = await makeCertificate(folder, "other");
    const tls = await readTls({ tlsCert: cert, tlsKey: key });
    assertEquals(tls, { cert: await Deno.readTextFile(cert), key: await Deno.readTextFile(key) });
    assertEquals(await readTls({ tlsCert: undefined, tlsKey: undefined }), undefined);

    const broken = `${folder}/broken.pem`;
    await Deno.writeTextFile(broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    const encrypted = `${folder}/encrypted.key`;
    await Deno.writeTextFile(
      encrypted,
      (await Deno.readTextFile(key)).replaceAll("PRIVATE", "ENCRYPTED PRIVATE"),
    );
    const cases: [cert: string, key: string, mistake: RegExp][] = [
      [`${folder}/none.pem`, key, /^VTUBER_TLS_CERT: .*none\.pem cannot be read: /],
      [cert, `${folder}/none.key`, /^VTUBER_TLS_KEY: .*none\.key cannot be read: /],
      [key, key, /^VTUBER_TLS_CERT: .*server\.key has no certificate: it must be a PEM file/],
      [cert, cert, /^VTUBER_TLS_KEY: .*server\.pem has no private key: /],
      [cert, encrypted, /^VTUBER_TLS_KEY: .*encrypted\.key has no private key: .*without a password/],
      [cert, other.key, /^VTUBER_TLS_CERT and VTUBER_TLS_KEY: .* cannot be used together: /],
      [broken, key, /^VTUBER_TLS_CERT and VTUBER_TLS_KEY: .* cannot be used together: /],
    ];
    for (const [cert, key, mistake] of cases) assertMatch(await mistakeOf(cert, key), mistake);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("loadConfig: a certificate needs its key, and the paths can begin with the home folder", () => {
  const both = { VTUBER_TLS_CERT: "~/tls/cert.pem", VTUBER_TLS_KEY: "key.pem", HOME: "/home/mao" };
  const { config } = loadConfig({ env: both });
  assertEquals([config.tlsCert, config.tlsKey], ["/home/mao/tls/cert.pem", "key.pem"]);
  for (
    const [set, missing] of [["VTUBER_TLS_CERT", "VTUBER_TLS_KEY"], ["VTUBER_TLS_KEY", "VTUBER_TLS_CERT"]]
  ) {
    try {
      loadConfig({ env: { [set!]: "file.pem" } });
      throw new Error("No mistake was found.");
    } catch (error) {
      assertMatch(String(error), new RegExp(`${set} needs ${missing} too`));
    }
  }
});
