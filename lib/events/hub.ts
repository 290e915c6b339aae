/** The event hub: follows every turn and publishes its states and events to the subscribers. @module */

import { AppError } from "../core/errors.ts";
import type { TurnEvent, TurnId } from "../turn/event.ts";
import type { Turn, TurnObserver } from "../turn/turn.ts";
import { Subscriber, type Transport } from "./subscriber.ts";
import { TurnState } from "./turn_state.ts";
import {
  type AgentStateEvent,
  Message,
  type PermissionRequestEvent,
  type ToolStatusEvent,
  type Urgency,
  type VtuberEvent,
} from "./wire.ts";

/** Subscribers at the same time; further ones are rejected. */
const MAX_SUBSCRIBERS = 5_000;
/** How long `attention`, `error` and `notification` are shown before `idle`, in milliseconds. */
const HOLD_MS = 1_800;
/** WebSocket close code `Going Away` (RFC 6455). */
const GOING_AWAY = 1001;

/** An emotion that is shown with a notification. `intensity` is from 0 to 1. */
export interface Emotion {
  readonly tag: string;
  readonly intensity: number;
}

/** Options of a hub. */
export interface EventHubOptions {
  /** Replaces {@linkcode HOLD_MS} in tests. */
  readonly holdMs?: number;
}

/** The body of `GET /v1/vtuber/state`. */
export interface Snapshot {
  readonly state: AgentStateEvent["state"];
  readonly sessions: readonly Omit<AgentStateEvent, "type">[];
  readonly tools: readonly Omit<ToolStatusEvent, "type">[];
  readonly plan: readonly unknown[];
  readonly permissions: readonly Omit<PermissionRequestEvent, "type">[];
  readonly emotion: string | null;
  readonly watchers: number;
}

/** A turn, and the timer that retires it once its last state was shown. */
interface TrackedTurn {
  readonly state: TurnState;
  holdTimer: ReturnType<typeof setTimeout> | undefined;
}

/** Observes turns and publishes them. */
export class EventHub implements TurnObserver {
  readonly #holdMs: number;
  readonly #subscribers = new Map<string, Subscriber>();
  /** Oldest turn first. */
  readonly #turns = new Map<TurnId, TrackedTurn>();
  /** The state that was published last. */
  #lastState: AgentStateEvent = { type: "agent_state", state: "idle" };
  #lastEmotion: string | undefined;
  #wantsSpeech = false;
  /** Ends the state `notification`, which is shown while no turn runs. */
  #notificationTimer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor({ holdMs = HOLD_MS }: EventHubOptions = {}) {
    this.#holdMs = holdMs;
  }

  /** Connected clients. */
  get clientCount(): number {
    return this.#clients().length;
  }

  /** Clients that would get a notification. */
  get audienceSize(): number {
    return this.#clients().filter((client) => client.wants("notification")).length;
  }

  /** Whether a subscriber can answer a permission request. */
  get canAnswerPermissions(): boolean {
    return this.#subscribers.values().some((subscriber) => subscriber.answersPermissions);
  }

  /** Whether a subscriber wants `say` or `emotion`. Read for each piece of text, and so kept as a field. */
  get wantsSpeech(): boolean {
    return this.#wantsSpeech;
  }

  /** The open permission requests. */
  get permissions(): PermissionRequestEvent[] {
    return [...this.#turns.values()].flatMap(({ state }) => state.permissions);
  }

  /** Everything that is going on now. */
  get snapshot(): Snapshot {
    const turns = [...this.#turns.values()].map(({ state }) => state);
    return {
      state: this.#lastState.state,
      sessions: turns.map((turn) => withoutType(turn.state)),
      tools: turns.flatMap(({ tools }) => tools).map(withoutType),
      plan: turns.findLast(({ plan }) => plan !== undefined)?.plan ?? [],
      permissions: this.permissions.map(withoutType),
      emotion: this.#lastEmotion ?? null,
      watchers: this.clientCount,
    };
  }

  /** @throws {AppError} `rate_limit_exceeded` if there are too many subscribers, `shutting_down`. */
  admit(): void {
    if (this.#isClosed) {
      throw new AppError("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 });
    }
    if (this.#subscribers.size < MAX_SUBSCRIBERS) return;
    throw new AppError("rate_limit_exceeded", `${MAX_SUBSCRIBERS} clients are watching already.`, {
      retryAfterSecs: 5,
    });
  }

  /**
   * Adds a subscriber, and sends it the current states and the open permission requests.
   *
   * @param names The events to deliver, see {@linkcode Subscriber.subscribe}; by default all but `say`.
   * @throws {AppError} `rate_limit_exceeded` if there are too many subscribers, `shutting_down`.
   */
  subscribe(transport: Transport, names?: readonly string[]): Subscriber {
    this.admit();
    const subscriber = new Subscriber(transport, ({ id }) => {
      this.#subscribers.delete(id);
      this.#updateWantsSpeech();
    });
    if (names) subscriber.subscribe(names);
    this.#subscribers.set(subscriber.id, subscriber);
    this.#updateWantsSpeech();
    this.#sendStates(subscriber);
    this.#sendPermissions(subscriber);
    return subscriber;
  }

  /** Replaces a subscriber's events. Sends the states and the open permission requests if it did not get them before. */
  changeSubscription(subscriber: Subscriber, names: readonly string[]): void {
    const hadStates = subscriber.wants("agent_state");
    const hadPermissions = subscriber.wants("permission_request");
    subscriber.send({ type: "subscribed", events: subscriber.subscribe(names) });
    this.#updateWantsSpeech();
    if (!hadStates) this.#sendStates(subscriber);
    if (!hadPermissions) this.#sendPermissions(subscriber);
  }

  /** Called by a turn whose agent took the prompt. */
  onStart(turn: Turn): void {
    if (this.#isClosed) return;
    clearTimeout(this.#notificationTimer);
    if (this.#showsNotification()) this.#publish({ type: "agent_state", state: "idle" });
    this.#retireEnded();
    const ref = { session_id: turn.conversation, turn_id: turn.id };
    const state = new TurnState(ref, turn.unsolicited);
    this.#turns.set(turn.id, { state, holdTimer: undefined });
    this.#publishAll(state.start());
  }

  /** Called by a turn for each of its events. */
  onEvent(event: TurnEvent, turn: Turn): void {
    const tracked = this.#turns.get(turn.id);
    if (tracked === undefined || this.#isClosed) return;
    const { state } = tracked;
    if (event.type === "emotion" && !turn.unsolicited) this.#lastEmotion = event.tag;
    this.#publishAll(state.apply(event));
    if (!state.hasEnded) return;
    if (state.state.state === "idle") this.#retireLast(turn.id, tracked);
    else tracked.holdTimer = setTimeout(() => this.#retireLast(turn.id, tracked), this.#holdMs);
  }

  /**
   * Publishes a notification.
   *
   * @param emotions Published before the text.
   * @param toNewest Sends the text only to the client that connected last among those that get notifications.
   * @returns The number of clients that got the text.
   */
  notify(
    { text, urgency }: { readonly text: string; readonly urgency: Urgency },
    emotions: readonly Emotion[] = [],
    toNewest = false,
  ): number {
    const newest = this.#clients().findLast((client) => client.wants("notification"));
    if (this.#isClosed || toNewest && newest === undefined) return 0;
    const notification = { type: "notification", text, urgency } as const;
    if (this.#turns.values().every(({ state }) => state.hasEnded)) this.#showNotification();
    for (const { tag, intensity } of emotions) this.#publish({ type: "emotion", tag, intensity });
    if (!toNewest) {
      this.#publish(notification);
      return this.audienceSize;
    }
    newest?.send(notification);
    return 1;
  }

  /** Disconnects all subscribers and admits no more. @returns Resolves once they got everything that was sent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#notificationTimer);
    for (const { holdTimer } of this.#turns.values()) clearTimeout(holdTimer);
    const subscribers = [...this.#subscribers.values()];
    for (const subscriber of subscribers) subscriber.close(GOING_AWAY, "the server is shutting down");
    await Promise.all(subscribers.map(({ ended }) => ended));
  }

  #clients(): Subscriber[] {
    return [...this.#subscribers.values()].filter(({ isClient }) => isClient);
  }

  #updateWantsSpeech(): void {
    this.#wantsSpeech = this.#subscribers.values().some((subscriber) =>
      subscriber.wants("say") || subscriber.wants("emotion")
    );
  }

  #sendStates(subscriber: Subscriber): void {
    if (!subscriber.wants("agent_state")) return;
    if (this.#turns.size === 0) subscriber.send(this.#lastState);
    for (const { state } of this.#turns.values()) subscriber.send(state.state);
  }

  #sendPermissions(subscriber: Subscriber): void {
    if (!subscriber.wants("permission_request")) return;
    for (const request of this.permissions) subscriber.send(request);
  }

  /** Whether the last state is the `notification` of the whole program, not of a turn. */
  #showsNotification(): boolean {
    return this.#lastState.state === "notification" && this.#lastState.turn_id === undefined;
  }

  #showNotification(): void {
    this.#retireEnded();
    clearTimeout(this.#notificationTimer);
    if (!this.#showsNotification()) this.#publish({ type: "agent_state", state: "notification" });
    this.#notificationTimer = setTimeout(
      () => this.#publish({ type: "agent_state", state: "idle" }),
      this.#holdMs,
    );
  }

  #retireEnded(): void {
    for (const [id, tracked] of this.#turns) if (tracked.state.hasEnded) this.#retire(id, tracked);
  }

  #retire(id: TurnId, { state, holdTimer }: TrackedTurn): void {
    clearTimeout(holdTimer);
    this.#turns.delete(id);
    this.#publishAll(state.retire());
  }

  /** Retires a turn, then repeats the state of another running turn for clients that show only the newest state. */
  #retireLast(id: TurnId, tracked: TrackedTurn): void {
    this.#retire(id, tracked);
    const running = [...this.#turns.values()].findLast(({ state }) => !state.hasEnded)?.state;
    if (running && this.#lastState.turn_id !== running.ref.turn_id) this.#publish(running.state);
  }

  #publishAll(events: readonly VtuberEvent[]): void {
    for (const event of events) this.#publish(event);
  }

  #publish(event: VtuberEvent): void {
    if (this.#isClosed) return;
    if (event.type === "agent_state") this.#lastState = event;
    const message = new Message(event);
    for (const subscriber of this.#subscribers.values()) {
      if (subscriber.wants(event.type)) subscriber.deliver(message);
    }
  }
}

function withoutType<T extends { readonly type: string }>({ type: _, ...rest }: T): Omit<T, "type"> {
  return rest;
}
