import { assert, assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { waitMs } from "../../lib/stage/page/api/backoff.js";
import { ChatError, latest, readChunk, STAGE_DIRECTIONS, streamChat } from "../../lib/stage/page/api/chat.js";
import { expressionOf, EXPRESSIONS, faceOf, NEUTRAL } from "../../lib/stage/page/characters/drawn/faces.js";
import { eyeLines, limb, mouthLines } from "../../lib/stage/page/characters/drawn/lines.js";
import { motionOf, poseOf } from "../../lib/stage/page/characters/drawn/pose.js";
import { keyInHash, protocolsOf } from "../../lib/stage/page/api/key.js";
import { captionOf, opennessOf, sentencesOf, speakable, Speaker } from "../../lib/stage/page/views/speech.js";
import { SseReader } from "../../lib/stage/page/api/sse.js";
import { learnTag, withoutTags } from "../../lib/stage/page/views/tags.js";
import { createStageAssets } from "../../lib/stage/assets.ts";
import { AGENT_STATES } from "../../lib/events/wire.ts";
import { emotionWords } from "../../lib/turn/emotion.ts";

const FOLDER = new URL("../../lib/stage/page/", import.meta.url);
const CONTEXT = { requestId: "r", rest: "" };
const stage = createStageAssets();

function get(path: string, headers: Record<string, string> = {}): Request {
  return new Request(`http://127.0.0.1:8080${path}`, { headers: { host: "127.0.0.1:8080", ...headers } });
}

function asset(name: string, headers?: Record<string, string>): Response | undefined {
  return stage.file(name, get(`/stage/${name}`, headers));
}

async function pageText(): Promise<string> {
  return await (await stage.page(get("/"), CONTEXT)).text();
}

/** The sources of the page that are written by hand and served as they are. */
async function sources(folder = FOLDER, prefix = ""): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) {
      const inner = await sources(new URL(`${name}/`, folder), `${prefix}${name}/`);
      for (const [path, text] of inner) files.set(path, text);
    } else if (/\.(js|html|css|svg)$/.test(name)) {
      files.set(prefix + name, await Deno.readTextFile(new URL(name, folder)));
    }
  }
  return files;
}

Deno.test("the page has a strict policy", async () => {
  const { headers, status } = await stage.page(get("/"), CONTEXT);
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

Deno.test("the policy names the origins of a character elsewhere, and no host that is none", async () => {
  const csp = { img: ["https://pictures.example"], connect: ["https://models.example"] };
  const request = get("/", { host: "x; script-src *" });
  const response = await createStageAssets(csp).page(request, CONTEXT);
  const policy = response.headers.get("content-security-policy") ?? "";
  assertMatch(policy, /img-src 'self' data: blob: https:\/\/pictures\.example;/);
  assertMatch(policy, /connect-src 'self' https:\/\/models\.example;/);
  assertEquals(policy.match(/script-src/g)?.length, 1);
});

Deno.test("everything that the page links and imports is served with its type", async () => {
  const html = await pageText();
  const linked = [...html.matchAll(/(?:src|href)="stage\/([^"]+)"/g)].map((match) => match[1]!);
  assertEquals(linked.toSorted(), [
    "css/activity.css",
    "css/cards.css",
    "css/chat.css",
    "css/responsive.css",
    "css/stage.css",
    "css/theme.css",
    "icon.svg",
    "main.js",
  ]);
  const types: Record<string, string> = {
    css: "text/css; charset=utf-8",
    js: "text/javascript; charset=utf-8",
    svg: "image/svg+xml",
  };
  const waiting = [...linked];
  const seen = new Set<string>();
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    // Made when the program is built, and served elsewhere.
    if (seen.has(name) || name === "characters/vrm/vrm.js") continue;
    seen.add(name);
    const response = asset(name);
    assert(response, `${name} is not served`);
    assertEquals(response!.headers.get("content-type"), types[name.split(".").at(-1)!], name);
    const text = await response!.text();
    if (!name.endsWith(".js")) continue;
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
    for (const [, imported] of code.matchAll(/(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)) {
      waiting.push(new URL(imported!, `http://page/${name}`).pathname.slice(1));
    }
  }
  assert(
    seen.has("characters/drawn/lines.js") && seen.has("characters/pictures/pictures.js") && seen.size > 20,
  );
});

Deno.test("every file of the page is served as it is, and nothing else", async () => {
  for (const [name, text] of await sources()) {
    if (name === "index.html") assertEquals(await pageText(), text);
    else assertEquals(await asset(name)?.text(), text, name);
  }
  for (const name of ["", "nothing.js", "index.html", "deno.json", "../page.ts", "toString", "__proto__"]) {
    assertEquals(asset(name), undefined, name);
  }
});

Deno.test("what the browser has already is not sent again", async () => {
  const first = await stage.page(get("/"), CONTEXT);
  const tag = first.headers.get("etag") ?? "";
  assertMatch(tag, /^"[0-9a-f-]+"$/);
  assertEquals(first.headers.get("cache-control"), "no-cache");
  const again = await stage.page(get("/", { "if-none-match": `"other", W/${tag}` }), CONTEXT);
  assertEquals([again.status, await again.text(), again.headers.get("etag")], [304, "", tag]);
  assertEquals((await stage.page(get("/", { "if-none-match": '"other"' }), CONTEXT)).status, 200);
  const css = asset("css/stage.css")?.headers.get("etag") ?? "";
  assertEquals(asset("css/stage.css", { "if-none-match": css })?.status, 304);
  assertNotEquals(css, asset("main.js")?.headers.get("etag"));
});

Deno.test("no source makes markup or code of text, nor asks another host", async () => {
  const forbidden =
    /\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|srcdoc|DOMParser)\b|new Function/;
  for (const [name, text] of await sources()) {
    const code = text.replaceAll("http://www.w3.org/2000/svg", "");
    assertEquals(forbidden.exec(code)?.[0], undefined, name);
    assertEquals(/\bhttps?:\/\/|\/\/[a-z0-9-]+\.[a-z]{2,}\//i.exec(code)?.[0], undefined, name);
  }
});

Deno.test("the page is made for keyboards and screen readers", async () => {
  const html = await pageText();
  assertMatch(html, /<html lang="en">/);
  assertMatch(html, /<title>[^<]+<\/title>/);
  assertMatch(html, /<main\b/);
  assertMatch(html, /<h1\b/);
  assertMatch(html, /role="log"/);
  assertMatch(html, /aria-live="polite"/);
  assertMatch(html, /aria-live="assertive"/);
  assertEquals(/\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)/i.exec(html)?.[0], undefined);
  for (
    const [button, attributes = "", inside = ""] of html.matchAll(/<button([^>]*)>([\s\S]*?)<\/button>/g)
  ) {
    const words = inside.replace(/<[^>]*>/g, "").trim();
    assert(/aria-label="[^"]+"/.test(attributes) || words !== "", button);
  }
  for (const [, id] of html.matchAll(/<(?:input|textarea)(?![^>]*\shidden)[^>]*\sid="([^"]+)"/g)) {
    assert(html.includes(`for="${id}"`), id);
  }
  const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map((match) => match[1]);
  assertEquals(ids.length, new Set(ids).size);
});

Deno.test("tags are taken out, and nothing else is", () => {
  const cases: [raw: string, shown: string][] = [
    ["[happy] Hello.", "Hello."],
    ["Hello. [sad] Bye.", "Hello. Bye."],
    ["[Joy][face:Fun]Hi", "Hi"],
    ["[face:Joy] Hi [pause:1.5] there [lang:ja-JP]", "Hi there "],
    ['<|ACT {"emotion":"happy"}|>Hi<|DELAY 1|>!', "Hi!"],
    ["A [link](address) and [1] and [x] and a[0]", "A [link](address) and [1] and [x] and a[0]"],
    ["[happy](address) is a link", "[happy](address) is a link"],
    ["Say `[happy]` and ``[sad] ` ``", "Say `[happy]` and ``[sad] ` ``"],
    ["```\n[happy]\n```\n[sad]End", "```\n[happy]\n```\nEnd"],
    ["~~~js\n[happy] ```\n~~~\nx", "~~~js\n[happy] ```\n~~~\nx"],
    ["```\n[happy] not closed", "```\n[happy] not closed"],
    ["\\[happy] stays", "\\[happy] stays"],
    ["- [ ] one\n- [x] two", "- [ ] one\n- [x] two"],
    ["a < b && c [d", "a < b && c [d"],
    ["<b>bold</b>", "<b>bold</b>"],
    ["\n\n[happy]\nHi", "Hi"],
    ["[silent]", ""],
  ];
  for (const [raw, shown] of cases) {
    assertEquals(withoutTags(raw, true), shown, raw);
    // However it is cut, what is shown only ever grows into that: no part of a tag is ever seen.
    for (let at = 0; at <= raw.length; at++) {
      const part = withoutTags(raw.slice(0, at), false).trimEnd();
      assert(shown.startsWith(part), `${raw.slice(0, at)} shows ${part}`);
    }
  }
});

Deno.test("every word that the server knows is a tag, and new ones are learnt", () => {
  const { plain, face } = emotionWords();
  for (const word of plain) assertEquals(withoutTags(`[${word}]x`, true), "x");
  for (const word of face) assertEquals(withoutTags(`[face:${word}]x`, true), "x");
  assertEquals(withoutTags("[hyped]x", true), "[hyped]x");
  learnTag("Hyped");
  assertEquals(withoutTags("[hyped]x", true), "x");
});

Deno.test("events are read however they are cut", () => {
  const stream =
    ': hello\n\ndata: {"a":1}\n\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\nid: 1\rdata: ü\r\rdata: [DONE]\n\n' +
    "data: unfinished";
  const expected = ['{"a":1}', "two\nlines", "ü", "[DONE]"];
  for (let first = 0; first <= stream.length; first++) {
    for (const second of [first, Math.min(stream.length, first + 1), Math.min(stream.length, first + 7)]) {
      const reader = new SseReader();
      const pieces = [stream.slice(0, first), stream.slice(first, second), stream.slice(second)];
      assertEquals(pieces.flatMap((piece) => reader.push(piece)), expected);
    }
  }
});

Deno.test("chunks give their text, their end and their error", () => {
  assertEquals(readChunk('{"choices":[{"delta":{"content":"a"}}]}'), { text: "a" });
  assertEquals(readChunk('{"choices":[{"delta":{},"finish_reason":"stop"}]}'), { text: "", finish: "stop" });
  for (
    const data of ["{}", "no json", '{"choices":[]}', '{"choices":[{"delta":{"content":null}}]}', "null"]
  ) {
    assertEquals(readChunk(data), { text: "" });
  }
  assertThrows(() => readChunk('{"error":{"message":"It broke."}}'), ChatError, "It broke.");
});

async function chatWith(response: Response): Promise<{ text: string; reason: string; request: Request }> {
  let request = new Request("http://127.0.0.1/");
  const pieces = streamChat({
    url: "http://127.0.0.1/v1/chat/completions",
    key: "k",
    session: "s",
    messages: [{ role: "user", content: "Hi" }],
    signal: new AbortController().signal,
    fetch: (input, init) => {
      request = new Request(input, init);
      return Promise.resolve(response);
    },
  });
  let text = "";
  for (;;) {
    const { done, value } = await pieces.next();
    if (done) return { text, reason: value, request };
    text += value;
  }
}

Deno.test("a chat is sent as any skin would, and its answer read", async () => {
  const body = 'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n' +
    'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\ndata: {"choices":[{"delta":{"content":"lo"}}]}\n\n' +
    'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n';
  const { text, reason, request } = await chatWith(new Response(body));
  assertEquals([text, reason], ["Hello", "stop"]);
  assertEquals(request.headers.get("authorization"), "Bearer k");
  assertEquals(request.headers.get("x-session-id"), "s");
  assertEquals(await request.json(), {
    model: "openab",
    stream: true,
    messages: [{ role: "system", content: STAGE_DIRECTIONS }, { role: "user", content: "Hi" }],
  });
  assertEquals((await chatWith(new Response(""))).reason, "cut");
});

Deno.test("the words in the stage's directions are emotions that the server knows", () => {
  const { plain } = emotionWords();
  const named = [...STAGE_DIRECTIONS.matchAll(/\[(\w+)\]/g)].map(([, word = ""]) => word);
  assertEquals(named.length, 16);
  for (const word of named) assert(plain.has(word), word);
});

Deno.test("a refused chat says what the server said", async () => {
  const said = Response.json({ error: { message: "Too busy." } }, { status: 429 });
  const failures = await Promise.allSettled([
    chatWith(said),
    chatWith(new Response("<html>", { status: 502 })),
  ]);
  const reasons = failures.map((failure) => failure.status === "rejected" ? failure.reason : undefined);
  assertEquals(reasons.map(({ status, message }) => [status, message]), [
    [429, "Too busy."],
    [502, "The server answered 502."],
  ]);
});

Deno.test("the latest messages are sent, within limits", () => {
  const message = (content: string) => ({ role: "user" as const, content });
  const many = Array.from({ length: 60 }, (_, i) => message(String(i)));
  assertEquals(latest(many).length, 40);
  assertEquals(latest(many).at(-1)?.content, "59");
  assertEquals(latest([message("x".repeat(150_000)), message("y".repeat(150_000))]).length, 1);
  assertEquals(latest([message("x".repeat(900_000))]).length, 1);
});

Deno.test("waiting doubles up to a limit, with jitter", () => {
  assertEquals([0, 1, 2, 3, 4, 5, 50].map((attempt) => waitMs(attempt, 1)), [
    500,
    1000,
    2000,
    4000,
    8000,
    15000,
    15000,
  ]);
  assertEquals(waitMs(0, 0), 375);
});

Deno.test("the key is found in the address, and goes into a subprotocol", () => {
  assertEquals(keyInHash("#key=a%20key%2F%C3%BC"), "a key/ü");
  assertEquals(keyInHash("#other=1&key=k"), "k");
  assertEquals(keyInHash("#key=100%"), "100%");
  for (const hash of ["", "#", "#monkey=1"]) assertEquals(keyInHash(hash), undefined);
  assertEquals(protocolsOf(""), ["vtuber"]);
  const [, bearer = ""] = protocolsOf("ü?>~ key");
  assertMatch(bearer, /^bearer\.[A-Za-z0-9_-]+$/);
  const bytes = Uint8Array.fromBase64(bearer.slice("bearer.".length), { alphabet: "base64url" });
  assertEquals(new TextDecoder().decode(bytes), "ü?>~ key");
});

Deno.test("captions show the last sentences", () => {
  assertEquals(sentencesOf("One. Two! Is 3.5 a number? はい。そうです"), [
    "One.",
    "Two!",
    "Is 3.5 a number?",
    "はい。",
    "そうです",
  ]);
  assertEquals(captionOf("One. Two."), "One. Two.");
  assertEquals(captionOf(""), "");
  const long = "word ".repeat(100).trim();
  const caption = captionOf(`Before. ${long}`);
  assert(caption.startsWith("… word") && caption.length <= 152, caption);
  assertEquals(captionOf(`${"a".repeat(80)}. Short one.`), "Short one.");
});

Deno.test("what is said aloud has no code and no marks", () => {
  assertEquals(
    speakable("Look:\n```js\nrun();\n```\nDone **now**, see [this](there) and `that`."),
    "Look:\nDone now, see this and that.",
  );
  assertEquals(speakable("# Title\n- one\n- two"), "Title\none\ntwo");
  assertEquals(speakable("Wait:\n```\nhalf"), "Wait:\n");
});

Deno.test("a speaker keeps the pace of speech, catches up, and closes the mouth", () => {
  const speaker = new Speaker();
  assertEquals(speaker.step(1), 0);
  speaker.say("Hello there, ");
  assert(speaker.step(0.2) > 0);
  assertEquals(speaker.silent, false);
  speaker.say("Hello there, this grows while it is spoken.");
  let seconds = 0;
  for (; !speaker.silent && seconds < 20; seconds += 0.033) speaker.step(0.033);
  assert(seconds > 1 && seconds < 4, String(seconds));
  assertEquals(speaker.step(0.1), 0);
  assertEquals(speaker.spoken, "Hello there, this grows while it is spoken.");
  speaker.say("word ".repeat(1000));
  for (seconds = 0; !speaker.silent && seconds < 60; seconds += 0.033) speaker.step(0.033);
  assert(seconds < 30, String(seconds));
  assert(opennessOf("a") > opennessOf("e") && opennessOf("e") > opennessOf("m"));
});

Deno.test("every emotion has a face, and an unknown one is neutral", () => {
  const { plain, face, act } = emotionWords();
  for (const word of [...plain, ...face, ...act]) {
    const name = expressionOf(word);
    assert(EXPRESSIONS.includes(name), word);
    if (word !== "neutral") assertNotEquals(name, "neutral", word);
  }
  assertEquals(expressionOf("constructor"), "neutral");
  assertEquals(expressionOf(" JOY "), "happy");
  assertEquals(faceOf("neutral", 1), NEUTRAL);
  const [weak, strong] = [faceOf("laugh", 0.2), faceOf("laugh", 1)];
  assert(weak.gape > 0 && weak.gape < strong.gape);
});

Deno.test("every state has a pose of its own", () => {
  const poses = AGENT_STATES.map((state) => poseOf(state));
  assertEquals(new Set(poses).size, AGENT_STATES.length);
  for (const { face } of poses) assert(EXPRESSIONS.includes(face));
  assertEquals(poseOf("toString"), poseOf("idle"));
  for (const state of AGENT_STATES) assert(Number.isFinite(motionOf(state, 1.5).twist));
});

Deno.test("the lines of every face are whole", () => {
  for (const expression of EXPRESSIONS) {
    const face = faceOf(expression, 1);
    const lines = [
      ...Object.values(eyeLines(1, face)),
      ...Object.values(eyeLines(-1, { ...face, open: 0 })),
      ...Object.values(mouthLines(face)),
      ...Object.values(limb([0, 0], [10, 50], 20, 15, true, [0, 0.3])),
    ];
    for (const line of lines) assertEquals(/NaN|Infinity|undefined/.test(String(line)), false, expression);
  }
});

// Its types are a browser's, so it is no part of what is checked here.
const { partsOf, unhidden } = await import(
  new URL("../../lib/stage/page/views/dom.js", import.meta.url).href
);

Deno.test("what is hidden in a text is shown where a person decides by it", () => {
  assertEquals(unhidden("cat \u202etxt.eton\u200b fr- mr\u0007"), "cat \\u202etxt.eton\\u200b fr- mr\\u0007");
  assertEquals(unhidden("one\n\ttwo \u00e9 \u4f1a"), "one\n\ttwo \u00e9 \u4f1a");
});

Deno.test("what is said of a long odd text is found in a time that grows with it, no faster", () => {
  const odd = [".".repeat(100_000) + "x", "\n".repeat(100_000), " ".repeat(100_000), "[".repeat(100_000)];
  // Each of these took seconds, or minutes, when it was looked at over and over.
  for (const text of odd) {
    assert(sentencesOf(speakable(text)).length <= 1);
    assert(captionOf(speakable(text)).length <= 200);
  }
});

Deno.test("a fence in one line is code in the line", () => {
  assertEquals(partsOf("```one line```"), [{ kind: "code", text: "one line" }]);
  assertEquals(speakable("```one line```"), "one line");
});
