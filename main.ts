/** The program: `serve`, `doctor`, `key new` or `demo-agent`. Alone in reading the environment, listening and exiting. @module */

import { nodeFolders } from "./lib/acp/environment.ts";
import { endOrphans } from "./lib/acp/process.ts";
import { addressText, banner, helpText, unavailableText, versionText } from "./lib/config/help.ts";
import { ConfigError, type Flags, loadConfig, type Loaded, readFlags } from "./lib/config/load.ts";
import { newKey } from "./lib/config/new_key.ts";
import { readTls } from "./lib/config/tls.ts";
import { collectSecrets } from "./lib/config/secrets.ts";
import { settlesWithin } from "./lib/core/deadline.ts";
import { messageOf } from "./lib/core/errors.ts";
import { logUncaught, onSignals } from "./lib/core/lifetime.ts";
import { createLog } from "./lib/core/log.ts";
import { createRedactor } from "./lib/core/redact.ts";
import { escapeUnsafe } from "./lib/core/unsafe_text.ts";
import { openServer } from "./lib/server.ts";
import licenses from "./lib/config/THIRD_PARTY_LICENSES.txt" with { type: "text" };
import project from "./deno.json" with { type: "json" };

/** Longest wait for open connections after the turns have ended, in milliseconds. */
const CLOSE_MS = 2_000;
/** Exit code for a configuration that cannot be used. */
const EXIT_USAGE = 2;
/** Exit code for an address that cannot be listened on, and for a doctor that finds errors. */
const EXIT_FAILED = 1;

/** The facts about this machine that agents get. */
const MACHINE = {
  own: Deno.env.toObject(),
  windows: Deno.build.os === "windows",
  programFolders: nodeFolders(Deno.env.get("HOME")),
  version: project.version,
};

/** Runs the program with these arguments. @returns Its exit code. */
async function main(args: readonly string[]): Promise<number> {
  if (args[0] === "demo-agent") {
    const { runDemo } = await import("./lib/demo/agent.ts");
    await runDemo(args.slice(1));
    return 0;
  }
  try {
    if (args[0] === "key") return makeKey(args.slice(1));
    const isDoctor = args[0] === "doctor";
    const flags = readFlags(isDoctor ? args.slice(1) : args);
    if (flags.help) return print(helpText(project.version));
    if (flags.licenses) return print(licenses.trimEnd());
    if (flags.version) return print(versionText(project.version, Deno.version.deno, Deno.build));
    return isDoctor ? await doctor(flags) : await serve(await readConfig(flags));
  } catch (error) {
    if (error instanceof ConfigError) return refuse(error, args[0] === "key" ? "make a key" : "start");
    throw error;
  }
}

/** Prints a new key. Only the lines to paste go to stdout, so that a shell can take the variable from there. */
function makeKey(args: readonly string[]): number {
  const made = newKey(args);
  if (made === undefined) return print(helpText(project.version));
  console.error(made.advice);
  return print(made.text);
}

async function doctor(flags: Flags): Promise<number> {
  const { runDoctorCommand } = await import("./lib/doctor/command.ts");
  const stop = new AbortController();
  onSignals(() => stop.abort(), () => Deno.exit(EXIT_FAILED));
  const isHealthy = await runDoctorCommand({
    loading: readConfig(flags),
    machine: MACHINE,
    print,
    notice: isTerminal() ? (line) => console.error(line) : undefined,
    confirm: Deno.stdin.isTerminal() && Deno.stdout.isTerminal() ? confirmAtTerminal : undefined,
  }, stop.signal);
  return isHealthy ? 0 : EXIT_FAILED;
}

/**
 * Serves until a signal asks the program to end.
 *
 * @throws {ConfigError} if a configured folder or file cannot be used.
 */
async function serve({ config, warnings }: Loaded): Promise<number> {
  if (!config.enabled) {
    console.error(
      "oab-vtuber is not enabled: set VTUBER_ENABLED=true (or pass --enabled). --help lists every setting.",
    );
    return EXIT_USAGE;
  }
  const tls = await readTls(config);
  const secrets = collectSecrets(config, MACHINE.own);
  const log = createLog({
    level: config.log,
    pretty: Deno.stderr.isTerminal(),
    secrets,
    write: (line) => write(console.error, line),
  });
  for (const warning of warnings) log.warn(warning);
  logUncaught(log);

  const stopped = Promise.withResolvers<Deno.Signal>();
  let kill = () => {};
  // Listen until the last agent has ended, so that a second signal ends the program at once and leaves no process.
  onSignals(stopped.resolve, (signal) => {
    log.warn("second signal: exiting at once", { signal });
    kill();
    Deno.exit(EXIT_FAILED);
  });
  const failed = new Set<string>();
  await using server = await openServer(config, {
    ...MACHINE,
    log,
    redact: createRedactor(secrets),
    onAgentEvent(agent, event) {
      if (event.type !== "unavailable" || failed.has(agent)) return;
      failed.add(agent);
      write(console.log, unavailableText(agent, event.error));
    },
  });
  kill = () => server.kill();
  // Deno's watcher (`deno run --watch`) restarts the program without a signal.
  globalThis.addEventListener("unload", kill);

  let http: Deno.HttpServer<Deno.NetAddr>;
  try {
    http = Deno.serve({
      ...config.listen,
      ...tls,
      onListen: (address) => write(print, banner(address, config, Deno.stdout.isTerminal())),
      onError: (error) => {
        log.debug("connection failed", { error });
        return new Response(null, { status: 500 });
      },
    }, (request, info) => server.app(request, info.remoteAddr.hostname));
  } catch (error) {
    console.error(
      `oab-vtuber cannot listen on ${addressText(config.listen)}: ${messageOf(error)}.\n` +
        "Choose another one with --listen or GATEWAY_LISTEN, such as --listen 127.0.0.1:9000. Port 0 takes a free one.",
    );
    return EXIT_FAILED;
  }
  server.start();
  await endOrphans(log);

  log.info("shutting down", { signal: await stopped.promise });
  await server.drain();
  await Promise.all([server[Symbol.asyncDispose](), settlesWithin(CLOSE_MS, http.shutdown())]);
  return 0;
}

/** Reads the configuration. @throws {ConfigError} with every mistake. */
async function readConfig({ flags, config }: Flags): Promise<Loaded> {
  const env = MACHINE.own;
  const [source, path] = config ? ["--config", config] : ["OPENAB_CONFIG", env.OPENAB_CONFIG];
  let file;
  try {
    if (path) file = { path, text: await Deno.readTextFile(path) };
  } catch (error) {
    throw new ConfigError([`${source}: ${path} cannot be read: ${messageOf(error)}.`]);
  }
  return loadConfig({ env, flags, file, os: Deno.build.os });
}

/** Prints why the program does not do its task; and the warnings too, because one may name the cause. */
function refuse({ mistakes, warnings }: ConfigError, task: "start" | "make a key"): number {
  const lines = [...mistakes, ...warnings.map((warning) => `warning: ${warning}`)];
  // A key may stand in a wrong place, such as in the name of a table.
  const redact = createRedactor([]);
  console.error(
    [`oab-vtuber cannot ${task}:`, ...lines.map((line) => `  - ${escapeUnsafe(redact(line))}`)].join("\n"),
  );
  return EXIT_USAGE;
}

function isTerminal(): boolean {
  return Deno.stdout.isTerminal() || Deno.stderr.isTerminal();
}

/** Asks a question with yes or no. Unlike `confirm()` it does not keep signals from the program. */
async function confirmAtTerminal(question: string): Promise<boolean> {
  Deno.stdout.writeSync(new TextEncoder().encode(`${question} [y/N] `));
  const answer = new Uint8Array(64);
  const length = await Deno.stdin.read(answer) ?? 0;
  return /^\s*y/i.test(new TextDecoder().decode(answer.subarray(0, length)));
}

/** Writes a line, if somebody still reads: a closed terminal makes every write fail. */
function write(to: (line: string) => void, line: string): void {
  try {
    to(line);
  } catch {
    // The program goes on without its terminal.
  }
}

/** Prints a text that may have a key: where OTEL_DENO is set, the console's lines are exported. */
function print(text: string): number {
  let rest = new TextEncoder().encode(text + "\n");
  while (rest.length > 0) rest = rest.subarray(Deno.stdout.writeSync(rest));
  return 0;
}

// The workers of the executable load its one file too.
if (import.meta.main && globalThis.name === "") Deno.exit(await main(Deno.args));
