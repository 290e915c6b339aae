import type { PrivateConversation } from "../../../lib/conversation/private_conversation.ts";
import type { Message } from "../../../lib/conversation/message.ts";
import type { SessionMode } from "../../../lib/conversation/resolve.ts";
import type { BusyMode } from "../../../lib/conversation/turn_queue.ts";
import type { Turn } from "../../../lib/turn/turn.ts";
import type { Question } from "../skins/random_skin.ts";
import type { StrictAgent } from "../agents/strict_agent.ts";
import type { Heard } from "./turn_recorder.ts";

/** The rules of one world. */
export interface WorldRules {
  readonly mode: SessionMode;
  readonly onBusy: BusyMode;
  /** Every skin names its conversation. */
  readonly isNamed: boolean;
  readonly resumes: boolean;
  readonly answersCancels: boolean;
  /** Idle sessions are closed as soon as time goes by. */
  readonly isIdleShort: boolean;
}

/** One request, from its start to whatever became of it. */
export interface Call {
  readonly question: Question;
  /** Who may share its session. */
  readonly circle: string;
  readonly hangUp: AbortController;
  readonly heard: Heard;
  readonly over: Promise<void>;
  readonly agent: StrictAgent;
  turn: Turn | undefined;
  leave: () => void;
  isLeft: boolean;
}

/** A conversation that somebody holds. */
export interface Held extends Pick<Call, "circle" | "agent"> {
  readonly hold: PrivateConversation;
  readonly messages: readonly Message[];
}
