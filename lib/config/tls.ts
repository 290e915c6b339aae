/** TLS: the certificate of the server and its private key. @module */

import { messageOf } from "../core/errors.ts";
import { ConfigError } from "./load.ts";

/** The texts of both files, as `Deno.serve` takes them. */
export interface Tls {
  readonly cert: string;
  readonly key: string;
}

/** The content that each file must have, and the fault of a file without it. */
const FILES = [
  {
    variable: "VTUBER_TLS_CERT",
    pem: /-----BEGIN CERTIFICATE-----/,
    fault: "has no certificate: it must be a PEM file with -----BEGIN CERTIFICATE----- in it",
  },
  {
    variable: "VTUBER_TLS_KEY",
    pem: /-----BEGIN (?:RSA |EC )?PRIVATE KEY-----/,
    fault:
      "has no private key: it must be a PEM file with -----BEGIN PRIVATE KEY----- in it, without a password",
  },
] as const;

/**
 * Reads the certificate and the key, and tries them.
 *
 * @returns `undefined` if neither is set.
 * @throws {ConfigError} that names the file which cannot be used.
 */
export async function readTls(
  { tlsCert, tlsKey }: { readonly tlsCert: string | undefined; readonly tlsKey: string | undefined },
): Promise<Tls | undefined> {
  if (tlsCert === undefined || tlsKey === undefined) return undefined;
  const mistakes: string[] = [];
  const [cert, key] = await Promise.all([tlsCert, tlsKey].map(async (path, index) => {
    const { variable, pem, fault } = FILES[index]!;
    try {
      const text = await Deno.readTextFile(path);
      if (!pem.test(text)) mistakes.push(`${variable}: ${path} ${fault}.`);
      return text;
    } catch (error) {
      mistakes.push(`${variable}: ${path} cannot be read: ${messageOf(error)}.`);
      return "";
    }
  }));
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  try {
    Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert: cert!, key: key! }).close();
  } catch (error) {
    throw new ConfigError([
      `VTUBER_TLS_CERT and VTUBER_TLS_KEY: ${tlsCert} and ${tlsKey} cannot be used together: ${
        messageOf(error)
      }. ` +
      "The key must be the one that the certificate was made for.",
    ]);
  }
  return { cert: cert!, key: key! };
}
