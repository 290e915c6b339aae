/** The character of the stage: the built-in one, or the user's pictures or VRM model (`VTUBER_CHARACTER`). @module */

import { ifNoneMatch } from "@std/http/etag";
import { AppError, messageOf } from "../core/errors.ts";

/** A character that the page can show: built in, or from a folder, a `.vrm` file or an http(s) address of either. */
export interface Character {
  /** Answers `GET /stage/character.json`. */
  manifest(): Promise<Response> | Response;
  /** Answers `GET /stage/character/NAME`. The name is decoded. @throws {AppError} `not_found`. */
  file(name: string, request: Request): Promise<Response>;
  /** Origins that the page's Content Security Policy has to allow. */
  readonly origins: { readonly img: readonly string[]; readonly connect: readonly string[] };
}

/** Body of `GET /stage/character.json`. */
export type CharacterManifest =
  | { readonly kind: "drawn" }
  /** Picture addresses by expression, in lower case. */
  | { readonly kind: "pictures"; readonly pictures: Readonly<Record<string, string>> }
  /** A folder that cannot be listed: the page tries `base` + expression + `.` + extension. */
  | { readonly kind: "pictures"; readonly base: string; readonly extensions: readonly string[] }
  | { readonly kind: "vrm"; readonly src: string };

/** Pictures that are used of one folder. */
export const MAX_PICTURES = 200;
/** Folder entries that are read to find them. */
const MAX_ENTRIES = 5_000;
/** Largest file that is served. */
export const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** Picture types by extension. If an expression has several files, the type listed first wins. */
const PICTURE_TYPES: ReadonlyMap<string, string> = new Map([
  ["webp", "image/webp"],
  ["png", "image/png"],
  ["avif", "image/avif"],
  ["gif", "image/gif"],
  ["jpg", "image/jpeg"],
  ["jpeg", "image/jpeg"],
  ["svg", "image/svg+xml"],
]);
/** Extensions that the page tries at an address that cannot be listed. */
const TRIED_EXTENSIONS = ["webp", "png"] as const;
const VRM_TYPE = "model/gltf-binary";
const VRM_NAME = "model.vrm";
const FILES = "/stage/character/";
const SETTING = "VTUBER_CHARACTER";

/**
 * Opens the character of the setting; without one, the built-in drawn character.
 *
 * @throws {Error} if the character cannot be shown, with what to do.
 */
export async function openCharacter(location: string | undefined): Promise<Character> {
  if (location === undefined || location === "") return withoutFiles({ kind: "drawn" });
  if (/^https?:\/\//i.test(location)) return fromAddress(location);
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(location);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "no such file or folder"
      : `cannot be read: ${messageOf(error)}`;
    throw new Error(
      `${SETTING}: ${location}: ${why}. Set it to a folder with pictures such as happy.png, to a .vrm file, or to the address of either.`,
    );
  }
  if (info.isDirectory) return await fromFolder(location);
  if (info.isFile && /\.vrm$/i.test(location)) return fromVrmFile(location, info.size);
  throw new Error(
    `${SETTING}: ${location} is neither a folder nor a .vrm file. For pictures, name the folder that contains them.`,
  );
}

function fromAddress(location: string): Character {
  const url = URL.parse(location);
  if (url === null) throw new Error(`${SETTING}: ${location} is not a valid address.`);
  if (url.username !== "" || url.password !== "") {
    throw new Error(`${SETTING}: a page cannot load an address with a user name or password.`);
  }
  if (/\.vrm$/i.test(url.pathname)) {
    return withoutFiles({ kind: "vrm", src: url.href }, { img: [], connect: [url.origin] });
  }
  if (url.search !== "" || url.hash !== "" || pictureType(url.pathname) !== undefined) {
    throw new Error(
      `${SETTING}: ${location} is not the address of a folder. ` +
        "Use the address up to the slash before happy.png, or the address of a .vrm file.",
    );
  }
  const base = url.href.endsWith("/") ? url.href : `${url.href}/`;
  return withoutFiles(
    { kind: "pictures", base, extensions: TRIED_EXTENSIONS },
    { img: [url.origin], connect: [] },
  );
}

function withoutFiles(
  manifest: CharacterManifest,
  origins: Character["origins"] = { img: [], connect: [] },
): Character {
  return {
    origins,
    manifest: () => manifestResponse(manifest),
    file: (name) => Promise.reject(fileNotFound(name)),
  };
}

function fromVrmFile(path: string, sizeBytes: number): Character {
  if (sizeBytes > MAX_FILE_BYTES) {
    throw new Error(
      `${SETTING}: ${path} has more than ${MAX_FILE_BYTES / 1024 ** 2} MB. Use a smaller model.`,
    );
  }
  return {
    origins: { img: [], connect: [] },
    manifest: () => manifestResponse({ kind: "vrm", src: FILES + VRM_NAME }),
    async file(name, request) {
      if (name !== VRM_NAME) throw fileNotFound(name);
      return await serveFile(path, VRM_TYPE, name, request);
    },
  };
}

async function fromFolder(folder: string): Promise<Character> {
  const root = await Deno.realPath(folder);
  if ((await findPictures(root)).size === 0) {
    throw new Error(
      `${SETTING}: there is no picture in ${folder}. Add neutral.png, happy.png, sad.png and others; ` +
        "for a VRM model, name the .vrm file itself.",
    );
  }
  return {
    origins: { img: [], connect: [] },
    async manifest() {
      // List the folder again, so that a new picture appears when the page is reloaded.
      const pictures = await listPictures(root);
      const addresses = [...pictures].map(([word, file]) => [word, FILES + encodeURIComponent(file)]);
      return manifestResponse({ kind: "pictures", pictures: Object.fromEntries(addresses) });
    },
    async file(name, request) {
      const type = pictureType(name);
      const known = [...(await listPictures(root)).values()].includes(name);
      if (!known || type === undefined) throw fileNotFound(name);
      const path = await resolveInside(root, name);
      if (path === undefined) throw fileNotFound(name);
      return await serveFile(path, type, name, request);
    },
  };
}

async function listPictures(root: string): Promise<Map<string, string>> {
  try {
    return await findPictures(root);
  } catch (error) {
    throw new AppError("not_found", `${SETTING}: ${root} can no longer be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Returns the file name of each expression, sorted by expression. Subfolders are not searched. */
async function findPictures(root: string): Promise<Map<string, string>> {
  const names: string[] = [];
  let entries = 0;
  for await (const { name, isFile, isSymlink } of Deno.readDir(root)) {
    if (++entries > MAX_ENTRIES) break;
    if (name.startsWith(".") || pictureType(name) === undefined) continue;
    if (isFile || isSymlink && await resolveInside(root, name) !== undefined) names.push(name);
  }
  const ranks = [...PICTURE_TYPES.keys()];
  const rank = (name: string) => ranks.indexOf(extensionOf(name));
  names.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const pictures = new Map<string, string>();
  for (const name of names) {
    const expression = name.slice(0, name.lastIndexOf(".")).toLowerCase();
    if (!pictures.has(expression)) pictures.set(expression, name);
  }
  return new Map([...pictures].sort(([a], [b]) => a < b ? -1 : 1).slice(0, MAX_PICTURES));
}

/** Resolves a file of the folder; `undefined` if it is a link that leaves the folder, since that file was never meant to be served. */
async function resolveInside(root: string, name: string): Promise<string | undefined> {
  const separator = Deno.build.os === "windows" ? "\\" : "/";
  const prefix = root.endsWith(separator) ? root : root + separator;
  const path = await Deno.realPath(prefix + name).catch(() => undefined);
  return path?.startsWith(prefix) ? path : undefined;
}

/** Serves a file, or 304 if the client has it. */
async function serveFile(path: string, type: string, name: string, request: Request): Promise<Response> {
  const info = await Deno.stat(path).catch(() => undefined);
  if (!info?.isFile || info.size > MAX_FILE_BYTES) throw fileNotFound(name);
  const etag = `W/"${info.size.toString(16)}-${(info.mtime?.getTime() ?? 0).toString(16)}"`;
  const headers = new Headers({
    "content-type": type,
    "cache-control": "no-cache",
    etag,
    // An SVG opened as a document would be a page of this origin, so it may run nothing.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
  });
  if (!ifNoneMatch(request.headers.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });
  headers.set("content-length", String(info.size));
  // Open the file only for a body: reading it to the end, or cancelling it, closes the file.
  if (request.method === "HEAD") return new Response(null, { headers });
  const file = await Deno.open(path).catch(() => undefined);
  if (file === undefined) throw fileNotFound(name);
  return new Response(file.readable, { headers });
}

function manifestResponse(manifest: CharacterManifest): Response {
  return Response.json(manifest, { headers: { "cache-control": "no-store" } });
}

function extensionOf(name: string): string {
  return /[^/\\]\.([a-z]+)$/i.exec(name)?.[1]?.toLowerCase() ?? "";
}

function pictureType(name: string): string | undefined {
  return PICTURE_TYPES.get(extensionOf(name));
}

function fileNotFound(name: string): AppError {
  return new AppError("not_found", `The character has no file ${name}.`);
}
