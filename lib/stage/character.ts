/** The character of the stage: the built-in one, or the user's pictures or VRM model (`VTUBER_CHARACTER`). @module */

import { eTag, ifNoneMatch } from "@std/http/etag";
import { AppError, messageOf } from "../core/errors.ts";
import type { CharacterOrigins } from "./assets.ts";

/** A character that the page can show: built in, or from a folder, a `.vrm` file or an http(s) address of either. */
export interface Character {
  /** Answers `GET /stage/character.json`. */
  manifest(): Promise<Response> | Response;
  /** Answers `GET /stage/character/NAME`. The name is decoded. @throws {AppError} `not_found`. */
  file(name: string, request: Request): Promise<Response>;
  /** Origins that the page's Content Security Policy has to allow. */
  readonly origins: CharacterOrigins;
}

/** Body of `GET /stage/character.json`. */
export type CharacterManifest =
  | { readonly kind: "drawn" }
  /** Picture addresses by expression, in lower case. */
  | { readonly kind: "pictures"; readonly pictures: Readonly<Record<string, string>> }
  /** A folder that cannot be listed: the page tries `base` + expression + `.` + extension. */
  | { readonly kind: "pictures"; readonly base: string; readonly extensions: readonly string[] }
  | { readonly kind: "vrm"; readonly src: string };

/** The content of a character at this moment. */
interface Listing {
  readonly manifest: CharacterManifest;
  /** Paths of the files by the name under which they are served. */
  readonly files?: ReadonlyMap<string, string>;
}

/** Pictures that are used of one folder. */
export const MAX_PICTURES = 200;
/** Folder entries that are read to find them. */
const MAX_ENTRIES = 5_000;
/** Largest file that is served. */
export const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** Types of pictures by extension. If an expression has several files, the type listed first wins. */
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
const TRIED_EXTENSIONS = ["webp", "png"];
const VRM_NAME = "model.vrm";
const FILES = "/stage/character/";
const SETTING = "VTUBER_CHARACTER";
const SEPARATOR = Deno.build.os === "windows" ? "\\" : "/";
const NO_ORIGINS: CharacterOrigins = { img: [], connect: [] };

/**
 * Opens the character of the setting; without one, the built-in drawn character.
 *
 * @throws {Error} if the character cannot be shown, with what to do.
 */
export async function openCharacter(location: string | undefined): Promise<Character> {
  if (location === undefined || location === "") {
    return createCharacter(() => ({ manifest: { kind: "drawn" } }));
  }
  if (/^https?:\/\//i.test(location)) return fromAddress(location);
  const info = await Deno.stat(location).catch((error) => {
    const isMissing = error instanceof Deno.errors.NotFound;
    throw new Error(
      `${SETTING}: ${location}: ${
        isMissing ? "no such file or folder" : `cannot be read: ${messageOf(error)}`
      }. ` +
        "Set it to a folder with pictures such as happy.png, to a .vrm file, or to the address of either.",
    );
  });
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
    const manifest: CharacterManifest = { kind: "vrm", src: url.href };
    return createCharacter(() => ({ manifest }), { img: [], connect: [url.origin] });
  }
  if (url.search !== "" || url.hash !== "" || PICTURE_TYPES.has(extensionOf(url.pathname))) {
    throw new Error(
      `${SETTING}: ${location} is not the address of a folder. ` +
        "Use the address up to the slash before happy.png, or the address of a .vrm file.",
    );
  }
  const base = url.href.endsWith("/") ? url.href : `${url.href}/`;
  const manifest: CharacterManifest = { kind: "pictures", base, extensions: TRIED_EXTENSIONS };
  return createCharacter(() => ({ manifest }), { img: [url.origin], connect: [] });
}

function fromVrmFile(path: string, sizeBytes: number): Character {
  if (sizeBytes > MAX_FILE_BYTES) {
    const megabytes = MAX_FILE_BYTES / 1024 ** 2;
    throw new Error(`${SETTING}: ${path} has more than ${megabytes} MB. Use a smaller model.`);
  }
  return createCharacter(() => ({
    manifest: { kind: "vrm", src: FILES + VRM_NAME },
    files: new Map([[VRM_NAME, path]]),
  }));
}

async function fromFolder(folder: string): Promise<Character> {
  const root = await Deno.realPath(folder);
  if ((await findPictures(root)).size === 0) {
    throw new Error(
      `${SETTING}: there is no picture in ${folder}. Add neutral.png, happy.png, sad.png and others; ` +
        "for a VRM model, name the .vrm file itself.",
    );
  }
  return createCharacter(async () => {
    // List the folder every time, so that a new picture appears when the page is reloaded.
    const pictures = await findPictures(root).catch((cause) => {
      // Everyone who can open the page gets this message: it names no folder.
      throw new AppError("not_found", `The folder of ${SETTING} can no longer be read.`, { cause });
    });
    const addresses = [...pictures].map(([word, { name }]) => [word, FILES + encodeURIComponent(name)]);
    return {
      manifest: { kind: "pictures", pictures: Object.fromEntries(addresses) },
      files: new Map(Array.from(pictures.values(), ({ name, path }) => [name, path])),
    };
  });
}

function createCharacter(list: () => Listing | Promise<Listing>, origins = NO_ORIGINS): Character {
  return {
    origins,
    async manifest() {
      const { manifest } = await list();
      return Response.json(manifest, { headers: { "cache-control": "no-store" } });
    },
    async file(name, request) {
      const path = (await list()).files?.get(name);
      const response = path === undefined ? undefined : await serveFile(path, name, request);
      if (response === undefined) throw new AppError("not_found", `The character has no file ${name}.`);
      return response;
    },
  };
}

interface Picture {
  readonly name: string;
  readonly path: string;
}

/** Returns the picture of each expression, sorted by expression. Subfolders are not searched. */
async function findPictures(root: string): Promise<Map<string, Picture>> {
  const prefix = root.endsWith(SEPARATOR) ? root : root + SEPARATOR;
  const found: Picture[] = [];
  let entries = 0;
  for await (const { name, isFile, isSymlink } of Deno.readDir(root)) {
    if (++entries > MAX_ENTRIES) break;
    if (name.startsWith(".") || !PICTURE_TYPES.has(extensionOf(name))) continue;
    const path = isSymlink ? await Deno.realPath(prefix + name).catch(() => "") : prefix + name;
    // A link that leaves the folder names a file that was never meant to be served.
    if (isFile || isSymlink && path.startsWith(prefix)) found.push({ name, path });
  }
  const ranks = [...PICTURE_TYPES.keys()];
  const rank = ({ name }: Picture) => ranks.indexOf(extensionOf(name));
  found.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
  const pictures = new Map<string, Picture>();
  for (const picture of found) {
    const expression = picture.name.slice(0, picture.name.lastIndexOf(".")).toLowerCase();
    if (!pictures.has(expression)) pictures.set(expression, picture);
  }
  return new Map([...pictures].sort(([a], [b]) => a < b ? -1 : 1).slice(0, MAX_PICTURES));
}

/** Serves a file, or 304 if the client has it; `undefined` if there is no such file. */
async function serveFile(path: string, name: string, request: Request): Promise<Response | undefined> {
  const info = await Deno.stat(path).catch(() => undefined);
  if (!info?.isFile || info.size > MAX_FILE_BYTES) return undefined;
  const etag = await eTag(info);
  const headers = new Headers({
    "content-type": PICTURE_TYPES.get(extensionOf(name)) ?? "model/gltf-binary",
    "cache-control": "no-cache",
    // An SVG opened as a document would be a page of this origin, so it may run nothing.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    ...(etag === undefined ? {} : { etag }),
  });
  if (!ifNoneMatch(request.headers.get("if-none-match"), etag)) {
    return new Response(null, { status: 304, headers });
  }
  headers.set("content-length", String(info.size));
  // Open the file only for a body: reading it to the end, or cancelling it, closes the file.
  if (request.method === "HEAD") return new Response(null, { headers });
  const file = await Deno.open(path).catch(() => undefined);
  return file && new Response(file.readable, { headers });
}

function extensionOf(name: string): string {
  return /[^/\\]\.([a-z]+)$/i.exec(name)?.[1]?.toLowerCase() ?? "";
}
