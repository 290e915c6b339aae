import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { type Character, MAX_FILE_BYTES, MAX_PICTURES, openCharacter } from "../../lib/stage/character.ts";
import { AppError } from "../../lib/core/errors.ts";
import { createVrm } from "../support/harness/vrm_file.ts";

/** Creates a folder with files that contain their names. */
async function createFolder(...names: string[]): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "oab-vtuber-character-" });
  for (const name of names) await Deno.writeTextFile(`${path}/${name}`, name);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

function get(headers: HeadersInit = {}, method = "GET"): Request {
  return new Request("http://localhost/stage/character/x", { method, headers });
}

async function manifestOf(character: Character): Promise<unknown> {
  const response = await character.manifest();
  assertEquals(response.headers.get("content-type"), "application/json");
  return await response.json();
}

async function assertNoFile(character: Character, name: string): Promise<void> {
  const error = await assertRejects(() => character.file(name, get()), AppError, undefined, name);
  assertEquals(error.code, "not_found");
}

const NO_ORIGINS = { img: [], connect: [] };

Deno.test("openCharacter: opens the drawn character without a setting", async () => {
  for (const location of [undefined, ""]) {
    const character = await openCharacter(location);
    assertEquals(await manifestOf(character), { kind: "drawn" });
    assertEquals(character.origins, NO_ORIGINS);
    await assertNoFile(character, "model.vrm");
  }
});

Deno.test("folder: lists and serves the pictures by expression, and nothing else", async () => {
  await using dir = await createFolder(
    "Happy.PNG",
    "happy-open.webp",
    "neutral.png",
    "neutral.webp",
    "eine Idee.svg",
    ".hidden.png",
    "notes.txt",
    "model.vrm",
    "png",
  );
  await Deno.mkdir(`${dir.path}/sub.png`);
  const character = await openCharacter(dir.path);
  assertEquals(character.origins, NO_ORIGINS);
  assertEquals(await manifestOf(character), {
    kind: "pictures",
    pictures: {
      "eine idee": "/stage/character/eine%20Idee.svg",
      happy: "/stage/character/Happy.PNG",
      "happy-open": "/stage/character/happy-open.webp",
      neutral: "/stage/character/neutral.webp",
    },
  });
  for (
    const name of [".hidden.png", "notes.txt", "model.vrm", "png", "sub.png", "neutral.png", "happy.png", ""]
  ) {
    await assertNoFile(character, name);
  }
});

Deno.test("folder: is listed for each request, up to a limit", async () => {
  await using dir = await createFolder("neutral.png");
  const character = await openCharacter(dir.path);
  for (let i = 0; i < MAX_PICTURES; i++) await Deno.writeTextFile(`${dir.path}/a${i}.png`, "");
  const { pictures } = await manifestOf(character) as { pictures: Record<string, string> };
  assertEquals(Object.keys(pictures).length, MAX_PICTURES);
  await Deno.writeTextFile(`${dir.path}/__proto__.png`, "proto");
  assertStringIncludes(
    await (await character.manifest()).text(),
    '"__proto__":"/stage/character/__proto__.png"',
  );
  await Deno.remove(dir.path, { recursive: true });
  const error = await assertRejects(async () => await character.manifest(), AppError, "VTUBER_CHARACTER");
  assertEquals(error.message.includes(dir.path), false);
  await Deno.mkdir(dir.path);
});

Deno.test("picture: has its type, and is sent again only after a change", async () => {
  const types = {
    "a.png": "image/png",
    "b.webp": "image/webp",
    "c.jpg": "image/jpeg",
    "d.jpeg": "image/jpeg",
    "e.gif": "image/gif",
    "f.svg": "image/svg+xml",
    "g.avif": "image/avif",
  };
  await using dir = await createFolder(...Object.keys(types));
  const character = await openCharacter(dir.path);
  for (const [name, type] of Object.entries(types)) {
    const response = await character.file(name, get());
    assertEquals(response.headers.get("content-type"), type);
    assertEquals(response.headers.get("cache-control"), "no-cache");
    assertStringIncludes(response.headers.get("content-security-policy") ?? "", "sandbox");
    assertEquals(await response.text(), name);
  }

  const etag = (await character.file("a.png", get({}, "HEAD"))).headers.get("etag")!;
  assertMatch(etag, /^W\/"[\w+/=-]+"$/);
  for (const value of [etag, `"x", ${etag}`, etag.slice(2), "*"]) {
    const response = await character.file("a.png", get({ "if-none-match": value }));
    assertEquals([response.status, response.headers.get("etag"), response.body], [304, etag, null], value);
  }
  await Deno.writeTextFile(`${dir.path}/a.png`, "another picture");
  const changed = await character.file("a.png", get({ "if-none-match": etag }));
  assertEquals([changed.status, await changed.text()], [200, "another picture"]);
});

Deno.test("picture: HEAD opens no file, and a cancelled body closes it", async () => {
  await using dir = await createFolder("a.png");
  const character = await openCharacter(dir.path);
  const head = await character.file("a.png", get({}, "HEAD"));
  assertEquals([head.body, head.headers.get("content-length")], [null, "5"]);
  // The resource sanitizer would report an open file.
  await (await character.file("a.png", get())).body?.cancel();
});

Deno.test("folder: no link and no path leads out of it", async () => {
  await using outside = await createFolder("secret.png");
  await using dir = await createFolder("neutral.png");
  await Deno.symlink(`${outside.path}/secret.png`, `${dir.path}/link.png`);
  await Deno.symlink(outside.path, `${dir.path}/outside.png`);
  await Deno.symlink(`${dir.path}/neutral.png`, `${dir.path}/calm.png`);
  const character = await openCharacter(dir.path);
  assertEquals(await manifestOf(character), {
    kind: "pictures",
    pictures: { calm: "/stage/character/calm.png", neutral: "/stage/character/neutral.png" },
  });
  const base = outside.path.split("/").at(-1);
  for (
    const name of [
      "link.png",
      "outside.png",
      "outside.png/secret.png",
      `../${base}/secret.png`,
      `..%2f${base}%2fsecret.png`,
      `%2e%2e/${base}/secret.png`,
      `..\\${base}\\secret.png`,
      `${outside.path}/secret.png`,
      `/${outside.path}/secret.png`,
      "./neutral.png",
      "neutral.png/",
      "neutral.png\0.png",
    ]
  ) await assertNoFile(character, name);
  assertEquals(await (await character.file("calm.png", get())).text(), "neutral.png");
});

Deno.test("VRM file: is the only file, under a fixed name", async () => {
  await using dir = await createFolder("neutral.png");
  const bytes = createVrm("1.0");
  await Deno.writeFile(`${dir.path}/My Model.VRM`, bytes);
  const character = await openCharacter(`${dir.path}/My Model.VRM`);
  assertEquals(await manifestOf(character), { kind: "vrm", src: "/stage/character/model.vrm" });
  assertEquals(character.origins, NO_ORIGINS);
  const response = await character.file("model.vrm", get());
  assertEquals(response.headers.get("content-type"), "model/gltf-binary");
  assertEquals(response.headers.get("content-length"), String(bytes.length));
  assertEquals(await response.bytes(), bytes);
  for (const name of ["My Model.VRM", "neutral.png", "../neutral.png"]) await assertNoFile(character, name);
});

Deno.test("address: the page loads from it, and its origin is allowed", async () => {
  const pictures = { kind: "pictures", extensions: ["webp", "png"] };
  const cases = [
    ["https://host.example/a/b", { ...pictures, base: "https://host.example/a/b/" }, "img"],
    ["HTTP://Host.example:81/", { ...pictures, base: "http://host.example:81/" }, "img"],
    ["https://host.example/a b/m.vrm", { kind: "vrm", src: "https://host.example/a%20b/m.vrm" }, "connect"],
    ["https://host.example/m.VRM?v=2", { kind: "vrm", src: "https://host.example/m.VRM?v=2" }, "connect"],
  ] as const;
  for (const [location, manifest, directive] of cases) {
    const character = await openCharacter(location);
    assertEquals(await manifestOf(character), manifest, location);
    const { origin } = new URL(location);
    assertEquals(character.origins, { ...NO_ORIGINS, [directive]: [origin] }, location);
    await assertNoFile(character, "model.vrm");
  }
});

Deno.test("openCharacter: throws an error that names the setting and the problem", async () => {
  await using empty = await createFolder("notes.txt", "a.fbx");
  await using large = await createFolder("model.vrm");
  await Deno.truncate(`${large.path}/model.vrm`, MAX_FILE_BYTES + 1);
  const cases = [
    [`${empty.path}/none`, "no such file or folder"],
    [empty.path, "there is no picture in"],
    [`${empty.path}/a.fbx`, "neither a folder nor a .vrm file"],
    [`${large.path}/model.vrm`, "more than 256 MB"],
    ["https://host.example/happy.png", "not the address of a folder"],
    ["https://host.example/a?b=c", "not the address of a folder"],
    ["https://user:word@host.example/", "user name or password"],
    ["https://", "is not a valid address"],
  ] as const;
  for (const [location, problem] of cases) {
    const { message } = await assertRejects(() => openCharacter(location), Error, problem, location);
    assert(message.startsWith("VTUBER_CHARACTER: "), message);
  }
});
