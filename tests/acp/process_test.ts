import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { MARK_VARIABLE } from "../../lib/acp/process_tree.ts";
import { JsonRpcPeer } from "../../lib/acp/json_rpc.ts";
import { type AgentProcess, launch, type LaunchOptions, type StopTimes } from "../../lib/acp/process.ts";
import { AppError } from "../../lib/core/errors.ts";
import { directive, isObject, type Step } from "../support/agents/scripted_agent.ts";
import { soon } from "../support/harness/turn_recorder.ts";
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

const WINDOWS = Deno.build.os === "windows";

/** A child, talked to; it is ended with the test. */
class Child implements AsyncDisposable {
  readonly recorder = new LogRecorder();
  readonly link: AgentProcess;
  readonly peer: JsonRpcPeer;
  text = "";
  #wake = Promise.withResolvers<void>();

  constructor(options: LaunchOptions, times: StopTimes = PATIENT) {
    this.link = launch(options, this.recorder.log, times);
    this.peer = new JsonRpcPeer(this.link, {
      onInvalidLine: (line) => this.#hear(line),
      onRequest: () => Promise.resolve({}),
      onNotification: (_method, params) => {
        const { update } = params as { update: { content?: { text?: string } } };
        this.#hear(update.content?.text ?? "");
      },
    });
  }

  #hear(text: string): void {
    this.text += text;
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  /** Resolves when it has said this. */
  async until(text: string): Promise<void> {
    while (!this.text.includes(text)) await soon(this.#wake.promise, text);
  }

  /** The processes that it has told of, once they are so many. */
  async pids(count: number): Promise<number[]> {
    while (pidsIn(this.text).length < count) await soon(this.#wake.promise, "a process id");
    return pidsIn(this.text);
  }

  /** Makes the scripted agent do this; resolves once it has. */
  async run(...steps: Step[]): Promise<void> {
    const session = await this.peer.request("session/new", { cwd: Deno.cwd(), mcpServers: [] });
    const sessionId = isObject(session) ? session.sessionId : undefined;
    const prompt = [{ type: "text", text: directive(...steps) }];
    await soon(this.peer.request("session/prompt", { sessionId, prompt }), "the answer");
  }

  /** Ends its input, then the child. */
  async stop(): Promise<string> {
    this.peer.endInput();
    await soon(this.link.stop(), "the child's end");
    return await this.link.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.peer.close();
  }
}

Deno.test("launch: what the child says and hears are its streams", async () => {
  await using child = new Child(
    evalCommand("for await (const b of Deno.stdin.readable) await Deno.stdout.write(b)"),
  );
  child.peer.notify("back", { update: { content: { text: "and forth" } } });
  await child.until("and forth");
  assertEquals(await child.stop(), "exited with code 0");
});

Deno.test("launch: the last lines of stderr are kept, all of them logged", async () => {
  await using child = new Child(evalCommand("for (let n = 1; n <= 25; n++) console.error('line ' + n)"));
  await child.stop();
  const lines = (from: number) => Array.from({ length: 26 - from }, (_, index) => `line ${from + index}`);
  assertEquals(child.link.stderrTail(), lines(6));
  assertEquals(child.recorder.matching("agent stderr").map(({ fields }) => fields.line), lines(1));
});

Deno.test("launch: a last line of stderr that is not terminated is kept", async () => {
  await using child = new Child(evalCommand("await Deno.stderr.write(new TextEncoder().encode('fatal: ä'))"));
  await child.stop();
  assertEquals(child.link.stderrTail(), ["fatal: ä"]);
});

Deno.test("launch: a child that floods stderr without a line break is not waited for, and goes on", async () => {
  const flood = "const x = new Uint8Array(65536).fill(120);" +
    "try { for (let n = 0; n < 64; n++) Deno.stderr.writeSync(x) } catch {}" +
    "await Deno.stdout.write(new TextEncoder().encode('alive\\n')); for await (const _ of Deno.stdin.readable);";
  await using child = new Child(evalCommand(flood));
  await child.until("alive");
  await child.recorder.waitFor("the agent's stderr ended early");
  assertEquals(await child.stop(), "exited with code 0");
});

Deno.test("launch: a program that is not there is named", () => {
  const failure: AppError = assertThrows(
    () => launch({ ...evalCommand(""), command: "no-such-agent-program" }, new LogRecorder().log),
    AppError,
    '"no-such-agent-program" was not found',
  );
  assertEquals([failure.code, failure.prompted], ["agent_unavailable", false]);
});

Deno.test("launch: a folder that is not there is named", () => {
  const failure: AppError = assertThrows(
    () => launch({ ...evalCommand(""), cwd: `${Deno.cwd()}/no-such-folder` }, new LogRecorder().log),
    AppError,
    "no-such-folder",
  );
  assertEquals(failure.code, "agent_unavailable");
});

Deno.test({
  name: "launch: a program that may not be run is named",
  ignore: WINDOWS,
  async fn() {
    const file = await Deno.makeTempFile();
    try {
      const failure: AppError = assertThrows(
        () => launch({ ...evalCommand(""), command: file }, new LogRecorder().log),
        AppError,
        "could not be started",
      );
      assertEquals(failure.code, "agent_unavailable");
      assertStringIncludes(failure.message, file);
    } finally {
      await Deno.remove(file);
    }
  },
});

Deno.test("launch: the child's environment is what was given, and a mark", async () => {
  const options = evalCommand("console.log(JSON.stringify(Deno.env.toObject()) + ' that is all')");
  await using child = new Child({ ...options, env: { ...options.env, GIVEN: "ä b=c" } });
  await child.until("that is all");
  const { [MARK_VARIABLE]: mark, ...environment } = JSON.parse(child.text.replace(" that is all", ""));
  assertEquals(environment, { ...bareEnvironment(), GIVEN: "ä b=c" });
  assert(typeof mark === "string" && mark.length > 20);
});

Deno.test("launch: the child is in its folder", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    await using child = new Child({ ...evalCommand("console.log(Deno.cwd() + ' is it')"), cwd: folder });
    await child.until(`${folder} is it`);
  } finally {
    await Deno.remove(folder);
  }
});

Deno.test("stop: a child that ends with its input is not signalled", async () => {
  await using child = new Child(scriptedLaunch());
  await child.run({ text: "up" });
  assertEquals(await child.stop(), "exited with code 0");
});

Deno.test("stop: a child that has ended by itself, with its code", async () => {
  await using child = new Child(scriptedLaunch({ dieOnStart: 3 }));
  assertEquals(await soon(child.link.exited, "its end"), "exited with code 3");
  assertEquals(await child.stop(), "exited with code 3");
});

Deno.test({
  name: "stop: a child that goes on without input gets SIGTERM",
  ignore: WINDOWS,
  async fn() {
    await using child = new Child(scriptedLaunch({ ignoreEof: true }), { endMs: 30, termMs: 60_000 });
    await child.run({ text: "up" });
    assertEquals(await child.stop(), "was ended by SIGTERM");
    assertEquals(child.recorder.matching("the agent did not end when asked to; killing it"), []);
  },
});

Deno.test({
  name: "stop: a child that ignores all that gets SIGKILL, and it is said",
  ignore: WINDOWS,
  async fn() {
    await using child = new Child(scriptedLaunch({ ignoreEof: true, ignoreSigterm: true }), SHORT);
    await child.run({ text: "up" });
    assertEquals(await child.stop(), "was ended by SIGKILL");
    assertEquals(child.recorder.matching("the agent did not end when asked to; killing it").length, 1);
  },
});

Deno.test("stop: twice is once", async () => {
  await using child = new Child(scriptedLaunch());
  child.peer.endInput();
  const [one, two] = [child.link.stop(), child.link.stop()];
  assertEquals(one, two);
  await soon(one, "its end");
});

Deno.test("kill: at once, without a word", async () => {
  await using child = new Child(scriptedLaunch({ ignoreEof: true, ignoreSigterm: true }));
  await child.run({ text: "up" });
  child.link.kill();
  const how = await soon(child.link.exited, "its end");
  if (!WINDOWS) assertEquals(how, "was ended by SIGKILL");
  child.link.kill();
});

interface Grandchildren {
  readonly name: string;
  readonly steps: Step[];
  readonly linuxOnly?: boolean;
  /** It can be told for the agent's only while the agent lives, so that one which ends at once is no test of it. */
  readonly unmarked?: boolean;
}
const GRANDCHILDREN: readonly Grandchildren[] = [
  { name: "in its group", steps: [{ spawn: "sleep 60" }] },
  { name: "in its group, which holds its streams", steps: [{ spawn: "sleep 60", inherit: true }] },
  { name: "in a session of its own", steps: [{ spawn: "sleep 60", setsid: true }] },
  {
    name: "in a session of its own, which holds its streams",
    steps: [{ spawn: "sleep 60", setsid: true, inherit: true }],
  },
  { name: "that setsid started", steps: [{ spawn: "setsid sleep 60" }], linuxOnly: true },
  {
    name: "that setsid started without an environment",
    steps: [{ spawn: "env -i setsid sleep 60" }],
    linuxOnly: true,
    unmarked: true,
  },
  {
    name: "of which there are many",
    steps: [{ spawn: "sleep 60" }, { spawn: "sleep 60", setsid: true }, { spawn: "sleep 60", setsid: true }],
  },
];
/** How the agent ends before its grandchildren are looked for. */
const ENDINGS: readonly {
  name: string;
  options?: Parameters<typeof scriptedLaunch>[0];
  last: Step;
  linuxOnly?: boolean;
}[] = [
  { name: "was stopped", last: { text: "done" } },
  { name: "had to be killed", options: { ignoreEof: true, ignoreSigterm: true }, last: { text: "done" } },
  { name: "died of SIGKILL before", last: { kill: true }, linuxOnly: true },
  { name: "exited before", last: { exit: 1 }, linuxOnly: true },
];
for (const ending of ENDINGS) {
  for (const { name, steps, linuxOnly, unmarked } of GRANDCHILDREN) {
    if (unmarked && !ending.options) continue;
    Deno.test({
      name: `stop: nothing is left of a child that ${ending.name}: a process ${name}`,
      ignore: WINDOWS || (linuxOnly || ending.linuxOnly) && Deno.build.os !== "linux",
      async fn() {
        await using child = new Child(scriptedLaunch(ending.options), ending.options ? SHORT : PATIENT);
        const turn = child.run(...steps, ending.last).catch(() => {});
        const pids = await child.pids(steps.length);
        // Where a process holds its streams, the end of the child is not the end of what is read from it.
        await Promise.race([turn, soon(child.link.exited, "its end")]);
        try {
          for (const pid of pids) assert(await isRunning(pid), "it does not live on by itself");
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

Deno.test({
  name: "stop: nothing is left of what a child starts as it ends",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const code = "for await (const _ of Deno.stdin.readable);" +
      "const none = { stdin: 'null', stdout: 'null', stderr: 'null' };" +
      "const left = new Deno.Command('sleep', { args: ['60'], detached: true, ...none }).spawn();" +
      "left.unref(); console.log('pid:' + left.pid)";
    await using child = new Child(evalCommand(code));
    await child.stop();
    for (const pid of await child.pids(1)) await untilGone(pid);
  },
});

Deno.test({
  name: "stop: leaves other processes alone",
  ignore: WINDOWS,
  async fn() {
    const other = new Deno.Command("sleep", { args: ["60"], stdin: "null", stdout: "null", stderr: "null" })
      .spawn();
    try {
      await using child = new Child(scriptedLaunch({ ignoreEof: true, ignoreSigterm: true }), SHORT);
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
  },
});
