/** Starts a turn: sends an agent the messages that its session does not have, and records how far they came. @module */

import { AppError, type ErrorCode } from "../core/errors.ts";
import type { Agent, Session } from "../turn/agent.ts";
import type { TurnEvent } from "../turn/event.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import { runTurn, type Turn, type TurnObserver } from "../turn/turn.ts";
import type { ActiveConversation, ActiveConversations, ConversationOptions } from "./active.ts";
import { markDelivered, pendingTurns, personaChanged, type TranscriptDelta } from "./conversation.ts";
import { REPLY_CHARS } from "./fingerprint.ts";
import { isSilentReply, type Message } from "./message.ts";
import { toPrompt, unseenMessages } from "./prompt.ts";
import type { DeliveryState } from "./record.ts";

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
export async function startTurn(...args: Parameters<typeof startOnce>): Promise<Turn> {
  try {
    return await startOnce(...args);
  } catch (error) {
    const hasEnded = args[0].active.session?.closed.aborted ?? false;
    const isUnavailable = error instanceof AppError && error.code === "agent_unavailable" && !error.prompted;
    if (!hasEnded || !isUnavailable) throw error;
    return await startOnce(...args);
  }
}

async function startOnce(
  job: TurnJob,
  sessions: Pick<ActiveConversations, "sessionFor">,
  options: ConversationOptions,
  signal: AbortSignal,
): Promise<Turn> {
  const { active, model, unsolicited = false, record } = job;
  const { agent, conversation } = active;
  const session = await sessions.sessionFor(active, signal);
  await selectModel(options.agents, agent, session, model);
  signal.throwIfAborted();
  return await runTurn({
    session,
    blocks: toPrompt(messagesToSend(job), session.promptCapabilities),
    limits: options.limits,
    record,
    conversation: conversation?.id,
    resolvedModel: session.model === undefined ? agent.name : `${agent.name}/${session.model}`,
    unsolicited,
    emotions: options.emotions,
    observer: new DeliveryTracker(job, session, options),
  });
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
  if (needsFullTranscript || conversation === undefined || delta === undefined) return messages;
  return unseenMessages(messages, pendingTurns(delta), personaChanged(conversation, delta));
}

/** Records in the conversation how far a turn came, and passes every event on to the observer. */
class DeliveryTracker implements TurnObserver {
  readonly #job: TurnJob;
  readonly #session: Session;
  readonly #options: ConversationOptions;
  readonly #neededFullTranscript: boolean;
  #undoDelivery: (() => void) | undefined;
  /** The start of the reply, as much as is compared. */
  #reply = "";
  #hasEvents = false;

  constructor(job: TurnJob, session: Session, options: ConversationOptions) {
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
      this.#undoDelivery = markDelivered(conversation, delta, { sessionId: this.#session.id, program });
      index.saveSoon(conversation);
    }
    observer?.onStart(turn);
  }

  onEvent(event: TurnEvent, turn: Turn): void {
    if (event.type === "text" && this.#reply.length < REPLY_CHARS) this.#reply += event.text;
    if (event.type === "end" || event.type === "failure") {
      this.#setState(deliveryState(event, this.#reply, !this.#hasEvents));
    }
    this.#hasEvents = true;
    this.#options.observer?.onEvent(event, turn);
  }

  #setState(state: DeliveryState): void {
    const { active, delta } = this.#job;
    const { conversation } = active;
    if (state === "pending") {
      active.needsFullTranscript = this.#neededFullTranscript;
      this.#undoDelivery?.();
    }
    if (!conversation || !delta) return;
    const last = delta.turns.at(-1);
    if (last && state !== "pending") last.turn.state = state;
    if (state === "answered") conversation.reply = this.#options.fingerprinter.reply(this.#reply);
    // Save before the client sees the end of the reply, so that its next request matches.
    this.#options.index.save(conversation);
  }
}

/** How an agent refuses a prompt, such as for want of a log-in. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["agent_error", "agent_auth_required"]);

/** Tells from the last event of a turn how far it came; `pending` if the agent may not have kept its messages. */
export function deliveryState(
  event: Extract<TurnEvent, { type: "end" | "failure" }>,
  reply: string,
  isFirst: boolean,
): DeliveryState {
  if (event.type === "end") {
    return event.reason === "cancelled" || isSilentReply(reply) ? "delivered" : "answered";
  }
  const { code } = event.failure;
  return code === "agent_crashed" || isFirst && REFUSALS.has(code) ? "pending" : "delivered";
}
