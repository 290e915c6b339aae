/** The browser module that shows VRM characters: embedded in the executable, bundled when run from source. @module */

/** The module's file in the executable, in gzip: a quarter of its size. */
export const VRM_FILE = "vrm.js.gz";

/** Longest time for bundling, downloads included. */
const BUNDLE_TIMEOUT_MS = 120_000;

let bundled: Promise<string | undefined> | undefined;

/** Returns the arguments with which Deno bundles the module, to stdout or into a file. */
export function vrmBundleArgs(output?: string): string[] {
  return [
    "bundle",
    "--platform",
    "browser",
    "--minify", // keeps the licence notices
    ...(output === undefined ? [] : ["--output", output]),
    // A path and not an import: bundling this program must not include the page's code.
    "lib/stage/page/characters/vrm/vrm.ts",
  ];
}

/**
 * Returns the text of the module, made once; `undefined` in an executable that was built without it.
 *
 * @throws {Error} if it cannot be bundled, with what to do. The next call tries again.
 */
export function vrmModule(): Promise<string | undefined> {
  bundled ??= (Deno.build.standalone ? readEmbedded() : bundleFromSource()).catch((error) => {
    bundled = undefined;
    throw error;
  });
  return bundled;
}

async function readEmbedded(): Promise<string | undefined> {
  try {
    const file = await Deno.open(new URL(VRM_FILE, import.meta.url));
    return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function bundleFromSource(): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: vrmBundleArgs(),
    cwd: new URL("../..", import.meta.url),
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    stdin: "null",
    signal: AbortSignal.timeout(BUNDLE_TIMEOUT_MS),
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  throw new Error(
    "The module for VRM characters could not be bundled. Run `deno install` with access to npm and try again. " +
      `Deno printed: ${decoder.decode(stderr).trim().slice(-500)}`,
  );
}
