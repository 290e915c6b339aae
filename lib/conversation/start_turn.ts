/** Starts a turn: sends an agent the messages that its session does not have, and records how far they came. @module */

import { AppError, type ErrorCode, type ErrorReason, messageOf } from "../core/errors.ts";
import type { Agent, Session } from "../turn/agent.ts";
import type { Caller } from "../turn/caller.ts";
import { isLast, type LastEvent, type TurnEvent } from "../turn/event.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import {
  type Attempt,
  type Retry,
  runTurn,
  type Turn,
  type TurnMeter,
  type TurnObserver,
} from "../turn/turn.ts";
import {
  type ActiveConversation,
  type ActiveConversations,
  type ConversationOptions,
  MAX_FAULTS,
} from "./active.ts";
import { markDelivered, pendingTurns, type TranscriptDelta, unseenParts } from "./conversation.ts";
import { REPLY_CHARS, withInterrupted } from "./fingerprint.ts";
import { continuedReply, isSilentReply, type Message } from "./message.ts";
import { allowCommands, promptMessages, toPrompt } from "./prompt.ts";
import type { Resolution } from "./resolve.ts";
import type { ConversationRecord, DeliveryState, TurnRecord } from "./record.ts";
import { hasSounds, type SoundTranscripts, transcribeSounds, withTranscripts } from "./sounds.ts";
import type { Reservation } from "./turn_budget.ts";

/** A request whose turn can start. */
export interface TurnJob {
  /** See `TurnRequest.caller`. */
  readonly caller?: Caller | undefined;
  readonly active: ActiveConversation;
  readonly messages: readonly Message[];
  /** The part of the remembered conversation that the request has, if the conversation is remembered. */
  readonly delta: TranscriptDelta | undefined;
  readonly model?: string | undefined;
  /** See `TurnRequest.mayCommand`. */
  readonly mayCommand?: boolean | undefined;
  readonly unsolicited?: boolean | undefined;
  /** See `TurnOptions.record`. */
  readonly record: boolean;
  /** See `TurnOptions.asksReaders`. */
  readonly asksReaders?: boolean | undefined;
  /**
   * Set for a side job, with the conversation beside which it runs, if it names one. It never continues that
   * conversation. Its permission requests and questions are refused, and nobody observes it.
   */
  readonly sideJob?: Resolution | undefined;
  readonly meter?: TurnMeter | undefined;
  /** Called once the reply is complete, with its start, which is enough to recognise the reply in a later request. */
  readonly onAnswered?: (reply: string) => void;
}

type Sessions = Pick<ActiveConversations, "sessionFor" | "replaceSession">;

/**
 * Starts a turn. Tries once more if the session turns out to have ended before it took the prompt.
 *
 * @throws {AppError} if the agent did not take the prompt; the signal's reason if it aborts.
 */
export async function startTurn(
  job: TurnJob,
  sessions: Sessions,
  options: ConversationOptions,
  signal: AbortSignal,
): Promise<Delivery> {
  const delivery = new Delivery(job, sessions, options);
  try {
    await delivery.start(signal);
  } catch (error) {
    if (error instanceof AppError) delivery.onNotTaken(error);
    const hasEnded = job.active.session?.closed.aborted ?? false;
    const isUnavailable = error instanceof AppError && error.code === "agent_unavailable" && !error.prompted;
    if (!hasEnded || !isUnavailable) throw error;
    await delivery.start(signal);
  }
  return delivery;
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

/** Stands for a message on which the agent died twice. */
const OMITTED_MESSAGE = "[a message was left out]";
/** Stand for the images and sounds of earlier messages in a session that replaces one that could not serve. */
const OMITTED_MEDIA = { image: "[an image was left out]", audio: "[a sound was left out]" } as const;

function messagesToSend({ active, delta, sideJob, ...job }: TurnJob): readonly Message[] {
  const { needsFullTranscript, conversation } = active;
  // The message of a side job, such as for a title, holds the chat.
  const messages = job.mayCommand && !sideJob ? allowCommands(job.messages) : job.messages;
  if (conversation === undefined || delta === undefined) return promptMessages(messages);
  const fatal = new Set(delta.turns.flatMap(({ index, turn }) => hasDiedTwice(turn) ? [index] : []));
  const safe = messages.map((message, index): Message => {
    if (fatal.has(index)) return { ...message, parts: [{ type: "text", text: OMITTED_MESSAGE }] };
    if (!conversation.replacedSessions || index === messages.length - 1) return message;
    const parts = message.parts.map((part) =>
      part.type === "text" ? part : { type: "text", text: OMITTED_MEDIA[part.type] } as const
    );
    return { ...message, parts };
  });
  return promptMessages(safe, needsFullTranscript ? undefined : unseenParts(conversation, delta));
}

function hasDiedTwice({ deaths = 0 }: TurnRecord): boolean {
  return deaths >= 2;
}

/** Failures of the agent in its session. */
const SESSION_FAULTS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "agent_error",
  "agent_crashed",
  "agent_timeout",
]);
/** Reasons of an `agent_error` that another session would not change: the agent's memory is worth more than a retry. */
const OUTSIDE_REASONS: ReadonlySet<ErrorReason | undefined> = new Set<ErrorReason>([
  "login",
  "quota",
  "model",
  "provider",
]);

/**
 * Delivers the messages of a job. Records in the conversation how far they came, replaces a session that cannot
 * serve, and passes every event on to the observer.
 */
export class Delivery implements TurnObserver {
  turn!: Turn;
  #job: TurnJob;
  readonly #sessions: Sessions;
  readonly #options: ConversationOptions;
  #session!: Session;
  /** The words of the sounds, which a further attempt needs again. */
  readonly #transcripts: SoundTranscripts = new WeakMap();
  /** The recorded turns that this attempt sends to the session for the first time. */
  #sent: readonly TurnRecord[] = [];
  #neededFullTranscript = false;
  #undoDelivery: (() => void) | undefined;
  /** The start of the reply, as much as is compared. */
  #reply = "";
  #hasEvents = false;
  #hasUsedTools = false;
  /** The reply has ended with a question, and was recorded. */
  #isReplyOver = false;

  constructor(job: TurnJob, sessions: Sessions, options: ConversationOptions) {
    this.#job = job;
    this.#sessions = sessions;
    this.#options = options;
  }

  async start(signal: AbortSignal): Promise<void> {
    const { active: { conversation, agent }, unsolicited = false, record, asksReaders, sideJob } = this.#job;
    const { limits, emotions } = this.#options;
    const attempt = await this.#prepare(signal);
    const { model } = attempt.session;
    this.turn = await runTurn({
      ...attempt,
      limits,
      record,
      asksReaders,
      conversation: conversation?.id ?? sideJob?.conversation?.id,
      resolvedModel: model === undefined ? agent.name : `${agent.name}/${model}`,
      unsolicited,
      emotions,
      observer: this,
      speaksQuestions: conversation !== undefined && !unsolicited,
      retry: (last, signal) => this.#retry(last, signal),
    });
  }

  get #observer(): TurnObserver | undefined {
    return this.#job.sideJob ? undefined : this.#options.observer;
  }

  get wantsSpeech(): boolean {
    return this.#observer?.wantsSpeech ?? false;
  }

  onStart(turn: Turn): void {
    this.#markDelivered();
    this.#job.meter?.onStart(turn);
    this.#observer?.onStart(turn);
  }

  onEvent(event: TurnEvent, turn: Turn): Promise<void> | undefined {
    if (event.type === "text" && !this.#isReplyOver && this.#reply.length < REPLY_CHARS) {
      this.#reply += event.text;
    }
    if (event.type === "tool") this.#hasUsedTools = true;
    const saved = isLast(event) ? this.#onEnd(event) : undefined;
    this.#hasEvents = true;
    this.#job.meter?.onEvent(event, turn);
    this.#observer?.onEvent(event, turn);
    return saved;
  }

  /** Records the reply that ends with a question: the client's next message finds the conversation by it. */
  onReplyEnd(): void {
    this.#isReplyOver = true;
    this.#record("answered");
  }

  /** Goes on with a request that has answered the question. */
  continueWith(request: Pick<TurnJob, "messages" | "delta" | "onAnswered">): void {
    this.#job = { ...this.#job, ...request };
    this.#sent = [];
    this.#neededFullTranscript = false;
    this.#reply = "";
    this.#isReplyOver = false;
    this.#markDelivered();
  }

  /** Counts the error of a prompt that was not taken: the prompt may have crashed the agent. */
  onNotTaken(failure: AppError): void {
    if (!this.#hasEvents) this.#countFaults({ type: "failure", failure });
  }

  /** Gets the session, and makes the prompt of the messages that the session does not have. */
  async #prepare(signal: AbortSignal): Promise<Attempt> {
    const { caller, active, delta, model, sideJob } = this.#job;
    const session = this.#session = await this.#sessions.sessionFor(active, signal);
    await selectModel(this.#options.agents.for(caller), active.agent, session, model);
    signal.throwIfAborted();
    const { promptCapabilities } = session;
    const unheard = messagesToSend(this.#job);
    if (!promptCapabilities.audio && hasSounds(unheard)) {
      await transcribeSounds(unheard, this.#options.transcribe, caller, this.#transcripts, signal);
    }
    const pending = delta ? pendingTurns(delta) : [];
    this.#sent = delta?.turns.flatMap(({ index, turn }) => pending.includes(index) ? [turn] : []) ?? [];
    this.#neededFullTranscript = active.needsFullTranscript;
    // From here to the prompt nothing waits, because another turn could change what the session lacks.
    const messages = withTranscripts(messagesToSend(this.#job), this.#transcripts);
    const blocks = toPrompt(messages, promptCapabilities);
    return { session, blocks, permissions: sideJob ? "deny" : caller?.permissions };
  }

  #markDelivered(): void {
    const { active, delta } = this.#job;
    const { conversation, agent } = active;
    const { fingerprinter, index, log, onMemoryLost } = this.#options;
    active.needsFullTranscript = false;
    if (!conversation || !delta) return;
    if (this.#neededFullTranscript && this.#lacksHistory(conversation, delta)) {
      log.warn("the agent has lost its memory of a conversation, and the request brings no history", {
        conversation: conversation.id,
      });
      onMemoryLost?.(conversation.id);
    }
    const program = fingerprinter.cached("program", agent.program);
    this.#undoDelivery = markDelivered(conversation, delta, { sessionId: this.#session.id, program });
    index.saveSoon(conversation);
  }

  /** Whether the request lacks turns that the agent had, and brings no reply either. */
  #lacksHistory({ turns }: ConversationRecord, delta: TranscriptDelta): boolean {
    const brought = new Set(delta.turns.map(({ turn }) => turn));
    return turns.some((turn) => turn.state !== "pending" && !brought.has(turn)) &&
      !this.#job.messages.some(({ role }) => role === "assistant");
  }

  /** Makes another attempt, in a new session, if this fault is the last one that the session may have. */
  #retry(last: LastEvent, signal: AbortSignal): Retry | undefined {
    if (!this.#isFault(last) || this.#job.active.faultsLeft > 1) return undefined;
    const reservation = this.#reserveAgain();
    if (reservation === undefined) return undefined;
    this.#undo();
    this.#countFaults(last);
    this.#hasEvents = false;
    const attempt = this.#prepare(signal).then((attempt) => {
      this.#markDelivered();
      return attempt;
    });
    return { attempt, onFailed: (error) => reservation.settle(error) };
  }

  /** Counts the second prompt of the turn. Returns nothing if the caller has no budget for it. */
  #reserveAgain(): Reservation | undefined {
    const { budget, log } = this.#options;
    const { caller, active: { conversation } } = this.#job;
    try {
      return budget.reserve(caller);
    } catch (error) {
      log.warn("a prompt is not sent again", { conversation: conversation?.id, reason: messageOf(error) });
      return undefined;
    }
  }

  /**
   * Whether the session is to blame for the last event. Text clears the session. If the agent has crashed on a message
   * before, the message is to blame.
   */
  #isFault(last: LastEvent): boolean {
    if (this.#reply !== "") return false;
    if (last.type === "end") return last.reason === "refusal";
    const { code, reason } = last.failure;
    if (code === "agent_crashed" && this.#sent.some(({ deaths = 0 }) => deaths > 0)) return false;
    // A tool may take longer than the limit.
    if (code === "agent_timeout" && this.#hasUsedTools) return false;
    return SESSION_FAULTS.has(code) && !OUTSIDE_REASONS.has(reason);
  }

  /** Counts the faults of the session and the deaths of the agent, and replaces the session if it cannot serve. */
  #countFaults(last: LastEvent): void {
    const { active } = this.#job;
    const isFault = this.#isFault(last);
    if (last.type === "failure" && last.failure.code === "agent_crashed") {
      for (const turn of this.#sent) turn.deaths = (turn.deaths ?? 0) + 1;
    }
    if (this.#reply !== "") active.faultsLeft = MAX_FAULTS;
    if (!isFault || --active.faultsLeft > 0) return;
    this.#sessions.replaceSession(active, last.type === "end" ? last.reason : last.failure.message);
  }

  /** Records how far the turn came. Resolves once the record is written. */
  #onEnd(last: LastEvent): Promise<void> | undefined {
    const { active: { conversation }, sideJob, unsolicited } = this.#job;
    if (last.type === "end" && last.isEmpty && !unsolicited) {
      this.#options.log.warn("the agent ended a turn without a word", { conversation: conversation?.id });
    }
    const state = deliveryState(last, this.#reply, !this.#hasEvents);
    if (state === "pending") this.#undo();
    this.#countFaults(last);
    if (sideJob?.conversation) {
      // A later request that brings this reply back shows that it was no side job.
      const [system] = sideJob.transcript.persona;
      const reply = this.#options.fingerprinter.reply(this.#reply);
      if (system) sideJob.conversation.sideJob = { system, reply };
    }
    return this.#isReplyOver ? undefined : this.#record(state);
  }

  /** Records the state of the newest message, and its reply. Resolves once the record is written. */
  #record(state: DeliveryState): Promise<void> | undefined {
    const { active: { conversation }, delta, onAnswered } = this.#job;
    if (state === "answered") onAnswered?.(this.#reply);
    if (!conversation || !delta) return undefined;
    const newest = delta.turns.at(-1);
    if (newest && state !== "pending") newest.turn.state = state;
    const reply = this.#options.fingerprinter.reply(this.#reply, continuedReply(this.#job.messages));
    if (state === "answered") conversation.reply = reply;
    else if (state === "delivered" && reply) conversation.reply = withInterrupted(conversation.reply, reply);
    return this.#options.index.save(conversation);
  }

  /** Takes the delivery back: the agent may not have kept the messages. */
  #undo(): void {
    this.#job.active.needsFullTranscript = this.#neededFullTranscript;
    this.#undoDelivery?.();
    this.#undoDelivery = undefined;
  }
}

/** Errors with which an agent rejects a prompt, such as when it has no log-in. */
const REJECTIONS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["agent_error", "agent_auth_required"]);

/** Tells from the last event of a turn how far it came; `pending` if the agent may not have kept its messages. */
export function deliveryState(
  event: LastEvent,
  reply: string,
  isFirstEvent: boolean,
): DeliveryState {
  if (event.type === "end") {
    return event.reason === "cancelled" || isSilentReply(reply) ? "delivered" : "answered";
  }
  const { code } = event.failure;
  return code === "agent_crashed" || isFirstEvent && REJECTIONS.has(code) ? "pending" : "delivered";
}
