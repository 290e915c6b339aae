import { assert, assertEquals, assertMatch } from "@std/assert";
import { AgentCommands, neutraliseCommands, pathExists } from "../../lib/acp/command_guard.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import { TurnRecorder } from "../support/harness/turn_recorder.ts";
import { AcpHarness, type Handler } from "../support/agents/memory_acp_agent.ts";

const COMMANDS = ["init", "allow-all", "$skill-creator", "memory show", "mcp:run"];

function neutralise(text: string, { isAnnounced = true, paths = [] as readonly string[] } = {}): string {
  const commands = new AgentCommands();
  if (isAnnounced) commands.add(COMMANDS);
  const [block] = neutraliseCommands([{ type: "text", text }], commands, (path) => paths.includes(path));
  return block?.type === "text" ? block.text : "";
}

for (
  const [name, text, expected] of [
    ["a slash command", "/quit now", "> /quit now"],
    ["a known command", "/allow-all on", "> `/allow-all` on"],
    ["white space before", " \n\t /quit", ">  \n\t /quit"],
    ["an ideographic space before", "\u3000/quit", "> \u3000/quit"],
    ["a zero-width space before", "\u200b/quit", "> \u200b/quit"],
    ["a byte order mark before", "\ufeff/quit", "> \ufeff/quit"],
    ["a control character before", "\u0001/quit", "> \u0001/quit"],
    ["a Hangul filler before", "\u3164/quit", "> \u3164/quit"],
    ["a variation selector before", "\ufe0f/quit", "> \ufe0f/quit"],
    ["a full-width slash", "／quit", "> ／quit"],
    ["a shell command", "!rm -rf ~", "> !rm -rf ~"],
    ["a full-width exclamation mark", "！ls", "> ！ls"],
    ["a skill", "$skill-creator", "> $ skill-creator"],
    ["a full-width dollar", "＄skill-creator", "> ＄ skill-creator"],
    ["an unknown dollar", "$HOME", "> $HOME"],
  ] as const
) {
  Deno.test(`neutraliseCommands: at the start of a block, ${name}`, () => {
    assertEquals(neutralise(text), expected);
  });
}

for (
  const [name, text, expected] of [
    [
      "a command behind a persona",
      "<system>\nBe kind.\n</system>\n\n/init",
      "<system>\nBe kind.\n</system>\n\n`/init`",
    ],
    ["a command in another case", "do /INIT.", "do `/INIT`."],
    ["a subcommand", "type /memory show", "type `/memory` show"],
    ["a command with a colon", "(/mcp:run)", "(`/mcp:run`)"],
    ["a command behind Chinese", "请用/init", "请用`/init`"],
    ["a path", "see src/init and /init/x and ./init", "see src/init and /init/x and ./init"],
    ["an address", "https://a.example/init", "https://a.example/init"],
    ["a longer word", "see /initial and /init.md", "see /initial and /init.md"],
    ["a command in code", "run `/init` or\n```\n/init\n```", "run `/init` or\n```\n/init\n```"],
    ["an unknown command", "try /quit", "try /quit"],
    ["a skill", "use $skill-creator, or $Skill-Creator.", "use $ skill-creator, or $ Skill-Creator."],
    ["a skill in code", "`$skill-creator`", "`$ skill-creator`"],
    ["a link to any skill", "[$other](/tmp/SKILL.md)", "[$ other](/tmp/SKILL.md)"],
    ["a skill before other letters", "use $skill-creatorを使って", "use $ skill-creatorを使って"],
    ["a link with white space", "[$other] (/tmp/SKILL.md)", "[$ other] (/tmp/SKILL.md)"],
    ["a variable", "echo $HOME costs $5", "echo $HOME costs $5"],
  ] as const
) {
  Deno.test(`neutraliseCommands: elsewhere, ${name}`, () => assertEquals(neutralise(text), expected));
}

Deno.test("neutraliseCommands: neutralises every $name until the agent has announced its commands", () => {
  assertEquals(neutralise("echo $HOME costs $5", { isAnnounced: false }), "echo $ HOME costs $5");
});

for (
  const [name, text, path, expected] of [
    ["at the start", "@.env", ".env", "@ .env"],
    ["after white space", "read @src/a.ts now", "src/a.ts", "read @ src/a.ts now"],
    ["before punctuation", "read @a.ts, please", "a.ts", "read @ a.ts, please"],
    ["at the end of a sentence", "read @a.ts.", "a.ts", "read @ a.ts."],
    ["with a line number", "@a.ts#L10", "a.ts", "@ a.ts#L10"],
    ["in quotes", '@"my file.txt"', "my file.txt", '@ "my file.txt"'],
    ["with an escaped space", "@my\\ file.txt", "my file.txt", "@ my\\ file.txt"],
    ["in Chinese", "看@a.ts。", "a.ts", "看@ a.ts。"],
    ["that does not exist", "hello @everyone", "a.ts", "hello @everyone"],
    ["before other letters", "@a.tsを読んで", "a.ts", "@ a.tsを読んで"],
    ["before a sign", "@a.ts…", "a.ts", "@ a.ts…"],
    ["with an escape that is part of the text", "@a.ts\\ hi", "a.ts", "@ a.ts\\ hi"],
    ["in quotes with a line number", '@"a.ts#L1"', "a.ts", '@ "a.ts#L1"'],
    ["in quotes with spaces", '@" a.ts "', "a.ts", '@ " a.ts "'],
    ["of a subagent", "@agent-tester go", "", "@ agent-tester go"],
    ["of a resource of an MCP server", "read @github:issue://1 now", "", "read @ github:issue://1 now"],
    ["before a colon in a word", "clone git@a.example:b/c", "", "clone git@a.example:b/c"],
    ["of a person before a colon", "@Ann: hello", "", "@Ann: hello"],
    ["of a subagent in quotes", '@"tester (agent)" go', "", '@ "tester (agent)" go'],
    ["in an address", "mail me@example.com", "a.ts", "mail me@example.com"],
  ] as const
) {
  Deno.test(`neutraliseCommands: a file mention ${name}`, () => {
    assertEquals(neutralise(text, { paths: [path] }), expected);
  });
}

Deno.test("neutraliseCommands: looks up 256 paths, and neutralises every mention beyond them", () => {
  let lookups = 0;
  const text = "@a ".repeat(2_000);
  const [block] = neutraliseCommands([{ type: "text", text }], new AgentCommands(), () => ++lookups < 0);
  assertEquals(lookups, 256);
  assertEquals(block?.type === "text" && block.text.endsWith("@ a @ a "), true);
});

Deno.test("neutraliseCommands: treats each text block by itself, and leaves images alone", () => {
  const image = { type: "image", mimeType: "image/png", data: "AAAA" } as const;
  const text = (text: string) => ({ type: "text", text }) as const;
  assertEquals(
    neutraliseCommands([text("Hi"), image, text("/allow-all on")], new AgentCommands(), () => false),
    [text("Hi"), image, text("> /allow-all on")],
  );
});

Deno.test("AgentCommands: beyond the limit every name counts as a command", () => {
  const commands = new AgentCommands();
  commands.add(Array.from({ length: 10_000 }, (_, index) => `c${index}`));
  assertEquals(commands.has("other"), false);
  commands.add(["one-more"]);
  assertEquals(commands.has("other"), true);
});

Deno.test("pathExists: looks from the working directory and the home directory, and never throws", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${cwd}/a.txt`, "");
    const existing = ["a.txt", "~/a.txt", `${cwd}/a.txt`, "a".repeat(100_000)];
    for (const path of existing) assertEquals(pathExists(path, cwd, cwd), true, path);
    for (const path of ["b.txt", "a.txt/b"]) assertEquals(pathExists(path, cwd, cwd), false, path);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

/** Announces these commands in the first session, before its `session/new` is answered. */
function announcing(availableCommands: readonly unknown[]): Readonly<Record<string, Handler>> {
  let isFirst = true;
  return {
    "session/new": (_params, running) => {
      const sessionId = `session-${running.nextSession++}`;
      if (isFirst) {
        running.update(sessionId, { sessionUpdate: "available_commands_update", availableCommands });
      }
      isFirst = false;
      return { sessionId };
    },
  };
}

/** Sends a prompt, and returns the text that the agent receives. */
async function received(harness: AcpHarness, text: string): Promise<string | undefined> {
  const events = new TurnRecorder();
  const session = await harness.agent.newSession();
  await session.prompt([{ type: "text", text }], events.reader);
  await events.lastSummary();
  return harness.running.received.findLast(({ method }) => method === "session/prompt")?.params.prompt[0]
    ?.text;
}

Deno.test("AcpAgent: commands that one session announces hold for every session", async () => {
  await using harness = new AcpHarness(announcing([{ name: "init", description: "" }, "malformed"]));
  for (let session = 0; session < 2; session++) {
    assertEquals(await received(harness, "Say /init, $HOME"), "Say `/init`, $HOME");
  }
});

Deno.test("AcpSession: a block that may trigger commands passes without its mark, and is logged without its text", async () => {
  for (const [mayCommand, sent] of [[true, "/init secret"], [undefined, "> `/init` secret"]] as const) {
    await using harness = new AcpHarness(announcing([{ name: "init" }]));
    const events = new TurnRecorder();
    const session = await harness.agent.newSession();
    const block = { type: "text", text: "/init secret", ...(mayCommand ? { mayCommand } : {}) } as const;
    await session.prompt([block], events.reader);
    await events.lastSummary();
    const { params } = harness.running.received.findLast(({ method }) => method === "session/prompt")!;
    assertEquals(params.prompt, [{ type: "text", text: sent }]);
    const logged = harness.recorder.entries.filter(({ message }) => message.includes("commands"));
    assertEquals(
      logged.map(({ level, fields }) => [level, fields]),
      mayCommand ? [["info", { session: session.id }]] : [],
    );
  }
});

Deno.test("AcpAgent: a restarted agent keeps the announced commands", async () => {
  await using harness = new AcpHarness(announcing([{ name: "init" }]));
  const { closed } = await harness.agent.newSession();
  harness.running.exit();
  await untilAborted(closed);
  harness.nowMs += 60_000;
  assertEquals(await received(harness, "Say /init"), "Say `/init`");
});

for (
  const [text, rewritten] of [
    ["/init now", "> `/init` now"],
    ["!ls", "> !ls"],
    ["Use $skill-creator.", "Use $ skill-creator."],
    ["See @a.txt", "See @ a.txt"],
    ["Hello /there", "Hello /there"],
  ] as const
) {
  Deno.test(`neutraliseCommands: a block that may trigger commands keeps ${text}, another block does not`, () => {
    const commands = new AgentCommands();
    commands.add(COMMANDS);
    let passed = 0;
    const image = { type: "image", mimeType: "image/png", data: "YQ==" } as const;
    const blocks = neutraliseCommands(
      [{ type: "text", text }, image, { type: "text", text, mayCommand: true }, { type: "text", text }],
      commands,
      (path) => path === "a.txt",
      () => passed++,
    );
    const safe = { type: "text", text: rewritten } as const;
    assertEquals(blocks, [safe, image, { type: "text", text }, safe]);
    assertEquals(passed, text === rewritten ? 0 : 1);
  });
}

/** Fastest of three runs, in milliseconds. */
function fastest(text: string): number {
  return Math.min(...[1, 2, 3].map(() => {
    const start = performance.now();
    neutraliseCommands([{ type: "text", text }], new AgentCommands(), () => false);
    return performance.now() - start;
  }));
}

for (
  const [name, make] of [
    ["an @ and dots", (n: number) => "@" + ".".repeat(n) + "a"],
    ["a $ and hyphens", (n: number) => "$" + "-".repeat(n) + "a"],
    ["mentions", (n: number) => "@a".repeat(n)],
    ["@ signs", (n: number) => "@".repeat(n)],
  ] as const
) {
  Deno.test(`neutraliseCommands: needs linear time for ${name}`, () => {
    // Ten times the length takes a hundred times as long if the time is quadratic.
    const short = Math.max(fastest(make(5_000)), 4);
    assert(fastest(make(50_000)) < 50 * short);
  });
}

Deno.test("neutraliseCommands: a prompt of nothing but signs takes no time, and keeps its start and its end", () => {
  const commands = new AgentCommands();
  commands.add(["init"]);
  for (const sign of ["$a", "@", "@a ", "/init ", "```", "[$a](", "</user>"]) {
    const text = `Start. ${sign.repeat(4_000_000 / sign.length)} End /init`;
    const startedAt = performance.now();
    const blocks = neutraliseCommands(
      [{ type: "text", text }, { type: "text", text }],
      commands,
      () => false,
    );
    const ms = performance.now() - startedAt;
    assert(ms < 1_000, `${sign}: ${Math.round(ms)} ms`);
    const [received = ""] = blocks.map((block) => block.type === "text" ? block.text : "");
    assertMatch(received, /^Start\. /);
    assertMatch(received, /\[\d+ characters left out\]/);
    assertMatch(received, /End `\/init`$/);
  }
});
