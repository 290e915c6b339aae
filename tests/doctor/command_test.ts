import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ConfigError } from "../../lib/config/load.ts";
import { MAX_CONCURRENT } from "../../lib/doctor/command.ts";
import { fail, ok } from "../../lib/doctor/report.ts";
import { configOf, examine, KEY, loaded } from "../support/harness/doctor_fixture.ts";

Deno.test("runDoctorCommand: prints one line for each thing that is well, and the verdict", async () => {
  const { lines, isHealthy } = await examine({ loading: loaded(configOf({ VTUBER_CHARACTER: "/mao" })) });
  assertEquals(lines, [
    "ok   the configuration was loaded; its agents: openab",
    "ok   VTUBER_ENABLED is set",
    "ok   VTUBER_AUTH_KEY is set and long enough",
    "ok   the address is free",
    "ok   conversations are kept",
    "ok   the character can be shown",
    "ok   the voice works",
    "ok   openab: works",
    "8 ok, 0 warnings, 0 failed. All is well.",
  ]);
  assertEquals(isHealthy, true);
});

Deno.test("runDoctorCommand: tries the server of embeddings if it is configured, and prints no key of it", async () => {
  const config = configOf({}, '[embeddings]\nbase_url = "http://127.0.0.1:1"\nkey = "sk-upstream-1"\n');
  const { lines } = await examine({
    loading: loaded(config),
    checkEmbeddings: ({ key }) => Promise.resolve(ok(`embeddings: ${key}`)),
  });
  assertEquals(lines.filter((line) => line.includes("embeddings")), ["ok   embeddings: [secret]"]);
});

Deno.test("runDoctorCommand: the certificate is checked if there is one", async () => {
  const files = { VTUBER_TLS_CERT: "cert.pem", VTUBER_TLS_KEY: "key.pem" };
  const { lines } = await examine({
    loading: loaded(configOf(files)),
    checkTls: ({ tlsCert }) => Promise.resolve(ok(`${tlsCert} is a certificate`)),
  });
  assertEquals(lines.includes("ok   cert.pem is a certificate"), true);
});

Deno.test("runDoctorCommand: after a mistake nothing else is checked, and warnings are printed too", async () => {
  const never = () => {
    throw new Error("This must not be checked.");
  };
  const loading = Promise.reject(new ConfigError(["VTUBER_LOG: must be x."], ["VTUBER_X is not a setting."]));
  const { lines, isHealthy } = await examine({
    loading,
    checkAddress: never,
    checkDataDir: never,
    checkAgent: never,
  });
  assertEquals(isHealthy, false);
  assertEquals(lines.map((line) => line.slice(0, 15)), [
    "FAIL VTUBER_LOG",
    "     Correct it",
    "warn VTUBER_X i",
    "     Correct it",
    "0 ok, 1 warning",
  ]);
});

/** More agents than are tried at once. */
const NAMES = Array.from({ length: MAX_CONCURRENT + 3 }, (_, n) => String.fromCharCode(97 + n));
const MANY = configOf({}, NAMES.map((name) => `[agents.${name}]\ncommand = "${name}-acp"\n`).join(""));

Deno.test("runDoctorCommand: tells the person which agents it tries; a few at once, and reported in order", async () => {
  const notices: string[] = [];
  const waiting: (() => void)[] = [];
  let running = 0;
  let most = 0;
  const { lines } = await examine({
    loading: loaded(MANY),
    notice: (line) => notices.push(line),
    async checkAgent({ name }) {
      assertEquals(notices, [
        `trying ${NAMES.join(", ")}... (an agent that does not answer takes a few minutes)`,
      ]);
      most = Math.max(most, ++running);
      const { promise, resolve } = Promise.withResolvers<void>();
      // The last agent that started is the first that is done.
      waiting.push(resolve);
      if (waiting.length === MAX_CONCURRENT || name === NAMES.at(-1)) {
        for (const go of waiting.splice(0).reverse()) go();
      }
      await promise;
      running--;
      return [ok(`is ${name}`)];
    },
  });
  const reported = lines.flatMap((line) => /^ok {3}(\w: is \w)$/.exec(line)?.[1] ?? []);
  assertEquals(reported, NAMES.map((name) => `${name}: is ${name}`));
  assertEquals(most, MAX_CONCURRENT);
});

const LOG_IN = { id: "tty", name: "Log in\u202e here", type: "terminal", vars: [] };
const NEEDS_LOG_IN = { ...fail("needs a log-in", "Log in."), logIn: LOG_IN };
const LOG_INS: [name: string, isWanted: boolean, succeeds: boolean, lines: string[]][] = [
  ["logs in, and tries the agent again", true, true, ["ok   openab: works"]],
  ["reports a log-in that failed", true, false, ["FAIL openab: needs a log-in", "     Log in."]],
  ["reports a log-in that is not wanted", false, true, ["FAIL openab: needs a log-in", "     Log in."]],
];

for (const [name, isWanted, succeeds, expected] of LOG_INS) {
  Deno.test(`runDoctorCommand: at a terminal ${name}`, async () => {
    const questions: string[] = [];
    const methods: unknown[] = [];
    let isLoggedIn = false;
    const { lines } = await examine({
      confirm(question) {
        questions.push(question);
        return Promise.resolve(isWanted);
      },
      checkAgent: (_config, { canLogInAtTerminal }) => {
        assertEquals(canLogInAtTerminal, true);
        return Promise.resolve([isLoggedIn ? ok("works") : NEEDS_LOG_IN]);
      },
      logInAtTerminal(_config, _deps, method) {
        methods.push(method);
        isLoggedIn = succeeds;
        return Promise.resolve(succeeds);
      },
    });
    assertEquals(questions, ["The agent openab needs a log-in. Log in now (Log in  here)?"]);
    assertEquals(methods, isWanted ? [LOG_IN] : []);
    assertEquals(lines.slice(-1 - expected.length, -1), expected);
  });
}

Deno.test("runDoctorCommand: if it is asked to end, it does not wait for the answer of the person", async () => {
  const stop = new AbortController();
  const { lines } = await examine({
    confirm() {
      stop.abort();
      return new Promise(() => {});
    },
    checkAgent: () => Promise.resolve([NEEDS_LOG_IN]),
  }, stop.signal);
  assertEquals(lines.at(-3), "FAIL stopped before everything was checked");
});

Deno.test("runDoctorCommand: without a terminal no log-in is offered", async () => {
  const { lines } = await examine({
    checkAgent: (_config, { canLogInAtTerminal }) => {
      assertEquals(canLogInAtTerminal, false);
      return Promise.resolve([NEEDS_LOG_IN]);
    },
    logInAtTerminal: () => Promise.reject(new Error("This must not be run.")),
  });
  assertEquals(lines.at(-3), "FAIL openab: needs a log-in");
});

Deno.test("runDoctorCommand: if it is asked to end, it waits for the agents to end, and reports that it stopped", async () => {
  const stop = new AbortController();
  let hasEnded = false;
  const { lines, isHealthy } = await examine({
    async checkAgent(_config, _deps, signal) {
      stop.abort();
      await Promise.resolve();
      hasEnded = true;
      throw signal.reason;
    },
  }, stop.signal);
  assertEquals([isHealthy, hasEnded], [false, true]);
  assertEquals(lines.at(-3), "FAIL stopped before everything was checked");
});

Deno.test("runDoctorCommand: an error of the program itself is not a finding", async () => {
  await assertRejects(
    () => examine({ checkAddress: () => Promise.reject(new RangeError("bug")) }),
    RangeError,
    "bug",
  );
});

Deno.test("runDoctorCommand: no secret is printed, wherever it comes from", async () => {
  const secrets = {
    key: KEY,
    named: "named-s3cret",
    variable: "variable-s3cret",
    env: 'env-"s3cret',
    inherited: "inherited-s3cret",
    serverEnv: "mcp-env-s3cret",
    header: "Bearer header-s3cret",
    url: "https://a.example/?token=s3cret",
  };
  const config = configOf(
    { OVERLAY: secrets.variable },
    `
[keys.bot]
key = "${secrets.named}"
scopes = ["chat"]
[keys.overlay]
key = "\${OVERLAY}"
scopes = ["events"]
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
  const values = Object.values(secrets).join(" and ");
  const all = `${values} and ${JSON.stringify(secrets)} ${"x".repeat(240)} ${secrets.url}`;
  const { lines } = await examine({
    loading: loaded(config, [all]),
    own: { TOKEN: secrets.inherited, OTHER: "x" },
    checkDataDir: () => Promise.resolve(fail(all, all)),
    checkAgent: () => Promise.resolve([fail(all, "codex-acp")]),
  });
  const text = lines.join("\n");
  for (const secret of Object.values(secrets)) assertEquals(text.includes(secret), false, secret);
  assertEquals(text.includes("s3cret"), false);
  // A short value is part of ordinary words.
  assertMatch(text, / codex-acp$/m);
});
