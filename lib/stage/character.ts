/** The user's own character: where it comes from, what the page is told of it, and its files. @module */

import { AppError, messageOf } from "../core/errors.ts";

/** Where a character comes from: nothing (the drawn one), a folder, a .vrm file, or an http(s) address of either. */
export interface Character {
  /** GET /stage/character.json */
  manifest(): Promise<Response> | Response;
  /** GET /stage/character/NAME, with the name decoded. @throws {AppError} `not_found` for what is no part of it. */
  file(name: string, request: Request): Promise<Response>;
  /** Origins that the page's CSP has to allow. */
  readonly origins: { readonly img: readonly string[]; readonly connect: readonly string[] };
}

/** What the page is told. */
export type CharacterManifest =
  | { readonly kind: "drawn" }
  /** Addresses by expression, in lower case. */
  | { readonly kind: "pictures"; readonly pictures: Readonly<Record<string, string>> }
  /** A place that cannot be listed: the page tries `base` + expression + `.` + extension. */
  | { readonly kind: "pictures"; readonly base: string; readonly extensions: readonly string[] }
  | { readonly kind: "vrm"; readonly src: string };

/** Pictures of one folder, entries looked at to find them, and the bytes of one file. */
export const MAX_PICTURES = 200;
const MAX_ENTRIES = 5_000;
export const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** Kinds of pictures; where an expression has several, the first of them counts. */
const PICTURE_TYPES: ReadonlyMap<string, string> = new Map([
  ["webp", "image/webp"],
  ["png", "image/png"],
  ["avif", "image/avif"],
  ["gif", "image/gif"],
  ["jpg", "image/jpeg"],
  ["jpeg", "image/jpeg"],
  ["svg", "image/svg+xml"],
]);
/** What the page tries at an address that cannot be listed. */
const TRIED_EXTENSIONS = ["webp", "png"] as const;
const VRM_TYPE = "model/gltf-binary";
const VRM_NAME = "model.vrm";
const FILES = "/stage/character/";
const SETTING = "VTUBER_CHARACTER";

/**
 * Opens the character that the setting names.
 *
 * @throws {Error} with a sentence for the user, when there is nothing that can be shown.
 */
export async function openCharacter(where: string | undefined): Promise<Character> {
  if (where === undefined || where === "") return withoutFiles({ kind: "drawn" });
  if (/^https?:\/\//i.test(where)) return ofAddress(where);
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(where);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "there is no such folder or file"
      : `it cannot be read: ${messageOf(error)}`;
    throw new Error(
      `${SETTING}: ${where}: ${why}. Give a folder with pictures such as happy.png, a .vrm file, or an address.`,
    );
  }
  if (info.isDirectory) return await ofFolder(where);
  if (info.isFile && /\.vrm$/i.test(where)) return ofVrm(where, info.size);
  throw new Error(
    `${SETTING}: ${where} is neither a folder nor a .vrm file. For pictures give the folder that holds them.`,
  );
}

function ofAddress(where: string): Character {
  const url = URL.parse(where);
  if (url === null) throw new Error(`${SETTING}: ${where} is no address.`);
  if (url.username !== "" || url.password !== "") {
    throw new Error(`${SETTING}: an address with a user name or password cannot be loaded by a page.`);
  }
  if (/\.vrm$/i.test(url.pathname)) {
    return withoutFiles({ kind: "vrm", src: url.href }, { img: [], connect: [url.origin] });
  }
  if (url.search !== "" || url.hash !== "" || typeOf(url.pathname) !== undefined) {
    throw new Error(
      `${SETTING}: ${where} is not the address of a folder. ` +
        "Give the part that stands before happy.png, or the address of a .vrm file.",
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
    file: (name) => Promise.reject(noFile(name)),
  };
}

function ofVrm(path: string, sizeBytes: number): Character {
  if (sizeBytes > MAX_FILE_BYTES) {
    throw new Error(
      `${SETTING}: ${path} has more than ${MAX_FILE_BYTES / 1024 ** 2} MB. Give a smaller one.`,
    );
  }
  return {
    origins: { img: [], connect: [] },
    manifest: () => manifestResponse({ kind: "vrm", src: FILES + VRM_NAME }),
    async file(name, request) {
      if (name !== VRM_NAME) throw noFile(name);
      return await send(path, VRM_TYPE, name, request);
    },
  };
}

async function ofFolder(folder: string): Promise<Character> {
  const root = await Deno.realPath(folder);
  if ((await picturesIn(root)).size === 0) {
    throw new Error(
      `${SETTING}: there is no picture in ${folder}. Put neutral.png there, and happy.png, sad.png and others; ` +
        "for a VRM give the path of the .vrm file itself.",
    );
  }
  return {
    origins: { img: [], connect: [] },
    async manifest() {
      // Listed anew, so that a picture that is added is there when the page is loaded again.
      const pictures = await listed(root);
      const addresses = [...pictures].map(([word, file]) => [word, FILES + encodeURIComponent(file)]);
      return manifestResponse({ kind: "pictures", pictures: Object.fromEntries(addresses) });
    },
    async file(name, request) {
      const type = typeOf(name);
      const known = [...(await listed(root)).values()].includes(name);
      if (!known || type === undefined) throw noFile(name);
      const path = await inside(root, name);
      if (path === undefined) throw noFile(name);
      return await send(path, type, name, request);
    },
  };
}

async function listed(root: string): Promise<Map<string, string>> {
  try {
    return await picturesIn(root);
  } catch (error) {
    throw new AppError("not_found", `${SETTING}: ${root} cannot be read any more: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** The file of every expression, sorted, of what a folder directly holds. */
async function picturesIn(root: string): Promise<Map<string, string>> {
  const names: string[] = [];
  let looked = 0;
  for await (const { name, isFile, isSymlink } of Deno.readDir(root)) {
    if (++looked > MAX_ENTRIES) break;
    if (name.startsWith(".") || typeOf(name) === undefined) continue;
    if (isFile || isSymlink && await inside(root, name) !== undefined) names.push(name);
  }
  const ranks = [...PICTURE_TYPES.keys()];
  const rank = (name: string) => ranks.indexOf(extensionOf(name));
  names.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const pictures = new Map<string, string>();
  for (const name of names) {
    const word = name.slice(0, name.lastIndexOf(".")).toLowerCase();
    if (!pictures.has(word)) pictures.set(word, name);
  }
  return new Map([...pictures].sort(([a], [b]) => a < b ? -1 : 1).slice(0, MAX_PICTURES));
}

/** Where a file of the folder really is: a link out of it would give away files that were never put there. */
async function inside(root: string, name: string): Promise<string | undefined> {
  const separator = Deno.build.os === "windows" ? "\\" : "/";
  const prefix = root.endsWith(separator) ? root : root + separator;
  const path = await Deno.realPath(prefix + name).catch(() => undefined);
  return path?.startsWith(prefix) ? path : undefined;
}

/** A file as it is on the disk, or that the caller has it already. */
async function send(path: string, type: string, name: string, request: Request): Promise<Response> {
  const info = await Deno.stat(path).catch(() => undefined);
  if (!info?.isFile || info.size > MAX_FILE_BYTES) throw noFile(name);
  const etag = `W/"${info.size.toString(16)}-${(info.mtime?.getTime() ?? 0).toString(16)}"`;
  const headers = new Headers({
    "content-type": type,
    "cache-control": "no-cache",
    etag,
    // An SVG that is opened by itself would be a page of this origin: here it may do nothing.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
  });
  if (holds(request.headers.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });
  headers.set("content-length", String(info.size));
  // Opened only for a body that is read to its end or cancelled, for that closes it.
  if (request.method === "HEAD") return new Response(null, { headers });
  const file = await Deno.open(path).catch(() => undefined);
  if (file === undefined) throw noFile(name);
  return new Response(file.readable, { headers });
}

function holds(ifNoneMatch: string | null, etag: string): boolean {
  const tags = ifNoneMatch?.split(",").map((tag) => tag.trim().replace(/^W\//, "")) ?? [];
  return tags.includes("*") || tags.includes(etag.slice("W/".length));
}

function manifestResponse(manifest: CharacterManifest): Response {
  return Response.json(manifest, { headers: { "cache-control": "no-store" } });
}

function extensionOf(name: string): string {
  return /[^/\\]\.([a-z]+)$/i.exec(name)?.[1]?.toLowerCase() ?? "";
}

function typeOf(name: string): string | undefined {
  return PICTURE_TYPES.get(extensionOf(name));
}

function noFile(name: string): AppError {
  return new AppError("not_found", `The character has no file ${name}.`);
}
