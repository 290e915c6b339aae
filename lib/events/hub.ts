/** The event hub: follows every turn and publishes its states and events to the subscribers. @module */

import { AppError, shuttingDown } from "../core/errors.ts";
import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";
import { type Caller, SCOPES } from "../turn/caller.ts";
import { isLast, type TurnEvent, type TurnId } from "../turn/event.ts";
import type { Turn, TurnObserver } from "../turn/turn.ts";
import { Subscriber, type Transport } from "./subscriber.ts";
import { TurnState } from "./turn_state.ts";
import {
  type AgentStateEvent,
  type AgentStatusEvent,
  encodeMessage,
  errorDetail,
  type EventName,
  type Message,
  type NotificationEvent,
  type PermissionRequestEvent,
  type QuestionEvent,
  type Urgency,
  type VtuberEvent,
} from "./wire.ts";

/** Subscribers at the same time; further ones are rejected. */
const MAX_SUBSCRIBERS = 5_000;
/** How long `attention`, `error` and `notification` are shown before `idle`, in milliseconds. */
const HOLD_MS = 1_800;
/** Silence of an agent after which it is said to wait for its model, in milliseconds. */
const MODEL_WAIT_MS = 10_000;
/** Events that a new subscriber gets at once, if they still hold. */
const CAUGHT_UP = ["agent_state", "agent_status", "permission_request", "question"] as const;
/** WebSocket close code `Going Away` (RFC 6455). */
const GOING_AWAY = 1001;

/** An emotion that is shown with a notification. `intensity` is from 0 to 1. */
export interface Emotion {
  readonly tag: string;
  readonly intensity: number;
}

/** Options of {@linkcode EventHub.notify}. */
export interface NotifyOptions {
  /** Emotions to publish before the text. */
  readonly emotions?: readonly Emotion[];
  /** Sends the text only to the newest of the subscribers outside of the program. */
  readonly toNewest?: boolean;
  /** The event that the notification tells of, for programs. */
  readonly cause?: Pick<NotificationEvent, "code" | "session_id">;
}

/** Observes turns and publishes them. */
export class EventHub implements TurnObserver {
  /** Whether a subscriber wants `say` or `emotion`. Read for each piece of text, and so kept as a field. */
  wantsSpeech = false;
  readonly #holdMs: number;
  /** Oldest first. */
  readonly #subscribers = new Set<Subscriber>();
  /** Oldest turn first. */
  readonly #turns = new Map<TurnId, TurnState>();
  /** Notice the silence of the running turns' agents. */
  readonly #silences = new Map<TurnId, IdleTimer>();
  /** The agents that cannot serve, by name. */
  readonly #unavailable = new Map<string, AgentStatusEvent>();
  /** The state that was published last. */
  #lastState: AgentStateEvent = { type: "agent_state", state: "idle" };
  /** The end of a state that is shown for a while, after a turn or with a notification. */
  #held: { readonly timer: ReturnType<typeof setTimeout>; readonly release: () => void } | undefined;
  #lastEmotion: string | undefined;
  #isClosed = false;

  constructor({ holdMs = HOLD_MS }: { readonly holdMs?: number } = {}) {
    this.#holdMs = holdMs;
  }

  /** Whether a subscriber outside of the program would get a notification. */
  get wantsNotifications(): boolean {
    return this.#notified.length > 0;
  }

  /** Whether a subscriber can answer a permission request. */
  get canAnswerPermissions(): boolean {
    return this.#subscribers.values().some((subscriber) => subscriber.answersPermissions);
  }

  /** Whether a subscriber shows questions. */
  get canAnswerQuestions(): boolean {
    return this.#subscribers.values().some((subscriber) => subscriber.answersQuestions);
  }

  /** The open questions. */
  get questions(): QuestionEvent[] {
    return [...this.#turns.values()].flatMap(({ questions }) => questions);
  }

  /** The open permission requests. */
  get permissions(): PermissionRequestEvent[] {
    return [...this.#turns.values()].flatMap(({ permissions }) => permissions);
  }

  /** Finds an open permission request, with its whole detail. */
  wholePermission(id: string): PermissionRequestEvent | undefined {
    for (const turn of this.#turns.values()) {
      const found = turn.wholePermission(id);
      if (found) return found;
    }
  }

  /** Returns everything that is going on now and that a caller may see: the body of `GET /v1/vtuber/state`. */
  snapshot(caller: Caller) {
    const turns = [...this.#turns.values()];
    const answers = caller.scopes.has("permissions");
    return {
      state: this.#lastState.state,
      sessions: turns.map(({ state }) => withoutType(visibleState(state, caller))),
      tools: turns.flatMap(({ tools }) => tools).map(withoutType),
      plan: turns.findLast(({ plan }) => plan.length > 0)?.plan ?? [],
      permissions: answers ? this.permissions.map(withoutType) : [],
      agents: [...this.#unavailable.values()].map(withoutType),
      questions: answers ? this.questions.map(withoutType) : [],
      emotion: this.#lastEmotion ?? null,
      watchers: this.#external.length,
      scopes: SCOPES.filter((scope) => caller.scopes.has(scope)),
    };
  }

  /** Checks that one more subscriber can join. @throws {AppError} `rate_limit_exceeded`, `shutting_down`. */
  admit(): void {
    if (this.#isClosed) throw shuttingDown();
    if (this.#subscribers.size < MAX_SUBSCRIBERS) return;
    const message = `${MAX_SUBSCRIBERS} clients are watching already.`;
    throw new AppError("rate_limit_exceeded", message, { retryAfterSecs: 5 });
  }

  /**
   * Adds a subscriber, and sends it the current states, open permission requests and questions.
   *
   * @param caller The caller that gets the events; its scopes decide which.
   * @param names The events to deliver, as {@linkcode Subscriber.subscribe} takes them; by default `*`.
   * @throws {AppError} As {@linkcode EventHub.admit} and {@linkcode Subscriber.subscribe} do.
   */
  subscribe(transport: Transport, caller: Caller, names?: readonly string[]): Subscriber {
    this.admit();
    const subscriber = new Subscriber(transport, caller, () => {
      this.#subscribers.delete(subscriber);
      this.#updateWantsSpeech();
    });
    if (names) subscriber.subscribe(names);
    this.#subscribers.add(subscriber);
    this.#updateWantsSpeech();
    this.#catchUp(subscriber);
    return subscriber;
  }

  /**
   * Replaces a subscriber's events. Sends what is going on now, unless the subscriber got such events before.
   *
   * @throws {AppError} As {@linkcode Subscriber.subscribe} does.
   */
  changeSubscription(subscriber: Subscriber, names: readonly string[]): void {
    const before = CAUGHT_UP.filter((name) => subscriber.wants(name));
    subscriber.send({ type: "subscribed", events: subscriber.subscribe(names) });
    this.#updateWantsSpeech();
    this.#catchUp(subscriber, before);
  }

  /** Called by a turn whose agent took the prompt. */
  onStart(turn: Turn): void {
    if (this.#isClosed) return;
    this.#release();
    const state = new TurnState({ session_id: turn.conversation, turn_id: turn.id }, turn.unsolicited);
    this.#turns.set(turn.id, state);
    this.#silences.set(turn.id, startIdleTimer(MODEL_WAIT_MS, () => this.#publish(...state.wait())));
    this.#publish(...state.start());
  }

  /** Called by a turn for each of its events. */
  onEvent(event: TurnEvent, turn: Turn): void {
    const state = this.#turns.get(turn.id);
    if (state === undefined || this.#isClosed) return;
    if (event.type === "emotion" && !turn.unsolicited) this.#lastEmotion = event.tag;
    this.#silences.get(turn.id)?.touch();
    if (isLast(event)) {
      this.#release();
      this.#endSilence(turn.id);
    }
    this.#publish(...state.apply(event));
    if (!state.hasEnded) return;
    if (state.state.state === "idle") this.#retire(turn.id, state);
    else this.#hold(() => this.#retire(turn.id, state));
  }

  /** Says that an agent cannot serve because of this error; without an error, that it can. Publishes what is new. */
  setAgentError(agent: string, error?: AppError): void {
    const known = this.#unavailable.get(agent)?.error?.message;
    if (error === undefined) {
      if (this.#unavailable.delete(agent)) this.#publish({ type: "agent_status", agent, status: "ready" });
      return;
    }
    const event = { type: "agent_status", agent, status: "unavailable", error: errorDetail(error) } as const;
    this.#unavailable.set(agent, event);
    if (event.error.message !== known) this.#publish(event);
  }

  /**
   * Publishes a notification.
   *
   * @returns The ids of the callers that got the text: one for each subscriber outside of the program.
   */
  notify(
    text: string,
    urgency: Urgency,
    { emotions = [], toNewest = false, cause = {} }: NotifyOptions = {},
  ): string[] {
    if (this.#isClosed) return [];
    const notification: NotificationEvent = { type: "notification", text, urgency, ...cause };
    const recipients = this.#notified.slice(toNewest ? -1 : 0);
    if (this.#turns.values().every(({ hasEnded }) => hasEnded)) this.#showNotification();
    this.#publish(...emotions.map(({ tag, intensity }) => ({ type: "emotion", tag, intensity } as const)));
    if (toNewest) recipients[0]?.send(notification);
    else this.#publish(notification);
    return recipients.map(({ caller }) => caller.id);
  }

  /** Disconnects all subscribers and admits no more. @returns Resolves once they got everything that was sent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#held?.timer);
    for (const id of this.#silences.keys()) this.#endSilence(id);
    const closing = [...this.#subscribers].map((one) => one.close(GOING_AWAY, "the server is shutting down"));
    await Promise.all(closing);
  }

  /** The subscribers outside of the program, oldest first. */
  get #external(): Subscriber[] {
    return [...this.#subscribers].filter(({ isInternal }) => !isInternal);
  }

  get #notified(): Subscriber[] {
    return this.#external.filter((subscriber) => subscriber.wants("notification"));
  }

  #endSilence(id: TurnId): void {
    this.#silences.get(id)?.[Symbol.dispose]();
    this.#silences.delete(id);
  }

  #updateWantsSpeech(): void {
    this.wantsSpeech = this.#subscribers.values().some((subscriber) =>
      subscriber.wants("say") || subscriber.wants("emotion")
    );
  }

  /** Sends what is going on now, unless the subscriber got these events before. */
  #catchUp(subscriber: Subscriber, before: readonly EventName[] = []): void {
    for (const name of CAUGHT_UP) {
      if (!subscriber.wants(name) || before.includes(name)) continue;
      for (const event of this.#current(name)) subscriber.send(visibleEvent(event, subscriber.caller));
    }
  }

  #current(name: (typeof CAUGHT_UP)[number]): readonly VtuberEvent[] {
    switch (name) {
      case "agent_state": {
        const states = [...this.#turns.values()].map(({ state }) => state);
        return states.length > 0 ? states : [this.#lastState];
      }
      case "agent_status":
        return [...this.#unavailable.values()];
      case "permission_request":
        return this.permissions;
      case "question":
        return this.questions;
      default:
        return name satisfies never;
    }
  }

  #showNotification(): void {
    if (this.#lastState.state !== "notification") {
      this.#release();
      this.#publish({ type: "agent_state", state: "notification" });
    }
    this.#hold(() => this.#publish({ type: "agent_state", state: "idle" }));
  }

  /** Shows the last state until the next turn, end of a turn or notification, or for a while. */
  #hold(release: () => void): void {
    clearTimeout(this.#held?.timer);
    this.#held = { release, timer: setTimeout(() => this.#release(), this.#holdMs) };
  }

  #release(): void {
    const held = this.#held;
    this.#held = undefined;
    clearTimeout(held?.timer);
    held?.release();
  }

  /** Ends a turn in `idle`, then repeats the state of another one for clients that show only the newest state. */
  #retire(id: TurnId, turn: TurnState): void {
    this.#turns.delete(id);
    this.#publish(...turn.retire());
    const other = [...this.#turns.values()].at(-1);
    if (other && this.#lastState.turn_id !== other.ref.turn_id) this.#publish(other.state);
  }

  #publish(...events: readonly VtuberEvent[]): void {
    if (this.#isClosed) return;
    for (const event of events) {
      if (event.type === "agent_state") this.#lastState = event;
      let whole: Message | undefined;
      let partial: Message | undefined;
      for (const subscriber of this.#subscribers) {
        if (!subscriber.wants(event.type)) continue;
        const visible = visibleEvent(event, subscriber.caller);
        const message = visible === event
          ? whole ??= encodeMessage(event)
          : partial ??= encodeMessage(visible);
        subscriber.deliver(message);
      }
    }
  }
}

/** Returns an event as a caller may see it. */
function visibleEvent(event: VtuberEvent, caller: Caller): VtuberEvent {
  return event.type === "agent_state" ? visibleState(event, caller) : event;
}

/** Returns a state as a caller may see it: without the scope `permissions`, not the tool that waits for a permission. */
function visibleState(event: AgentStateEvent, { scopes }: Caller): AgentStateEvent {
  if (event.state !== "notification" || scopes.has("permissions")) return event;
  const { detail: _, ...visible } = event;
  return visible;
}

/** Returns the fields of an event as an object of its own, outside of a stream. */
export function withoutType<T extends { readonly type: string }>({ type: _, ...rest }: T): Omit<T, "type"> {
  return rest;
}
