/** `deno task compile [--measure]`: makes `dist/oab-vtuber`, one executable for this machine. @module */

import {
  baseUnreachable,
  bundle,
  type Command,
  compileArgs,
  type Log,
  packFiles,
  reason,
  refuseForeignBase,
  type Run,
  runScript,
  workDirectory,
} from "./build.ts";
import {
  cacheDirectory,
  hasNpmToolchain,
  NPM_DENO_VERSION,
  npmToolchain,
  PINS,
  type Toolchain,
} from "./denort.ts";

/** Options of {@linkcode compile}; tests pass a fake runner and toolchain. */
export interface CompileOptions {
  /** The directory of `deno.json`. All paths are absolute. */
  readonly root: string;
  readonly entry: string;
  readonly dist: string;
  /** Also compiles an empty program, to measure the added size. */
  readonly measure: boolean;
  readonly build: Pick<typeof Deno.build, "os" | "arch">;
  readonly run: Run;
  readonly log: Log;
  readonly fetchToolchain: () => Promise<Toolchain>;
}

/** The executable, and how it was compiled. */
export interface Compiled {
  readonly path: string;
  readonly method: "native" | "npm";
  readonly denoVersion: string;
  readonly sizeBytes: number;
  /** Bytes above an empty program, if measured. */
  readonly addedBytes?: number;
}

/** A way to compile. */
interface CompileMethod {
  readonly name: Compiled["method"];
  readonly denoVersion: string;
  readonly command: (bundled: string, output: string, include: readonly string[]) => Command;
}

/** Bundles the program and the browser module, and compiles them with the native toolchain or else with npm's. */
export async function compile(options: CompileOptions): Promise<Compiled> {
  const name = options.build.os === "windows" ? "oab-vtuber.exe" : "oab-vtuber";
  await using work = await workDirectory(options.dist);
  const bundled = await bundle(options.run, options.root, options.entry, work.path);
  const include = await packFiles(options.run, options.root, work.path);
  const built = `${work.path}/${name}`;
  const method = await compileWithFallback(bundled, built, include, work.path, options);
  const sizeBytes = (await Deno.stat(built)).size;
  const emptyBytes = options.measure ? await emptySize(method, work.path, options.run) : undefined;
  const path = `${options.dist}/${name}`;
  await Deno.rename(built, path);
  return {
    path,
    method: method.name,
    denoVersion: method.denoVersion,
    sizeBytes,
    ...(emptyBytes === undefined ? {} : { addedBytes: sizeBytes - emptyBytes }),
  };
}

/** Describes the executable in a few lines. */
export function describe(compiled: Compiled): string {
  const { path, method, denoVersion, sizeBytes, addedBytes } = compiled;
  const lines = [`${path}: ${(sizeBytes / 1e6).toFixed(2)} MB (${sizeBytes} bytes)`];
  lines.push(
    method === "native"
      ? `Compiled natively: Deno ${denoVersion} inside`
      : `Compiled with the base executable from npm: Deno ${denoVersion} inside, not for release`,
  );
  if (addedBytes !== undefined) {
    lines.push(`${addedBytes} bytes above an empty program compiled the same way`);
  }
  return lines.join("\n");
}

/** Compiles natively, or with npm's toolchain if the native base executable cannot be downloaded. */
async function compileWithFallback(
  bundled: string,
  output: string,
  include: readonly string[],
  cwd: string,
  options: CompileOptions,
): Promise<CompileMethod> {
  const native = nativeMethod(cwd);
  options.log(
    `Compiling with Deno ${native.denoVersion}, which downloads its base executable the first time`,
  );
  const nativeOutcome = await options.run(native.command(bundled, output, include));
  if (nativeOutcome.success) return native;
  if (!baseUnreachable(nativeOutcome.output)) {
    throw new Error(`Cannot compile: ${reason(nativeOutcome.output)}`);
  }
  options.log("Deno's base executable cannot be downloaded; trying npm");
  try {
    return await compileFromNpm(bundled, output, include, cwd, options);
  } catch (error) {
    const npmReason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `Cannot compile, neither natively nor with the toolchain from npm.\n` +
        `Natively: ${reason(nativeOutcome.output)}\nFrom npm: ${npmReason}`,
      { cause: error },
    );
  }
}

/** Compiles with npm's toolchain, and throws if npm has none for this machine. */
async function compileFromNpm(
  bundled: string,
  output: string,
  include: readonly string[],
  cwd: string,
  { build, run, fetchToolchain }: CompileOptions,
): Promise<CompileMethod> {
  if (!hasNpmToolchain(build)) throw new Error(`npm has no toolchain for ${build.os} ${build.arch}`);
  const method = npmMethod(await fetchToolchain(), cwd);
  const compiled = await run(method.command(bundled, output, include));
  if (!compiled.success) throw new Error(`Deno ${method.denoVersion} failed: ${reason(compiled.output)}`);
  return method;
}

function nativeMethod(cwd: string): CompileMethod {
  return {
    name: "native",
    denoVersion: Deno.version.deno,
    command: (bundled, output, include) => ({
      program: Deno.execPath(),
      args: compileArgs(bundled, output, { include }),
      cwd,
    }),
  };
}

function npmMethod({ deno, base }: Toolchain, cwd: string): CompileMethod {
  return {
    name: "npm",
    denoVersion: NPM_DENO_VERSION,
    command: (bundled, output, include) => ({
      program: deno,
      args: compileArgs(bundled, output, { include }),
      cwd,
      // Use a separate cache directory, because another Deno version would empty the caches of the running one.
      env: { DENORT_BIN: base, DENO_DIR: `${cwd}/deno`, DENO_TLS_CA_STORE: "system" },
    }),
  };
}

/** Compiles an empty program. @returns Its size in bytes. */
async function emptySize(method: CompileMethod, work: string, run: Run): Promise<number> {
  const source = `${work}/empty.js`;
  const output = `${work}/empty.exe`;
  await Deno.writeTextFile(source, "");
  const compiled = await run(method.command(source, output, []));
  if (!compiled.success) throw new Error(`Cannot compile an empty program: ${reason(compiled.output)}`);
  return (await Deno.stat(output)).size;
}

/** Whether the arguments have `--measure`. Any other argument is refused. */
export function parseMeasure(args: readonly string[]): boolean {
  const unknown = args.find((arg) => arg !== "--measure");
  if (unknown !== undefined) throw new Error(`Unknown argument ${unknown}: the only argument is --measure`);
  return args.length > 0;
}

if (import.meta.main) {
  await runScript(async (run, log) => {
    const measure = parseMeasure(Deno.args);
    refuseForeignBase(Deno.env.get("DENORT_BIN"));
    const root = await Deno.realPath(`${import.meta.dirname}/..`);
    const compiled = await compile({
      root,
      entry: `${root}/main.ts`,
      dist: `${root}/dist`,
      measure,
      build: Deno.build,
      run,
      log,
      fetchToolchain: () => {
        const env = { XDG_CACHE_HOME: Deno.env.get("XDG_CACHE_HOME"), HOME: Deno.env.get("HOME") };
        return npmToolchain({ cacheDir: cacheDirectory(env), pins: PINS, run, log });
      },
    });
    log(describe(compiled));
  });
}
