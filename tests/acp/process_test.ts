import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { JsonRpcPeer } from "../../lib/acp/json_rpc.ts";
import { type AgentProcess, launch, type LaunchOptions, type StopTimes } from "../../lib/acp/process.ts";
import { MARK_VARIABLE } from "../../lib/core/process_tree.ts";
import { AppError } from "../../lib/core/errors.ts";
import { isObject } from "../support/agents/agent_io.ts";
import { directive, type Step } from "../support/agents/agent_steps.ts";
import {
  bareEnvironment,
  evalCommand,
  isRunning,
  PATIENT,
  pidsIn,
  scriptedLaunch,
  SHORT,
  untilGone,
} from "../support/harness/agent_process_harness.ts";
import { LogRecorder } from "../support/harness/json_rpc_harness.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

const WINDOWS = Deno.build.os === "windows";
const UNSTOPPABLE = { ignoreEof: true, ignoreSigterm: true };

/** A launched child with a JSON-RPC connection, which ends with the test. */
class Child implements AsyncDisposable {
  readonly recorder = new LogRecorder();
  readonly process: AgentProcess;
  readonly peer: JsonRpcPeer;
  /** The text of invalid lines and message chunks. */
  text = "";
  #changed = Promise.withResolvers<void>();

  constructor(options: LaunchOptions, times: StopTimes = PATIENT) {
    this.process = launch(options, this.recorder.log, times);
    this.peer = new JsonRpcPeer(this.process, {
      onInvalidLine: (line) => this.#add(line),
      onRequest: () => Promise.resolve({}),
      onNotification: (_method, params) => {
        const { update } = params as { update: { content?: { text?: string } } };
        this.#add(update.content?.text ?? "");
      },
    });
  }

  #add(text: string): void {
    this.text += text;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Resolves when the text fits. */
  async waitFor(fits: (text: string) => boolean): Promise<void> {
    while (!fits(this.text)) await waitFor(this.#changed.promise, "the child's text");
  }

  /** Resolves to the process ids in the text, once there are so many. */
  async pids(count: number): Promise<number[]> {
    await this.waitFor((text) => pidsIn(text).length >= count);
    return pidsIn(this.text);
  }

  /** Makes the scripted agent run these steps. */
  async run(...steps: Step[]): Promise<void> {
    const session = await this.peer.request("session/new", { cwd: Deno.cwd(), mcpServers: [] });
    const sessionId = isObject(session) ? session.sessionId : undefined;
    const prompt = [{ type: "text", text: directive(...steps) }];
    await waitFor(this.peer.request("session/prompt", { sessionId, prompt }), "the answer");
  }

  /** Ends the child's input, then the child. Resolves to its exit status. */
  async stop(): Promise<string> {
    this.peer.endInput();
    await waitFor(this.process.stop(), "the child's end");
    return await this.process.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.peer.close();
  }
}

Deno.test("launch: reports every redacted line of stderr, and keeps the last 20", async () => {
  const lines: string[] = [];
  const code = "for (let n = 1; n <= 24; n++) console.error('line ' + n);" +
    "await Deno.stderr.write(new TextEncoder().encode('secret: ä'))";
  await using child = new Child({
    ...evalCommand(code),
    redact: (text) => text.replace("secret", "***"),
    onStderr: (line) => lines.push(line),
  });
  await child.stop();
  const expected = [...Array.from({ length: 24 }, (_, index) => `line ${index + 1}`), "***: ä"];
  assertEquals(lines, expected);
  assertEquals(child.recorder.matching("agent stderr").map(({ fields }) => fields.line), expected);
  assertEquals(child.process.stderrTail(), expected.slice(-20));
});

Deno.test("launch: reads on after a flood without line breaks on stderr, and drops the excess", async () => {
  const code = "const x = new Uint8Array(65536).fill(120);" +
    "for (let n = 0; n < 64; n++) Deno.stderr.writeSync(x);" +
    "console.error('\\nthe end'); for await (const _ of Deno.stdin.readable);";
  const lines: string[] = [];
  await using child = new Child({ ...evalCommand(code), onStderr: (line) => lines.push(line) });
  while (lines.length < 2) await nextTask();
  assertEquals(lines.map((line) => line.slice(0, 7)), ["xxxxxxx", "the end"]);
  assertEquals([lines[0]!.length, await child.stop()], [2_000, "exited with code 0"]);
});

Deno.test("launch: logs stderr as debug, and of a flood only the beginning", async () => {
  const code = "for (let n = 0; n < 20_000; n++) console.error(n)";
  let lines = 0;
  await using child = new Child({ ...evalCommand(code), onStderr: () => lines++ });
  await child.stop();
  assertEquals([lines, child.process.stderrTail().at(-1)], [20_000, "19999"]);
  const logged = child.recorder.entries.filter(({ message }) => message.startsWith("agent stderr"));
  assertEquals(new Set(logged.map(({ level }) => level)), new Set(["debug"]));
  // 200 lines in ten seconds; a slow machine may need longer.
  assert(logged.length <= 201 * 6, `${logged.length} lines`);
});

for (
  const { name, options, message, reason } of [
    {
      name: "names a missing program",
      options: { command: "no-such-agent-program" },
      message: '"no-such-agent-program" was not found',
      reason: "program_not_found",
    },
    {
      name: "names a missing working directory",
      options: { cwd: `${Deno.cwd()}/no-such-folder` },
      message: "no-such-folder does not exist",
      reason: "program_not_found",
    },
    {
      name: "names a program that cannot be executed",
      options: { command: `${import.meta.filename}` },
      message: 'process_test.ts" could not be started',
      reason: "program_not_started",
    },
  ]
) {
  Deno.test(`launch: ${name}`, { ignore: WINDOWS && reason === "program_not_started" }, () => {
    const error: AppError = assertThrows(
      () => launch({ ...evalCommand(""), ...options }, new LogRecorder().log),
      AppError,
      message,
    );
    assertEquals([error.code, error.reason, error.prompted], ["agent_unavailable", reason, false]);
  });
}

Deno.test("launch: the child's environment is the given one with a mark", async () => {
  const options = evalCommand("console.log(JSON.stringify(Deno.env.toObject()) + ' ')");
  await using child = new Child({ ...options, env: { ...options.env, GIVEN: "ä b=c" } });
  await child.waitFor((text) => text.endsWith("} "));
  const { [MARK_VARIABLE]: mark, ...environment } = JSON.parse(child.text);
  assertEquals(environment, { ...bareEnvironment(), GIVEN: "ä b=c" });
  assert(typeof mark === "string" && mark.length > 20);
});

for (
  const { name, options, times, status, isKilled = false } of [
    {
      name: "a child that ends with its input is not signalled",
      options: {},
      times: PATIENT,
      status: "exited with code 0",
    },
    {
      name: "a child that ignores the end of its input gets SIGTERM",
      options: { ignoreEof: true },
      times: { endMs: 30, termMs: 60_000 },
      status: "was ended by SIGTERM",
    },
    {
      name: "a child that ignores SIGTERM gets SIGKILL",
      options: UNSTOPPABLE,
      times: SHORT,
      status: "was ended by SIGKILL",
      isKilled: true,
    },
  ]
) {
  Deno.test(`stop: ${name}`, { ignore: WINDOWS && status.includes("SIG") }, async () => {
    await using child = new Child(scriptedLaunch(options), times);
    await child.run({ text: "up" });
    assertEquals(await child.stop(), status);
    const warnings = child.recorder.matching("the agent did not end after SIGTERM; sending SIGKILL");
    assertEquals(warnings.length, isKilled ? 1 : 0);
  });
}

Deno.test("kill: ends the child at once", async () => {
  await using child = new Child(scriptedLaunch(UNSTOPPABLE));
  await child.run({ text: "up" });
  child.process.kill();
  const status = await waitFor(child.process.exited, "the child's end");
  if (!WINDOWS) assertEquals(status, "was ended by SIGKILL");
  child.process.kill();
});

/** Processes that the agent starts. Unmarked ones can be found while the agent lives only. */
const GRANDCHILDREN: readonly { name: string; steps: Step[]; linuxOnly?: boolean; unmarked?: boolean }[] = [
  { name: "in its group", steps: [{ spawn: "sleep 60" }] },
  {
    name: "in another session with its streams",
    steps: [{ spawn: "sleep 60", setsid: true, inherit: true }],
  },
  { name: "started by setsid", steps: [{ spawn: "setsid sleep 60" }], linuxOnly: true },
  {
    name: "started by setsid without an environment",
    steps: [{ spawn: "env -i setsid sleep 60" }],
    linuxOnly: true,
    unmarked: true,
  },
];
/** Ways in which the agent ends before its descendants are searched for. */
const ENDINGS: readonly { name: string; isForced?: boolean; last: Step; linuxOnly?: boolean }[] = [
  { name: "stopped", last: { text: "done" } },
  { name: "killed", isForced: true, last: { text: "done" } },
  { name: "dead by SIGKILL", last: { kill: true }, linuxOnly: true },
  { name: "exited", last: { exit: 1 }, linuxOnly: true },
];
for (const ending of ENDINGS) {
  for (const { name, steps, linuxOnly, unmarked } of GRANDCHILDREN) {
    if (unmarked && !ending.isForced) continue;
    Deno.test({
      name: `stop: a ${ending.name} agent leaves no process ${name}`,
      ignore: WINDOWS || (linuxOnly || ending.linuxOnly) && Deno.build.os !== "linux",
      async fn() {
        await using child = ending.isForced
          ? new Child(scriptedLaunch(UNSTOPPABLE), SHORT)
          : new Child(scriptedLaunch());
        const turn = child.run(...steps, ending.last).catch(() => {});
        const pids = await child.pids(steps.length);
        // If a process inherited the streams, they stay open after the agent's exit.
        await Promise.race([turn, waitFor(child.process.exited, "the agent's exit")]);
        try {
          for (const pid of pids) assert(await isRunning(pid), "the process ended by itself");
          await child.stop();
          await turn;
          for (const pid of pids) await untilGone(pid);
        } finally {
          for (const pid of pids) if (await isRunning(pid)) Deno.kill(pid, "SIGKILL");
        }
      },
    });
  }
}

Deno.test("stop: ends a process that the child starts while it ends", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const code = "for await (const _ of Deno.stdin.readable);" +
    "const none = { stdin: 'null', stdout: 'null', stderr: 'null' };" +
    "const left = new Deno.Command('sleep', { args: ['60'], detached: true, ...none }).spawn();" +
    "left.unref(); console.log('pid:' + left.pid)";
  await using child = new Child(evalCommand(code));
  await child.stop();
  for (const pid of await child.pids(1)) await untilGone(pid);
});

Deno.test("stop: leaves other processes and agents running", { ignore: WINDOWS }, async () => {
  const other = new Deno.Command("sleep", { args: ["60"], stdin: "null", stdout: "null", stderr: "null" })
    .spawn();
  try {
    await using child = new Child(scriptedLaunch(UNSTOPPABLE), SHORT);
    await using second = new Child(scriptedLaunch());
    await child.run({ text: "up" });
    await second.run({ text: "up" });
    await child.stop();
    assert(await isRunning(other.pid));
    await second.run({ text: "still up" });
    assertStringIncludes(second.text, "still up");
  } finally {
    other.kill("SIGKILL");
    await other.status;
  }
});
