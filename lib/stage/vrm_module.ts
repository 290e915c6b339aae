/** The browser module that shows VRM characters: embedded in the executable, bundled when run from source. @module */

/** The module's file in the executable, beside the program itself; packed, it is a quarter of its size. */
export const VRM_FILE = "vrm.js.gz";

/** The longest that bundling may take, downloads included. */
const BUNDLE_MS = 120_000;

let made: Promise<string | undefined> | undefined;

/** The arguments that make Deno bundle the module: to stdout, or into a file. */
export function vrmBundleArgs(output?: string): string[] {
  return [
    "bundle",
    "--platform",
    "browser",
    "--minify", // its notices, which have to stay, stay
    ...(output === undefined ? [] : ["--output", output]),
    // Not an import of this program: a bundle of it would take the page's code in.
    "lib/stage/page/vrm.ts",
  ];
}

/**
 * The text of `/stage/vrm.js`, made once; undefined in an executable that was built without it.
 *
 * @throws {Error} that says what to do, when it cannot be bundled; it is tried again the next time.
 */
export function vrmModule(): Promise<string | undefined> {
  made ??= (Deno.build.standalone ? embedded() : bundleHere()).catch((error) => {
    made = undefined;
    throw error;
  });
  return made;
}

async function embedded(): Promise<string | undefined> {
  try {
    const file = await Deno.open(new URL(VRM_FILE, import.meta.url));
    return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function bundleHere(): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: vrmBundleArgs(),
    cwd: new URL("../..", import.meta.url),
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    stdin: "null",
    signal: AbortSignal.timeout(BUNDLE_MS),
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  throw new Error(
    "The module for VRM characters cannot be bundled: run `deno install` where npm can be reached, " +
      `and try again. Deno says: ${decoder.decode(stderr).trim().slice(-500)}`,
  );
}
