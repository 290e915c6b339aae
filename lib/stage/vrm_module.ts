/** The browser module that shows VRM characters: embedded in the executable, bundled when run from source. @module */

import { AppError } from "../core/errors.ts";

/** The module's file in the executable, in gzip: a quarter of its size. */
export const VRM_FILE = "vrm.js.gz";

/** Longest time for bundling, downloads included. */
const BUNDLE_TIMEOUT_MS = 120_000;

let module: Promise<string> | undefined;

/** Returns the arguments with which Deno bundles the module, to stdout or into a file. */
export function vrmBundleArgs(output?: string): string[] {
  const destination = output === undefined ? [] : ["--output", output];
  // A path and not an import: bundling this program must not include the page's code.
  const entry = "lib/stage/page/characters/vrm/vrm.ts";
  // `--minify` keeps the licence notices.
  return ["bundle", "--platform", "browser", "--minify", ...destination, entry];
}

/**
 * Returns the text of the module, made once. After an error, the next call tries again.
 *
 * @throws {AppError} `not_found` in an executable that was built without the module.
 * @throws {Error} if the module cannot be bundled, with what to do.
 */
export function vrmModule(): Promise<string> {
  module ??= (Deno.build.standalone ? readEmbedded() : bundleFromSource()).catch((error) => {
    module = undefined;
    throw error;
  });
  return module;
}

async function readEmbedded(): Promise<string> {
  const file = await Deno.open(new URL(VRM_FILE, import.meta.url)).catch((cause) => {
    throw new AppError("not_found", "This program was built without the viewer for VRM files.", { cause });
  });
  return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
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
