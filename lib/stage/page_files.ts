/** The files of the page: read from their folder when run from source, embedded in the executable. @module */

import marked from "./page/vendor/marked.js" with { type: "text" };

/** The file of the executable that holds all files of the page, by path: JSON in gzip. */
export const PAGE_ARCHIVE = "page.json.gz";
/** Modules of the page that are bundled with the npm packages they use, and their sources. */
export const BUNDLED_MODULES: ReadonlyMap<string, string> = new Map([
  ["characters/vrm/vrm.js", "characters/vrm/vrm.ts"],
]);
/** Paths of the other files. */
export const PAGE_PATH = /^[a-z_]+(\/[a-z_]+)*\.(css|html|js|svg)$/;

/** Longest time for bundling, downloads included. */
const BUNDLE_TIMEOUT_MS = 120_000;

let archive: Promise<Readonly<Record<string, string>>> | undefined;
/** Bundled modules by path. */
const bundled = new Map<string, Promise<string>>();

/**
 * Returns the text of a file of the page, or `undefined` if there is none.
 *
 * @throws {Error} if a module cannot be bundled, with what to do. The next call tries again.
 */
export async function readPageFile(path: string): Promise<string | undefined> {
  // The import map takes this module of the page from npm, for the server as for the type check of the page.
  if (path === "vendor/marked.js") return marked;
  if (Deno.build.standalone) {
    const files = await (archive ??= readArchive());
    return Object.hasOwn(files, path) ? files[path] : undefined;
  }
  const source = BUNDLED_MODULES.get(path);
  if (source !== undefined) return await bundleOnce(path, source);
  if (!PAGE_PATH.test(path)) return undefined;
  return await Deno.readTextFile(new URL(`page/${path}`, import.meta.url)).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
}

/** Returns the arguments with which Deno bundles a module of the page, to stdout or into a file. */
export function bundleArgs(source: string, output?: string): string[] {
  const destination = output === undefined ? [] : ["--output", output];
  // `--minify` keeps the licence notices.
  return ["bundle", "--platform", "browser", "--minify", ...destination, `lib/stage/page/${source}`];
}

async function readArchive(): Promise<Record<string, string>> {
  const file = await Deno.open(new URL(PAGE_ARCHIVE, import.meta.url));
  return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).json();
}

function bundleOnce(path: string, source: string): Promise<string> {
  const module = bundled.get(path) ?? bundle(source).catch((error) => {
    bundled.delete(path);
    throw error;
  });
  bundled.set(path, module);
  return module;
}

async function bundle(source: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: bundleArgs(source),
    cwd: new URL("../..", import.meta.url),
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    stdin: "null",
    signal: AbortSignal.timeout(BUNDLE_TIMEOUT_MS),
  }).output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  throw new Error(
    `${source} could not be bundled. Run \`deno install\` with access to npm and try again. ` +
      `Deno printed: ${decoder.decode(stderr).trim().slice(-500)}`,
  );
}
