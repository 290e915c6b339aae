/**
 * AniCompanion's event client (`AgentStateWSClient.swift`) and avatar (`ConversationController.swift`), with the faults of
 * the real app: it reconnects every second for ever, each connection adds a loop of pings, and after its first own chat
 * it ignores events.
 *
 * @module
 */

import { aniCompanion, readLive } from "./skins.ts";

/** Settings of the app. */
export interface AniCompanionOptions {
  /** The address as the user types it, like `http://127.0.0.1:9100`. */
  readonly endpoint: string;
  readonly apiKey?: string;
  /** Default: 30 seconds. */
  readonly pingMs?: number;
  /** Pause before a new connection. Default: a second. */
  readonly reconnectMs?: number;
  /** Reads events after its own chats too, unlike the real app. */
  readonly keepsListening?: boolean;
}

/** The visible state of the avatar. */
export interface Avatar {
  /** The clip that loops. */
  readonly clip: "think" | "talk_gesture" | "wave" | undefined;
  readonly expression: string;
}

const SUBSCRIBE = { type: "subscribe", events: ["agent_state", "emotion", "notification", "tool_status"] };
const PATH = "/v1/vtuber/ws";
const PERSONA = "You are Ani. Begin each sentence with a tag like [happy].";
const EMOTIONS: ReadonlySet<string> = new Set([
  ..."neutral happy sad angry surprised curious excited shy".split(" "),
  ..."love smirk sleepy proud disgusted pain laugh bored".split(" "),
]);
const CLIPS: Readonly<Record<string, Avatar["clip"]>> = {
  thinking: "think",
  working: "talk_gesture",
  attention: "wave",
};
/** Longest wait of a test. */
const TIMEOUT_MS = 60_000;

/** The address of the event channel, as the app derives it from the endpoint. */
export function socketUrl(endpoint: string): string {
  const [, scheme = "", host = "", path = ""] = /^(https?):\/\/([^/]*)(.*)$/.exec(endpoint.trim()) ?? [];
  const trimmed = path.replace(/^\/+|\/+$/g, "");
  const whole = path.endsWith(PATH) ? path : `/${trimmed}${PATH}`;
  return `${scheme === "https" ? "wss" : "ws"}://${host}${whole}`;
}

/** The app. */
export class AniCompanion implements AsyncDisposable {
  /** Every action of the avatar: clips that start, `stop`, and expressions. */
  readonly acts: string[] = [];
  /** The rows of the chat that show tools. */
  readonly rows: string[] = [];
  /** The replies to its own messages. */
  readonly replies: string[] = [];
  /** Connections that were attempted, and that opened. */
  readonly connections = { attempted: 0, opened: 0 };
  readonly pings = { sent: 0, answered: 0 };
  readonly #options: AniCompanionOptions;
  readonly #timers = new Set<ReturnType<typeof setInterval>>();
  readonly #history: { role: string; content: string }[] = [];
  #avatar: Avatar = { clip: undefined, expression: "neutral" };
  #socket: WebSocket | undefined;
  #closed: Promise<void> = Promise.resolve();
  #isListening = true;
  #busy: Promise<void> | undefined;
  #isDisposed = false;
  #changed = Promise.withResolvers<void>();

  constructor(options: AniCompanionOptions) {
    this.#options = options;
    this.#connect();
  }

  get avatar(): Avatar {
    return this.#avatar;
  }

  /** Whether events still reach the avatar. */
  get isListening(): boolean {
    return this.#isListening;
  }

  /** Waits until this is true of the app. */
  async until(isReached: (app: this) => boolean): Promise<void> {
    while (!isReached(this)) {
      const timeout = Promise.withResolvers<never>();
      const timer = setTimeout(() => {
        const { avatar, acts, rows, replies, connections } = this;
        timeout.reject(
          new Error(
            `The app stays in this state: ${JSON.stringify({ avatar, acts, rows, replies, connections })}`,
          ),
        );
      }, TIMEOUT_MS);
      await Promise.race([this.#changed.promise, timeout.promise]).finally(() => clearTimeout(timer));
    }
  }

  /** Sends a message of the user, after the chat that runs. */
  async sendMessage(text: string): Promise<void> {
    await this.#busy;
    await this.#chat(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#socket?.close();
    await this.#closed;
    await this.#busy;
  }

  #connect(): void {
    const { endpoint, apiKey, pingMs = 30_000, reconnectMs = 1_000 } = this.#options;
    this.connections.attempted++;
    const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
    const socket = new WebSocket(socketUrl(endpoint), { headers });
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closed = promise;
    socket.onopen = () => {
      this.connections.opened++;
      socket.send(JSON.stringify(SUBSCRIBE));
      // The loop outlives its connection, and pings the current one.
      this.#timers.add(setInterval(() => this.#ping(), pingMs));
      this.#notify();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.#readFrame(data);
    };
    socket.onclose = () => {
      resolve();
      if (this.#isDisposed) return;
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        this.#connect();
      }, reconnectMs);
      this.#timers.add(timer);
      this.#notify();
    };
  }

  #ping(): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send('{"type":"ping"}');
    this.pings.sent++;
  }

  /** Ignores fields of a wrong type and frames of an unknown type. */
  #readFrame(frame: string): void {
    let event: Record<string, unknown>;
    try {
      event = JSON.parse(frame);
    } catch {
      return;
    }
    const text = (name: string, fallback: string) => {
      const value = event[name];
      return typeof value === "string" ? value : fallback;
    };
    if (event.type === "pong") this.pings.answered++;
    else if (this.#isListening) {
      if (event.type === "agent_state") this.#showState(text("state", "idle"));
      else if (event.type === "emotion") this.#showEmotion(text("tag", "neutral"));
      else if (event.type === "tool_status") this.#addRow(text("tool_name", ""), text("status", ""));
      else if (event.type === "notification") this.#answerNotification(text("text", ""));
    }
    this.#notify();
  }

  #showState(state: string): void {
    const clip = CLIPS[state];
    if (clip) this.#play(clip);
    else if (state === "idle") this.#stop();
    else if (state === "error") this.#express("surprised");
  }

  #showEmotion(tag: string): void {
    const name = tag.toLowerCase().replace(/[[\]]/g, "").trim();
    if (EMOTIONS.has(name)) this.#express(name);
  }

  #addRow(name: string, status: string): void {
    if (name.trim() !== "") this.rows.push(`${name} ${status}`);
  }

  /** Sends the text as a hidden message of the user. While a chat runs, the notification is lost, even an urgent one. */
  #answerNotification(text: string): void {
    if (this.#busy === undefined && text !== "") this.#chat(text);
  }

  #chat(text: string): Promise<void> {
    if (!this.#options.keepsListening) this.#isListening = false;
    return this.#busy = this.#post(text).finally(() => {
      this.#busy = undefined;
      this.#notify();
    });
  }

  /** Thinks until the end of the stream, and speaks then. */
  async #post(text: string): Promise<void> {
    const { endpoint, apiKey } = this.#options;
    this.#history.push({ role: "user", content: text });
    this.#play("think");
    const response = await fetch(`${endpoint.trim().replace(/\/+$/, "")}/v1/chat/completions`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "text/event-stream",
        ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}),
      },
      body: JSON.stringify({
        model: "hermes-agent",
        messages: [{ role: "system", content: PERSONA }, ...this.#history.slice(-40)],
        stream: true,
      }),
    });
    const { text: reply } = await readLive(aniCompanion, response);
    this.#history.push({ role: "assistant", content: reply });
    this.replies.push(reply);
    this.#stop();
    for (const [, tag] of reply.matchAll(/\[(\w+)\]/g)) if (EMOTIONS.has(tag!)) this.#express(tag!);
  }

  #play(clip: NonNullable<Avatar["clip"]>): void {
    this.acts.push(clip);
    this.#avatar = { ...this.#avatar, clip };
  }

  #stop(): void {
    this.acts.push("stop");
    this.#avatar = { ...this.#avatar, clip: undefined };
  }

  #express(expression: string): void {
    this.acts.push(expression);
    this.#avatar = { ...this.#avatar, expression };
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
