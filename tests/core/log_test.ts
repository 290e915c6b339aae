import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  createDedupe,
  createLog,
  type Log,
  LOG_LEVELS,
  type LogFields,
  type LogLevel,
  type LogOptions,
  NO_LOG,
} from "../../lib/core/log.ts";
import { AppError } from "../../lib/core/errors.ts";

const NOW = new Date("2026-11-21T03:31:07.042Z");

/** Creates a log that keeps its lines. */
function createTestLog(options: Partial<LogOptions> = {}): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const log = createLog({
    level: "debug",
    pretty: false,
    secrets: [],
    write: (line) => lines.push(line),
    now: () => NOW,
    ...options,
  });
  return { log, lines };
}

for (const [index, level] of LOG_LEVELS.entries()) {
  for (const pretty of [false, true]) {
    Deno.test(`createLog: at ${level}${pretty ? ", plain" : ""}: writes no lower level`, () => {
      const { log, lines } = createTestLog({ level, pretty });
      for (const level of LOG_LEVELS) log[level](`this is ${level}`);
      const expected = LOG_LEVELS.slice(index).map((level) => `this is ${level}`);
      assertEquals(lines.map((line) => /this is \w+/.exec(line)?.[0]), expected);
    });
  }
}

const FIELDS: readonly (readonly [string, LogFields, Record<string, unknown>])[] = [
  ["none", {}, {}],
  ["JSON values", { a: "b", n: 1, yes: true, none: null, list: [1, "2"], deep: { x: { y: 1 } } }, {
    a: "b",
    n: 1,
    yes: true,
    none: null,
    list: [1, "2"],
    deep: { x: { y: 1 } },
  }],
  ["undefined is left out", { a: undefined, b: 1 }, { b: 1 }],
  ["an error", { error: new TypeError("odd\nindeed") }, { error: "TypeError: odd\nindeed" }],
  ["an AppError", { error: new AppError("rate_limit_exceeded", "Busy.") }, { error: "AppError: Busy." }],
  ["an error deep inside", { deep: { list: [new Error("here")] } }, { deep: { list: ["Error: here"] } }],
  ["line breaks", { line: 'a\nb\r\n"c"\u2028' }, { line: 'a\nb\r\n"c"\u2028' }],
];
for (const [name, fields, expected] of FIELDS) {
  Deno.test(`createLog: fields: ${name}`, () => {
    const { log, lines } = createTestLog();
    log.warn("what happened", fields);
    assertEquals(lines.map((line) => JSON.parse(line)), [{
      ts: NOW.toISOString(),
      level: "warn",
      message: "what happened",
      ...expected,
    }]);
    assertEquals(lines[0]?.includes("\n"), false);
  });
}

Deno.test("createLog: a plain line has the time, the level, the message and the fields", () => {
  const { log, lines } = createTestLog({ pretty: true });
  log.info("agent ready", {
    agent: "fake",
    accepts: { image: true },
    none: undefined,
    error: new Error("no"),
  });
  log.error("gone");
  assertEquals(lines, [
    '03:31:07.042 info  agent ready agent=fake accepts={"image":true} error="Error: no"',
    "03:31:07.042 error gone",
  ]);
});

const SECRETS: readonly string[] = [
  "sk-1234",
  "with space",
  "$&.*",
  "ä😀",
  'quo"te',
  "back\\slash",
  "tab\there",
];
for (const secret of SECRETS) {
  for (const pretty of [false, true]) {
    Deno.test(`createLog: the secret ${JSON.stringify(secret)} is redacted${pretty ? ", plain" : ""}`, () => {
      const { log, lines } = createTestLog({ pretty, secrets: [secret, ""] });
      log.info(`key ${secret}, again ${secret}`, {
        plain: secret,
        within: `Bearer ${secret}!`,
        deep: { list: [secret] },
        error: new Error(`wrong key ${secret}`),
        [`name ${secret}`]: 1,
      });
      const [line = ""] = lines;
      const forms = [secret, JSON.stringify(secret).slice(1, -1)];
      assertEquals(forms.filter((form) => line.includes(form)), []);
      assertStringIncludes(line, "[secret]");
      if (!pretty) assertEquals(JSON.parse(line).within, "Bearer [secret]!");
    });
  }
}

Deno.test("createLog: without secrets it redacts nothing", () => {
  const { log, lines } = createTestLog({ secrets: ["", "not in it"] });
  log.info("all of it");
  assertEquals(lines.join().includes("[secret]"), false);
});

Deno.test("createLog: redacts a secret at the cut of a long line", () => {
  const secret = "s".repeat(100);
  for (const pretty of [false, true]) {
    const { log, lines } = createTestLog({ pretty, secrets: [secret] });
    for (let before = 8_000; before < 8_300; before += 7) log.info("x".repeat(before) + secret);
    assertEquals(lines.filter((line) => line.includes("ssss")), []);
  }
});

Deno.test("createLog: cuts a long line, and marks the cut", () => {
  for (const pretty of [false, true]) {
    const { log, lines } = createTestLog({ pretty });
    log.info("x".repeat(100_000));
    log.info("short");
    assert(lines[0]!.length < 10_000);
    assert(lines[0]!.endsWith("..."));
    assertEquals(lines[1]!.includes("..."), false);
  }
});

Deno.test("createLog: by default it uses the real time", () => {
  const lines: string[] = [];
  const before = Date.now();
  createLog({ level: "info", pretty: false, secrets: [], write: (line) => lines.push(line) }).info("now");
  const at = Date.parse(JSON.parse(lines[0]!).ts);
  assert(at >= before && at <= Date.now());
});

Deno.test("NO_LOG: writes nothing", () => {
  for (const level of LOG_LEVELS) NO_LOG[level satisfies LogLevel]("nothing", { a: 1 });
});

Deno.test("createDedupe: a text is new once, and again after its time or when others took its place", () => {
  let now = 0;
  const isNew = createDedupe(1_000, 2, () => now);
  assertEquals([isNew("a"), isNew("a"), isNew("b")], [true, false, true]);
  now = 999;
  assertEquals(isNew("a"), false);
  now = 1_000;
  assertEquals([isNew("a"), isNew("a")], [true, false]);
  assertEquals([isNew("b"), isNew("c"), isNew("a"), isNew("b")], [true, true, true, true]);
});

Deno.test("createLog: a plain line escapes control characters, but for a stack", () => {
  const lines: string[] = [];
  const log = createLog({ level: "info", pretty: true, secrets: [], write: (line) => lines.push(line) });
  log.info("said\nby", { tool: "rm\u001b]0;x\u0007\n12:00 info all is well", stack: "a\nb" });
  assertEquals(
    lines[0]?.slice(13),
    "info  said\\u000aby tool=rm\\u001b]0;x\\u0007\\u000a12:00 info all is well stack=a\nb",
  );
});
