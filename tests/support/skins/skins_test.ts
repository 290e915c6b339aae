import { assertEquals } from "@std/assert";
import {
  aiSdk,
  amica,
  aniCompanion,
  chatdollKit,
  chatdollKitWebGl,
  chatVrm,
  naive,
  readLive,
  type SkinName,
  type SkinReader,
  type SkinResult,
  SKINS,
  xsai,
} from "./skins.ts";

const BASE = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m" };
const USAGE = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };

function event(json: unknown): string {
  return `data: ${JSON.stringify(json)}\n\n`;
}

function chunk(delta: Record<string, unknown>, extra: Record<string, unknown> = {}): string {
  return event({ ...BASE, choices: [{ index: 0, delta, finish_reason: null }], ...extra });
}

function finish(extra: Record<string, unknown> = {}): string {
  return event({ ...BASE, choices: [{ index: 0, delta: {}, finish_reason: "stop" }], ...extra });
}

/** A plain reply with one delta per text, one event per read. */
function reply(...texts: string[]): string[] {
  return [ROLE, ...texts.map((content) => chunk({ content })), FINISH, DONE];
}

/** One text as two reads, cut at a byte. */
function cut(text: string, at: number): Uint8Array[] {
  const bytes = new TextEncoder().encode(text);
  return [bytes.slice(0, at), bytes.slice(at)];
}

function bytes(...reads: string[]): Uint8Array[] {
  return reads.map((read) => new TextEncoder().encode(read));
}

const ROLE = chunk({ role: "assistant", content: "" });
const HELLO = chunk({ content: "Hello " });
const WORLD = chunk({ content: "world.\n" });
const FINISH = finish();
const DONE = "data: [DONE]\n\n";
const FULL = "Hello world.\n";

/** What one skin makes of one variant. */
interface Outcome {
  text: string;
  died: boolean;
  /** An error that the app can show. */
  shown: boolean;
  /** An error on the console at most. */
  logged: boolean;
}

function outcome(text: string, ...flags: ("died" | "shown" | "logged")[]): Outcome {
  return {
    text,
    died: flags.includes("died"),
    shown: flags.includes("shown"),
    logged: flags.includes("logged"),
  };
}

const passes = (text: string) => outcome(text);
const diesUnseen = (text: string) => outcome(text, "died", "logged");
const diesLoudly = (text: string) => outcome(text, "died", "shown");
const complains = (text: string) => outcome(text, "shown");
const logs = (text: string) => outcome(text, "logged");

function outcomeOf({ text, died, errors, logged }: SkinResult): Outcome {
  return { text, died: died !== undefined, shown: errors.length > 0, logged: logged.length > 0 };
}

/** One variant of the stream; a skin that is not named under `but` gets the full text and no error. */
interface Row {
  variant: string;
  reads: Uint8Array[];
  full?: string;
  but?: Partial<Record<SkinName, Outcome>>;
}

const MARKED = "Send data: now, a::b.\n";
const SAFE = MARKED.replace("data:", "data\\u003a").replace("::", "\\u003a\\u003a").replace("\n", "\\n");
const KANJI = chunk({ content: "語" });
const AT_KANJI = new TextEncoder().encode(KANJI.slice(0, KANJI.indexOf("語"))).length;

const MATRIX: Row[] = [
  { variant: "canonical", reads: bytes(ROLE, HELLO, WORLD, FINISH, DONE) },
  { variant: "canonical, all in one read", reads: bytes(ROLE + HELLO + WORLD + FINISH + DONE) },
  {
    variant: "heartbeat with an empty delta",
    reads: bytes(ROLE, chunk({ content: "" }), HELLO, chunk({}), WORLD, FINISH, DONE),
  },
  {
    variant: "an extra top-level key",
    reads: bytes(ROLE, chunk({ content: "Hello " }, { vtuber: { state: "working" } }), WORLD, FINISH, DONE),
  },
  {
    variant: "no space, no [DONE], content null in the role chunk",
    reads: bytes(
      ...[chunk({ role: "assistant", content: null }), HELLO, WORLD, FINISH]
        .map((text) => text.replace("data: ", "data:")),
    ),
  },
  {
    variant: "a comment in its own packet",
    reads: bytes(ROLE, HELLO, ": keep-alive\n\n", WORLD, FINISH, DONE),
    but: { chatVrm: diesUnseen("Hello "), chatdollKit: logs(FULL), chatdollKitWebGl: logs(FULL) },
  },
  {
    variant: "a comment in the same read as a data event",
    reads: bytes(ROLE, `${HELLO}: keep-alive\n\n`, WORLD, FINISH, DONE),
    but: {
      chatVrm: diesUnseen(""),
      amica: logs(""),
      chatdollKit: logs("world.\n"),
      chatdollKitWebGl: logs("world.\n"),
    },
  },
  {
    variant: "a named event with JSON of its own",
    reads: bytes(ROLE, `${HELLO}event: vtuber\n${event({ state: "working" })}`, WORLD, FINISH, DONE),
    but: {
      chatVrm: diesUnseen(""),
      amica: logs(""),
      aiSdk: complains(FULL),
      chatdollKit: logs("world.\n"),
      chatdollKitWebGl: logs("world.\n"),
      naive: diesLoudly("Hello "),
    },
  },
  {
    variant: "an event name before a chunk",
    reads: bytes(ROLE, `${HELLO}event: message\n${WORLD}`, FINISH, DONE),
    but: {
      chatVrm: diesUnseen(""),
      amica: logs(""),
      chatdollKit: logs("world.\n"),
      chatdollKitWebGl: logs("world.\n"),
    },
  },
  {
    variant: "a usage chunk with empty choices",
    reads: bytes(ROLE, HELLO, event({ ...BASE, choices: [], usage: USAGE }), WORLD, FINISH, DONE),
    but: { chatVrm: diesUnseen("Hello "), amica: logs("Hello "), naive: diesLoudly("Hello ") },
  },
  {
    variant: "usage on the finish chunk",
    reads: bytes(ROLE, HELLO, WORLD, finish({ usage: USAGE }), DONE),
  },
  {
    variant: "an error object in mid-stream",
    reads: bytes(ROLE, HELLO, event({ error: { message: "boom", type: "server_error" } }), DONE),
    full: "Hello ",
    but: {
      chatVrm: diesUnseen("Hello "),
      amica: logs("Hello "),
      xsai: diesLoudly("Hello "),
      aiSdk: complains("Hello "),
      openaiJs: diesLoudly("Hello "),
      chatdollKit: logs("Hello "),
      chatdollKitWebGl: logs("Hello "),
      naive: diesLoudly("Hello "),
    },
  },
  {
    variant: "error null in a chunk",
    reads: bytes(ROLE, chunk({ content: "Hello " }, { error: null }), WORLD, FINISH, DONE),
    but: { xsai: diesLoudly(""), aiSdk: complains("world.\n") },
  },
  {
    variant: "CRLF line ends",
    reads: bytes(...[ROLE, HELLO, WORLD, FINISH, DONE].map((text) => text.replaceAll("\n", "\r\n"))),
    but: { xsai: diesLoudly(FULL) },
  },
  {
    variant: "one event in two reads",
    reads: [...bytes(ROLE), ...cut(HELLO, 40), ...bytes(WORLD, FINISH, DONE)],
    but: {
      chatVrm: diesUnseen(""),
      amica: logs(FULL),
      chatdollKit: logs("world.\n"),
      chatdollKitWebGl: logs("world.\n"),
    },
  },
  {
    variant: "a cut inside a character",
    reads: [...bytes(ROLE), ...cut(KANJI, AT_KANJI + 1), ...bytes(WORLD, FINISH, DONE)],
    full: "語world.\n",
    but: {
      chatVrm: diesUnseen(""),
      amica: logs("\ufffd\ufffd\ufffdworld.\n"),
      chatdollKit: logs("world.\n"),
      chatdollKitWebGl: logs("world.\n"),
    },
  },
  {
    variant: "text with data: in it",
    reads: bytes(ROLE, chunk({ content: "Send data: now. " }), WORLD, FINISH, DONE),
    full: "Send data: now. world.\n",
    but: {
      chatVrm: diesUnseen(""),
      amica: logs("Send  now. world.\n"),
      chatdollKit: logs("world.\n"),
      chatdollKitWebGl: logs("world.\n"),
    },
  },
  {
    variant: "text with :: in it",
    reads: bytes(ROLE, HELLO, chunk({ content: "std::fmt. " }) + WORLD, FINISH, DONE),
    full: "Hello std::fmt. world.\n",
    but: { chatdollKitWebGl: logs("Hello ") },
  },
  {
    variant: "the same texts with the colons escaped",
    reads: bytes(ROLE, chunk({ content: "?" }).replace('"?"', `"${SAFE}"`), FINISH, DONE),
    full: MARKED,
  },
  {
    variant: "a raw U+2028 in the text",
    reads: bytes(ROLE, HELLO, chunk({ content: "a\u2028b" }), WORLD, FINISH, DONE),
    full: "Hello a\u2028bworld.\n",
    but: { aniCompanion: passes(FULL) },
  },
  {
    variant: "U+2028 escaped",
    reads: bytes(ROLE, chunk({ content: "a?b\n" }).replace("?", "\\u2028"), FINISH, DONE),
    full: "a\u2028b\n",
  },
  {
    variant: "tool_calls empty in a delta",
    reads: bytes(ROLE, chunk({ content: "Hello ", tool_calls: [] }), WORLD, FINISH, DONE),
    but: { chatdollKit: passes("world.\n"), chatdollKitWebGl: passes("world.\n") },
  },
  {
    variant: "no finish chunk",
    reads: bytes(ROLE, HELLO, WORLD, DONE),
    but: { aiSdk: complains(FULL) },
  },
];

for (const { variant, reads, full = FULL, but = {} } of MATRIX) {
  Deno.test(`skins: ${variant}`, async () => {
    for (const [name, reader] of Object.entries(SKINS) as [SkinName, SkinReader][]) {
      const expected = but[name] ?? passes(full);
      assertEquals(outcomeOf(reader(reads)), expected, `${name}, read at once`);
      assertEquals(outcomeOf(await readLive(reader, ReadableStream.from(reads))), expected, `${name}, live`);
    }
  });
}

Deno.test("ChatVRM: an exception drops all but the first delta of its read", () => {
  const { text, died } = chatVrm([ROLE, HELLO + WORLD + chunk({ content: "More.\n" }) + ": ping\n\n"]);
  assertEquals(text, "Hello ");
  assertEquals(died === undefined, false);
});

Deno.test("ChatVRM: a line end that comes in a read of its own kills it", () => {
  assertEquals(outcomeOf(chatVrm([ROLE, HELLO.trimEnd(), "\n\n", WORLD])), diesUnseen("Hello "));
});

/** Deltas, what is said of them, and what never is. */
const SPEECH: [name: string, deltas: string[], spoken: string[], unspoken: string][] = [
  ["Japanese ends", ["こんにちは。", "元気", "？うん", "！\n"], ["こんにちは。", "元気？", "うん！"], ""],
  ["ASCII ends are none", ["Hi. How are", " you? Fine!"], [], "Hi. How are you? Fine!"],
  ["a newline ends anything", ["Hi. How are", " you?\n"], ["Hi. How are you?"], ""],
  [
    "a comma ends ten characters and more",
    ["Well, in the end,", " yes.\n"],
    ["Well, in the end,", "yes."],
    "",
  ],
  ["a comma ends no fewer", ["Well,", " yes.\n"], ["Well, yes."], ""],
  ["the tail is never said", ["[happy]やった。", "じゃあ", "ね"], ["やった。"], "じゃあね"],
  ["tags are not said", ["[happy]", "やった。", "[sad]", "でも[x]ね。"], ["やった。", "でもね。"], ""],
  ["brackets alone are not said", ["（）\n", "はい。"], ["はい。"], ""],
  ["a leading newline freezes it", ["\n", "はい。", "どうぞ。\n"], [], "\nはい。どうぞ。\n"],
  ["a newline after the tag freezes it", ["[happy]\n", "はい。", "\n"], [], "\nはい。\n"],
  [
    "a newline inside the delta of a sentence is trimmed",
    ["はい。\n\n", "どうぞ。"],
    ["はい。", "どうぞ。"],
    "",
  ],
  ["a newline in the delta after a sentence freezes it", ["はい。", "\n", "どうぞ。"], [
    "はい。",
  ], "\nどうぞ。"],
  ["one sentence leaves with each delta", ["One.\nTwo.\n"], ["One."], "Two.\n"],
  ["the next delta brings the next sentence", ["One.\nTwo.\n", "Three.\n"], ["One.", "Two."], "Three.\n"],
];

for (const [name, deltas, spoken, unspoken] of SPEECH) {
  Deno.test(`ChatVRM speech: ${name}`, () => {
    const result = chatVrm(reply(...deltas));
    assertEquals(result.text, deltas.join(""));
    assertEquals(result.spoken, spoken);
    assertEquals(result.unspoken, unspoken);
    assertEquals(result.died, undefined);
  });
}

Deno.test("a skin without a splitter says its text in one", () => {
  const { spoken, unspoken } = amica(reply("Hello ", "world.\n"));
  assertEquals(spoken, [FULL]);
  assertEquals(unspoken, "");
  assertEquals(amica(reply()).spoken, []);
});

Deno.test("xsai: an error drops all but the first chunk of its read", () => {
  const error = event({ error: { message: "boom" } });
  assertEquals(outcomeOf(xsai([ROLE, HELLO + WORLD + error])), diesLoudly("Hello "));
  assertEquals(outcomeOf(xsai([ROLE + HELLO + WORLD + error])), diesLoudly(""));
});

Deno.test("AI SDK: what is not JSON is an error, and the rest is read", () => {
  assertEquals(outcomeOf(aiSdk([ROLE, "data: {\n\n", HELLO, WORLD, FINISH, DONE])), complains(FULL));
});

Deno.test("AI SDK: a role other than assistant is an error", () => {
  const reads = [chunk({ role: "system", content: "x" }), HELLO, WORLD, FINISH, DONE];
  assertEquals(outcomeOf(aiSdk(reads)), complains(FULL));
});

Deno.test("AniCompanion: nothing counts after [DONE], and an unfinished last line does", () => {
  assertEquals(outcomeOf(aniCompanion([ROLE, HELLO, DONE, WORLD])), passes("Hello "));
  assertEquals(outcomeOf(aniCompanion([ROLE, HELLO, WORLD.trimEnd()])), passes(FULL));
});

Deno.test("ChatdollKit: only the browser build stops at [DONE]", () => {
  assertEquals(chatdollKit([ROLE, HELLO, DONE, WORLD]).text, FULL);
  assertEquals(chatdollKitWebGl([ROLE, HELLO, DONE, WORLD]).text, "Hello ");
});

Deno.test("ChatdollKit: a tool call hides the content beside it", () => {
  const tool = chunk({ content: "Hello ", tool_calls: [{ index: 0, id: "1", function: { name: "x" } }] });
  assertEquals(chatdollKit([ROLE, tool, WORLD, FINISH, DONE]).text, "world.\n");
});

Deno.test("the careful readers take CRLF and characters cut anywhere", () => {
  const whole = new TextEncoder().encode(
    [ROLE, chunk({ content: "語り。" }), FINISH, DONE].join("").replaceAll("\n", "\r\n"),
  );
  const single = Array.from(whole, (byte) => Uint8Array.of(byte));
  for (const name of ["aituberKit", "aiSdk", "openaiJs", "aniCompanion", "naive"] as const) {
    assertEquals(outcomeOf(SKINS[name](single)), passes("語り。"), name);
  }
});

Deno.test("readLive: a response is read to its end", async () => {
  const response = new Response(ReadableStream.from(bytes(ROLE, HELLO, WORLD, FINISH, DONE)));
  assertEquals(outcomeOf(await readLive(chatVrm, response)), passes(FULL));
});

Deno.test("readLive: a status other than 200 is never read", async () => {
  const refusal = () => Response.json({ error: { message: "busy" } }, { status: 503 });
  assertEquals(outcomeOf(await readLive(chatVrm, refusal())), diesUnseen(""));
  assertEquals(outcomeOf(await readLive(naive, refusal())), diesLoudly(""));
});

Deno.test("readLive: what came before the line was cut is kept", async () => {
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const read = reads.shift();
      if (read === undefined) controller.error(new Error("reset"));
      else controller.enqueue(read);
    },
  }, { highWaterMark: 0 });
  const reads = bytes(ROLE, HELLO);
  const result = await readLive(chatVrm, body);
  assertEquals(outcomeOf(result), diesUnseen("Hello "));
  assertEquals(result.died, "reset");
});

Deno.test("readLive: a response without a body says nothing", async () => {
  assertEquals(outcomeOf(await readLive(naive, new Response(null))), passes(""));
});
