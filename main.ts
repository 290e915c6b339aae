/** Starts the program: environment to configuration, to agent and app, to a server; and ends it in order. @module */

import { nodeFolders } from "./lib/acp/environment.ts";
import { type AgentDeps, createAgent } from "./lib/acp/create_agent.ts";
import { createApp } from "./lib/app.ts";
import { ClawdDriver } from "./lib/clawd/driver.ts";
import { unreadable } from "./lib/config/file.ts";
import { type Flags, readFlags } from "./lib/config/load.ts";
import { banner, helpText, versionText } from "./lib/config/help.ts";
import { type Config, ConfigError, loadConfig, type Loaded } from "./lib/config/load.ts";
import { collectSecrets } from "./lib/config/secrets.ts";
import { ConversationIndex } from "./lib/conversation/conversation.ts";
import type { Store } from "./lib/conversation/record.ts";
import { Fingerprinter } from "./lib/conversation/fingerprint.ts";
import { ConversationRegistry } from "./lib/conversation/registry.ts";
import { openStore } from "./lib/conversation/store.ts";
import { runDoctorCommand } from "./lib/doctor/command.ts";
import { Ambient } from "./lib/events/ambient.ts";
import { Notifier } from "./lib/events/notifier.ts";
import { EventHub } from "./lib/events/hub.ts";
import { settlesWithin } from "./lib/core/deadline.ts";
import { logUncaught, onSignals } from "./lib/core/lifetime.ts";
import { createLog, type Log } from "./lib/core/log.ts";
import { createRedactor } from "./lib/core/redact.ts";
import { ModelRouter } from "./lib/turn/model_router.ts";
import { AppError, messageOf } from "./lib/core/errors.ts";
import { PermissionBroker } from "./lib/turn/permission.ts";
import { CannedReplies } from "./lib/turn/canned_replies.ts";
import { openCharacter } from "./lib/stage/character.ts";
import { stageHandlers } from "./lib/stage/routes.ts";
import { TurnLimiter } from "./lib/turn/turn_limiter.ts";
import project from "./deno.json" with { type: "json" };

/** How long open connections may take to end, once their turns have. */
const CLOSE_MS = 2_000;
/** How long watchers may take to read the last that they are told. */
const HANG_UP_MS = 1_000;
/** Exit codes: a configuration that cannot be used, an address that cannot be listened on. */
const EXIT_USAGE = 2;
const EXIT_FAILED = 1;

/** Runs the program with these arguments; resolves to its exit code. */
async function main(args: readonly string[]): Promise<number> {
  if (args[0] === "demo-agent") {
    await (await import("./lib/demo/agent.ts")).runDemo(args.slice(1));
    return 0;
  }
  let config: Config;
  let warnings: readonly string[];
  try {
    const isDoctor = args[0] === "doctor";
    const flags = readFlags(isDoctor ? args.slice(1) : args);
    if (flags.help) return print(helpText(project.version));
    if (flags.version) return print(versionText(project.version, Deno.version.deno, Deno.build));
    if (isDoctor) {
      const isWell = await runDoctorCommand({
        loading: readConfig(flags),
        around: { ...surroundings(), version: project.version },
        atTerminal: isTerminal(),
        print,
        notice: (line) => console.error(line),
        exit: () => Deno.exit(EXIT_FAILED),
      });
      return isWell ? 0 : EXIT_FAILED;
    }
    ({ config, warnings } = await readConfig(flags));
  } catch (error) {
    return refuse(error instanceof ConfigError ? error : new ConfigError([messageOf(error)]));
  }
  if (!config.enabled) {
    console.error(
      "oab-vtuber is not enabled: set VTUBER_ENABLED=true (or pass --enabled). --help lists every setting.",
    );
    return EXIT_USAGE;
  }
  try {
    return await serve(config, warnings);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return refuse(error);
  }
}

/** Reads the configuration. @throws {ConfigError} with every mistake. */
async function readConfig({ flags, config: path }: Flags): Promise<Loaded> {
  const env = Deno.env.toObject();
  const file = path
    ? await readConfigFile("--config", path)
    : await readConfigFile("OPENAB_CONFIG", env.OPENAB_CONFIG);
  return loadConfig({ env, flags, file, os: Deno.build.os });
}

/** Says why the program does not start, and what else is odd, since that may be the cause. */
function refuse({ mistakes, warnings }: ConfigError): number {
  const odd = warnings.map((warning) => `  - warning: ${warning}`);
  console.error(
    ["oab-vtuber cannot start:", ...mistakes.map((mistake) => `  - ${mistake}`), ...odd].join("\n"),
  );
  return EXIT_USAGE;
}

/** What it throws is a mistake of the configuration. */
function orMistake<T>(promise: Promise<T>): Promise<T> {
  return promise.catch((error) => {
    throw new ConfigError([messageOf(error)]);
  });
}

/**
 * Serves until the program is asked to end.
 *
 * @throws {ConfigError} if it cannot begin as it is configured.
 */
async function serve(config: Config, warnings: readonly string[]): Promise<number> {
  const secrets = collectSecrets(config, Deno.env.toObject());
  const redact = createRedactor(secrets);
  const log = createLog({
    level: config.log,
    pretty: Deno.stderr.isTerminal(),
    secrets,
    write: (line) => console.error(line),
  });
  for (const warning of warnings) log.warn(warning);
  using _guard = logUncaught(log);
  if (config.insecure && !config.authKey) {
    log.warn("VTUBER_INSECURE: everyone who reaches this address may use the agent, without a key");
  }

  const character = await orMistake(openCharacter(config.character));
  const { emotions } = config;
  const hub = new EventHub({ emotions });
  const desk = new PermissionBroker({
    timeoutMs: config.permissionTimeoutMs,
    canAnyoneAnswer: () => hub.canAnswerPermissions,
  });
  const asked = Promise.withResolvers<Deno.Signal>();
  let kill = () => {};
  // Until the last agent has ended: who asks again should not have to wait for that, and leave nothing behind.
  using _signals = onSignals({
    atTerminal: isTerminal(),
    stop: asked.resolve,
    exit(signal) {
      log.warn("asked again to end: ending at once", { signal });
      kill();
      Deno.exit(EXIT_FAILED);
    },
  });
  const around = { ...surroundings(), broker: desk, version: project.version, log, redact };
  const made = await orMistake(Promise.all(config.agents.map((agent) => createAgent(agent, around))));
  await using agents = new ModelRouter(made, config.strictModels);
  kill = () => made.forEach((agent) => agent.kill());
  // However this ends, and at each restart of `deno task dev`.
  globalThis.addEventListener("unload", kill);
  using store = await openMemory(config, log);
  const conversations = new ConversationRegistry({
    agents,
    index: new ConversationIndex(store),
    fingerprinter: new Fingerprinter(store?.key ?? crypto.getRandomValues(new Uint8Array(32))),
    mode: config.sessions,
    onBusy: config.onBusy,
    turnLimiter: new TurnLimiter(config.maxInFlight),
    limits: config.limits,
    observer: hub,
    emotions,
    log,
    maxSessions: config.maxSessions,
    idleMs: config.sessionTtlMs,
  });
  const prepared = new CannedReplies();
  const herald = new Notifier({ hub, cannedReplies: prepared, emotions, conversations });
  using ambient = config.ambient && new Ambient({
    ...config.ambient,
    notifier: herald,
    openConversation: () => conversations.hold(),
    hasAudience: () => hub.audienceSize > 0,
    runningTurns: () => conversations.running,
    log,
  });
  const cwd = await Deno.realPath(config.agents[0]!.workingDir);
  await using clawd = config.clawd ? driveClawd({ hub, desk, cwd, log }) : undefined;
  let draining = false;
  const app = createApp({
    agents,
    conversations,
    hub,
    permissions: desk,
    notifier: herald,
    cannedReplies: prepared,
    access: config,
    chatPath: config.chatPath,
    stream: config.stream,
    version: project.version,
    log,
    stage: stageHandlers(character),
    draining: () => draining,
  });

  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve({
      ...config.listen,
      onListen: (address) => console.log(banner(address, config)),
      onError: (error) => {
        log.debug("a connection failed", { error });
        return new Response(null, { status: 500 });
      },
    }, (request, info) => app(request, info.remoteAddr.hostname));
  } catch (error) {
    console.error(
      `oab-vtuber cannot listen on ${config.listen.hostname}:${config.listen.port}: ${messageOf(error)}`,
    );
    return EXIT_FAILED;
  }
  for (const agent of made) agent.warm();
  ambient?.start();
  clawd?.start();

  log.info("ending", { signal: await asked.promise });
  draining = true;
  // Nobody waits for what it would say.
  ambient?.[Symbol.dispose]();
  const drained = conversations.drain();
  if (!await settlesWithin(config.shutdownGraceMs, drained)) {
    conversations.fail(new AppError("shutting_down", "The server is shutting down."));
  }
  conversations.close();
  await settlesWithin(HANG_UP_MS, hub.close());
  await settlesWithin(CLOSE_MS, server.shutdown());
  return 0;
}

/** Where conversations are remembered; nowhere beyond the program's end, if that cannot be. */
async function openMemory({ dataDir }: Config, log: Log): Promise<Store | undefined> {
  if (dataDir === undefined) return undefined;
  try {
    return await openStore(dataDir, log);
  } catch (error) {
    log.warn("conversations are remembered only until this program ends", { error });
    return undefined;
  }
}

/** Lets a clawd-on-desk watch, and answer permission requests, until it is disposed of. */
function driveClawd(
  { hub, desk, cwd, log }: { hub: EventHub; desk: PermissionBroker; cwd: string; log: Log },
): ClawdDriver {
  const home = Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE");
  const driver = new ClawdDriver({
    readRuntime: () => Deno.readTextFile(`${home}/.clawd/runtime.json`).catch(() => undefined),
    answer: (id, answer, by) => desk.answer(id, answer, by),
    cwd,
    log,
  });
  hub.addListener({
    onEvent: (event) => driver.take(event),
    get answersPermissions() {
      return driver.present;
    },
  });
  return driver;
}

/** Reads the configuration file; `source` is what names it. */
async function readConfigFile(source: string, path: string | undefined) {
  if (!path) return undefined;
  try {
    return { path, text: await Deno.readTextFile(path) };
  } catch (error) {
    throw new ConfigError([unreadable(source, path, error)]);
  }
}

/** What agents are given of this machine. */
function surroundings(): Pick<AgentDeps, "own" | "windows" | "programFolders"> {
  return {
    own: Deno.env.toObject(),
    windows: Deno.build.os === "windows",
    programFolders: nodeFolders(Deno.env.get("HOME")),
  };
}

function isTerminal(): boolean {
  return Deno.stdout.isTerminal() || Deno.stderr.isTerminal();
}

function print(text: string): number {
  console.log(text);
  return 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
