import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  createDedupe,
  createLog,
  limitRate,
  type Log,
  LOG_LEVELS,
  type LogOptions,
} from "../../lib/core/log.ts";
import { AppError } from "../../lib/core/errors.ts";

/** Creates a log that keeps its lines. */
function createTestLog(options: Partial<LogOptions> = {}): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const log = createLog({
    level: "debug",
    pretty: false,
    secrets: [],
    write: (line) => lines.push(line),
    ...options,
  });
  return { log, lines };
}

for (const [index, level] of LOG_LEVELS.entries()) {
  Deno.test(`createLog: at ${level}: writes no lower level`, () => {
    const { log, lines } = createTestLog({ level });
    for (const level of LOG_LEVELS) log[level](`this is ${level}`);
    const expected = LOG_LEVELS.slice(index).map((level) => `this is ${level}`);
    assertEquals(lines.map((line) => JSON.parse(line).message), expected);
  });
}

Deno.test("createLog: a JSON line has the time, the level, the message and the fields", () => {
  const { log, lines } = createTestLog();
  log.warn("what happened", {
    text: 'a\nb\r\n"c"\u2028',
    none: null,
    unset: undefined,
    deep: { list: [1, new Error("here")] },
    error: new AppError("rate_limit_exceeded", "Busy."),
  });
  const { ts, ...facts } = JSON.parse(lines[0]!);
  assertEquals(Math.abs(Date.parse(ts) - Date.now()) < 60_000, true);
  assertEquals(facts, {
    level: "warn",
    message: "what happened",
    text: 'a\nb\r\n"c"\u2028',
    none: null,
    deep: { list: [1, "Error: here"] },
    error: "AppError: Busy.",
  });
  assertEquals(lines[0]?.includes("\n"), false);
});

Deno.test("createLog: a plain line has the time, the level, the message and the fields", () => {
  const { log, lines } = createTestLog({ pretty: true });
  log.info("agent ready", {
    agent: "fake",
    accepts: { image: true },
    none: undefined,
    error: new Error("no"),
  });
  log.error("gone");
  assertMatch(lines[0]!, /^\d\d:\d\d:\d\d\.\d{3} info /);
  assertEquals(lines.map((line) => line.slice(13)), [
    'info  agent ready agent=fake accepts={"image":true} error="Error: no"',
    "error gone",
  ]);
});

Deno.test("createLog: a plain line escapes control characters, but for a stack", () => {
  const { log, lines } = createTestLog({ pretty: true });
  log.info("said\nby", { tool: "rm\u001b]0;x\u0007\n12:00 info all is well", stack: "a\nb" });
  assertEquals(
    lines[0]?.slice(13),
    "info  said\\u000aby tool=rm\\u001b]0;x\\u0007\\u000a12:00 info all is well stack=a\nb",
  );
});

/** Characters that move a terminal's cursor, start a line, or reorder what stands around them. */
const UNSAFE = "\u001b\u007f\u0085\u009b\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff";

for (const pretty of [false, true]) {
  Deno.test(`createLog: no control and no bidi character reaches the log${pretty ? ", plain" : ""}`, () => {
    const { log, lines } = createTestLog({ pretty });
    log.info(`a${UNSAFE}`, {
      text: UNSAFE,
      [UNSAFE]: 1,
      deep: [UNSAFE],
      error: new Error(UNSAFE),
      stack: UNSAFE,
    });
    log.info("\u{1f469}\u200d\u{1f4bb} na\u00efve \u0627");
    const [unsafe, safe] = lines;
    assertEquals([...unsafe!].filter((char) => UNSAFE.includes(char)), []);
    assertStringIncludes(unsafe!, "\\u202e");
    assertStringIncludes(safe!, "\u{1f469}\u200d\u{1f4bb} na\u00efve \u0627");
    if (!pretty) assertEquals(JSON.parse(unsafe!).text, UNSAFE);
  });
}

for (const secret of ["sk-1234", "$&.*", "ä😀", 'quo"te', "back\\slash", "tab\there"]) {
  for (const pretty of [false, true]) {
    Deno.test(`createLog: the secret ${JSON.stringify(secret)} is redacted${pretty ? ", plain" : ""}`, () => {
      const { log, lines } = createTestLog({ pretty, secrets: [secret] });
      log.info(`key ${secret}, again ${secret}`, {
        plain: secret,
        within: `Bearer ${secret}!`,
        deep: { list: [secret] },
        error: new Error(`wrong key ${secret}`),
        stack: `at ${secret}`,
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

Deno.test("createLog: cuts a long line after it is redacted, and marks the cut", () => {
  const secret = "s".repeat(100);
  for (const pretty of [false, true]) {
    const { log, lines } = createTestLog({ pretty, secrets: [secret] });
    for (let before = 8_000; before < 8_300; before += 7) log.info("x".repeat(before) + secret);
    assertEquals(lines.filter((line) => line.includes("ssss")), []);
    log.info("x".repeat(100_000));
    assert(lines.at(-1)!.length < 10_000 && lines.at(-1)!.endsWith("..."));
  }
});

Deno.test("limitRate: writes so many lines in a period, and says once that others are left out", () => {
  let now = 0;
  const lines: string[] = [];
  const write = limitRate((message) => lines.push(message), { max: 2, ms: 1_000 }, () => now);
  for (const message of ["a", "b", "c", "d"]) write(message);
  now = 1_000;
  for (const message of ["e", "f"]) write(message);
  assertEquals(lines, ["a", "b", "c: further lines are left out for 1 seconds", "e", "f"]);
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
