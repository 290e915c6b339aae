/** `deno task release`: makes one executable for every target, and `SHA256SUMS`, in `dist`. @module */

import manifest from "../deno.json" with { type: "json" };
import {
  baseUnreachable,
  bundle,
  compileArgs,
  type Log,
  packFiles,
  reason,
  refuseForeignBase,
  type Run,
  runScript,
  sha256,
  workDirectory,
} from "./build.ts";

/** A system that a release is made for. */
export interface Target {
  /** The name for `deno compile --target`. */
  readonly triple: string;
  /** The name in the file name. */
  readonly os: "linux" | "macos" | "windows";
  readonly arch: "x86_64" | "aarch64";
}

/** All systems that a release is made for. */
export const TARGETS: readonly Target[] = [
  { triple: "x86_64-unknown-linux-gnu", os: "linux", arch: "x86_64" },
  { triple: "aarch64-unknown-linux-gnu", os: "linux", arch: "aarch64" },
  { triple: "x86_64-apple-darwin", os: "macos", arch: "x86_64" },
  { triple: "aarch64-apple-darwin", os: "macos", arch: "aarch64" },
  { triple: "x86_64-pc-windows-msvc", os: "windows", arch: "x86_64" },
];

/** Name of the file with the checksums. */
export const CHECKSUMS_NAME = "SHA256SUMS";

/** Options of {@linkcode release}; tests pass a fake runner. */
export interface ReleaseOptions {
  /** The directory of `deno.json`. All paths are absolute. */
  readonly root: string;
  readonly entry: string;
  readonly dist: string;
  /** The version of the release, without a leading `v`. */
  readonly version: string;
  readonly denoVersion: string;
  readonly run: Run;
  readonly log: Log;
}

/** A file's name and its SHA-256 in hexadecimal. */
export interface Checksum {
  readonly name: string;
  readonly sha256: string;
}

/** Returns the file name of a target. */
function releaseName(version: string, { os, arch }: Target): string {
  return `oab-vtuber-${version}-${os}-${arch}${os === "windows" ? ".exe" : ""}`;
}

/** Returns the text of `SHA256SUMS`, sorted by name, in the format of `sha256sum --check`. */
export function checksumsText(checksums: readonly Checksum[]): string {
  return checksums
    .toSorted((a, b) => a.name < b.name ? -1 : 1)
    .map(({ name, sha256 }) => `${sha256}  ${name}\n`)
    .join("");
}

/** Whether a Deno is fit for a release: before 2.9 its server delays tokens, because it never sets TCP_NODELAY. */
export function fitForRelease(denoVersion: string): boolean {
  const [major = 0, minor = 0] = denoVersion.split(".").map(Number);
  return major > 2 || (major === 2 && minor >= 9);
}

/** Builds every target, then moves all files and `SHA256SUMS` to `dist` at once. @returns Their names. */
export async function release(options: ReleaseOptions): Promise<string[]> {
  const { root, entry, dist, version, denoVersion, run, log } = options;
  if (!fitForRelease(denoVersion)) {
    throw new Error(`A release needs Deno 2.9 or newer: this is ${denoVersion}`);
  }
  await using work = await workDirectory(dist);
  const bundled = await bundle(run, root, entry, work.path);
  const include = await packFiles(run, root, work.path);
  const checksums: Checksum[] = [];
  for (const target of TARGETS) {
    const name = releaseName(version, target);
    const output = `${work.path}/${name}`;
    await compileTarget(run, bundled, output, include, target, work.path);
    const bytes = await Deno.readFile(output);
    checksums.push({ name, sha256: await sha256(bytes) });
    log(`${name}: ${(bytes.length / 1e6).toFixed(2)} MB, Deno ${denoVersion} inside`);
  }
  await Deno.writeTextFile(`${work.path}/${CHECKSUMS_NAME}`, checksumsText(checksums));
  const names = [...checksums.map(({ name }) => name), CHECKSUMS_NAME];
  for (const name of names) await Deno.rename(`${work.path}/${name}`, `${dist}/${name}`);
  return names;
}

/** Compiles the bundled file for a target. @throws {Error} that names the target. */
async function compileTarget(
  run: Run,
  bundled: string,
  output: string,
  include: readonly string[],
  { triple }: Target,
  cwd: string,
): Promise<void> {
  const args = compileArgs(bundled, output, { include, target: triple });
  const compiled = await run({ program: Deno.execPath(), args, cwd });
  if (compiled.success) return;
  const hint = baseUnreachable(compiled.output)
    ? "\nA release needs Deno's base executable of every target, which cannot be downloaded here. " +
      "Without that download only `deno task compile` works, on Linux x86_64."
    : "";
  throw new Error(`Cannot compile for ${triple}: ${reason(compiled.output)}${hint}`);
}

if (import.meta.main) {
  await runScript(async (run, log) => {
    refuseForeignBase(Deno.env.get("DENORT_BIN"));
    const root = await Deno.realPath(`${import.meta.dirname}/..`);
    const names = await release({
      root,
      entry: `${root}/main.ts`,
      dist: `${root}/dist`,
      version: manifest.version,
      denoVersion: Deno.version.deno,
      run,
      log,
    });
    log(`${names.length} files in ${root}/dist`);
  });
}
