/** Starts a turn: sends an agent the messages that its session does not have, and records how far they came. @module */

import { AppError, type ErrorCode } from "../core/errors.ts";
import type { Agent, Session } from "../turn/agent.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import type { TurnEvent } from "../turn/event.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import { runTurn, type Turn, type TurnLimits, type TurnObserver } from "../turn/turn.ts";
import type { ActiveConversation, ActiveConversations, ActiveConversationsOptions } from "./active.ts";
import type { TranscriptDelta } from "./conversation.ts";
import { REPLY_CHARS } from "./fingerprint.ts";
import { isSilentReply, type Message } from "./message.ts";
import { messagesSinceReply, toPrompt, unseenMessages } from "./prompt.ts";
import type { DeliveryState } from "./record.ts";

/** The settings of all turns. */
export interface StartTurnOptions
  extends Pick<ActiveConversationsOptions, "agents" | "fingerprinter" | "index"> {
  readonly limits: TurnLimits;
  /** Observes every turn. */
  readonly observer?: TurnObserver;
  /** The emotion words to find in replies. */
  readonly emotions?: EmotionWords;
}

type Sessions = Pick<ActiveConversations, "sessionFor">;

/** A request whose turn can start. */
export interface TurnJob {
  readonly active: ActiveConversation;
  readonly messages: readonly Message[];
  /** The part of the remembered conversation that the request has, if the conversation is remembered. */
  readonly delta: TranscriptDelta | undefined;
  readonly model?: string | undefined;
  readonly unsolicited?: boolean | undefined;
  readonly record: boolean;
}

/**
 * Starts a turn. Tries once more if the session turns out to have ended before it took the prompt.
 *
 * @throws {AppError} if the agent did not take the prompt; the signal's reason if it aborts.
 */
export async function startTurn(
  job: TurnJob,
  sessions: Sessions,
  options: StartTurnOptions,
  signal: AbortSignal,
): Promise<Turn> {
  try {
    return await startOnce(job, sessions, options, signal);
  } catch (error) {
    const hasEnded = job.active.session?.closed.aborted ?? false;
    const isUnavailable = error instanceof AppError && error.code === "agent_unavailable" && !error.prompted;
    if (!hasEnded || !isUnavailable) throw error;
    return await startOnce(job, sessions, options, signal);
  }
}

async function startOnce(
  job: TurnJob,
  sessions: Sessions,
  options: StartTurnOptions,
  signal: AbortSignal,
): Promise<Turn> {
  const { active, model, unsolicited = false, record } = job;
  const { agent, conversation } = active;
  const session = await sessions.sessionFor(active, signal);
  await selectModel(options.agents, agent, session, model);
  signal.throwIfAborted();
  const tracker = new DeliveryTracker(job, session, options);
  const turn = await runTurn({
    session,
    blocks: toPrompt(messagesToSend(job), session.promptCapabilities),
    limits: options.limits,
    record,
    conversation: conversation?.id,
    resolvedModel: session.model === undefined ? agent.name : `${agent.name}/${session.model}`,
    unsolicited,
    emotions: options.emotions,
    observer: tracker,
  });
  turn.ended.then(() => tracker.onAgentEnd());
  return turn;
}

/** Sets the model. If names are not strict, one that the agent does not offer means its default model. */
async function selectModel(
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

function messagesToSend({ active, delta, messages }: TurnJob): readonly Message[] {
  const { needsFullTranscript, conversation } = active;
  if (needsFullTranscript) return messages;
  if (conversation === undefined || delta === undefined) return messagesSinceReply(messages);
  return unseenMessages(messages, conversation.pendingTurns(delta), conversation.personaChanged(delta));
}

/** Records in the conversation how far a turn came, and passes every event on to the observer. */
class DeliveryTracker implements TurnObserver {
  readonly #job: TurnJob;
  readonly #session: Session;
  readonly #options: StartTurnOptions;
  readonly #neededFullTranscript: boolean;
  readonly #outcome = new OutcomeReader();
  #undoDelivery: (() => void) | undefined;
  #mayBeDying = false;

  constructor(job: TurnJob, session: Session, options: StartTurnOptions) {
    this.#job = job;
    this.#session = session;
    this.#options = options;
    this.#neededFullTranscript = job.active.needsFullTranscript;
  }

  get wantsSpeech(): boolean {
    return this.#options.observer?.wantsSpeech ?? false;
  }

  onStart(turn: Turn): void {
    const { active: { conversation, agent }, delta } = this.#job;
    const { fingerprinter, index, observer } = this.#options;
    this.#job.active.needsFullTranscript = false;
    if (conversation && delta) {
      const program = fingerprinter.cached("program", agent.program);
      this.#undoDelivery = conversation.markDelivered(delta, this.#session.id, program);
      index.saveSoon(conversation);
    }
    observer?.onStart(turn);
  }

  onEvent(event: TurnEvent, turn: Turn): void {
    const state = this.#outcome.push(event);
    if (state) {
      this.#mayBeDying = event.type === "failure" && event.failure.code === "agent_timeout";
      this.#setOutcome(state);
    }
    this.#options.observer?.onEvent(event, turn);
  }

  /** Comes when the agent itself has ended the turn, which may be after the last event. */
  onAgentEnd(): void {
    // The agent was silent because it was dying, and may not have kept the messages.
    if (this.#mayBeDying && this.#session.closed.aborted) this.#setOutcome("pending");
  }

  #setOutcome(state: DeliveryState): void {
    const { active, delta } = this.#job;
    const { conversation } = active;
    if (state === "pending") {
      active.needsFullTranscript = this.#neededFullTranscript;
      this.#undoDelivery?.();
    }
    if (!conversation || !delta) return;
    if (state !== "pending") conversation.setLastState(delta, state);
    if (state === "answered") conversation.reply = this.#options.fingerprinter.reply(this.#outcome.reply);
    // Save before the client sees the end of the reply, so that its next request matches.
    this.#options.index.save(conversation);
  }
}

/** How an agent refuses a prompt, such as for want of a log-in. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["agent_error", "agent_auth_required"]);

/** Derives from the events of a turn how far it came. */
export class OutcomeReader {
  #reply = "";
  #isEmpty = true;

  /** The start of the reply, as much as is compared. */
  get reply(): string {
    return this.#reply;
  }

  /** Takes the next event. Returns the state at the last one; `pending` if the agent may not know of the turn. */
  push(event: TurnEvent): DeliveryState | undefined {
    const isFirst = this.#isEmpty;
    this.#isEmpty = false;
    switch (event.type) {
      case "text":
        if (this.#reply.length < REPLY_CHARS) this.#reply += event.text;
        return undefined;
      case "end":
        return event.reason === "cancelled" || isSilentReply(this.#reply) ? "delivered" : "answered";
      case "failure": {
        const { code } = event.failure;
        // An agent that is gone, or refused before it began, may not have kept the messages.
        return code === "agent_crashed" || isFirst && REFUSALS.has(code) ? "pending" : "delivered";
      }
      default:
        return undefined;
    }
  }
}
