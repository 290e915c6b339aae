import { assertEquals } from "@std/assert";
import { checkWireProfile, parseFrames, type WireProfileOptions } from "./wire_profile.ts";

const BASE = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m" };

function event(json: unknown): string {
  return `data: ${JSON.stringify(json)}\n\n`;
}

function chunk(delta: unknown, extra: Record<string, unknown> = {}, reason: string | null = null): string {
  return event({ ...BASE, choices: [{ index: 0, delta, finish_reason: reason }], ...extra });
}

function say(content: string): string {
  return chunk({ content });
}

/** A content whose JSON is written by hand, to choose what is escaped. */
function sayRaw(json: string): string {
  return say("?").replace('"?"', () => `"${json}"`);
}

const ROLE = chunk({ role: "assistant", content: "" });
const TEXT = say("[happy] Hello.\n");
const BIG = chunk({ content: "a\n" }, { pad: "x".repeat(8 * 1024) });
const BEAT = chunk({});
const FINISH = chunk({}, {}, "stop");
const DONE = "data: [DONE]\n\n";
const USAGE = event({
  ...BASE,
  choices: [],
  usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
});

const FINE: [name: string, writes: string[], options?: WireProfileOptions][] = [
  ["one event per write", [ROLE, TEXT, FINISH, DONE]],
  ["a burst in one write", [ROLE + TEXT + TEXT + FINISH + DONE]],
  ["a reply without text", [ROLE, FINISH, DONE]],
  ["an extra top-level key", [ROLE, chunk({ content: "a\n" }, { vtuber: { state: "idle" } }), FINISH, DONE]],
  ["usage on the finish chunk", [ROLE, TEXT, chunk({}, { usage: { total_tokens: 3 } }, "stop"), DONE]],
  ["usage when asked for", [ROLE, TEXT, FINISH, USAGE, DONE], { usage: true }],
  ["comments when allowed", [ROLE, ": waiting for agent\n\n", TEXT, FINISH, DONE], { comments: true }],
  ["escaped colons", [ROLE, sayRaw("data\\u003a a\\u003a\\u003ab: c \\u2028\\n"), FINISH, DONE]],
  ["as much content as allowed", [ROLE, say("x".repeat(1_199) + "\n"), FINISH, DONE]],
  ["a newline after a later tag", [ROLE, say("[happy] Yes. [sad]\nNo.\n"), FINISH, DONE]],
];

const WRONG: [violation: string, writes: string[], options?: WireProfileOptions][] = [
  ["write 2: a CR", [ROLE, TEXT.replaceAll("\n", "\r\n"), FINISH, DONE]],
  [`write 2: ${BIG.length} bytes, more than 8192`, [ROLE, BIG, FINISH, DONE]],
  ["write 2: does not end with a whole event", [ROLE, TEXT.slice(0, 30), TEXT.slice(30), FINISH, DONE]],
  ["event 2: a blank line too many", [ROLE + "\n", TEXT, FINISH, DONE]],
  ["event 2: a line that is not data: event", [ROLE, `event: message\n${TEXT}`, FINISH, DONE]],
  ["event 2: a comment", [ROLE, ": ping\n\n", TEXT, FINISH, DONE]],
  ["event 2: a comment that is not alone", [ROLE, `: ping\n${TEXT}`, FINISH, DONE], { comments: true }],
  ["event 2: 2 data lines", [ROLE, `data: \n${BEAT}`, TEXT, FINISH, DONE]],
  ["event 2: no space after data:", [ROLE, TEXT.replace("data: ", "data:"), FINISH, DONE]],
  ["event 2: a raw data: in the payload", [ROLE, say("some data: x\n"), FINISH, DONE]],
  ["event 2: a raw :: in the payload", [ROLE, say("std::fmt\n"), FINISH, DONE]],
  ["event 2: a raw U+2028, U+2029 or U+0085", [ROLE, say("a\u2028\n"), FINISH, DONE]],
  ["event 2: not JSON", [ROLE, "data: {\n\n", TEXT, FINISH, DONE]],
  ["event 2: not a JSON object", [ROLE, "data: 1\n\n", TEXT, FINISH, DONE]],
  ["event 2: the key error", [ROLE, chunk({ content: "a\n" }, { error: null }), FINISH, DONE]],
  ["event 2: the key tool_calls", [ROLE, chunk({ content: "a\n", tool_calls: [] }), FINISH, DONE]],
  ["event 2: no choices", [ROLE, event(BASE), TEXT, FINISH, DONE]],
  ["event 2: empty choices", [ROLE, event({ ...BASE, choices: [] }), TEXT, FINISH, DONE]],
  ["event 4: empty choices", [ROLE, TEXT, FINISH, USAGE, DONE]],
  ["event 2: no delta", [ROLE, event({ ...BASE, choices: [{ index: 0 }] }), TEXT, FINISH, DONE]],
  ["event 2: content that is not a string", [ROLE, chunk({ content: null }), TEXT, FINISH, DONE]],
  [
    "event 2: 1201 characters of content, more than 1200",
    [ROLE, say("x".repeat(1_200) + "\n"), FINISH, DONE],
  ],
  ['stream: the first chunk is not role "assistant" with content ""', [TEXT, FINISH, DONE]],
  ["event 2: another id than in the first chunk", [ROLE, chunk({}, { id: "x" }), TEXT, FINISH, DONE]],
  ["stream: id is undefined", [ROLE, TEXT, FINISH].map(without("id")).concat(DONE)],
  ["stream: 0 finish chunks", [ROLE, TEXT, DONE]],
  ["stream: 2 finish chunks", [ROLE, TEXT, FINISH, FINISH, DONE]],
  ["event 4: a chunk after the finish chunk", [ROLE, TEXT, FINISH, BEAT, DONE]],
  ["stream: 0 usage chunks", [ROLE, TEXT, FINISH, DONE], { usage: true }],
  ["event 3: the usage chunk before the finish chunk", [ROLE, TEXT, USAGE, FINISH, DONE], { usage: true }],
  ["stream: 0 [DONE] frames", [ROLE, TEXT, FINISH]],
  ["stream: [DONE] is not the last frame", [ROLE, TEXT, DONE, FINISH]],
  ["reply: begins with a newline", [ROLE, say("\n"), TEXT, FINISH, DONE]],
  ["reply: a newline right after the opening tag", [ROLE, say("[happy]"), say("\nHello.\n"), FINISH, DONE]],
  ["reply: does not end with a newline", [ROLE, say("Hello."), FINISH, DONE]],
];

function without(key: string): (write: string) => string {
  return (write) => {
    const [json] = parseFrames(write).chunks;
    return event({ ...json, [key]: undefined });
  };
}

function encode(writes: readonly string[]): Uint8Array[] {
  return writes.map((write) => new TextEncoder().encode(write));
}

for (const [name, writes, options] of FINE) {
  Deno.test(`wire profile: ${name} is fine`, () => {
    assertEquals(checkWireProfile(encode(writes), options), []);
  });
}

WRONG.forEach(([violation, writes, options], index) => {
  Deno.test(`wire profile: ${violation} (${index + 1})`, () => {
    assertEquals(checkWireProfile(encode(writes), options), [violation]);
  });
});

Deno.test("wire profile: a write may not cut a character", () => {
  const [text = new Uint8Array()] = encode([say("語り。\n")]);
  const at = text.indexOf(0xe8) + 1;
  const writes = [...encode([ROLE]), text.slice(0, at), text.slice(at), ...encode([FINISH, DONE])];
  assertEquals(checkWireProfile(writes), [
    "write 2: begins or ends inside a character",
    "write 3: begins or ends inside a character",
  ]);
});

Deno.test("wire profile: a pair of surrogates may not be cut over two deltas", () => {
  const halves = [sayRaw("a\\ud83d"), sayRaw("\\ude00\\n")];
  assertEquals(checkWireProfile(encode([ROLE, ...halves, FINISH, DONE])), [
    "event 2: half a surrogate pair",
    "event 3: half a surrogate pair",
  ]);
});

Deno.test("parseFrames: chunks, text, end and comments", () => {
  const source = ROLE + ": ping\n\n" + say("Hello ") + say("world.\n") + FINISH + USAGE + DONE;
  for (const variant of [source, new TextEncoder().encode(source), source.replaceAll("\n", "\r\n")]) {
    const { chunks, text, done, comments } = parseFrames(variant);
    assertEquals(chunks.length, 5);
    assertEquals(chunks[0]?.choices?.[0]?.delta, { role: "assistant", content: "" });
    assertEquals(chunks[3]?.choices?.[0]?.finish_reason, "stop");
    assertEquals(chunks[4]?.usage?.total_tokens, 3);
    assertEquals(text, "Hello world.\n");
    assertEquals(done, true);
    assertEquals(comments, ["ping"]);
  }
});
