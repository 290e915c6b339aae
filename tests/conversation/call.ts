import type { Hold } from "../../lib/conversation/hold.ts";
import type { Message } from "../../lib/conversation/message.ts";
import type { BusyMode, SessionMode } from "../../lib/conversation/policy.ts";
import type { Turn } from "../../lib/turn/run.ts";
import type { Question } from "../fakes/chance_skin.ts";
import type { StrictAgent } from "../fakes/strict_agent.ts";
import type { Heard } from "../turn/heard.ts";

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
  readonly hold: Hold;
  readonly messages: readonly Message[];
}
