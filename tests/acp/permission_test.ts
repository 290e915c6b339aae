import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AlwaysDecisions, SessionPermissions } from "../../lib/acp/permission.ts";
import { UpdateTranslator } from "../../lib/acp/update.ts";
import { parsePermissionRequest, parseSessionUpdate } from "../../lib/acp/wire.ts";
import {
  type PermissionId,
  type PermissionOption,
  type PermissionQuestion,
  type PermissionResolution,
  type SessionId,
  TOOL_KINDS,
  type ToolCallId,
  type ToolKind,
} from "../../lib/turn/event.ts";
import { type Decision, PERMISSION_POLICIES, type PermissionPolicy } from "../../lib/turn/permission.ts";
import type { Json } from "../support/agents/agent_io.ts";
import { LogRecorder } from "../support/harness/json_rpc_harness.ts";

const option = (kind: string): PermissionOption => ({ id: kind, name: kind, kind });
const OPTIONS = ["allow_once", "allow_always", "reject_once", "reject_always"].map(option);

type QuestionFields = Partial<PermissionQuestion & { id: string; title: string; kind: ToolKind }>;

function question(
  { id = "t1", title = "npm test", kind = "execute", ...rest }: QuestionFields = {},
): PermissionQuestion {
  const tool = { id: id as ToolCallId, title, kind, status: "pending" } as const;
  return { tool, detail: "npm test", options: OPTIONS, ...rest };
}

const remember = (decisions: AlwaysDecisions, asked: PermissionQuestion, choice: string) =>
  decisions.remember(asked, option(choice), asked.detail);
const decisionOf = (decisions: AlwaysDecisions, asked: PermissionQuestion) =>
  decisions.decisionOf(asked, asked.detail);

/** Returns the decision about a question after a choice of this kind about the default question. */
function decisionAfter(choice: string, next: QuestionFields): Decision | undefined {
  const decisions = new AlwaysDecisions();
  remember(decisions, question(), choice);
  return decisionOf(decisions, question(next));
}

for (
  const [choice, decision] of [
    ["allow_always", "allow"],
    ["reject_always", "reject"],
    ["allow_once", undefined],
    ["reject_once", undefined],
    ["allow_forever", undefined],
  ] as const
) {
  Deno.test(`AlwaysDecisions: after ${choice}, the next tool call gets ${decision ?? "no decision"}`, () => {
    assertEquals(decisionAfter(choice, { id: "t2" }), decision);
  });
}

for (
  const [name, fields, decision] of [
    ["not for the same tool call, which may ask for something else", { id: "t1" }, undefined],
    ["not for another title", { title: "npm run deploy" }, undefined],
    ["not for another kind", { kind: "delete" }, undefined],
    ["not for another command", { detail: "npm test && rm -r /" }, undefined],
    ["not for other options", { options: OPTIONS.slice(1) }, undefined],
    ["not for the same ids with other kinds", {
      options: OPTIONS.map(({ id, name }, index) => ({ id, name, kind: OPTIONS[3 - index]!.kind })),
    }, undefined],
    ["for other names of options", { options: OPTIONS.map((option) => ({ ...option, name: "X" })) }, "allow"],
  ] as const
) {
  Deno.test(`AlwaysDecisions: a decision holds ${name}`, () => {
    assertEquals(decisionAfter("allow_always", { id: "t2", ...fields }), decision);
  });
}

Deno.test("AlwaysDecisions: compares everything that is shown, and remembers no very long question", () => {
  const decisions = new AlwaysDecisions();
  const shown = (end: string) => [{ command: "x".repeat(5_000) + end }];
  decisions.remember(question(), option("allow_always"), shown("a"));
  assertEquals(decisions.decisionOf(question({ id: "t2" }), shown("a")), "allow");
  assertEquals(decisions.decisionOf(question({ id: "t2" }), shown("b")), undefined);
  const long = shown("x".repeat(100_000));
  decisions.remember(question(), option("allow_always"), long);
  assertEquals(decisions.decisionOf(question({ id: "t2" }), long), undefined);
});

Deno.test("AlwaysDecisions: a decision holds until another one for always", () => {
  const decisions = new AlwaysDecisions();
  remember(decisions, question(), "allow_always");
  for (const id of ["t2", "t3"]) assertEquals(decisionOf(decisions, question({ id })), "allow");
  remember(decisions, question({ id: "t2" }), "reject_once");
  assertEquals(decisionOf(decisions, question({ id: "t3" })), "allow");
  remember(decisions, question({ id: "t3" }), "reject_always");
  assertEquals(decisionOf(decisions, question({ id: "t4" })), "reject");
});

Deno.test("AlwaysDecisions: keeps the newest 100 decisions", () => {
  const decisions = new AlwaysDecisions();
  const numbered = (number: number, id: string) => question({ id, detail: `command ${number}` });
  for (let number = 0; number <= 100; number++) remember(decisions, numbered(number, "t1"), "allow_always");
  const found = [0, 1, 100].map((number) => decisionOf(decisions, numbered(number, "t2")));
  assertEquals(found, [undefined, "allow", "allow"]);
});

/** A session whose agent asks, in a working directory of its own. */
class AskingSession implements Disposable {
  readonly cwd = Deno.makeTempDirSync();
  readonly outside = Deno.makeTempDirSync();
  readonly questions: PermissionQuestion[] = [];
  readonly recorder = new LogRecorder();
  readonly decisions: string[] = [];
  readonly turn;
  /** The choice of the person; `undefined` if nobody can answer. */
  choice: string | undefined = "allow_once";
  readonly #permissions: SessionPermissions;

  constructor(permissions: PermissionPolicy = "ask") {
    this.turn = { permissions, reader: () => {}, translator: new UpdateTranslator(), isRefused: false };
    const ask = (question: PermissionQuestion): Promise<PermissionResolution | undefined> => {
      this.questions.push(question);
      const option = question.options.find(({ kind }) => kind === this.choice);
      const outcome = this.choice?.startsWith("allow") ? "allowed" : "rejected";
      return Promise.resolve(option && { id: "p" as PermissionId, outcome, option, by: "Mao" });
    };
    const { cwd, recorder: { log } } = this;
    this.#permissions = new SessionPermissions("s" as SessionId, {
      broker: { ask },
      log,
      cwd,
      home: this.outside,
      onLifecycle: (event) => void (event.type === "permission" && this.decisions.push(event.decision)),
    });
  }

  announce(fields: Json): void {
    const update = parseSessionUpdate({ sessionUpdate: "tool_call", toolCallId: "t", ...fields });
    this.turn.translator.translate(update!, () => {});
  }

  /** Asks. Returns the kind of the chosen option, and whether a person was asked. */
  async ask(toolCall: Json, offered = OPTIONS): Promise<string> {
    const asked = this.questions.length;
    const request = parsePermissionRequest({
      sessionId: "s",
      toolCall: { toolCallId: "t", ...toolCall },
      options: offered.map(({ id, name, kind }) => ({ optionId: id, name, kind })),
    });
    const outcome = await this.#permissions.decide(request, this.turn, new AbortController().signal);
    const chosen = outcome.outcome === "selected" ? outcome.optionId : outcome.outcome;
    return this.questions.length > asked ? `${chosen} by a person` : chosen;
  }

  [Symbol.dispose](): void {
    for (const folder of [this.cwd, this.outside]) Deno.removeSync(folder, { recursive: true });
  }
}

const ASKED = "allow_once by a person";
for (const policy of PERMISSION_POLICIES) {
  for (const kind of TOOL_KINDS) {
    const automatic = {
      allow: "allow_once",
      deny: "reject_once",
      ask: kind === "think" ? "allow_once" : ASKED,
    };
    Deno.test(`SessionPermissions: ${policy} of ${kind}: ${automatic[policy]}`, async () => {
      using session = new AskingSession(policy);
      assertEquals(await session.ask({ kind, title: "x" }), automatic[policy]);
      const [entry, ...more] = session.recorder.entries.filter(({ level }) => level === "info");
      assertEquals([entry?.fields?.kind, more], [kind, []]);
      const why = {
        allow: "allowed a permission: ",
        deny: "refused a permission: ",
        ask: "allowed a permission: ",
      };
      assertStringIncludes(entry!.message, why[policy]);
    });
  }
}

const RM = { command: "rm -rf ~" };
const READ = { kind: "read", rawInput: { file_path: "a.txt" } };
for (
  const [name, announced, requested, shown] of [
    ["announced as execute, asked as think", { kind: "execute", title: "rm -rf ~" }, {
      kind: "think",
      title: "Plan",
    }, "rm -rf ~"],
    ["announced with a command, asked as think", { kind: "think", rawInput: RM }, {
      kind: "think",
      title: "Plan",
    }, "rm -rf ~"],
    ["announced as think, asked as execute", { kind: "think" }, { kind: "execute", title: "ls" }, ""],
    [
      "asked as read, with a command",
      undefined,
      { ...READ, rawInput: { ...READ.rawInput, ...RM } },
      "rm -rf ~",
    ],
    ["asked as read, with a command in parts", undefined, {
      kind: "read",
      rawInput: { path: "a", command: ["rm", "x"] },
    }, "rm x"],
    ["asked as think, with a change", undefined, {
      kind: "think",
      content: [{ type: "diff", path: "a.txt", oldText: null, newText: "x" }],
    }, "a.txt\n+ x"],
    ["asked as read, with a terminal", undefined, {
      ...READ,
      content: [{ type: "terminal", terminalId: "1" }],
    }, ""],
    ["of a kind that is newer than this program", { kind: "teleport" }, READ, ""],
  ] as const
) {
  Deno.test(`SessionPermissions: a person is asked about a tool call ${name}`, async () => {
    using session = new AskingSession();
    if (announced) session.announce(announced);
    session.choice = "reject_once";
    assertEquals(await session.ask(requested), "reject_once by a person");
    assertStringIncludes(session.questions[0]!.detail, shown);
  });
}

Deno.test("SessionPermissions: reads inside of the working directory need nobody, other folders one answer each", async () => {
  using session = new AskingSession();
  const { cwd, outside } = session;
  Deno.mkdirSync(`${outside}/sub`);
  Deno.symlinkSync(outside, `${cwd}/link`);
  const read = (path: string, kind = "read") =>
    session.ask({ toolCallId: path, kind, locations: [{ path }] });
  assertEquals(await read("a.txt"), "allow_once");
  assertEquals(await read(`${cwd}/new/b.txt`, "search"), "allow_once");
  for (
    const path of [
      `${outside}/a.txt`,
      "link/b.txt",
      `${cwd}/../${outside.split("/").at(-1)}/c.txt`,
      "~/d.txt",
    ]
  ) {
    assertEquals(await read(path), path === `${outside}/a.txt` ? ASKED : "allow_once", path);
  }
  assertEquals(await read(outside, "search"), ASKED);
  assertEquals(await read(`${outside}/sub/a.txt`), ASKED);
  assertStringIncludes(session.recorder.entries.at(-1)!.message, "allowed by Mao");
});

Deno.test("SessionPermissions: reports each decision once", async () => {
  using session = new AskingSession();
  const run = { kind: "execute", title: "ls" };
  for (const choice of ["allow_once", "reject_once", undefined, "allow_always"]) {
    session.choice = choice;
    await session.ask(run);
  }
  await session.ask({ ...run, toolCallId: "t2" });
  await session.ask({ kind: "think", title: "x", toolCallId: "t3" });
  session.turn.permissions = "deny";
  await session.ask(run);
  assertEquals(session.decisions, [
    "allowed",
    "rejected",
    "no_client",
    "allowed",
    "allowed_by_policy",
    "allowed_by_policy",
    "rejected_by_policy",
  ]);
});

Deno.test("SessionPermissions: a place that a person rejects is asked about again", async () => {
  using session = new AskingSession();
  const request = { kind: "read", rawInput: { path: `${session.outside}/a` } };
  session.choice = "reject_once";
  assertEquals(await session.ask(request), "reject_once by a person");
  session.choice = "allow_once";
  assertEquals([await session.ask(request), await session.ask(request)], [ASKED, "allow_once"]);
});

Deno.test("SessionPermissions: each host that is fetched needs one answer in the session", async () => {
  using session = new AskingSession();
  const fetch = (rawInput: Json) => session.ask({ toolCallId: crypto.randomUUID(), kind: "fetch", rawInput });
  assertEquals(await fetch({ url: "https://a.example/1", prompt: "Read it" }), ASKED);
  assertEquals(await fetch({ url: "https://a.example/2", prompt: "Read on" }), "allow_once");
  assertEquals(await fetch({ url: "https://a.example:8443/" }), ASKED);
  assertEquals(await fetch({ url: "https://b.example/" }), ASKED);
  for (let time = 0; time < 2; time++) assertEquals(await fetch({ query: "cats" }), ASKED);
  assertEquals(await fetch({ url: `file://${session.outside}/a` }), ASKED);
});

Deno.test("SessionPermissions: nothing is allowed without a person by an option for always", async () => {
  using session = new AskingSession();
  session.choice = "allow_always";
  assertEquals(await session.ask({ kind: "think" }, OPTIONS.slice(1)), "allow_always by a person");
});

Deno.test("SessionPermissions: a command that is too long to be shown can only be rejected", async () => {
  using session = new AskingSession();
  session.choice = "reject_once";
  await session.ask({ kind: "execute", rawInput: { command: "x".repeat(70_000) } });
  const [{ detail, options }] = session.questions as [PermissionQuestion];
  assertEquals(options.map(({ kind }) => kind), ["reject_once", "reject_always"]);
  assertMatch(detail, /^x{32768}\n\[4464 characters left out\]\nx{32768}$/);
});

Deno.test("SessionPermissions: the setting allow holds also for a command that is too long to be shown", async () => {
  using session = new AskingSession("allow");
  const request = { kind: "execute", rawInput: { command: "x".repeat(70_000) } };
  assertEquals(await session.ask(request), "allow_once");
});

for (const choice of ["allow_always", "reject_always"]) {
  Deno.test(`SessionPermissions: ${choice} of a person holds for turns that ask, and beats no other policy`, async () => {
    using session = new AskingSession();
    session.choice = choice;
    let calls = 0;
    const asks = (permissions: PermissionPolicy) => {
      session.turn.permissions = permissions;
      return session.ask({ toolCallId: `call ${calls++}`, kind: "execute", title: "npm test" });
    };
    assertEquals(await asks("ask"), `${choice} by a person`);
    assertEquals(await asks("deny"), "reject_once");
    assertEquals(await asks("allow"), "allow_once");
    assertEquals(await asks("ask"), choice.replace("always", "once"));
  });
}

Deno.test("SessionPermissions: a folder and a host that a person has allowed are refused in a turn with deny", async () => {
  using session = new AskingSession();
  const requests = [
    { kind: "read", rawInput: { path: `${session.outside}/a` } },
    { kind: "fetch", rawInput: { url: "https://a.example/" } },
  ];
  for (const request of requests) assertEquals(await session.ask(request), ASKED);
  session.turn.permissions = "deny";
  for (const request of [...requests, READ]) assertEquals(await session.ask(request), "reject_once");
  session.turn.permissions = "ask";
  for (const request of requests) assertEquals(await session.ask(request), "allow_once");
});

Deno.test("SessionPermissions: a decision for always does not hold for another announced command", async () => {
  using session = new AskingSession();
  session.choice = "allow_always";
  const asks = (toolCallId: string, command: string) => {
    session.announce({ toolCallId, kind: "execute", title: "sh", rawInput: { command } });
    return session.ask({ toolCallId, kind: "think", title: "Plan" });
  };
  assertEquals(await asks("a", "ls"), "allow_always by a person");
  assertEquals(await asks("b", "ls"), "allow_once");
  assertEquals(await asks("c", "rm -rf ~"), "allow_always by a person");
});

Deno.test("SessionPermissions: no character of a command, a title or an option hides or turns others", async () => {
  using session = new AskingSession();
  const command = "echo \u202e~ fr- mr\u202c \x1b[2K\u009b\tok\n";
  const [{ id, kind }] = OPTIONS as unknown as [{ id: string; kind: "allow_once" }];
  await session.ask(
    { kind: "execute", title: "ls\u2066\u0007", rawInput: { command } },
    [
      { id, kind, name: "No\u202ewolla" },
    ] as unknown as typeof OPTIONS,
  );
  const [{ tool, detail, options }] = session.questions as [PermissionQuestion];
  assertEquals(tool.title, "ls\\u2066\\u0007");
  assertEquals(detail, "echo \\u202e~ fr- mr\\u202c \\u001b[2K\\u009b\tok\n");
  assertEquals(options.map(({ name }) => name), ["No wolla"]);
});

Deno.test("SessionPermissions: a command that is the title is shown whole", async () => {
  using session = new AskingSession();
  const title = `${"a".repeat(3_000)} && rm -rf ~`;
  await session.ask({ kind: "execute", title, content: [] });
  assertEquals(session.questions[0]!.detail, title);
});

Deno.test("SessionPermissions: the eleventh open request of a session is refused, and no other session's", async () => {
  using one = new AskingSession();
  using other = new AskingSession();
  const answers = Array.from({ length: 11 }, () => one.ask({ kind: "execute", title: "ls" }));
  assertEquals(await other.ask({ kind: "execute", title: "ls" }), ASKED);
  assertEquals((await Promise.all(answers)).map((answer) => answer.split(" ")[0]).sort(), [
    ...Array(10).fill("allow_once"),
    "reject_once",
  ]);
});
