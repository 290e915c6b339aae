import { assertEquals } from "@std/assert";
import { chatVrm, readLive, type SkinName, type SkinReader, type SkinResult, SKINS } from "./skins.ts";

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

const ROLE = chunk({ role: "assistant", content: "" });
const HELLO = chunk({ content: "Hello " });
const WORLD = chunk({ content: "world.\n" });
const FINISH = finish();
const DONE = "data: [DONE]\n\n";
const FULL = "Hello world.\n";

/** The result of one skin for one variant. */
interface Outcome {
  readonly text: string;
  readonly died: boolean;
  /** The app can show an error. */
  readonly shown: boolean;
  /** The console has an error. */
  readonly logged: boolean;
}

const passes = (text: string): Outcome => ({ text, died: false, shown: false, logged: false });
const diesUnseen = (text: string): Outcome => ({ ...passes(text), died: true, logged: true });
const diesLoudly = (text: string): Outcome => ({ ...passes(text), died: true, shown: true });
const complains = (text: string): Outcome => ({ ...passes(text), shown: true });
const logs = (text: string): Outcome => ({ ...passes(text), logged: true });

function outcomeOf({ text, died, errors, logged }: SkinResult): Outcome {
  return { text, died: died !== undefined, shown: errors.length > 0, logged: logged.length > 0 };
}

/** A variant of the stream, and what the skins make of it that do not get the full text without an error. */
type Row = [
  variant: string,
  reads: readonly (string | Uint8Array)[],
  outcomes?: Partial<Record<SkinName, Outcome>>,
  full?: string,
];

/** The outcome that ChatdollKit shares with its browser build. */
const chatdollKits = (outcome: Outcome) => ({ chatdollKit: outcome, chatdollKitWebGl: outcome });
const MARKED = "Send data: now, a::b.\n";
const SAFE = MARKED.replace("data:", "data\\u003a").replace("::", "\\u003a\\u003a").replace("\n", "\\n");
const KANJI = chunk({ content: "語" });
const AT_KANJI = new TextEncoder().encode(KANJI.slice(0, KANJI.indexOf("語"))).length;

const MATRIX: Row[] = [
  ["canonical", [ROLE, HELLO, WORLD, FINISH, DONE]],
  ["canonical, all in one read", [ROLE + HELLO + WORLD + FINISH + DONE]],
  ["empty deltas as heartbeats", [ROLE, chunk({ content: "" }), HELLO, chunk({}), WORLD, FINISH, DONE]],
  ["an extra top-level key", [
    ROLE,
    chunk({ content: "Hello " }, { vtuber: { state: "working" } }),
    WORLD,
    FINISH,
    DONE,
  ]],
  [
    "no space, no [DONE], content null in the role chunk",
    [chunk({ role: "assistant", content: null }), HELLO, WORLD, FINISH].map((text) =>
      text.replace("data: ", "data:")
    ),
  ],
  [
    "a comment in its own packet",
    [ROLE, HELLO, ": keep-alive\n\n", WORLD, FINISH, DONE],
    { chatVrm: diesUnseen("Hello "), ...chatdollKits(logs(FULL)) },
  ],
  [
    "a comment in the same read as a data event",
    [ROLE, `${HELLO}: keep-alive\n\n`, WORLD, FINISH, DONE],
    { chatVrm: diesUnseen(""), amica: logs(""), ...chatdollKits(logs("world.\n")) },
  ],
  [
    "a named event with JSON of its own",
    [ROLE, `${HELLO}event: vtuber\n${event({ state: "working" })}`, WORLD, FINISH, DONE],
    {
      chatVrm: diesUnseen(""),
      amica: logs(""),
      aiSdk: complains(FULL),
      ...chatdollKits(logs("world.\n")),
      naive: diesLoudly("Hello "),
    },
  ],
  [
    "an event name before a chunk",
    [ROLE, `${HELLO}event: message\n${WORLD}`, FINISH, DONE],
    { chatVrm: diesUnseen(""), amica: logs(""), ...chatdollKits(logs("world.\n")) },
  ],
  [
    "a usage chunk with empty choices",
    [ROLE, HELLO, event({ ...BASE, choices: [], usage: USAGE }), WORLD, FINISH, DONE],
    { chatVrm: diesUnseen("Hello "), amica: logs("Hello "), naive: diesLoudly("Hello ") },
  ],
  ["usage on the finish chunk", [ROLE, HELLO, WORLD, finish({ usage: USAGE }), DONE]],
  [
    "an error object in the middle of the stream",
    [ROLE, HELLO, event({ error: { message: "boom", type: "server_error" } }), DONE],
    {
      chatVrm: diesUnseen("Hello "),
      amica: logs("Hello "),
      xsai: diesLoudly("Hello "),
      aiSdk: complains("Hello "),
      openaiJs: diesLoudly("Hello "),
      ...chatdollKits(logs("Hello ")),
      naive: diesLoudly("Hello "),
    },
    "Hello ",
  ],
  [
    "error null in a chunk",
    [ROLE, chunk({ content: "Hello " }, { error: null }), WORLD, FINISH, DONE],
    { xsai: diesLoudly(""), aiSdk: complains("world.\n") },
  ],
  [
    "CRLF line ends",
    [ROLE, HELLO, WORLD, FINISH, DONE].map((text) => text.replaceAll("\n", "\r\n")),
    { xsai: diesLoudly(FULL) },
  ],
  [
    "one event in two reads",
    [ROLE, ...cut(HELLO, 40), WORLD, FINISH, DONE],
    { chatVrm: diesUnseen(""), amica: logs(FULL), ...chatdollKits(logs("world.\n")) },
  ],
  [
    "a cut inside a character",
    [ROLE, ...cut(KANJI, AT_KANJI + 1), WORLD, FINISH, DONE],
    { chatVrm: diesUnseen(""), amica: logs("\ufffd\ufffd\ufffdworld.\n"), ...chatdollKits(logs("world.\n")) },
    "語world.\n",
  ],
  [
    "data: in the text",
    [ROLE, chunk({ content: "Send data: now. " }), WORLD, FINISH, DONE],
    { chatVrm: diesUnseen(""), amica: logs("Send  now. world.\n"), ...chatdollKits(logs("world.\n")) },
    "Send data: now. world.\n",
  ],
  [
    ":: in the text",
    [ROLE, HELLO, chunk({ content: "std::fmt. " }) + WORLD, FINISH, DONE],
    { chatdollKitWebGl: logs("Hello ") },
    "Hello std::fmt. world.\n",
  ],
  ["escaped colons", [ROLE, chunk({ content: "?" }).replace('"?"', `"${SAFE}"`), FINISH, DONE], {}, MARKED],
  [
    "a raw U+2028 in the text",
    [ROLE, HELLO, chunk({ content: "a\u2028b" }), WORLD, FINISH, DONE],
    { aniCompanion: passes(FULL) },
    "Hello a\u2028bworld.\n",
  ],
  [
    "an escaped U+2028",
    [ROLE, chunk({ content: "a?b\n" }).replace("?", "\\u2028"), FINISH, DONE],
    {},
    "a\u2028b\n",
  ],
  [
    "empty tool_calls in a delta",
    [ROLE, chunk({ content: "Hello ", tool_calls: [] }), WORLD, FINISH, DONE],
    chatdollKits(passes("world.\n")),
  ],
  ["no finish chunk", [ROLE, HELLO, WORLD, DONE], { aiSdk: complains(FULL) }],
];

for (const [variant, reads, outcomes = {}, full = FULL] of MATRIX) {
  Deno.test(`skins: ${variant}`, async () => {
    const bytes = reads.map((read) => typeof read === "string" ? new TextEncoder().encode(read) : read);
    for (const [name, reader] of Object.entries(SKINS) as [SkinName, SkinReader][]) {
      const expected = outcomes[name] ?? passes(full);
      assertEquals(outcomeOf(reader(bytes)), expected, `${name}, read at once`);
      assertEquals(
        outcomeOf(await readLive(reader, new Response(ReadableStream.from(bytes)))),
        expected,
        `${name}, live`,
      );
    }
  });
}

Deno.test("ChatVRM: an exception drops all but the first delta of its read", () => {
  const { text, died } = chatVrm([ROLE, HELLO + WORLD + chunk({ content: "More.\n" }) + ": ping\n\n"]);
  assertEquals(text, "Hello ");
  assertEquals(died === undefined, false);
});

const SPEECH: [name: string, deltas: string[], spoken: string[], unspoken: string][] = [
  ["Japanese ends", ["こんにちは。", "元気", "？うん", "！\n"], ["こんにちは。", "元気？", "うん！"], ""],
  ["ASCII ends do not count", ["Hi. How are", " you? Fine!"], [], "Hi. How are you? Fine!"],
  ["a newline ends a sentence", ["Hi. How are", " you?\n"], ["Hi. How are you?"], ""],
  ["a comma ends ten characters", ["Well, in the end,", " yes.\n"], ["Well, in the end,", "yes."], ""],
  ["a comma ends no fewer", ["Well,", " yes.\n"], ["Well, yes."], ""],
  ["the rest is never spoken", ["[happy]やった。", "じゃあ", "ね"], ["やった。"], "じゃあね"],
  ["tags are not spoken", ["[happy]", "やった。", "[sad]", "でも[x]ね。"], ["やった。", "でもね。"], ""],
  ["brackets alone are not spoken", ["（）\n", "はい。"], ["はい。"], ""],
  ["a leading newline stops it", ["\n", "はい。", "どうぞ。\n"], [], "\nはい。どうぞ。\n"],
  ["a newline after the tag stops it", ["[happy]\n", "はい。", "\n"], [], "\nはい。\n"],
  ["newlines in the delta of a sentence", ["はい。\n\n", "どうぞ。"], ["はい。", "どうぞ。"], ""],
  ["a newline in the delta after it stops it", ["はい。", "\n", "どうぞ。"], ["はい。"], "\nどうぞ。"],
  ["each delta lets one sentence out", ["One.\nTwo.\n"], ["One."], "Two.\n"],
  ["the next delta lets the next one out", ["One.\nTwo.\n", "Three.\n"], ["One.", "Two."], "Three.\n"],
];

for (const [name, deltas, spoken, unspoken] of SPEECH) {
  Deno.test(`ChatVRM speech: ${name}`, () => {
    const result = chatVrm(reply(...deltas));
    assertEquals(result, { text: deltas.join(""), spoken, unspoken, errors: [], logged: [] });
  });
}

Deno.test("the careful readers accept CRLF and characters cut anywhere", () => {
  const whole = new TextEncoder().encode(
    [ROLE, chunk({ content: "語り。" }), FINISH, DONE].join("").replaceAll("\n", "\r\n"),
  );
  const single = Array.from(whole, (byte) => Uint8Array.of(byte));
  for (const name of ["aituberKit", "aiSdk", "openaiJs", "aniCompanion", "naive"] as const) {
    assertEquals(outcomeOf(SKINS[name](single)), passes("語り。"), name);
  }
});

Deno.test("readLive: keeps what came before the connection broke", async () => {
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const read = reads.shift();
      if (read === undefined) controller.error(new Error("reset"));
      else controller.enqueue(read);
    },
  }, { highWaterMark: 0 });
  const reads = [ROLE, HELLO].map((read) => new TextEncoder().encode(read));
  const result = await readLive(chatVrm, new Response(body));
  assertEquals(outcomeOf(result), diesUnseen("Hello "));
  assertEquals(result.died, "reset");
});
