/** Puts to an agent what its session has not heard, and keeps in mind what became of it. @module */

import { AppError, type ErrorCode } from "../core/errors.ts";
import type { Agent, Session } from "../turn/agent.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import type { TurnEvent } from "../turn/event.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import { runTurn, type Turn, type TurnLimits, type TurnObserver } from "../turn/turn.ts";
import type { ActiveConversation, ActiveConversations, ActiveConversationsOptions } from "./active.ts";
import type { TranscriptDelta } from "./conversation.ts";
import { REPLY_CHARS } from "./fingerprint.ts";
import { isSilentReply as isSilentReply, type Message } from "./message.ts";
import { messagesSinceReply, toPrompt, unseenMessages } from "./prompt.ts";
import type { DeliveryState } from "./record.ts";

/** How turns are run. */
export interface StartTurnOptions extends Pick<ActiveConversationsOptions, "agents" | "fingerprinter"> {
  readonly limits: TurnLimits;
  /** Watches every turn. */
  readonly observer?: TurnObserver;
  /** The words that are emotions in replies. */
  readonly emotions?: EmotionWords;
}

/** A turn whose time has come. */
export interface TurnJob {
  readonly active: ActiveConversation;
  readonly messages: readonly Message[];
  /** What it brings to what is remembered; nothing if nothing is. */
  readonly delta: TranscriptDelta | undefined;
  readonly model?: string | undefined;
  readonly unsolicited?: boolean | undefined;
  readonly record: boolean;
  /** Aborts when nobody waits for it any more. */
  readonly cancelled: AbortSignal;
  /** Aborts when nothing may begin any more. */
  readonly shutdown: AbortSignal;
}

/** Where sessions come from, and where what became of turns is kept. */
export type Sessions = Pick<ActiveConversations, "sessionFor" | "save">;

/**
 * Puts it; once more if the agent turns out to have ended before it took the prompt.
 *
 * @throws {AppError} if the agent could not be given the prompt; the reason of the signals if they abort.
 */
export async function startTurn(
  asked: TurnJob,
  sessions: Sessions,
  options: StartTurnOptions,
): Promise<Turn> {
  try {
    return await startOnce(asked, sessions, options);
  } catch (error) {
    if (!isNoticedLate(error, asked.active)) throw error;
    return await startOnce(asked, sessions, options);
  }
}

function isNoticedLate(error: unknown, { session }: ActiveConversation): boolean {
  return error instanceof AppError && error.code === "agent_unavailable" && !error.prompted &&
    session !== undefined && session.closed.aborted;
}

async function startOnce(asked: TurnJob, sessions: Sessions, options: StartTurnOptions): Promise<Turn> {
  const { active, delta, model, unsolicited = false, record, cancelled, shutdown } = asked;
  const { agents, limits, observer, emotions } = options;
  const { agent, conversation } = active;
  const session = await sessions.sessionFor(active, cancelled);
  await chooseModel(agents, agent, session, model);
  cancelled.throwIfAborted();
  shutdown.throwIfAborted();
  const { outcome, over } = rememberIn(active, delta, session, sessions, options);
  const turn = await runTurn({
    session,
    blocks: toPrompt(messagesToSend(asked), session.promptCapabilities),
    limits,
    record,
    conversation: conversation?.id,
    resolvedModel: session.model === undefined ? agent.name : `${agent.name}/${session.model}`,
    unsolicited,
    emotions,
    observer: watchTurn(observer, outcome),
  });
  turn.ended.then(over);
  return turn;
}

/** What the session has not heard. */
function messagesToSend(
  { active: { needsFullTranscript, conversation }, delta, messages }: TurnJob,
): readonly Message[] {
  if (needsFullTranscript) return messages;
  return conversation && delta
    ? unseenMessages(messages, conversation.pendingTurns(delta), conversation.personaChanged(delta))
    : messagesSinceReply(messages);
}

/** Keeps in mind what the session was told, and what became of it; `over` once the agent has really ended the turn. */
function rememberIn(
  live: ActiveConversation,
  brought: TranscriptDelta | undefined,
  session: Session,
  sessions: Sessions,
  { fingerprinter }: StartTurnOptions,
): { outcome: Outcome; over: () => void } {
  const { conversation, agent, needsFullTranscript: wasFresh } = live;
  let takeBack = () => {};
  let isUnsure = false;
  const outcome: Outcome = {
    begun() {
      // One that is held was told what its holder says, and perhaps not all that its caller did.
      live.needsFullTranscript &&= conversation !== undefined && brought === undefined;
      if (!conversation || !brought) return;
      takeBack = conversation.markDelivered(
        brought,
        session.id,
        fingerprinter.cached("program", agent.program),
      );
      sessions.save(conversation);
    },
    ended(state, reply, isSilent) {
      isUnsure = isSilent;
      if (state === "pending") live.needsFullTranscript = wasFresh;
      if (!conversation) return;
      if (state === "pending") takeBack();
      else if (brought) conversation.setLastState(brought, state);
      if (state === "answered") conversation.reply = fingerprinter.reply(reply);
      // At once: who has read the end of an answer may count on it.
      sessions.save(conversation);
    },
  };
  const over = () => {
    // It was silent because it was dying.
    if (isUnsure && session.closed.aborted) outcome.ended("pending", "", false);
  };
  return { outcome, over };
}

/** Lets this model answer. Where names are not taken strictly, one that is not offered means the usual model. */
async function chooseModel(
  agents: ModelRouter,
  agent: Agent,
  session: Session,
  model: string | undefined,
): Promise<void> {
  try {
    await session.setModel(model);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "model_not_found") throw error;
    if (agents.isStrict) throw agents.notFound(`${agent.name}/${model}`);
    await session.setModel(undefined);
  }
}

/** How an agent refuses a prompt, such as for want of a log-in. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["agent_error", "agent_auth_required"]);

/** What is told of a turn. */
export interface Outcome {
  /** The agent has the prompt. */
  begun(): void;
  /**
   * How far it came, with the beginning of what was said; `asked` if the agent may know nothing of it. `isSilent` if
   * the agent gave no sign of life for too long: it may be dying.
   */
  ended(state: DeliveryState, reply: string, isSilent: boolean): void;
}

/** An observer that tells the outcome, and everything to another observer. */
export function watchTurn(observer: TurnObserver | undefined, outcome: Outcome): TurnObserver {
  let reply = "";
  let isHeard = false;
  return {
    onStart(turn) {
      outcome.begun();
      observer?.onStart(turn);
    },
    onEvent(event, turn) {
      if (event.type === "text") {
        if (reply.length < REPLY_CHARS) reply += event.text;
      } else {
        const state = stateAfter(event, reply, isHeard);
        const isSilent = event.type === "failure" && event.failure.code === "agent_timeout";
        if (state) outcome.ended(state, reply, isSilent);
      }
      isHeard = true;
      observer?.onEvent(event, turn);
    },
    get wantsSpeech() {
      return observer?.wantsSpeech ?? false;
    },
  };
}

function stateAfter(event: TurnEvent, reply: string, isHeard: boolean): DeliveryState | undefined {
  if (event.type === "end") {
    return event.reason === "cancelled" || isSilentReply(reply) ? "delivered" : "answered";
  }
  if (event.type !== "failure") return undefined;
  const { code } = event.failure;
  // An agent that is gone, or refused before it began, may not have kept what it was given.
  return code === "agent_crashed" || !isHeard && REFUSALS.has(code) ? "pending" : "delivered";
}
