/** Starts the program: environment to configuration, to agent and app, to a server; and ends it in order. @module */

import { AcpAgent } from "./lib/acp/agent.ts";
import { agentEnvironment } from "./lib/acp/environment.ts";
import { launch } from "./lib/acp/process.ts";
import { createApp } from "./lib/app.ts";
import { ClawdDriver } from "./lib/clawd/driver.ts";
import { readFlags } from "./lib/config/flags.ts";
import { banner, helpText, versionText } from "./lib/config/help.ts";
import { type Config, ConfigError, loadConfig } from "./lib/config/load.ts";
import { Conversations } from "./lib/conversation/registry.ts";
import { Ambient } from "./lib/events/ambient.ts";
import { Herald } from "./lib/events/herald.ts";
import { Hub } from "./lib/events/hub.ts";
import { onSignals, within } from "./lib/ops/lifetime.ts";
import { createLog, type Log } from "./lib/ops/log.ts";
import { Failure, messageOf } from "./lib/turn/failure.ts";
import { PermissionDesk } from "./lib/turn/permission.ts";
import { PreparedAnswers } from "./lib/turn/prepared.ts";
import { type Character, openCharacter } from "./lib/stage/character.ts";
import { stageHandlers } from "./lib/stage/handlers.ts";
import { Slots } from "./lib/turn/slots.ts";
import project from "./deno.json" with { type: "json" };

/** Lasting conversations, and how long they are kept after their last turn. */
const MAX_CONVERSATIONS = 10;
const CONVERSATION_IDLE_MS = 4 * 3_600_000;
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
    await (await import("./lib/acp/demo.ts")).runDemo(args.slice(1));
    return 0;
  }
  let config: Config;
  let warnings: readonly string[];
  try {
    const { flags, help, version, config: path } = readFlags(args);
    if (help) return print(helpText(project.version));
    if (version) return print(versionText(project.version, Deno.version.deno, Deno.build));
    const env = Deno.env.toObject();
    ({ config, warnings } = loadConfig({
      env,
      flags,
      file: await readConfigFile(path ?? env.OPENAB_CONFIG),
    }));
  } catch (error) {
    const mistakes = error instanceof ConfigError ? error.mistakes : [messageOf(error)];
    console.error(["oab-vtuber cannot start:", ...mistakes.map((mistake) => `  - ${mistake}`)].join("\n"));
    return EXIT_USAGE;
  }
  if (!config.enabled) {
    console.error(
      "oab-vtuber is not enabled: set VTUBER_ENABLED=true (or pass --enabled). --help lists every setting.",
    );
    return EXIT_USAGE;
  }
  return await serve(config, warnings);
}

/** Serves until the program is asked to end. */
async function serve(config: Config, warnings: readonly string[]): Promise<number> {
  const log = createLog({
    level: config.log,
    pretty: Deno.stderr.isTerminal(),
    secrets: config.authKey ? [config.authKey] : [],
    write: (line) => console.error(line),
  });
  for (const warning of warnings) log.warn(warning);
  using _guard = surviveMistakes(log);
  if (config.insecure && !config.authKey) {
    log.warn("VTUBER_INSECURE: everyone who reaches this address may use the agent, without a key");
  }

  const env = agentEnvironment({
    own: Deno.env.toObject(),
    inherit: config.agent.inheritEnv,
    set: config.agent.env,
    windows: Deno.build.os === "windows",
    programFolders: nodeFolders(),
  });
  const cwd = await Deno.realPath(config.agent.workingDir).catch(() => undefined);
  if (cwd === undefined) {
    console.error(
      `oab-vtuber cannot start:\n  - VTUBER_WORKING_DIR: there is no folder ${config.agent.workingDir}.`,
    );
    return EXIT_USAGE;
  }
  let character: Character;
  try {
    character = await openCharacter(config.character);
  } catch (error) {
    console.error(`oab-vtuber cannot start:\n  - ${messageOf(error)}`);
    return EXIT_USAGE;
  }
  const { command, args } = config.agent.command === undefined
    ? demoCommand()
    : { command: config.agent.command, args: config.agent.args };
  const { emotions } = config;
  const hub = new Hub({ emotions });
  const desk = new PermissionDesk({
    timeoutMs: config.permissionTimeoutMs,
    isSomeoneThere: () => hub.answersPermissions,
  });
  await using agent = new AcpAgent({
    name: config.model,
    launch: () => launch({ command, args, cwd, env }, log),
    cwd,
    permissions: config.permissions,
    desk,
    version: project.version,
    variables: new Set(Object.keys(env)),
    log,
  });
  // However this ends, and at each restart of `deno task dev`.
  globalThis.addEventListener("unload", () => agent.kill());
  const conversations = new Conversations({
    agent,
    slots: new Slots(config.maxInFlight),
    limits: config.limits,
    observer: hub,
    emotions,
    log,
    maxConversations: MAX_CONVERSATIONS,
    idleMs: CONVERSATION_IDLE_MS,
  });
  const prepared = new PreparedAnswers();
  const herald = new Herald({ hub, prepared, emotions, conversations });
  using ambient = config.ambient && new Ambient({
    ...config.ambient,
    herald,
    aside: conversations.openAside(),
    isSomeoneThere: () => hub.notifiable > 0,
    running: () => conversations.running,
    log,
  });
  await using clawd = config.clawd ? driveClawd({ hub, desk, cwd, log }) : undefined;
  let draining = false;
  const app = await createApp({
    agent,
    conversations,
    hub,
    desk,
    herald,
    prepared,
    guard: config,
    model: config.model,
    chatPath: config.chatPath,
    stream: config.stream,
    version: project.version,
    log,
    stage: stageHandlers(character),
    draining: () => draining,
  });

  const asked = Promise.withResolvers<Deno.Signal>();
  using _signals = onSignals({
    atTerminal: Deno.stdout.isTerminal() || Deno.stderr.isTerminal(),
    stop: asked.resolve,
    exit(signal) {
      log.warn("asked again to end: ending at once", { signal });
      agent.kill();
      Deno.exit(EXIT_FAILED);
    },
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
  agent.warm();
  ambient?.start();
  clawd?.start();

  log.info("ending", { signal: await asked.promise });
  draining = true;
  // Nobody waits for what it would say.
  ambient?.[Symbol.dispose]();
  const drained = conversations.drain();
  if (!await within(config.shutdownGraceMs, drained)) {
    for (const turn of conversations.running) {
      turn.fail(new Failure("shutting_down", "The server is shutting down."));
    }
  }
  conversations.close();
  await within(HANG_UP_MS, hub.close());
  await within(CLOSE_MS, server.shutdown());
  return 0;
}

/** Lets a clawd-on-desk watch, and answer permission requests, until it is disposed of. */
function driveClawd(
  { hub, desk, cwd, log }: { hub: Hub; desk: PermissionDesk; cwd: string; log: Log },
): ClawdDriver {
  const home = Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE");
  const driver = new ClawdDriver({
    readRuntime: () => Deno.readTextFile(`${home}/.clawd/runtime.json`).catch(() => undefined),
    answer: (id, answer, by) => desk.answer(id, answer, by),
    cwd,
    log,
  });
  hub.listen({
    take: (event) => driver.take(event),
    get answersPermissions() {
      return driver.present;
    },
  });
  return driver;
}

/** A mistake of ours in one turn must not end the others: it is logged, and the program goes on. */
function surviveMistakes(log: Log): Disposable {
  const survive = (event: ErrorEvent | PromiseRejectionEvent) => {
    event.preventDefault();
    const error = event instanceof ErrorEvent ? event.error : event.reason;
    log.error("something went wrong inside", {
      error,
      stack: error instanceof Error ? error.stack : undefined,
    });
  };
  globalThis.addEventListener("error", survive);
  globalThis.addEventListener("unhandledrejection", survive);
  return {
    [Symbol.dispose]() {
      globalThis.removeEventListener("error", survive);
      globalThis.removeEventListener("unhandledrejection", survive);
    },
  };
}

async function readConfigFile(path: string | undefined) {
  if (!path) return undefined;
  try {
    return { path, text: await Deno.readTextFile(path) };
  } catch (error) {
    throw new ConfigError([`--config: ${path} cannot be read: ${messageOf(error)}.`]);
  }
}

/** How this program starts its demo agent: itself, or its source, which needs nothing but Deno. */
function demoCommand(): { command: string; args: readonly string[] } {
  const source = [
    "run",
    "--no-prompt",
    "--quiet",
    "--no-config",
    "--no-lock",
    `${import.meta.dirname}/lib/acp/demo.ts`,
  ];
  return { command: Deno.execPath(), args: Deno.build.standalone ? ["demo-agent"] : source };
}

/** Programs of Node versions that nvm installed, the newest first: nvm puts them on the PATH of shells only. */
function nodeFolders(): string[] {
  const root = `${Deno.env.get("HOME")}/.nvm/versions/node`;
  try {
    return [...Deno.readDirSync(root)].map(({ name }) => name)
      .sort((a, b) => b.localeCompare(a, undefined, { numeric: true }))
      .map((name) => `${root}/${name}/bin`);
  } catch {
    return [];
  }
}

function print(text: string): number {
  console.log(text);
  return 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
