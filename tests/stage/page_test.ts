import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import {
  ChatError,
  newestMessages,
  parseChunk,
  streamChat,
  SYSTEM_PROMPT,
} from "../../lib/stage/page/api/chat.js";
import { keyFromHash, socketProtocols } from "../../lib/stage/page/api/key.js";
import { SseReader } from "../../lib/stage/page/api/sse.js";
import { expressionOf, EXPRESSIONS, faceOf, NEUTRAL } from "../../lib/stage/page/characters/drawn/faces.js";
import { eyeLines, limb, mouthLines } from "../../lib/stage/page/characters/drawn/lines.js";
import { motionOf, poseOf } from "../../lib/stage/page/characters/drawn/pose.js";
import { captionOf, mouthOpenness, SpeechPacer, splitSentences } from "../../lib/stage/page/views/speech.js";
import { addTag, stripTags } from "../../lib/stage/page/views/tags.js";
import { AGENT_STATES } from "../../lib/events/wire.ts";
import { emotionWords } from "../../lib/turn/emotion.ts";

// Imported by address, because these modules are type-checked with the types of the DOM and this file is not.
const page = new URL("../../lib/stage/page/", import.meta.url).href;
const { reconnectDelayMs } = await import(`${page}api/events.js`);
const { escapeInvisible } = await import(`${page}views/dom.js`);
const { toProse } = await import(`${page}views/markdown.js`);

Deno.test("stripTags: removes tags and nothing else, and never shows a part of a tag", () => {
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
    assertEquals(stripTags(raw, true), shown, raw);
    for (let end = 0; end <= raw.length; end++) {
      const part = stripTags(raw.slice(0, end), false).trimEnd();
      assert(shown.startsWith(part), `${raw.slice(0, end)} shows ${part}`);
    }
  }
});

Deno.test("stripTags: knows every emotion of the server and added tags", () => {
  const { plain, face } = emotionWords();
  for (const word of plain) assertEquals(stripTags(`[${word}]x`, true), "x");
  for (const word of face) assertEquals(stripTags(`[face:${word}]x`, true), "x");
  assertEquals(stripTags("[hyped]x", true), "[hyped]x");
  addTag("Hyped");
  assertEquals(stripTags("[hyped]x", true), "x");
});

Deno.test("SseReader: parses events wherever the stream is cut", () => {
  const stream =
    ': hello\n\ndata: {"a":1}\n\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\nid: 1\rdata: ü\r\rdata: [DONE]\n\n' +
    "data: unfinished";
  const expected = ['{"a":1}', "two\nlines", "ü", "[DONE]"];
  for (let first = 0; first <= stream.length; first++) {
    for (const length of [0, 1, 7]) {
      const second = Math.min(stream.length, first + length);
      const reader = new SseReader();
      const pieces = [stream.slice(0, first), stream.slice(first, second), stream.slice(second)];
      assertEquals(pieces.flatMap((piece) => reader.push(piece)), expected);
    }
  }
});

Deno.test("parseChunk: returns text and finish reason, ignores anything else, throws an error", () => {
  const chunks: [data: string, parsed: ReturnType<typeof parseChunk>][] = [
    ['{"choices":[{"delta":{"content":"a"}}]}', { text: "a" }],
    ['{"choices":[{"delta":{},"finish_reason":"stop"}]}', { text: "", finish: "stop" }],
    ["{}", { text: "" }],
    ["no json", { text: "" }],
    ['{"choices":[]}', { text: "" }],
    ['{"choices":[{"delta":{"content":null}}]}', { text: "" }],
    ["null", { text: "" }],
  ];
  for (const [data, parsed] of chunks) assertEquals(parseChunk(data), parsed, data);
  assertThrows(() => parseChunk('{"error":{"message":"It broke."}}'), ChatError, "It broke.");
});

async function chat(response: Response): Promise<{ text: string; reason: string; request: Request }> {
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

Deno.test("streamChat: sends key, session and system prompt, and yields the reply", async () => {
  const body = 'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n' +
    'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\ndata: {"choices":[{"delta":{"content":"lo"}}]}\n\n' +
    'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n';
  const { text, reason, request } = await chat(new Response(body));
  assertEquals([text, reason], ["Hello", "stop"]);
  assertEquals(request.headers.get("authorization"), "Bearer k");
  assertEquals(request.headers.get("x-session-id"), "s");
  assertEquals(await request.json(), {
    model: "openab",
    stream: true,
    messages: [{ role: "system", content: SYSTEM_PROMPT }, { role: "user", content: "Hi" }],
  });
  assertEquals((await chat(new Response(""))).reason, "cut");
});

Deno.test("streamChat: throws the server's error message, or its status", async () => {
  const cases: [response: Response, message: string][] = [
    [Response.json({ error: { message: "Too busy." } }, { status: 429 }), "Too busy."],
    [new Response("<html>", { status: 502 }), "The server answered 502."],
  ];
  for (const [response, message] of cases) {
    const error = await assertRejects(() => chat(response), ChatError, message);
    assertEquals([error.status, error.message], [response.status, message]);
  }
});

Deno.test("SYSTEM_PROMPT: names only emotions that the server knows", () => {
  const { plain } = emotionWords();
  const named = [...SYSTEM_PROMPT.matchAll(/\[(\w+)\]/g)].map(([, word = ""]) => word);
  assertEquals(named.length, 16);
  for (const word of named) assert(plain.has(word), word);
});

Deno.test("newestMessages: limits messages and characters, and keeps at least one", () => {
  const message = (content: string) => ({ role: "user" as const, content });
  const newest = newestMessages(Array.from({ length: 60 }, (_, i) => message(String(i))));
  assertEquals([newest.length, newest.at(-1)?.content], [40, "59"]);
  for (const lengths of [[150_000, 150_000], [900_000]]) {
    assertEquals(newestMessages(lengths.map((length) => message("x".repeat(length)))).length, 1);
  }
});

Deno.test("reconnectDelayMs: doubles up to a limit, with jitter", () => {
  const delays = [0, 1, 2, 3, 4, 5, 50].map((failures) => reconnectDelayMs(failures, 1));
  assertEquals(delays, [500, 1000, 2000, 4000, 8000, 15000, 15000]);
  assertEquals(reconnectDelayMs(0, 0), 375);
});

Deno.test("keyFromHash: decodes the key of an address", () => {
  const cases = [
    ["#key=a%20key%2F%C3%BC", "a key/ü"],
    ["#other=1&key=k", "k"],
    ["#key=100%", "100%"],
    ["", undefined],
    ["#", undefined],
    ["#monkey=1", undefined],
  ] as const;
  for (const [hash, key] of cases) assertEquals(keyFromHash(hash), key);
});

Deno.test("socketProtocols: carries the key in base64url", () => {
  assertEquals(socketProtocols(""), ["vtuber"]);
  const [, bearer = ""] = socketProtocols("ü?>~ key");
  assertMatch(bearer, /^bearer\.[A-Za-z0-9_-]+$/);
  const bytes = Uint8Array.fromBase64(bearer.slice("bearer.".length), { alphabet: "base64url" });
  assertEquals(new TextDecoder().decode(bytes), "ü?>~ key");
});

Deno.test("captionOf: shows the last sentence, two if they are short, and the end of a long one", () => {
  assertEquals(splitSentences("One. Two! Is 3.5 a number? はい。そうです"), [
    "One.",
    "Two!",
    "Is 3.5 a number?",
    "はい。",
    "そうです",
  ]);
  assertEquals(captionOf("One. Two."), "One. Two.");
  assertEquals(captionOf(""), "");
  assertEquals(captionOf(`${"a".repeat(80)}. Short one.`), "Short one.");
  const caption = captionOf(`Before. ${"word ".repeat(100).trim()}`);
  assert(caption.startsWith("… word") && caption.length <= 152, caption);
});

const PROSE: readonly [markdown: string, prose: string][] = [
  [
    "Look:\n```js\nrun();\n```\nDone **now**, see [this](there) and `that`.",
    "Look:\nDone now, see this and that.",
  ],
  ["# Title\n- one\n- *two*\n  1. three", "Title\none\ntwo\nthree"],
  ["It is\n\n| file | lines |\n|-|-|\n| server.ts | 12 |\n\nlong.", "It is\nlong."],
  ["Wait:\n```\nhalf", "Wait:"],
  ["```one line```", "one line"],
  ["> [x] ~~a~~\n\n---\n\n![picture](x) See https://host.example/long?path.", "[x] a\n See host.example."],
  ["<b>bold</b>\n\n<div>\n\nText", "bold\nText"],
];
for (const [markdown, prose] of PROSE) {
  Deno.test(`toProse: ${JSON.stringify(markdown)}`, () => assertEquals(toProse(markdown), prose));
}

Deno.test("toProse, splitSentences, captionOf: do not hang on unusual texts", () => {
  const parts = [".", "\n", " ", "[", "_a_", "__a", "*a ", ">", "`", "|a", "<", "- a\n", "[a]("];
  for (const part of parts) {
    const text = toProse(part.repeat(100_000 / part.length) + "x");
    assert(captionOf(text).length <= 200, part);
    splitSentences(text);
  }
});

/** Speaks to the end and returns the seconds, at most a minute. */
function finish(pacer: SpeechPacer): number {
  let seconds = 0;
  for (; !pacer.isDone && seconds < 60; seconds += 0.033) pacer.advance(0.033);
  return seconds;
}

Deno.test("SpeechPacer: keeps the speed of speech, catches up, and closes the mouth at the end", () => {
  const pacer = new SpeechPacer();
  assertEquals(pacer.advance(1), 0);
  pacer.setText("Hello there, ");
  assert(pacer.advance(0.2) > 0);
  assertEquals(pacer.isDone, false);
  const text = "Hello there, this grows while it is spoken.";
  pacer.setText(text);
  const seconds = finish(pacer);
  assert(seconds > 1 && seconds < 4, String(seconds));
  assertEquals(pacer.advance(0.1), 0);
  assertEquals(pacer.spoken, text);
  pacer.setText("word ".repeat(1000));
  assert(finish(pacer) < 30);
  assert(mouthOpenness("a") > mouthOpenness("e") && mouthOpenness("e") > mouthOpenness("m"));
});

Deno.test("expressionOf, faceOf: every emotion has a face, an unknown one is neutral", () => {
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

Deno.test("poseOf, motionOf: every state has its own pose, an unknown one is idle", () => {
  const poses = AGENT_STATES.map((state) => poseOf(state));
  assertEquals(new Set(poses).size, AGENT_STATES.length);
  for (const { face } of poses) assert(EXPRESSIONS.includes(face));
  assertEquals(poseOf("toString"), poseOf("idle"));
  for (const state of AGENT_STATES) assert(Number.isFinite(motionOf(state, 1.5).twist));
});

Deno.test("eyeLines, mouthLines, limb: are valid paths for every expression", () => {
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

Deno.test("escapeInvisible: shows control and format characters", () => {
  assertEquals(
    escapeInvisible("cat \u202etxt.eton\u200b fr- mr\u0007"),
    "cat \\u202etxt.eton\\u200b fr- mr\\u0007",
  );
  assertEquals(escapeInvisible("one\n\ttwo \u00e9 \u4f1a"), "one\n\ttwo \u00e9 \u4f1a");
});
