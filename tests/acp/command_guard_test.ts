import { assertEquals } from "@std/assert";
import { AgentCommands, neutraliseCommands, pathExists } from "../../lib/acp/command_guard.ts";
import { Heard } from "../support/harness/turn_recorder.ts";
import { AcpHarness } from "../support/agents/memory_acp_agent.ts";

const COMMANDS = ["init", "allow-all", "$skill-creator", "memory show", "mcp:run"];

function neutralise(text: string, { known = true, paths = [] as readonly string[] } = {}): string {
  const commands = new AgentCommands();
  if (known) commands.add(COMMANDS);
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
    ["a variable", "echo $HOME costs $5", "echo $HOME costs $5"],
  ] as const
) {
  Deno.test(`neutraliseCommands: elsewhere, ${name}`, () => assertEquals(neutralise(text), expected));
}

Deno.test("neutraliseCommands: every $name counts until the agent has announced its commands", () => {
  assertEquals(neutralise("echo $HOME costs $5", { known: false }), "echo $ HOME costs $5");
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
    ["in an address", "mail me@example.com", "a.ts", "mail me@example.com"],
  ] as const
) {
  Deno.test(`neutraliseCommands: a file mention ${name}`, () => {
    assertEquals(neutralise(text, { paths: [path] }), expected);
  });
}

Deno.test("neutraliseCommands: looks at a bounded number of paths, and trusts no mention beyond it", () => {
  let lookups = 0;
  const text = "@a ".repeat(2_000);
  const [block] = neutraliseCommands([{ type: "text", text }], new AgentCommands(), () => ++lookups < 0);
  assertEquals(lookups, 256);
  assertEquals(block?.type === "text" && block.text.endsWith("@ a @ a "), true);
});

Deno.test("neutraliseCommands: takes every block by itself, and leaves pictures alone", () => {
  const image = { type: "image", mimeType: "image/png", data: "AAAA" } as const;
  const text = (text: string) => ({ type: "text", text }) as const;
  assertEquals(
    neutraliseCommands([text("Hi"), image, text("/allow-all on")], new AgentCommands(), () => false),
    [text("Hi"), image, text("> /allow-all on")],
  );
});

Deno.test("AgentCommands: beyond its limit every name may be a command", () => {
  const commands = new AgentCommands();
  commands.add(Array.from({ length: 10_000 }, (_, index) => `c${index}`));
  assertEquals(commands.has("other"), false);
  commands.add(["one-more"]);
  assertEquals(commands.has("other"), true);
});

Deno.test("pathExists: is seen from the working directory and from home, and never throws", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${cwd}/a.txt`, "");
    const rows = [["a.txt", true], ["b.txt", false], ["a.txt/b", false], ["~/a.txt", true], [
      `${cwd}/a.txt`,
      true,
    ]];
    for (const [path, expected] of rows) {
      assertEquals(pathExists(String(path), cwd, cwd), expected, String(path));
    }
    assertEquals(pathExists("a".repeat(100_000), cwd, cwd), true);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

Deno.test("AcpAgent: what one session announced, and before its session/new was answered, holds for all", async () => {
  await using house = new AcpHarness({
    "session/new": (_params, running) => {
      const sessionId = `session-${running.nextSession++}`;
      if (running.nextSession === 2) {
        running.update(sessionId, {
          sessionUpdate: "available_commands_update",
          availableCommands: [{ name: "init", description: "" }, "unreadable"],
        });
      }
      return { sessionId };
    },
  });
  const sessions = [await house.agent.newSession(), await house.agent.newSession()];
  for (const session of sessions) {
    const heard = new Heard();
    await session.prompt([{ type: "text", text: "Say /init, $HOME" }], heard.reader);
    await heard.last();
  }
  const prompts = house.running.received.flatMap(({ method, params }) =>
    method === "session/prompt" ? params.prompt : []
  );
  assertEquals(prompts.map(({ text }) => text), ["Say `/init`, $HOME", "Say `/init`, $HOME"]);
});

Deno.test("AcpAgent: a new process of the agent keeps the commands of the one before", async () => {
  let starts = 0;
  await using house = new AcpHarness({
    "session/new": (_params, running) => {
      const sessionId = `session-${running.nextSession++}`;
      if (++starts === 1) {
        running.update(sessionId, {
          sessionUpdate: "available_commands_update",
          availableCommands: [{ name: "init" }],
        });
      }
      return { sessionId };
    },
  });
  const first = await house.agent.newSession();
  house.running.exit();
  await new Promise<void>((resolve) => {
    if (first.closed.aborted) resolve();
    else first.closed.addEventListener("abort", () => resolve());
  });
  const heard = new Heard();
  house.nowMs += 60_000;
  const session = await house.agent.newSession();
  await session.prompt([{ type: "text", text: "Say /init" }], heard.reader);
  await heard.last();
  assertEquals(house.running.received.at(-1)?.params.prompt, [{ type: "text", text: "Say `/init`" }]);
});
