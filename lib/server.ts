/** The composition root: puts the parts of the program together, and disposes of them in order. @module */

import { type AgentDeps, createAgent } from "./acp/create_agent.ts";
import type { AgentLifecycleEvent } from "./acp/lifecycle.ts";
import { programEnvironment } from "./acp/environment.ts";
import { createApp } from "./app.ts";
import type { ClawdDriver } from "./clawd/driver.ts";
import { type Config, ConfigError } from "./config/load.ts";
import { ConversationIndex } from "./conversation/conversation.ts";
import { Fingerprinter } from "./conversation/fingerprint.ts";
import type { Store } from "./conversation/record.ts";
import { ConversationRegistry } from "./conversation/registry.ts";
import { openStore } from "./conversation/store.ts";
import type { TranscribeSound } from "./conversation/sounds.ts";
import { TurnBudget } from "./conversation/turn_budget.ts";
import { settlesWithin } from "./core/deadline.ts";
import { messageOf, shuttingDown } from "./core/errors.ts";
import type { Log } from "./core/log.ts";
import { findServerRef } from "./core/process_tree.ts";
import { Ambient } from "./events/ambient.ts";
import { EventHub } from "./events/hub.ts";
import { createNotifier, type Notifier } from "./events/notifier.ts";
import { eventRoutes } from "./events/routes.ts";
import { createAccessControl, LOCAL_CALLER } from "./http/access.ts";
import { healthRoutes } from "./http/health.ts";
import { countEventStreams } from "./http/sse.ts";
import { countWebSockets } from "./http/websocket.ts";
import { listEndpoints, type Route } from "./http/router.ts";
import { Approvals } from "./openai/responses/approvals.ts";
import { ResponseStore } from "./openai/responses/store.ts";
import { Transcripts } from "./openai/responses/transcripts.ts";
import { openAiRoutes } from "./openai/routes.ts";
import { inRecordingField } from "./openai/transcriptions.ts";
import {
  createSpeechToText,
  createTextToSpeech,
  type MachinePrograms,
  speechModel,
} from "./speech/create.ts";
import { USUAL_TRANSCRIPTION_MODEL } from "./speech/config.ts";
import { findFfmpeg } from "./speech/ffmpeg.ts";
import { ProgramRuns } from "./speech/program.ts";
import { recordingOf, type SpeechToText } from "./speech/speech_to_text.ts";
import type { TextToSpeech } from "./speech/text_to_speech.ts";
import { type Character, openCharacter } from "./stage/character.ts";
import { stageRoutes } from "./stage/routes.ts";
import { Metrics } from "./telemetry/metrics.ts";
import type { Traces } from "./telemetry/traces.ts";
import { telemetryRoutes } from "./telemetry/routes.ts";
import type { Agent } from "./turn/agent.ts";
import { CannedReplies } from "./turn/canned_replies.ts";
import { IdempotencyCache } from "./turn/idempotency.ts";
import { ModelRouter } from "./turn/model_router.ts";
import { PermissionBroker } from "./turn/permission.ts";
import { QuestionBroker } from "./turn/question.ts";

/** Longest wait for event clients to read their last events, in milliseconds. */
export const HANG_UP_MS = 1_000;

/** The parts that talk to the outside. Tests hand in agents and a store in memory. */
export interface ServerParts {
  /** At least one agent; the first is the default. */
  readonly agents: readonly (Agent & { kill?(): void })[];
  readonly hub: EventHub;
  readonly permissions: PermissionBroker;
  readonly questions: QuestionBroker;
  readonly character: Character;
  readonly metrics: Metrics;
  /** Makes spans, if the program exports them. */
  readonly traces?: Traces | undefined;
  /** Remembers conversations beyond the program's end; without it they are kept in memory. */
  readonly store?: Store | undefined;
  /** The file of responses with `"store": true`; without it they are kept in memory. */
  readonly transcripts?: Transcripts | undefined;
  /** The voice; without it the speech is turned off. */
  readonly textToSpeech?: TextToSpeech | undefined;
  /** The recognizer of recordings. */
  readonly speechToText?: SpeechToText | undefined;
  /** The programs of the voice and the recognizer. */
  readonly programs?: ProgramRuns | undefined;
  /** The driver of a desktop pet, which starts with the agents. */
  readonly pet?: ClawdDriver | undefined;
  readonly version: string;
  readonly log: Log;
}

/** A server without a port. Disposing of it disconnects its event clients, ends its agents and closes its store. */
export type Server = ReturnType<typeof createServer>;

/** Wires the parts into a server. */
export function createServer(config: Config, parts: ServerParts) {
  const { hub, permissions, questions, metrics, traces, store, transcripts, pet, version, log } = parts;
  const resources = new AsyncDisposableStack();
  if (store) resources.use(store);
  if (transcripts) resources.use(transcripts);
  const responses = resources.use(new ResponseStore({ transcripts, log }));
  const idempotency = resources.use(new IdempotencyCache());
  const approvals = resources.use(new Approvals(permissions));
  if (pet) resources.use(pet);
  if (parts.textToSpeech) resources.use(parts.textToSpeech);
  resources.defer(async () => {
    await Promise.all([...parts.agents, parts.programs].map((part) => part?.[Symbol.asyncDispose]()));
  });
  const agents = new ModelRouter(parts.agents, config.strictModels);
  const index = new ConversationIndex(store);
  const budget = new TurnBudget({ counts: store?.turnCounts, log });
  budget.prune(config.keys.map(({ caller }) => caller.id));
  const conversations = new ConversationRegistry({
    agents,
    index,
    fingerprinter: new Fingerprinter(store?.key ?? crypto.getRandomValues(new Uint8Array(32))),
    mode: config.sessions,
    onBusy: config.onBusy,
    maxTurns: config.maxInFlight,
    budget,
    limits: config,
    observer: hub,
    measure(agent) {
      const meter = metrics.measureTurn(agent);
      return traces?.traceTurn(agent, meter) ?? meter;
    },
    onMemoryLost: (conversation) => notifier.announceMemoryLost(conversation),
    transcribe: soundTranscriber(parts.speechToText),
    emotions: config.emotions,
    log,
    maxSessions: config.maxSessions,
    idleMs: config.sessionTtlMs,
  });
  const cannedReplies = new CannedReplies();
  const notifier: Notifier = createNotifier({ hub, cannedReplies, emotions: config.emotions, conversations });
  const ambient = config.ambient && resources.use(
    new Ambient({
      ...config.ambient,
      notifier,
      hub,
      runningTurns: () => conversations.running,
      log,
    }),
  );

  const access = createAccessControl(config);
  // A side is one entry of this list.
  const routes: Route[] = [
    ...openAiRoutes({
      startTurn: (request, signal) => conversations.startTurn(request, signal),
      router: agents,
      idempotency,
      cannedReplies,
      responses,
      approvals,
      stream: config,
      embeddings: config.embeddings,
      textToSpeech: parts.textToSpeech,
      speechModel: speechModel(config.speech),
      speechToText: parts.speechToText,
      emotions: config.emotions,
      measureSpeech: () => metrics.measureSpeech(),
      measureTranscription: () => metrics.measureTranscription(),
      log,
      chatPath: config.chatPath,
    }),
    ...eventRoutes({
      hub,
      permissions,
      questions,
      notifier,
      conversations,
      responses,
      idempotency,
      approvals,
      version,
      log,
    }),
    ...healthRoutes(agents.all, () => server.isDraining),
    ...telemetryRoutes(metrics, () => ({
      turns_in_flight: conversations.runningCount,
      turns_queued: conversations.waitingCount,
      sessions_open: conversations.sessionCount,
      agent_process_up: agents.all.map(({ name, state }) => [[name], state === "ready" ? 1 : 0]),
      ws_clients: countWebSockets().map(([protocol, count]) => [[protocol], count]),
      sse_streams: countEventStreams(),
    })),
    ...stageRoutes({
      character: parts.character,
      describe: () => describe(routes, version, agents.default.name, config),
    }),
  ];

  const server = {
    app: createApp(routes, access, log, (answered) => {
      metrics.onAnswered(answered);
      traces?.onAnswered(answered);
    }),
    routes,
    conversations,
    responses,
    index,
    /** Whether the server is shutting down; readiness reports it. */
    isDraining: false,
    /** Starts the agents, and the remarks that the character makes by itself. */
    start(): void {
      for (const agent of parts.agents) agent.warm();
      ambient?.start();
      pet?.start();
      resources.use(metrics.watchEventLoop());
    },
    /** Waits for the running turns, at most `shutdownGraceMs`, and fails the rest. */
    async drain(): Promise<void> {
      server.isDraining = true;
      ambient?.[Symbol.dispose]();
      if (!await settlesWithin(config.shutdownGraceMs, conversations.drain())) {
        conversations.fail(shuttingDown());
      }
      conversations.close();
    },
    /** Kills the agents' processes, and the voice's, at once. */
    kill(): void {
      for (const agent of parts.agents) agent.kill?.();
      parts.programs?.kill();
    },
    /** Disconnects the event clients and ends the agents, at once because either can be slow. */
    async [Symbol.asyncDispose](): Promise<void> {
      await Promise.all([settlesWithin(HANG_UP_MS, hub.close()), resources.disposeAsync()]);
    },
  };
  return server;
}

/** Creates the function that transcribes the sounds of messages. */
function soundTranscriber(speechToText: SpeechToText | undefined): TranscribeSound | undefined {
  if (speechToText === undefined) return undefined;
  return async ({ mimeType, data }, signal) => {
    const filename = mimeType === "audio/wav" ? "sound.wav" : "sound.mp3";
    const recording = recordingOf(filename, Uint8Array.fromBase64(data), {
      model: USUAL_TRANSCRIPTION_MODEL,
    });
    try {
      return (await speechToText.transcribe(recording, signal)).text;
    } catch (error) {
      throw inRecordingField(error, "input_audio");
    }
  };
}

/** Describes the server to programs: `GET /`. */
function describe(
  routes: readonly Route[],
  version: string,
  model: string,
  { speech, transcription }: Pick<Config, "speech" | "transcription">,
): unknown {
  const endpoints = listEndpoints(routes).flatMap(({ name, method, path }) =>
    name === undefined ? [] : [[name, `${method} ${path}`]]
  );
  return {
    name: "oab-vtuber",
    version,
    description:
      "Gives a character app a coding agent as its brain: type this address where an OpenAI address goes.",
    model,
    speech: speech.provider !== "off",
    transcription: transcription !== undefined,
    endpoints: Object.fromEntries(endpoints),
  };
}

/** The machine, and what the caller is told of the agents. */
export interface ServerIo extends Omit<AgentDeps, "broker" | "questions" | "onLifecycle"> {
  readonly onAgentEvent?: (agent: string, event: AgentLifecycleEvent) => void;
}

/**
 * Opens the character, the agents, the store and the driver of a desktop pet, and wires them into a server.
 *
 * @throws {ConfigError} if a configured folder or file cannot be used.
 */
export async function openServer(config: Config, io: ServerIo): Promise<Server> {
  const { log, version } = io;
  const machine = findPrograms(config, io);
  const hub = new EventHub();
  const metrics = new Metrics(config.agents.map(({ name }) => name), version);
  const permissions = new PermissionBroker(config.permissionTimeoutMs, () => hub.canAnswerPermissions);
  const character = await orConfigError(openCharacter(config.character));
  const questions = new QuestionBroker(config.permissionTimeoutMs, () => hub.canAnswerQuestions);
  const opening = config.agents.map((agent) => {
    const onLifecycle = (event: AgentLifecycleEvent) => {
      if (event.type === "serving") hub.setAgentError(agent.name);
      if (event.type === "unavailable") hub.setAgentError(agent.name, event.error);
      if (event.type === "exited") metrics.onAgentExit(agent.name);
      if (event.type === "permission") metrics.onPermission(event.decision);
      io.onAgentEvent?.(agent.name, event);
    };
    return createAgent(agent, { ...io, broker: permissions, questions, onLifecycle });
  });
  const agents = await orConfigError(Promise.all(opening));
  const store = await openStoreOrWarn(config, log);
  // A folder that another server uses is not used at all.
  const transcripts = store && config.dataDir ? new Transcripts(config.dataDir, log) : undefined;
  await transcripts?.openExisting();
  const pet = config.clawd ? await openClawd(config, hub, permissions, io) : undefined;
  return createServer(config, {
    agents,
    hub,
    permissions,
    questions,
    character,
    metrics,
    traces: await openTraces(io),
    store,
    transcripts,
    textToSpeech: createTextToSpeech(config.speech, await machine),
    speechToText: createSpeechToText(config.transcription, await machine),
    programs: (await machine).programs.runs,
    pet,
    version,
    log,
  });
}

/** Finds ffmpeg, if the voice can need it. */
async function findPrograms(
  { speech, transcription }: Config,
  { own, windows, programFolders, redact = (text) => text }: ServerIo,
): Promise<MachinePrograms> {
  const env = programEnvironment({ own, windows, programFolders });
  const programs = { env, redact, server: await findServerRef(), runs: new ProgramRuns() };
  const isSilent = speech.provider === "off" && transcription === undefined;
  return { programs, ffmpeg: isSilent ? undefined : await findFfmpeg(programs) };
}

async function orConfigError<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw new ConfigError([messageOf(error)]);
  }
}

/** Where Deno registers itself with the OpenTelemetry API, if it exports anything. */
const OPEN_TELEMETRY = Symbol.for("opentelemetry.js.api.1");

/** Loads the spans if they are exported: the API would slow down every start. */
async function openTraces({ version, log }: ServerIo): Promise<Traces | undefined> {
  if (!(OPEN_TELEMETRY in globalThis)) return undefined;
  log.warn("traces have the whole address of each request, with the key in ?token=");
  const { Traces } = await import("./telemetry/traces.ts");
  return new Traces(version);
}

/** Opens the store; without one, conversations are kept in memory. @throws {ConfigError} if a key's budget needs it. */
async function openStoreOrWarn({ dataDir, keys }: Config, log: Log): Promise<Store | undefined> {
  if (dataDir === undefined) return undefined;
  try {
    return await openStore(dataDir, log);
  } catch (error) {
    const budgets = keys.filter(({ caller }) => caller.turnsPerDay).map(({ label }) => `[${label}]`);
    if (budgets.length > 0) {
      throw new ConfigError([`${messageOf(error)} turns_per_day of ${budgets.join(", ")} is counted there.`]);
    }
    log.warn("conversations and responses are kept only until this program ends", { error });
    return undefined;
  }
}

/** Creates the driver of clawd-on-desk. */
async function openClawd(
  { agents }: Config,
  hub: EventHub,
  permissions: PermissionBroker,
  { own, log }: Pick<AgentDeps, "own" | "log">,
): Promise<ClawdDriver> {
  const { ClawdDriver } = await import("./clawd/driver.ts");
  const home = own.HOME ?? own.USERPROFILE;
  return new ClawdDriver({
    // The pet runs on this machine, and its user is the owner.
    subscribe: (pet, events) => hub.subscribe(pet, LOCAL_CALLER, events),
    readRuntime: () => Deno.readTextFile(`${home}/.clawd/runtime.json`).catch(() => undefined),
    answer: (id, answer, by) => permissions.answer(id, answer, by),
    cwd: await Deno.realPath(agents[0]!.workingDir),
    log,
  });
}
