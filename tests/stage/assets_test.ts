import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { serveAsset, servePage } from "../../lib/stage/assets.ts";

const FOLDER = new URL("../../lib/stage/page/", import.meta.url);
const NO_ORIGINS = { img: [], connect: [] };

function get(headers: Record<string, string> = {}): Request {
  return new Request("http://127.0.0.1:8080/", { headers: { host: "127.0.0.1:8080", ...headers } });
}

async function pageText(): Promise<string> {
  return await (await servePage(get(), NO_ORIGINS)).text();
}

/** Reads the files of the page that are served as they are, by path. */
async function readSources(folder = FOLDER, prefix = ""): Promise<[path: string, text: string][]> {
  const files: [string, string][] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) files.push(...await readSources(new URL(`${name}/`, folder), `${prefix}${name}/`));
    else if (/\.(js|html|css|svg)$/.test(name)) {
      files.push([prefix + name, await Deno.readTextFile(new URL(name, folder))]);
    }
  }
  return files;
}

Deno.test("servePage: has a strict Content Security Policy", async () => {
  const { headers, status } = await servePage(get(), NO_ORIGINS);
  assertEquals(status, 200);
  assertEquals(headers.get("content-type"), "text/html; charset=utf-8");
  assertEquals(headers.get("referrer-policy"), "no-referrer");
  assertEquals(
    headers.get("content-security-policy"),
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
      "connect-src 'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080; base-uri 'none'; form-action 'none'; " +
      "frame-ancestors 'self'",
  );
});

Deno.test("servePage: the policy allows the character's origins, and ignores an invalid Host", async () => {
  const origins = { img: ["https://pictures.example"], connect: ["https://models.example"] };
  const { headers } = await servePage(get({ host: "x; script-src *" }), origins);
  const policy = headers.get("content-security-policy") ?? "";
  assertMatch(policy, /img-src 'self' data: blob: https:\/\/pictures\.example;/);
  assertMatch(policy, /connect-src 'self' https:\/\/models\.example;/);
  assertEquals(policy.match(/script-src/g)?.length, 1);
});

/** Patterns of the references to other files, by the type of the file. */
const REFERENCES: Record<string, RegExp> = {
  html: /(?:src|href)="([^"#]+)"/g,
  js: /(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g,
  css: /url\("?([^")]+)"?\)/g,
};
const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

Deno.test("serveAsset: serves every source of the page as it is, and each file that another one names", async () => {
  const sources = await readSources();
  const names = new Set(sources.map(([name]) => `stage/${name}`));
  // Modules from npm: see vrm_test.ts and the import map.
  for (const path of ["characters/vrm/vrm.js", "vendor/marked.js"]) {
    names.add(`stage/${path}`);
    assertEquals((await serveAsset(get(), path)).status, 200);
  }
  for (const [name, text] of sources) {
    const isPage = name === "index.html";
    const response = isPage ? await servePage(get(), NO_ORIGINS) : await serveAsset(get(), name);
    const extension = name.split(".").at(-1)!;
    assertEquals(response.headers.get("content-type"), TYPES[extension], name);
    assertEquals(await response.text(), text, name);
    const base = `http://host/${isPage ? "" : `stage/${name}`}`;
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
    for (const [, reference] of code.matchAll(REFERENCES[extension] ?? /$^/g)) {
      const path = new URL(reference!, base).pathname.slice(1);
      assert(names.has(path), `${name} names ${path}, which is not served`);
    }
  }
  assert(sources.length > 20);
});

Deno.test("serveAsset: serves nothing else", async () => {
  for (const name of ["", "nothing.js", "index.html", "deno.json", "../page.ts", "toString", "__proto__"]) {
    const error = await assertRejects(() => serveAsset(get(), name), AppError, undefined, name);
    assertEquals(error.code, "not_found");
  }
});

Deno.test("servePage, serveAsset: answer 304 for the ETag that the browser has", async () => {
  const first = await servePage(get(), NO_ORIGINS);
  const etag = first.headers.get("etag") ?? "";
  assertMatch(etag, /^"[\w+/=-]+"$/);
  assertEquals(first.headers.get("cache-control"), "no-cache");
  const again = await servePage(get({ "if-none-match": `"other", W/${etag}` }), NO_ORIGINS);
  assertEquals([again.status, await again.text(), again.headers.get("etag")], [304, "", etag]);
  assertEquals((await servePage(get({ "if-none-match": '"other"' }), NO_ORIGINS)).status, 200);
  const css = (await serveAsset(get(), "css/stage.css")).headers.get("etag") ?? "";
  assertEquals((await serveAsset(get({ "if-none-match": css }), "css/stage.css")).status, 304);
  assertNotEquals(css, (await serveAsset(get(), "main.js")).headers.get("etag"));
});

Deno.test("sources: no markup or code is made from text, and no other host is named", async () => {
  const unsafe =
    /\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|srcdoc|DOMParser)\b|new Function/;
  for (const [name, text] of await readSources()) {
    const code = text.replaceAll("http://www.w3.org/2000/svg", "");
    assertEquals(unsafe.exec(code)?.[0], undefined, name);
    assertEquals(/\bhttps?:\/\/|\/\/[a-z0-9-]+\.[a-z]{2,}\//i.exec(code)?.[0], undefined, name);
  }
});

Deno.test("index.html: has landmarks, labels and live regions, and no inline script or style", async () => {
  const html = await pageText();
  const required = [
    /<html lang="en">/,
    /<title>[^<]+<\/title>/,
    /<main\b/,
    /<h1\b/,
    /role="log"/,
    /aria-live="polite"/,
    /aria-live="assertive"/,
  ];
  for (const pattern of required) assertMatch(html, pattern);
  assertEquals(/\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)/i.exec(html)?.[0], undefined);
  for (
    const [button, attributes = "", content = ""] of html.matchAll(/<button([^>]*)>([\s\S]*?)<\/button>/g)
  ) {
    const words = content.replace(/<[^>]*>/g, "").trim();
    assert(/aria-label="[^"]+"/.test(attributes) || words !== "", button);
  }
  for (const [, id] of html.matchAll(/<(?:input|textarea)(?![^>]*\shidden)[^>]*\sid="([^"]+)"/g)) {
    assert(html.includes(`for="${id}"`), id);
  }
  const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
  assertEquals(ids.length, new Set(ids).size);
});
