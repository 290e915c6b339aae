/** A conversation as the pet knows it: a session of its own, and one for each of its sub-agents. Pure. @module */

import { type HookEvent, type PetState, sessionIdOf, type StateBody } from "./body.ts";
import type { AskEvent } from "./event.ts";

/** Something to do. */
export type Step =
  | { readonly type: "post"; readonly body: StateBody }
  /** Shows a permission request, in this session of the pet's. */
  | { readonly type: "ask"; readonly ask: AskEvent; readonly sessionId: string }
  /** Takes it away again, before anything that follows. */
  | { readonly type: "release"; readonly requestId: string };

/** Sub-agents of a conversation that are shown; more look the same. */
const MAX_SUBAGENTS = 4;

/** A conversation. */
export interface Session {
  readonly id: string;
  /** The turn that runs. */
  turn: string | undefined;
  /** The last one that ended: what comes of it later changes nothing. */
  ended: string | undefined;
  /** What the pet believes that it does; never `idle` while a turn runs. */
  state: "idle" | "thinking" | "working" | "juggling";
  toolName: string | undefined;
  /** The pet was told that it waits for a person. */
  waiting: boolean;
  /** Its turn failed, and the pet does not know it as idle yet. */
  failed: boolean;
  subagents: number;
  /** How often its turn was refreshed since something was heard of it. */
  refreshes: number;
  readonly asks: Map<string, AskEvent>;
  /** Tool calls that were refused: it is no failure when they fail. */
  readonly refused: Set<string>;
}

/** The pet's session for what no turn is about. */
export const NOBODY = "oab";

const EVENT_OF = {
  idle: undefined,
  thinking: "UserPromptSubmit",
  working: "PreToolUse",
  juggling: "SubagentStart",
} as const;

/** A conversation that the pet has not heard of. */
export function newSession(conversation: string): Session {
  return {
    id: sessionIdOf(conversation),
    turn: undefined,
    ended: undefined,
    state: "idle",
    toolName: undefined,
    waiting: false,
    failed: false,
    subagents: 0,
    refreshes: 0,
    asks: new Map(),
    refused: new Set(),
  };
}

/** A state to post. */
export function posted(session_id: string, state: PetState, event?: HookEvent, tool_name?: string): Step {
  return { type: "post", body: { state, event, session_id, tool_name } };
}

/** What a conversation and its sub-agents do. */
export function bodiesOf(session: Session): StateBody[] {
  const { id, state, toolName, subagents } = session;
  const own: StateBody = { state, event: EVENT_OF[state], session_id: id, tool_name: toolName };
  return [own, ...Array.from({ length: subagents }, (_, at) => bodyOfSubagent(session, at + 1))];
}

/** Shows a permission request: the bubble alone does not move the pet, so a state comes with it. */
export function asking({ id }: Session, ask: AskEvent): [Step, Step] {
  return [
    posted(id, "notification", "PermissionRequest", ask.tool.tool_name),
    { type: "ask", ask, sessionId: id },
  ];
}

/** Begins and ends the sessions of sub-agents until there are so many. */
export function setSubagents(session: Session, count: number): Step[] {
  const steps: Step[] = [];
  while (session.subagents > count) {
    const { session_id } = bodyOfSubagent(session, session.subagents--);
    steps.push(posted(session_id, "sleeping", "SessionEnd"));
  }
  while (session.subagents < Math.min(count, MAX_SUBAGENTS)) {
    steps.push({ type: "post", body: bodyOfSubagent(session, ++session.subagents) });
  }
  return steps;
}

/**
 * What a sub-agent does. While there are any, the conversation juggles; two sessions that juggle make a pet that
 * conducts, so sub-agents do so from the second on.
 */
function bodyOfSubagent({ id }: Session, n: number): StateBody {
  const state = n === 1 ? "working" : "juggling";
  return { state, event: EVENT_OF[state], session_id: `${id}:sub${n}` };
}
