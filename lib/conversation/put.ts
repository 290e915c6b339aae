/** Puts to an agent what its session has not heard, and keeps in mind what became of it. @module */

import type { Agent, Session } from "../turn/agent.ts";
import type { Agents } from "../turn/agents.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import { Failure } from "../turn/failure.ts";
import { runTurn, type Turn, type TurnLimits, type TurnObserver } from "../turn/run.ts";
import type { Brought } from "./known.ts";
import type { Live, LiveConversations, LiveOptions } from "./live.ts";
import type { Message } from "./message.ts";
import { type Outcome, watchTurn } from "./outcome.ts";
import { newsOf, newsSinceAnswer, toPrompt } from "./prompt.ts";

/** How turns are run. */
export interface PutOptions extends Pick<LiveOptions, "agents" | "printer"> {
  readonly limits: TurnLimits;
  /** Watches every turn. */
  readonly observer?: TurnObserver;
  /** The words that are emotions in replies. */
  readonly emotions?: EmotionWords;
}

/** A turn whose time has come. */
export interface Asked {
  readonly live: Live;
  readonly messages: readonly Message[];
  /** What it brings to what is remembered; nothing if nothing is. */
  readonly brought: Brought | undefined;
  readonly model?: string | undefined;
  readonly unasked?: boolean | undefined;
  readonly record: boolean;
  /** Aborts when nobody waits for it any more. */
  readonly givenUp: AbortSignal;
  /** Aborts when nothing may begin any more. */
  readonly failed: AbortSignal;
}

/** Where sessions come from, and where what became of turns is kept. */
export type Sessions = Pick<LiveConversations, "sessionOf" | "save">;

/**
 * Puts it; once more if the agent turns out to have ended before it took the prompt.
 *
 * @throws {Failure} if the agent could not be given the prompt; the reason of the signals if they abort.
 */
export async function putTurn(asked: Asked, sessions: Sessions, options: PutOptions): Promise<Turn> {
  try {
    return await putOnce(asked, sessions, options);
  } catch (error) {
    if (!isNoticedLate(error, asked.live)) throw error;
    return await putOnce(asked, sessions, options);
  }
}

function isNoticedLate(error: unknown, { session }: Live): boolean {
  return error instanceof Failure && error.code === "agent_unavailable" && !error.prompted &&
    session !== undefined && session.closed.aborted;
}

async function putOnce(asked: Asked, sessions: Sessions, options: PutOptions): Promise<Turn> {
  const { live, brought, model, unasked = false, record, givenUp, failed } = asked;
  const { agents, limits, observer, emotions } = options;
  const { agent, known } = live;
  const session = await sessions.sessionOf(live, givenUp);
  await chooseModel(agents, agent, session, model);
  givenUp.throwIfAborted();
  failed.throwIfAborted();
  const { outcome, over } = rememberIn(live, brought, session, sessions, options);
  const turn = await runTurn({
    session,
    blocks: toPrompt(newsFor(asked), session.accepts),
    limits,
    record,
    conversation: known?.id,
    servedBy: session.model === undefined ? agent.name : `${agent.name}/${session.model}`,
    unasked,
    emotions,
    observer: watchTurn(observer, outcome),
  });
  turn.ended.then(over);
  return turn;
}

/** What the session has not heard. */
function newsFor({ live: { isFresh, known }, brought, messages }: Asked): readonly Message[] {
  if (isFresh) return messages;
  return known && brought
    ? newsOf(messages, known.unheard(brought), known.hasOtherPersona(brought))
    : newsSinceAnswer(messages);
}

/** Keeps in mind what the session was told, and what became of it; `over` once the agent has really ended the turn. */
function rememberIn(
  live: Live,
  brought: Brought | undefined,
  session: Session,
  sessions: Sessions,
  { printer }: PutOptions,
): { outcome: Outcome; over: () => void } {
  const { known, agent, isFresh: wasFresh } = live;
  let takeBack = () => {};
  let isUnsure = false;
  const outcome: Outcome = {
    begun() {
      // One that is held was told what its holder says, and perhaps not all that its caller did.
      live.isFresh &&= known !== undefined && brought === undefined;
      if (!known || !brought) return;
      takeBack = known.told(brought, session.id, printer.lasting("program", agent.program));
      sessions.save(known);
    },
    ended(state, reply, isSilent) {
      isUnsure = isSilent;
      if (state === "asked") live.isFresh = wasFresh;
      if (!known) return;
      if (state === "asked") takeBack();
      else if (brought) known.ended(brought, state);
      if (state === "answered") known.reply = printer.reply(reply);
      // At once: who has read the end of an answer may count on it.
      sessions.save(known);
    },
  };
  const over = () => {
    // It was silent because it was dying.
    if (isUnsure && session.closed.aborted) outcome.ended("asked", "", false);
  };
  return { outcome, over };
}

/** Lets this model answer. Where names are not taken strictly, one that is not offered means the usual model. */
async function chooseModel(
  agents: Agents,
  agent: Agent,
  session: Session,
  model: string | undefined,
): Promise<void> {
  try {
    await session.choose(model);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "model_not_found") throw error;
    if (agents.isStrict) throw agents.notFound(`${agent.name}/${model}`);
    await session.choose(undefined);
  }
}
