/**
 * What the agent does, as the pet is told it. Pure: events of the hub in, steps of the driver out; no clock, no input.
 *
 * A conversation is a session of the pet's, and each of its sub-agents is one more. The pet keeps a state for every
 * session and shows the one that matters most, so it is told changes only. Its rules, found by running it (0.5.10):
 * `attention` and `error` pass by themselves; `attention` leaves its session idle, `error` leaves it as it was;
 * `juggling` is left for `working` by the event `SubagentStop` alone; `PostToolUse`, `PostToolUseFailure` and `Stop`
 * refuse a permission that is asked for in the same session; `PermissionRequest` is shown without changing anything.
 *
 * @module
 */

import { type HookEvent, type PetMood, sessionIdOf, type StateBody } from "./payload.ts";
import type { AskEvent, ClawdEvent, ResolvedEvent, StateEvent, ToolEvent } from "./wire.ts";

/** Conversations that are kept in mind; the pet keeps 20 sessions. */
const MAX_SESSIONS = 12;
/** Permission requests of a conversation that are shown at once: the bubbles are stacked on a screen. */
const MAX_ASKS = 8;
/** Refused tools of a turn that are remembered. */
const MAX_REFUSED = 100;
/** Refreshes of a turn of which nothing is heard: 2 hours of them. It is then left to the pet's own rule. */
const MAX_REFRESHES = 30;

/** Follows all conversations. */
export class PetState {
  /** By the names of the conversations, the longest unused first. */
  readonly #sessions = new Map<string, Session>();
  /** A notification is shown: what it says comes as an event of its own. */
  #noticed = false;
  /** The pet has a session for what no turn is about. */
  #hasNotified = false;

  /** What is to be done about an event. */
  take(event: ClawdEvent): Step[] {
    switch (event.type) {
      case "agent_state":
        return this.#agentState(event);
      case "tool_status":
        return this.#toolStatus(event);
      case "permission_request":
        return this.#asked(event);
      case "permission_resolved":
        return this.#resolved(event);
      case "notification":
        return this.#noticed ? [] : this.#notify();
      default:
        return event satisfies never;
    }
  }

  /** All that is so now, for a pet that knows nothing of it. */
  get present(): Step[] {
    return [...this.#sessions.values()].flatMap((session): Step[] => {
      if (session.turn === undefined) return [];
      const asks = [...session.asks.values()].flatMap((ask) => asking(session, ask));
      return [...bodiesOf(session).map(toPost), ...asks];
    });
  }

  /** The states that were not posted for so long that the pet would soon take them for over. */
  refresh(isDue: (sessionId: string) => boolean): Step[] {
    return [...this.#sessions.values()].flatMap((session): Step[] => {
      if (session.turn === undefined || session.refreshes >= MAX_REFRESHES) return [];
      const due = bodiesOf(session).filter((body) => isDue(body.session_id));
      if (due.length > 0) session.refreshes++;
      // Nothing happened, so there is no event to tell.
      return due.map(({ state, session_id }) => toPost({ state, session_id }));
    });
  }

  /** The end of all sessions. */
  farewell(): Step[] {
    const steps = [...this.#sessions.values()].flatMap((session) => [
      ...setSubagents(session, 0),
      posted(session.id, "sleeping", "SessionEnd"),
    ]);
    this.#sessions.clear();
    return this.#hasNotified ? [...steps, posted(NOBODY, "sleeping", "SessionEnd")] : steps;
  }

  #notify(): Step[] {
    this.#hasNotified = true;
    return [posted(NOBODY, "notification", "Notification")];
  }

  #agentState({ state, session_id, turn_id, detail }: StateEvent): Step[] {
    if (session_id === undefined || turn_id === undefined) {
      const isNew = state === "notification" && !this.#noticed;
      this.#noticed = state === "notification";
      return isNew ? this.#notify() : [];
    }
    this.#noticed = false;
    switch (state) {
      case "thinking":
      case "working":
        return this.#inTurn(session_id, turn_id, (session) => [
          ...setSubagents(session, 0),
          ...(session.state === "juggling"
            ? this.#become(session, "working", "SubagentStop")
            : state === "working" && session.state === "thinking"
            ? this.#become(session, "working", "PreToolUse", detail?.tool_name)
            : []),
          ...this.#noLongerWaiting(session),
        ]);
      case "juggling":
        return this.#inTurn(session_id, turn_id, (session) => [
          ...(session.state === "juggling" ? [] : this.#become(session, "juggling", "SubagentStart")),
          ...setSubagents(session, detail?.subagent_count ?? 1),
          ...this.#noLongerWaiting(session),
        ]);
      case "notification":
        return this.#inTurn(session_id, turn_id, (session) => {
          if (session.waiting) return [];
          session.waiting = true;
          return [posted(session.id, "notification", "PermissionRequest")];
        });
      case "attention":
      case "error":
      case "idle":
        return this.#over(session_id, turn_id, state);
      default:
        // A state that is newer than this.
        return [];
    }
  }

  #toolStatus({ session_id, turn_id, tool_call_id, tool_name, status }: ToolEvent): Step[] {
    if (status === "pending" || status === "running") {
      return this.#inTurn(
        session_id,
        turn_id,
        (session) =>
          session.state === "thinking" ? this.#become(session, "working", "PreToolUse", tool_name) : [],
      );
    }
    const session = this.#sessions.get(session_id);
    // It would refuse what is asked.
    if (session === undefined || session.turn !== turn_id || session.asks.size > 0) return [];
    if (status === "failed") {
      if (session.refused.has(tool_call_id)) return [];
      return [posted(session.id, "error", "PostToolUseFailure", tool_name)];
    }
    return session.state === "thinking" ? this.#become(session, "working", "PostToolUse", tool_name) : [];
  }

  #asked(ask: AskEvent): Step[] {
    return this.#inTurn(ask.session_id, ask.turn_id, (session) => {
      if (session.asks.size >= MAX_ASKS || session.asks.has(ask.request_id)) return [];
      session.asks.set(ask.request_id, ask);
      const steps = asking(session, ask);
      const wasWaiting = session.waiting;
      session.waiting = true;
      return wasWaiting ? steps.slice(1) : steps;
    });
  }

  #resolved({ session_id, request_id, outcome }: ResolvedEvent): Step[] {
    const session = this.#sessions.get(session_id);
    const ask = session?.asks.get(request_id);
    if (session === undefined || ask === undefined) return [];
    session.asks.delete(request_id);
    session.refreshes = 0;
    if (outcome !== "allowed" && session.refused.size < MAX_REFUSED) {
      session.refused.add(ask.tool.tool_call_id);
    }
    return [{ type: "release", requestId: request_id }, ...this.#noLongerWaiting(session)];
  }

  /** What happens in a turn, which begins with it if need be; nothing if it is over. */
  #inTurn(conversation: string, turn: string, act: (session: Session) => Step[]): Step[] {
    const known = this.#sessions.get(conversation);
    if (known?.ended === turn) return [];
    const session = known ?? newSession(conversation);
    session.refreshes = 0;
    if (session.turn === turn) return act(session);
    this.#sessions.delete(conversation);
    this.#sessions.set(conversation, session);
    const steps = [
      ...(known ? [] : [posted(session.id, "idle", "SessionStart")]),
      ...this.#clear(session),
      ...this.#forget(),
    ];
    session.turn = turn;
    session.failed = false;
    steps.push(...this.#become(session, "thinking", "UserPromptSubmit"));
    return [...steps, ...act(session)];
  }

  /**
   * A turn ends in `attention` if it went well, in `error` if it failed, and in `idle` at once if it was interrupted.
   * `idle` follows the other two; the pet needs to hear it after an error only.
   */
  #over(conversation: string, turn: string, state: "attention" | "error" | "idle"): Step[] {
    const session = this.#sessions.get(conversation);
    if (session === undefined) return [];
    if (session.turn !== turn) {
      if (state !== "idle" || !session.failed || session.ended !== turn) return [];
      session.failed = false;
      session.state = "idle";
      return [posted(session.id, "idle")];
    }
    const steps = this.#clear(session);
    session.turn = undefined;
    session.ended = turn;
    session.failed = state === "error";
    session.state = "idle";
    const event = state === "attention" ? "Stop" : state === "error" ? "StopFailure" : undefined;
    return [...steps, posted(session.id, state, event)];
  }

  /** Nothing is left of a turn. */
  #clear(session: Session): Step[] {
    const steps: Step[] = [...session.asks.keys()].map((requestId) => ({ type: "release", requestId }));
    session.asks.clear();
    session.refused.clear();
    session.waiting = false;
    return [...steps, ...setSubagents(session, 0)];
  }

  #become(
    session: Session,
    state: Exclude<Session["state"], "idle">,
    event: HookEvent,
    tool?: string,
  ): Step[] {
    session.state = state;
    session.toolName = tool;
    if (session.asks.size === 0) session.waiting = false;
    return [posted(session.id, state, event, tool)];
  }

  /** The pet does not come back from a notification to what it did before in every version. */
  #noLongerWaiting(session: Session): Step[] {
    if (!session.waiting || session.asks.size > 0) return [];
    session.waiting = false;
    return bodiesOf(session).slice(0, 1).map(toPost);
  }

  /** Keeps no more than it may. The pet drops what it hears no more of by itself, after 10 minutes. */
  #forget(): Step[] {
    if (this.#sessions.size <= MAX_SESSIONS) return [];
    const entries = [...this.#sessions];
    const [conversation, session] = entries.find(([, { turn }]) => turn === undefined) ?? entries[0]!;
    this.#sessions.delete(conversation);
    return this.#clear(session);
  }
}

function toPost(body: StateBody): Step {
  return { type: "post", body };
}

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
export function posted(session_id: string, state: PetMood, event?: HookEvent, tool_name?: string): Step {
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
