/** `deno task compile [--measure]`: makes `dist/oab-vtuber`, one executable for this machine. */

import {
  baseUnreachable,
  bundle,
  bundleVrm,
  type Command,
  compileArgs,
  type Log,
  reason,
  refuseForeignBase,
  type Run,
  runScript,
  workDirectory,
} from "./build.ts";
import {
  cacheDirectory,
  NPM_DENO_VERSION,
  npmToolchain,
  npmWayFits,
  PINS,
  type Toolchain,
} from "./denort.ts";

/** What {@linkcode compile} works with; tests pass their own runner, platform and toolchain. */
export interface CompileOptions {
  /** The directory of `deno.json`; every path is absolute. */
  readonly root: string;
  readonly entry: string;
  readonly dist: string;
  /** Also compile an empty program the same way, to see what this one adds. */
  readonly measure: boolean;
  readonly build: Pick<typeof Deno.build, "os" | "arch">;
  readonly run: Run;
  readonly log: Log;
  readonly fetchToolchain: () => Promise<Toolchain>;
}

/** The executable, and how it was made. */
export interface Compiled {
  readonly path: string;
  readonly way: "native" | "npm";
  readonly denoVersion: string;
  readonly sizeBytes: number;
  /** What it has above an empty program, when that was measured. */
  readonly addedBytes?: number;
}

/** One way to compile, once it is known to work here. */
interface Way {
  readonly name: Compiled["way"];
  readonly denoVersion: string;
  readonly command: (bundled: string, output: string, include: readonly string[]) => Command;
}

/** Bundles the entry and the module for the browser, and compiles the two, natively or else the npm way. */
export async function compile(options: CompileOptions): Promise<Compiled> {
  const name = options.build.os === "windows" ? "oab-vtuber.exe" : "oab-vtuber";
  await using work = await workDirectory(options.dist);
  const bundled = await bundle(options.run, options.root, options.entry, work.path);
  const include = [await bundleVrm(options.run, options.root, work.path)];
  const built = `${work.path}/${name}`;
  const way = await compileSomehow(bundled, built, include, work.path, options);
  const sizeBytes = (await Deno.stat(built)).size;
  const emptyBytes = options.measure ? await emptySize(way, work.path, options.run) : undefined;
  const path = `${options.dist}/${name}`;
  await Deno.rename(built, path);
  return {
    path,
    way: way.name,
    denoVersion: way.denoVersion,
    sizeBytes,
    ...(emptyBytes === undefined ? {} : { addedBytes: sizeBytes - emptyBytes }),
  };
}

/** Says in a few lines what was made, and how. */
export function describe(compiled: Compiled): string {
  const { path, way, denoVersion, sizeBytes, addedBytes } = compiled;
  const lines = [`${path}: ${(sizeBytes / 1e6).toFixed(2)} MB (${sizeBytes} bytes)`];
  lines.push(
    way === "native"
      ? `Compiled natively: Deno ${denoVersion} inside`
      : `Compiled with the base executable from npm: Deno ${denoVersion} inside, not for release`,
  );
  if (addedBytes !== undefined) {
    lines.push(`${addedBytes} bytes above an empty program compiled the same way`);
  }
  return lines.join("\n");
}

/** Compiles natively, and the npm way only where the native base executable cannot be downloaded. */
async function compileSomehow(
  bundled: string,
  output: string,
  include: readonly string[],
  cwd: string,
  options: CompileOptions,
): Promise<Way> {
  const native = nativeWay(cwd);
  options.log(
    `Compiling with Deno ${native.denoVersion}, which downloads its base executable the first time`,
  );
  const first = await options.run(native.command(bundled, output, include));
  if (first.success) return native;
  if (!baseUnreachable(first.output)) throw new Error(`Cannot compile: ${reason(first.output)}`);
  options.log("Deno's own base executable cannot be downloaded: trying npm");
  try {
    return await compileFromNpm(bundled, output, include, cwd, options);
  } catch (error) {
    const second = error instanceof Error ? error.message : String(error);
    throw new Error(
      `Cannot compile, neither natively nor with what npm has.\n` +
        `Natively: ${reason(first.output)}\nFrom npm: ${second}`,
      { cause: error },
    );
  }
}

/** Compiles with what npm has, and throws where it has nothing. */
async function compileFromNpm(
  bundled: string,
  output: string,
  include: readonly string[],
  cwd: string,
  { build, run, fetchToolchain }: CompileOptions,
): Promise<Way> {
  if (!npmWayFits(build)) throw new Error(`there is nothing for ${build.os} ${build.arch}`);
  const way = npmWay(await fetchToolchain(), cwd);
  const compiled = await run(way.command(bundled, output, include));
  if (!compiled.success) throw new Error(`Deno ${way.denoVersion} failed: ${reason(compiled.output)}`);
  return way;
}

function nativeWay(cwd: string): Way {
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

function npmWay({ deno, base }: Toolchain, cwd: string): Way {
  return {
    name: "npm",
    denoVersion: NPM_DENO_VERSION,
    command: (bundled, output, include) => ({
      program: deno,
      args: compileArgs(bundled, output, { include }),
      cwd,
      // A cache directory of its own: another Deno version would empty the caches of the running one.
      env: { DENORT_BIN: base, DENO_DIR: `${cwd}/deno`, DENO_TLS_CA_STORE: "system" },
    }),
  };
}

/** The size of an empty program compiled the given way. */
async function emptySize(way: Way, work: string, run: Run): Promise<number> {
  const source = `${work}/empty.js`;
  const output = `${work}/empty.exe`;
  await Deno.writeTextFile(source, "");
  const compiled = await run(way.command(source, output, []));
  if (!compiled.success) throw new Error(`Cannot compile an empty program: ${reason(compiled.output)}`);
  return (await Deno.stat(output)).size;
}

/** Whether `--measure` is given; anything else is refused. */
export function parseMeasure(args: readonly string[]): boolean {
  const unknown = args.find((arg) => arg !== "--measure");
  if (unknown !== undefined) throw new Error(`Unknown argument ${unknown}: only --measure is known`);
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
