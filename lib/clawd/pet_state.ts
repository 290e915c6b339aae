/**
 * The state of the pet. Pure: events in, steps for the driver out; no clock, no I/O.
 *
 * Each conversation is one session of the pet, and each of its sub-agents is another. The pet keeps a state per session
 * and shows the most important one, so only changes are posted. The pet's rules (0.5.10, run):
 * - `attention` and `error` pass by themselves. `attention` leaves the session idle, `error` leaves its state unchanged.
 * - Only the event `SubagentStop` turns `juggling` into `working`.
 * - `PostToolUse`, `PostToolUseFailure` and `Stop` deny a permission request that is open in the same session.
 * - `PermissionRequest` is shown without changing the session's state.
 *
 * @module
 */

import { type HookEvent, type PetMood, petSessionId, type StateBody } from "./payload.ts";
import type { ClawdEvent, RequestEvent, ResolvedEvent, StateEvent, ToolEvent } from "./wire.ts";

/** Conversations that are followed. The pet keeps 20 sessions, sub-agents included. */
const MAX_SESSIONS = 12;
/** Sub-agents of a conversation that are shown; more look the same. */
const MAX_SUBAGENTS = 4;
/** Rejected tools of a turn that are remembered. */
const MAX_REJECTED = 100;
/** Steps that can wait. The pet answers in milliseconds, so a long queue means that it hangs. */
const MAX_WAITING = 100;

/** A step for the driver. */
export type Step =
  | { readonly type: "post"; readonly body: StateBody }
  /** Shows a permission request in a session of the pet. */
  | { readonly type: "ask"; readonly request: RequestEvent; readonly sessionId: string }
  /** Withdraws a permission request, before the steps that follow. */
  | { readonly type: "release"; readonly requestId: string };

/** A step that is sent to the pet. */
export type QueuedStep = Exclude<Step, { type: "release" }>;

interface Session {
  readonly id: string;
  /** The running turn. */
  turn: string | undefined;
  /** The turn that ended last; later events of it are ignored. */
  endedTurn: string | undefined;
  /** The state that the pet keeps; never `idle` while a turn runs. */
  state: "idle" | "thinking" | "working" | "juggling";
  toolName: string | undefined;
  /** The pet shows that the session waits for a person. */
  isWaiting: boolean;
  /** The last turn failed, and the pet does not know yet that the session is idle. */
  hasFailed: boolean;
  subagents: number;
  readonly requests: Map<string, RequestEvent>;
  /** Tool calls that a person rejected, so that their failure is not shown as an error. */
  readonly rejectedTools: Set<string>;
}

/** The pet's session for notifications, which belong to no turn. */
const NOTIFICATION_SESSION = "oab";
const EVENT_OF_STATE = {
  idle: undefined,
  thinking: "UserPromptSubmit",
  working: "PreToolUse",
  juggling: "SubagentStart",
} as const;
const EVENT_OF_END = { attention: "Stop", error: "StopFailure", idle: undefined } as const;

/** Follows all conversations. */
export class PetState {
  /** By conversation, the least recently started first. */
  readonly #sessions = new Map<string, Session>();
  /** The state `notification` is shown; the text follows as an event of its own. */
  #isNotifying = false;
  #hasNotified = false;

  /** Applies an event. */
  apply(event: ClawdEvent): Step[] {
    switch (event.type) {
      case "agent_state":
        return this.#applyState(event);
      case "tool_status":
        return this.#applyTool(event);
      case "permission_request":
        return this.#applyRequest(event);
      case "permission_resolved":
        return this.#applyResolved(event);
      case "notification":
        return this.#isNotifying ? [] : this.#notify();
      default:
        return event satisfies never;
    }
  }

  /** Repeats the states of all running turns, because the pet takes a session without news for ended. */
  refresh(): Step[] {
    return [...this.#sessions.values()].flatMap((session) => {
      if (session.turn === undefined) return [];
      return sessionBodies(session).map(({ state, session_id }) => post(session_id, state));
    });
  }

  /** Ends all sessions. */
  close(): Step[] {
    const steps = [...this.#sessions.values()].flatMap((session) => [
      ...setSubagents(session, 0),
      post(session.id, "sleeping", "SessionEnd"),
    ]);
    this.#sessions.clear();
    return this.#hasNotified ? [...steps, post(NOTIFICATION_SESSION, "sleeping", "SessionEnd")] : steps;
  }

  #notify(): Step[] {
    this.#hasNotified = true;
    return [post(NOTIFICATION_SESSION, "notification", "Notification")];
  }

  #applyState({ state, session_id, turn_id, detail }: StateEvent): Step[] {
    if (session_id === undefined || turn_id === undefined) {
      const isNew = state === "notification" && !this.#isNotifying;
      this.#isNotifying = state === "notification";
      return isNew ? this.#notify() : [];
    }
    this.#isNotifying = false;
    switch (state) {
      case "thinking":
      case "working":
        return this.#inTurn(session_id, turn_id, (session) => [
          ...setSubagents(session, 0),
          ...(session.state === "juggling"
            ? setState(session, "working", "SubagentStop")
            : state === "working" && session.state === "thinking"
            ? setState(session, "working", "PreToolUse", detail?.tool_name)
            : []),
          ...stopWaiting(session),
        ]);
      case "juggling":
        return this.#inTurn(session_id, turn_id, (session) => [
          ...(session.state === "juggling" ? [] : setState(session, "juggling", "SubagentStart")),
          ...setSubagents(session, detail?.subagent_count ?? 1),
          ...stopWaiting(session),
        ]);
      case "notification":
        return this.#inTurn(session_id, turn_id, (session) => {
          if (session.isWaiting) return [];
          session.isWaiting = true;
          return [post(session.id, "notification", "PermissionRequest")];
        });
      case "attention":
      case "error":
      case "idle":
        return this.#endTurn(session_id, turn_id, state);
      default:
        // A newer state than this version knows.
        return [];
    }
  }

  #applyTool({ session_id, turn_id, tool_call_id, tool_name, status }: ToolEvent): Step[] {
    if (status === "pending" || status === "running") {
      return this.#inTurn(
        session_id,
        turn_id,
        (session) =>
          session.state === "thinking" ? setState(session, "working", "PreToolUse", tool_name) : [],
      );
    }
    const session = this.#sessions.get(session_id);
    // The end of a tool would make the pet deny the open requests.
    if (session === undefined || session.turn !== turn_id || session.requests.size > 0) return [];
    if (status === "failed") {
      if (session.rejectedTools.has(tool_call_id)) return [];
      return [post(session.id, "error", "PostToolUseFailure", tool_name)];
    }
    return session.state === "thinking" ? setState(session, "working", "PostToolUse", tool_name) : [];
  }

  #applyRequest(request: RequestEvent): Step[] {
    return this.#inTurn(request.session_id, request.turn_id, (session) => {
      if (session.requests.has(request.request_id)) return [];
      session.requests.set(request.request_id, request);
      const ask: Step = { type: "ask", request, sessionId: session.id };
      if (session.isWaiting) return [ask];
      session.isWaiting = true;
      // The bubble alone does not animate the pet.
      return [post(session.id, "notification", "PermissionRequest", request.tool.tool_name), ask];
    });
  }

  #applyResolved({ session_id, request_id, outcome }: ResolvedEvent): Step[] {
    const session = this.#sessions.get(session_id);
    const request = session?.requests.get(request_id);
    if (session === undefined || request === undefined) return [];
    session.requests.delete(request_id);
    if (outcome !== "allowed" && session.rejectedTools.size < MAX_REJECTED) {
      session.rejectedTools.add(request.tool.tool_call_id);
    }
    return [{ type: "release", requestId: request_id }, ...stopWaiting(session)];
  }

  /** Runs `act` on the session of a turn, which starts the turn if necessary. Ignores a turn that has ended. */
  #inTurn(conversation: string, turn: string, act: (session: Session) => Step[]): Step[] {
    const existing = this.#sessions.get(conversation);
    if (existing?.endedTurn === turn) return [];
    const session = existing ?? newSession(conversation);
    if (session.turn === turn) return act(session);
    this.#sessions.delete(conversation);
    this.#sessions.set(conversation, session);
    const steps = [
      ...(existing ? [] : [post(session.id, "idle", "SessionStart")]),
      ...clear(session),
      ...this.#evict(),
    ];
    session.turn = turn;
    session.hasFailed = false;
    return [...steps, ...setState(session, "thinking", "UserPromptSubmit"), ...act(session)];
  }

  /**
   * Ends a turn: with `attention` if it completed, with `error` if it failed, with `idle` if it was interrupted. `idle`
   * also follows the other two, and has to be posted only after an error.
   */
  #endTurn(conversation: string, turn: string, state: keyof typeof EVENT_OF_END): Step[] {
    const session = this.#sessions.get(conversation);
    if (session === undefined) return [];
    if (session.turn !== turn) {
      if (state !== "idle" || !session.hasFailed || session.endedTurn !== turn) return [];
      session.hasFailed = false;
      return [post(session.id, "idle")];
    }
    const steps = clear(session);
    session.turn = undefined;
    session.endedTurn = turn;
    session.hasFailed = state === "error";
    session.state = "idle";
    return [...steps, post(session.id, state, EVENT_OF_END[state])];
  }

  /** Removes a session above the limit, one without a turn if possible. The pet drops it after 10 minutes. */
  #evict(): Step[] {
    if (this.#sessions.size <= MAX_SESSIONS) return [];
    const entries = [...this.#sessions];
    const [conversation, session] = entries.find(([, { turn }]) => turn === undefined) ?? entries[0]!;
    this.#sessions.delete(conversation);
    return clear(session);
  }
}

/** Makes a step that posts a state. */
export function post(session_id: string, state: PetMood, event?: HookEvent, tool_name?: string): Step {
  return { type: "post", body: { state, event, session_id, tool_name } };
}

function newSession(conversation: string): Session {
  return {
    id: petSessionId(conversation),
    turn: undefined,
    endedTurn: undefined,
    state: "idle",
    toolName: undefined,
    isWaiting: false,
    hasFailed: false,
    subagents: 0,
    requests: new Map(),
    rejectedTools: new Set(),
  };
}

function setState(
  session: Session,
  state: Exclude<Session["state"], "idle">,
  event: HookEvent,
  tool?: string,
): Step[] {
  session.state = state;
  session.toolName = tool;
  if (session.requests.size === 0) session.isWaiting = false;
  return [post(session.id, state, event, tool)];
}

/** Posts the state before the notification, to which not every version of the pet returns by itself. */
function stopWaiting(session: Session): Step[] {
  if (!session.isWaiting || session.requests.size > 0) return [];
  session.isWaiting = false;
  return [{ type: "post", body: sessionBodies(session)[0]! }];
}

/** Withdraws the requests of a turn and ends its sub-agents. */
function clear(session: Session): Step[] {
  const released = Array.from(session.requests.keys(), (requestId): Step => ({ type: "release", requestId }));
  session.requests.clear();
  session.rejectedTools.clear();
  session.isWaiting = false;
  return [...released, ...setSubagents(session, 0)];
}

/** Starts or ends sub-agents until their number is `count`. */
function setSubagents(session: Session, count: number): Step[] {
  const steps: Step[] = [];
  while (session.subagents > count) {
    steps.push(post(subagentBody(session, session.subagents--).session_id, "sleeping", "SessionEnd"));
  }
  while (session.subagents < Math.min(count, MAX_SUBAGENTS)) {
    steps.push({ type: "post", body: subagentBody(session, ++session.subagents) });
  }
  return steps;
}

/** Returns the states of a conversation and of its sub-agents. */
function sessionBodies(session: Session): StateBody[] {
  const { id, state, toolName, subagents } = session;
  const own: StateBody = { state, event: EVENT_OF_STATE[state], session_id: id, tool_name: toolName };
  return [own, ...Array.from({ length: subagents }, (_, index) => subagentBody(session, index + 1))];
}

/** Returns the state of a sub-agent. Two sessions that juggle make the pet conduct, so only the first one works. */
function subagentBody({ id }: Session, n: number): StateBody {
  const state = n === 1 ? "working" : "juggling";
  return { state, event: EVENT_OF_STATE[state], session_id: `${id}:sub${n}` };
}

/**
 * Adds a step to the waiting ones. A release removes its request; the end of a turn removes the failures of its tools,
 * which it closes itself; above the limit the oldest step is dropped.
 */
export function enqueue(waiting: readonly QueuedStep[], step: Step): readonly QueuedStep[] {
  if (step.type === "release") {
    return waiting.filter((other) => other.type !== "ask" || other.request.request_id !== step.requestId);
  }
  const kept = endsTurn(step) ? waiting.filter((other) => !isToolFailure(other, step)) : waiting;
  return [...kept, step].slice(-MAX_WAITING);
}

function endsTurn(step: QueuedStep): boolean {
  return step.type === "post" &&
    (step.body.event === "Stop" || step.body.event === "StopFailure" || step.body.state === "idle");
}

function isToolFailure(step: QueuedStep, end: QueuedStep): boolean {
  return step.type === "post" && end.type === "post" && step.body.event === "PostToolUseFailure" &&
    step.body.session_id === end.body.session_id;
}
