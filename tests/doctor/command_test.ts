import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ConfigError, type Loaded } from "../../lib/config/load.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MAX_CONCURRENT } from "../../lib/doctor/command.ts";
import {
  checksOf,
  configOf,
  DESCRIPTION,
  examine,
  KEY,
  loaded,
  REQUIREMENTS,
} from "../support/harness/doctor_fixture.ts";

function failWith(code: "agent_unavailable" | "agent_auth_required", message: string) {
  return () => Promise.reject(new AppError(code, message));
}

/** An agent that never answers, and ends when it is given up. */
function silent(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}

Deno.test("runDoctorCommand: prints one line for each thing that is well, and the verdict", async () => {
  const { lines, isHealthy } = await examine();
  assertEquals(lines, [
    "ok   the configuration was loaded; its agents: openab",
    "ok   VTUBER_ENABLED is set",
    "ok   VTUBER_AUTH_KEY is set and long enough",
    "ok   127.0.0.1:8080 is free to listen on",
    "ok   conversations are kept in /data",
    "ok   openab: program: /usr/bin/codex-acp",
    "ok   openab: folder: /project",
    "ok   openab: started in 125 ms: codex 1.2.3, protocol version 1",
    "ok   openab: opened a session; it needs no log-in, or has one",
    "ok   openab: accepts images: yes, audio: no",
    "ok   openab: sessions can be resumed (session/load); closes them: yes, deletes them: no",
    "ok   openab: connects to MCP servers over http: yes, sse: no",
    "ok   openab: model: gpt-5; 2 offered: gpt-5, gpt-5/high",
    "ok   openab: mode: ask; 2 offered: ask, code",
    "14 ok, 0 warnings, 0 failed. All is well.",
  ]);
  assertEquals(isHealthy, true);
});

Deno.test("runDoctorCommand: after a mistake nothing else is checked, and warnings are printed too", async () => {
  const never = () => {
    throw new Error("This must not be checked.");
  };
  const mistakes = ["VTUBER_LOG: must be one of debug, info.", "config.toml: agent.args: must be a list."];
  const warnings = ["config.toml: agent.comand is not a setting. Did you mean command?"];
  const { lines, isHealthy } = await examine({
    loading: Promise.reject(new ConfigError(mistakes, warnings)),
    checkAddress: never,
    checkCharacter: never,
    checkDataDir: never,
    agentChecks: never,
  });
  assertEquals(isHealthy, false);
  assertEquals(lines.map((line) => line.slice(0, 15)), [
    "FAIL VTUBER_LOG",
    "     Correct it",
    "FAIL config.tom",
    "     Correct it",
    "warn config.tom",
    "     Correct it",
    "0 ok, 1 warning",
  ]);
});

function configuredWith(env: Record<string, string>): Promise<Loaded> {
  return loaded(configOf(env));
}

const MACHINE: [name: string, parts: Parameters<typeof examine>[0], isHealthy: boolean, lines: RegExp][] = [
  [
    "an address in use",
    { checkAddress: () => Promise.resolve("in_use") },
    false,
    /^FAIL 127\.0\.0\.1:8080 is in use/m,
  ],
  [
    "a character",
    { loading: configuredWith({ VTUBER_CHARACTER: "/mao" }) },
    true,
    /^ok {3}VTUBER_CHARACTER can be shown$/m,
  ],
  [
    "a missing character",
    {
      loading: configuredWith({ VTUBER_CHARACTER: "/mao" }),
      checkCharacter: (character) =>
        Promise.reject(new Error(`VTUBER_CHARACTER: ${character}: no such folder.`)),
    },
    false,
    /^FAIL VTUBER_CHARACTER: \/mao: no such folder\.\n {5}Correct it, or take it out/m,
  ],
  [
    "nothing kept",
    { loading: configuredWith({ VTUBER_DATA_DIR: "none" }) },
    true,
    /^ok {3}conversations are not kept/m,
  ],
  [
    "a damaged file",
    { checkDataDir: () => Promise.resolve({ level: "warn", text: "it was damaged", fix: "Nothing." }) },
    true,
    /^warn it was damaged\n {5}Nothing\.$/m,
  ],
  [
    "a folder that cannot be written",
    { checkDataDir: () => Promise.reject(new Error("read-only")) },
    true,
    /^warn conversations are remembered only until the program ends: read-only\n {5}Set VTUBER_DATA_DIR/m,
  ],
];

for (const [name, parts, isHealthy, lines] of MACHINE) {
  Deno.test(`runDoctorCommand: ${name}`, async () => {
    const report = await examine(parts);
    assertMatch(report.lines.join("\n"), lines);
    assertEquals(report.isHealthy, isHealthy);
  });
}

Deno.test("runDoctorCommand: an agent whose program or folder is missing is not started", async () => {
  for (const missing of ["program", "folder"] as const) {
    let started = false;
    const { isHealthy } = await examine({
      agent: {
        findRequirements: () => Promise.resolve({ ...REQUIREMENTS, [missing]: undefined }),
        describe() {
          started = true;
          return Promise.resolve(DESCRIPTION);
        },
      },
    });
    assertEquals([isHealthy, started], [false, false]);
  }
});

/** More agents than are tried at once. */
const NAMES = Array.from({ length: MAX_CONCURRENT + 3 }, (_, n) => String.fromCharCode(97 + n));
const MANY = configOf({}, NAMES.map((name) => `[agents.${name}]\ncommand = "${name}-acp"\n`).join(""));

Deno.test("runDoctorCommand: a few agents are tried at once, and reported in order", async () => {
  const waiting: (() => void)[] = [];
  let running = 0;
  let most = 0;
  const { lines } = await examine({
    loading: loaded(MANY),
    agentChecks: (config) =>
      checksOf(config, {
        async describe() {
          most = Math.max(most, ++running);
          const { promise, resolve } = Promise.withResolvers<void>();
          // The last agent that started is the first that is done.
          waiting.push(resolve);
          if (waiting.length === MAX_CONCURRENT || config.name === NAMES.at(-1)) {
            for (const go of waiting.splice(0).reverse()) go();
          }
          await promise;
          running--;
          return { ...DESCRIPTION, agent: { name: config.name, version: "1" } };
        },
      }),
  });
  const names = lines.flatMap((line) => /^ok {3}(\w): started in \d+ ms: (\w) 1/.exec(line)?.slice(1) ?? []);
  assertEquals(names, NAMES.flatMap((name) => [name, name]));
  assertEquals(most, MAX_CONCURRENT);
});

Deno.test("runDoctorCommand: a silent agent does not hold up the others", async () => {
  const others = Promise.withResolvers<void>();
  let tried = 0;
  const { isHealthy } = await examine({
    loading: loaded(MANY),
    agentChecks: (config) =>
      checksOf(config, {
        async describe() {
          if (config.name === NAMES[0]) await others.promise;
          else if (++tried === NAMES.length - 1) others.resolve();
          return DESCRIPTION;
        },
      }),
  });
  assertEquals(isHealthy, true);
});

Deno.test("runDoctorCommand: before it tries the agents, it tells the person at the terminal which", async () => {
  const notices: string[] = [];
  const noticesBefore = new Set<number>();
  const { lines } = await examine({
    loading: loaded(MANY),
    notice: (line) => notices.push(line),
    agent: {
      describe() {
        noticesBefore.add(notices.length);
        return Promise.resolve(DESCRIPTION);
      },
    },
  });
  assertEquals(notices, [
    `trying ${NAMES.join(", ")}... (an agent that does not answer takes a minute or two)`,
  ]);
  assertEquals([...noticesBefore], [1]);
  assertEquals(lines.some((line) => line.startsWith("trying")), false);
});

Deno.test("runDoctorCommand: an agent that fails does not keep the others from being tried", async () => {
  const { lines, isHealthy } = await examine({
    loading: loaded(MANY),
    agentChecks: (config) =>
      checksOf(config, config.name === "b" ? { describe: failWith("agent_unavailable", "No.") } : {}),
  });
  assertEquals(isHealthy, false);
  assertEquals(lines.filter((line) => line.includes("opened a session")).length, NAMES.length - 1);
  assertEquals(lines.filter((line) => line.startsWith("FAIL")), ["FAIL b: No."]);
});

Deno.test("runDoctorCommand: an error that is not ours is reported with the agent", async () => {
  const { lines } = await examine({ agent: { describe: () => Promise.reject(new TypeError("oops")) } });
  assertEquals(lines.at(-3), "FAIL openab: oops");
});

Deno.test("runDoctorCommand: an agent that never opens a session is given up", async () => {
  const { lines, isHealthy } = await examine({ agentMs: 1, agent: { describe: silent } });
  assertEquals(isHealthy, false);
  assertEquals(lines.at(-3), "FAIL openab: The agent did not get past initialize in 0.001 seconds.");
});

Deno.test("runDoctorCommand: if it is asked to end, it waits for the agents to end, and reports that it stopped", async () => {
  const stop = new AbortController();
  let hasEnded = false;
  const { lines, isHealthy } = await examine({
    agent: {
      async describe(signal) {
        const ended = silent(signal);
        stop.abort();
        await ended.catch(() => {});
        await Promise.resolve();
        hasEnded = true;
        throw signal.reason;
      },
    },
  }, stop.signal);
  assertEquals([isHealthy, hasEnded], [false, true]);
  assertEquals(lines.at(-3), "FAIL stopped before everything was checked");
});

Deno.test("runDoctorCommand: an error of the program itself is not a finding", async () => {
  const bug = () => examine({ checkAddress: () => Promise.reject(new RangeError("bug")) });
  await assertRejects(bug, RangeError, "bug");
});

Deno.test("runDoctorCommand: no secret is printed, wherever it comes from", async () => {
  const secrets = {
    key: KEY,
    env: 'env-"s3cret',
    inherited: "inherited-s3cret",
    serverEnv: "mcp-env-s3cret",
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
env = { B_TOKEN = "${secrets.serverEnv}" }
[agent.mcp_servers.web]
url = "${secrets.url}"
headers = { Authorization = "${secrets.header}" }
`,
  );
  // The last secret begins before the end of a long line, and ends after it.
  const all = `${Object.values(secrets).join(" and ")} and ${JSON.stringify(secrets)} ${
    "x".repeat(240)
  } ${secrets.url}`;
  const { lines } = await examine({
    loading: loaded(config, [all]),
    own: { TOKEN: secrets.inherited, OTHER: "x" },
    checkDataDir: () => Promise.resolve({ level: "fail", text: all, fix: all }),
    agent: { describe: failWith("agent_auth_required", all) },
  });
  const text = lines.join("\n");
  for (const secret of Object.values(secrets)) assertEquals(text.includes(secret), false, secret);
  assertEquals(text.includes("s3cret"), false);
  // A short value is part of ordinary words.
  assertMatch(text, /program: \/usr\/bin\/codex-acp/);
});
