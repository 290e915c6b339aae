import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { collectSecrets } from "../../lib/config/secrets.ts";
import { AT_ONCE, runDoctor } from "../../lib/doctor/command.ts";
import {
  agentOf,
  configOf,
  examine,
  failing,
  KEY,
  SILENT_AGENT,
  TOLD,
} from "../support/harness/doctor_fixture.ts";

Deno.test("runDoctor: one line for each thing that is well, and the sum", async () => {
  const { lines, isWell } = await examine();
  assertEquals(lines, [
    "ok   the configuration was read; its agents: openab",
    "ok   VTUBER_ENABLED is set",
    "ok   VTUBER_AUTH_KEY is set, and long enough",
    "ok   127.0.0.1:8080 is free to listen on",
    "ok   conversations are kept in /data",
    "ok   openab: its program is /usr/bin/codex-acp",
    "ok   openab: its folder is /project",
    "ok   openab: started in 125 ms: codex 1.2.3, protocol version 1",
    "ok   openab: opened a session: it needs no log-in, or has one",
    "ok   openab: takes pictures: yes, sounds: no",
    "ok   openab: sessions come back (session/load); closes them: yes, deletes them: no",
    "ok   openab: reaches MCP servers by address: http yes, sse no",
    "ok   openab: model now: gpt-5; 2 offered: gpt-5, gpt-5/high",
    "ok   openab: mode now: ask; 2 offered: ask, code",
    "14 ok, 0 warnings, 0 failed. All is well.",
  ]);
  assertEquals(isWell, true);
});

Deno.test("runDoctor: with mistakes nothing else is checked, and warnings are told as well", async () => {
  const lines: string[] = [];
  const never = () => {
    throw new Error("This is not to be asked.");
  };
  const isWell = await runDoctor({
    print: (line) => lines.push(line),
    config: undefined,
    mistakes: ["VTUBER_LOG: must be one of debug, info.", "config.toml: agent.args: must be a list."],
    warnings: ["config.toml: agent.comand is not a setting. Did you mean command?"],
    agents: [],
    secrets: [],
    listenFault: never,
    checkCharacter: never,
    checkDataDir: never,
  });
  assertEquals(isWell, false);
  assertEquals(lines.map((line) => line.slice(0, 20)), [
    "FAIL VTUBER_LOG: mus",
    "     Correct it, and",
    "FAIL config.toml: ag",
    "     Correct it, and",
    "warn config.toml: ag",
    "     Correct it or t",
    "0 ok, 1 warning, 2 f",
  ]);
});

Deno.test("runDoctor: an agent whose program or folder is missing is not started", async () => {
  for (const missing of ["findProgram", "findFolder"] as const) {
    let started = false;
    const { isWell } = await examine({
      agent: {
        [missing]: () => Promise.resolve(undefined),
        describe: () => {
          started = true;
          return Promise.resolve(TOLD);
        },
      },
    });
    assertEquals([isWell, started], [false, false]);
  }
});

/** More than are tried at once. */
const NAMES = Array.from({ length: AT_ONCE + 3 }, (_, n) => String.fromCharCode(97 + n));
const MANY = NAMES.map((name) => `[agents.${name}]\ncommand = "${name}-acp"\n`).join("");

Deno.test("runDoctor: agents are tried a few at once, and told of in order", async () => {
  const config = configOf({}, MANY);
  const waiting: (() => void)[] = [];
  let atOnce = 0;
  let most = 0;
  const { lines } = await examine({
    config,
    agents: config.agents.map((one) =>
      agentOf(one, {
        async describe() {
          most = Math.max(most, ++atOnce);
          const { promise, resolve } = Promise.withResolvers<void>();
          // The last that was begun is the first that is done.
          waiting.push(resolve);
          if (waiting.length === AT_ONCE || one.name === NAMES.at(-1)) {
            for (const go of waiting.splice(0).reverse()) go();
          }
          await promise;
          atOnce--;
          return { ...TOLD, agent: { name: one.name, version: "1" } };
        },
      })
    ),
  });
  const told = lines.flatMap((line) => /^ok {3}(\w): started in \d+ ms: (\w) 1/.exec(line)?.slice(1) ?? []);
  assertEquals(told, NAMES.flatMap((name) => [name, name]));
  assertEquals(most, AT_ONCE);
});

Deno.test("runDoctor: one that is silent keeps none of the others waiting", async () => {
  const config = configOf({}, MANY);
  const others = Promise.withResolvers<void>();
  let tried = 0;
  const { isWell } = await examine({
    config,
    agents: config.agents.map((one) =>
      agentOf(one, {
        async describe() {
          if (one.name === NAMES[0]) await others.promise;
          else if (++tried === NAMES.length - 1) others.resolve();
          return TOLD;
        },
      })
    ),
  });
  assertEquals(isWell, true);
});

Deno.test("runDoctor: whoever waits is told first which agents are tried", async () => {
  const notices: string[] = [];
  const before: number[] = [];
  const { lines } = await examine({
    config: configOf({}, MANY),
    notice: (line) => notices.push(line),
    agent: {
      describe() {
        before.push(notices.length);
        return Promise.resolve(TOLD);
      },
    },
  });
  assertEquals(notices, [`trying ${NAMES.join(", ")}... (a silent one takes a minute or two)`]);
  assertEquals(new Set(before), new Set([1]));
  assertEquals(lines.some((line) => line.startsWith("trying")), false);
});

Deno.test("runDoctor: one agent that fails keeps none of the others from being tried", async () => {
  const config = configOf({}, MANY);
  const { lines, isWell } = await examine({
    config,
    agents: config.agents.map((one) =>
      agentOf(one, one.name === "b" ? { describe: failing("agent_unavailable", "No.") } : {})
    ),
  });
  assertEquals(isWell, false);
  assertEquals(lines.filter((line) => line.includes("opened a session")).length, NAMES.length - 1);
  assertEquals(lines.filter((line) => line.startsWith("FAIL")), ["FAIL b: could not be used: No."]);
});

Deno.test("runDoctor: an agent that never opens a session is given up", async () => {
  let wasGivenUp = false;
  const { lines, isWell } = await examine({
    agentMs: 1,
    agent: {
      describe: (signal) =>
        new Promise((_, reject) =>
          signal.addEventListener("abort", () => {
            wasGivenUp = true;
            reject(signal.reason);
          })
        ),
    },
  });
  assertEquals([isWell, wasGivenUp], [false, true]);
  assertMatch(
    lines.at(-3)!,
    /^FAIL openab: could not be used: In 0\.001 seconds it came no further than init/,
  );
});

Deno.test("runDoctor: when it is asked to end it stops, once agents have ended, and tells that not all was checked", async () => {
  const asked = new AbortController();
  let hasEnded = false;
  const { lines, isWell } = await examine({
    agent: {
      async describe(signal) {
        const { promise, reject } = Promise.withResolvers<never>();
        signal.addEventListener("abort", () => reject(signal.reason));
        asked.abort();
        await promise.catch(() => {});
        await Promise.resolve();
        hasEnded = true;
        throw signal.reason;
      },
    },
  }, asked.signal);
  assertEquals([isWell, hasEnded], [false, true]);
  assertMatch(lines.at(-3)!, /^FAIL stopped before everything was checked$/);
});

Deno.test("runDoctor: a mistake of ours is not taken for a finding", async () => {
  await assertRejects(
    () => examine({ listenFault: () => Promise.reject(new RangeError("ours")) }),
    RangeError,
    "ours",
  );
});

Deno.test("runDoctor: no secret is printed, wherever it comes from", async () => {
  const secrets = {
    key: KEY,
    env: 'env-"s3cret',
    inherited: "inherited-s3cret",
    mcpEnv: "mcp-env-s3cret",
    header: "Bearer header-s3cret",
    url: "https://a.example/?token=s3cret",
  };
  const config = configOf(
    {},
    `
[agent]
command = "codex-acp"
env = { A_KEY = '${secrets.env}', SHORT_KEY = "acp" }
inherit_env = ["TOKEN", "NOT_SET"]
[agent.mcp_servers.fs]
command = "fs"
env = { B_TOKEN = "${secrets.mcpEnv}" }
[agent.mcp_servers.web]
url = "${secrets.url}"
headers = { Authorization = "${secrets.header}" }
`,
  );
  // One that begins before the end of a long line, and ends behind it.
  const all = `${Object.values(secrets).join(" and ")} and ${JSON.stringify(secrets)} ${
    "x".repeat(240)
  } ${secrets.url}`;
  const { lines } = await examine({
    config,
    warnings: [all],
    secrets: collectSecrets(config, { TOKEN: secrets.inherited, OTHER: "x" }),
    checkDataDir: () => Promise.resolve({ level: "fail", text: all, fix: all }),
    agent: { describe: failing("agent_auth_required", all) },
  });
  // One that lies where a line of the agent is cut.
  const line = `${"x".repeat(95)}${secrets.header}`;
  const failed = await examine({
    config,
    secrets: collectSecrets(config, {}),
    agent: {
      describe: failing("agent_unavailable", "It ended."),
      said: () => ({ ...SILENT_AGENT, stderr: [line, line], stray: line, lastStray: `${line}!` }),
    },
  });
  assertMatch(failed.lines.join("\n"), /x{95}\[secr/);
  const text = [...lines, ...failed.lines].join("\n");
  assertEquals(text.includes("Beare"), false);
  for (const secret of Object.values(secrets)) assertEquals(text.includes(secret), false, secret);
  assertEquals(text.includes("s3cret"), false);
  // Words that stand everywhere are not taken for secrets.
  assertMatch(text, /its program is \/usr\/bin\/codex-acp/);
});
