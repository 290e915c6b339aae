/** A certificate for this machine, signed by itself. */

/** Paths of a certificate and its key. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** Makes a certificate in a folder, which is valid for two days. */
export async function makeCertificate(folder: string, name = "server"): Promise<CertificateFiles> {
  const files = { cert: `${folder}/${name}.pem`, key: `${folder}/${name}.key` };
  const { success, stderr } = await new Deno.Command("openssl", {
    args: [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ...["-days", "2", "-subj", "/CN=localhost"],
      ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
      // A client that trusts the certificate refuses an authority's as a server's.
      ...["-addext", "basicConstraints=critical,CA:FALSE"],
      ...["-keyout", files.key, "-out", files.cert],
    ],
    stdin: "null",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return files;
}
