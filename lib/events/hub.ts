/** The hub: hears every turn, and tells those who watch. @module */

import { EmotionScanner, type EmotionWords } from "../turn/emotion.ts";
import type { TurnEvent, TurnId } from "../turn/event.ts";
import { AppError } from "../core/errors.ts";
import type { Turn, TurnObserver } from "../turn/turn.ts";
import { Subscriber, type Transport } from "./subscriber.ts";
import {
  type AgentStateEvent,
  frameOf,
  type PermissionRequestEvent,
  type Urgency,
  type VtuberEvent,
} from "./wire.ts";
import { TurnState } from "./turn_state.ts";

/** Watchers at once; beyond it they are told to come back later. */
const MAX_CLIENTS = 5_000;
/** How long a state that passes is shown before `idle`, in milliseconds. */
const HOLD_MS = 1_800;
/** Close code: the server ends. */
const GOING_AWAY = 1001;

/** What a hub is made of. */
export interface EventHubOptions {
  /** The words that are emotions: they are no part of what is said. */
  readonly emotions: EmotionWords;
  /** See {@linkcode HOLD_MS}; tests shorten it. */
  readonly holdMs?: number;
}

/** Hears every event inside the program, such as a driver of something that is no client. */
export interface Listener {
  /** Must not throw. */
  onEvent(event: VtuberEvent): void;
  /** Whether it can answer a permission request now. */
  readonly answersPermissions: boolean;
}

/** A turn that is watched. */
interface Watched {
  readonly watch: TurnState;
  /** Makes speakable text of the reply; from its start, since it has to know what is code. */
  readonly speech: EmotionScanner | undefined;
  hold: ReturnType<typeof setTimeout> | undefined;
}

/** What the agent does now, for those who poll. */
export interface Snapshot {
  readonly state: AgentStateEvent["state"];
  readonly sessions: readonly Omit<AgentStateEvent, "type">[];
  readonly tools: readonly unknown[];
  readonly plan: readonly unknown[];
  readonly permissions: readonly Omit<PermissionRequestEvent, "type">[];
  readonly emotion: string | null;
  readonly watchers: number;
}

/** Tells watchers what the agent does. */
export class EventHub implements TurnObserver {
  readonly #options: EventHubOptions;
  readonly #clients = new Map<string, Subscriber>();
  readonly #listeners = new Set<Listener>();
  /** In the order in which they began. */
  readonly #turns = new Map<TurnId, Watched>();
  /** The last state that was told. */
  #shown: AgentStateEvent = { type: "agent_state", state: "idle" };
  #emotion: string | undefined;
  /** Whether a client wants `say`; asked for every piece of text, so it is kept. */
  #someoneListens = false;
  /** Ends the state `notification` that is shown when no turn runs. */
  #noticed: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: EventHubOptions) {
    this.#options = options;
  }

  /** How many clients are connected. */
  get clientCount(): number {
    return this.#clients.size;
  }

  /** Whether somebody can answer a permission request. */
  get canAnswerPermissions(): boolean {
    return this.#clients.values().some((client) => client.answersPermissions) ||
      this.#listeners.values().some((listener) => listener.answersPermissions);
  }

  /** How many clients would be told a notification. */
  get audienceSize(): number {
    let count = 0;
    for (const client of this.#clients.values()) if (client.wants("notification")) count++;
    return count;
  }

  /** The requests that wait for an answer. */
  get permissions(): PermissionRequestEvent[] {
    return [...this.#turns.values()].flatMap(({ watch }) => watch.permissions);
  }

  /** What the agent does now. */
  get snapshot(): Snapshot {
    const watches = [...this.#turns.values()].map(({ watch }) => watch);
    return {
      state: this.#shown.state,
      sessions: watches.map(({ state: { type: _, ...state } }) => state),
      tools: watches.flatMap(({ tools }) => tools).map(({ type: _, ...tool }) => tool),
      plan: watches.findLast(({ plan }) => plan !== undefined)?.plan ?? [],
      permissions: this.permissions.map(({ type: _, ...request }) => request),
      emotion: this.#emotion ?? null,
      watchers: this.clientCount,
    };
  }

  /**
   * Lets a client watch; it is told at once what the agent does now and what it asks.
   *
   * @param names What it wants to hear, as in {@linkcode EventHub.changeSubscription}; everything but `say` without it.
   * @throws {AppError} `rate_limit_exceeded` if too many watch, `shutting_down`.
   */
  subscribe(transport: Transport, names?: readonly string[]): Subscriber {
    this.admit();
    const client = new Subscriber(transport, ({ id }) => {
      this.#clients.delete(id);
      if (client.wants("say")) this.#countListeners();
    });
    if (names) client.subscribe(names);
    this.#clients.set(client.id, client);
    if (client.wants("say")) this.#someoneListens = true;
    this.#catchUp(client, true, true);
    return client;
  }

  /** @throws {AppError} `rate_limit_exceeded` if too many watch, `shutting_down`. */
  admit(): void {
    if (this.#closed) {
      throw new AppError("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 });
    }
    if (this.#clients.size >= MAX_CLIENTS) {
      throw new AppError("rate_limit_exceeded", `${MAX_CLIENTS} clients watch already.`, {
        retryAfterSecs: 5,
      });
    }
  }

  /** Lets a client hear these events only; it is told the open permission requests if they are new to it. */
  changeSubscription(client: Subscriber, names: readonly string[]): void {
    const knew = client.wants("permission_request");
    const knewState = client.wants("agent_state");
    const listened = client.wants("say");
    client.send({ type: "subscribed", events: client.subscribe(names) });
    if (listened !== client.wants("say")) this.#countListeners();
    this.#catchUp(client, !knewState, !knew);
  }

  /** Lets a part of the program hear every event, until it is disposed of. */
  addListener(listener: Listener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Not for callers: a turn began. */
  onStart(turn: Turn): void {
    if (this.#closed) return;
    clearTimeout(this.#noticed);
    if (this.#shown.state === "notification" && this.#shown.turn_id === undefined) {
      this.#publish({ type: "agent_state", state: "idle" });
    }
    this.#restAll();
    const about = { session_id: turn.conversation, turn_id: turn.id };
    const watch = new TurnState(about, turn.unsolicited);
    const speech = turn.unsolicited ? undefined : new EmotionScanner(this.#options.emotions, {
      emotion() {},
      speak: (text) => {
        if (this.#someoneListens) this.#publish({ type: "say", ...about, text });
      },
    });
    this.#turns.set(turn.id, { watch, speech, hold: undefined });
    this.#publishAll(watch.begun());
  }

  /** Not for callers: a turn goes on. */
  onEvent(event: TurnEvent, turn: Turn): void {
    const watched = this.#turns.get(turn.id);
    if (watched === undefined || this.#closed) return;
    if (event.type === "text") return watched.speech?.push(event.text);
    if (event.type !== "emotion") watched.speech?.pause();
    else if (!turn.unsolicited) this.#emotion = event.tag;
    const { watch } = watched;
    const events = watch.heard(event);
    if (!watch.ended) return this.#publishAll(events);
    watched.speech?.end();
    this.#publishAll(events);
    if (watch.state.state === "idle") return this.#rest(turn.id, watched, true);
    watched.hold = setTimeout(() => this.#rest(turn.id, watched, true), this.#options.holdMs ?? HOLD_MS);
  }

  /**
   * Tells something that no turn is about.
   *
   * @param emotions Shown with it.
   * @param toOne Only one client is told: the one that came last of those who want to hear it.
   * @returns How many clients were told.
   */
  notify(
    notification: { readonly text: string; readonly urgency: Urgency },
    emotions: readonly { readonly tag: string; readonly intensity: number }[] = [],
    toOne = false,
  ): number {
    const event = { type: "notification", ...notification } as const;
    const one = toOne
      ? [...this.#clients.values()].findLast((client) => client.wants("notification"))
      : undefined;
    if (this.#closed || toOne && one === undefined) return 0;
    if (this.#turns.values().every(({ watch }) => watch.ended)) this.#notice();
    for (const { tag, intensity } of emotions) this.#publish({ type: "emotion", tag, intensity });
    if (one === undefined) {
      this.#publish(event);
      return this.audienceSize;
    }
    one.send(event);
    return 1;
  }

  /** Shows for a while that there is something to notice. */
  #notice(): void {
    this.#restAll();
    clearTimeout(this.#noticed);
    const { state, turn_id } = this.#shown;
    if (state !== "notification" || turn_id !== undefined) {
      this.#publish({ type: "agent_state", state: "notification" });
    }
    this.#noticed = setTimeout(
      () => this.#publish({ type: "agent_state", state: "idle" }),
      this.#options.holdMs ?? HOLD_MS,
    );
  }

  /** Disconnects everybody, and lets nobody in. @returns Resolves when they were told all that they were sent. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#noticed);
    for (const { hold } of this.#turns.values()) clearTimeout(hold);
    const clients = [...this.#clients.values()];
    for (const client of clients) client.close(GOING_AWAY, "the server is shutting down");
    await Promise.all(clients.map((client) => client.ended));
  }

  #catchUp(client: Subscriber, withState: boolean, withPermissions: boolean): void {
    const running = [...this.#turns.values()].map(({ watch }) => watch.state);
    const states = running.length > 0 ? running : [{ ...this.#shown, type: "agent_state" as const }];
    if (withState && client.wants("agent_state")) { for (const state of states) client.send(state); }
    if (withPermissions && client.wants("permission_request")) {
      for (const request of this.permissions) client.send(request);
    }
  }

  #countListeners(): void {
    this.#someoneListens = this.#clients.values().some((client) => client.wants("say"));
  }

  /** What has ended is not shown any longer. */
  #restAll(): void {
    for (const [id, watched] of this.#turns) if (watched.watch.ended) this.#rest(id, watched, false);
  }

  /** The turn is no longer shown. Another that runs is: a client that shows one state shows the last it was told. */
  #rest(id: TurnId, watched: Watched, isLast: boolean): void {
    clearTimeout(watched.hold);
    this.#turns.delete(id);
    this.#publishAll(watched.watch.rest());
    const other = [...this.#turns.values()].findLast(({ watch }) => !watch.ended);
    if (isLast && other && this.#shown.turn_id !== other.watch.about.turn_id) {
      this.#publish(other.watch.state);
    }
  }

  #publishAll(events: readonly VtuberEvent[]): void {
    for (const event of events) this.#publish(event);
  }

  #publish(event: VtuberEvent): void {
    if (this.#closed) return;
    if (event.type === "agent_state") this.#shown = event;
    for (const listener of this.#listeners) listener.onEvent(event);
    let frame: string | undefined;
    for (const client of this.#clients.values()) {
      if (client.wants(event.type)) client.deliver(event.type, frame ??= frameOf(event));
    }
  }
}
