/**
 * AniCompanion's client of the event channel (`AgentStateWSClient.swift`) and what its avatar makes of the events
 * (`ConversationController.swift`), with the mistakes of the real one kept: it reconnects every second for ever, each
 * connection adds a loop of pings, and the first chat of its own ends its listening.
 *
 * @module
 */

import { aniCompanion, readLive } from "./skins.ts";

/** How one is set up. */
export interface AniCompanionOptions {
  /** As the user types it, like `http://127.0.0.1:9100`. */
  readonly endpoint: string;
  readonly apiKey?: string;
  /** Between two pings of one loop; 30 seconds in the app. */
  readonly pingMs?: number;
  /** Before it connects again; a second in the app. */
  readonly reconnectMs?: number;
  /** Without the mistake that a chat of its own ends its listening. */
  readonly mended?: boolean;
}

/** What can be seen of the avatar. */
export interface Avatar {
  /** The clip that is played over and over, if one is. */
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
/** Longest wait of a test, in milliseconds. */
const PATIENCE_MS = 60_000;

/** The address that it connects to. */
export function socketUrl(endpoint: string): string {
  const [, scheme = "", host = "", path = ""] = /^(https?):\/\/([^/]*)(.*)$/.exec(endpoint.trim()) ?? [];
  const trimmed = path.replace(/^\/+|\/+$/g, "");
  const whole = path.endsWith(PATH) ? path : `/${trimmed}${PATH}`;
  return `${scheme === "https" ? "wss" : "ws"}://${host}${whole}`;
}

/** The app. */
export class AniCompanion implements AsyncDisposable {
  /** Everything that the avatar was told to do, in order: a clip that is played again starts anew. */
  readonly acts: string[] = [];
  /** The rows of the chat that tools made. */
  readonly rows: string[] = [];
  /** What it was answered to its own messages. */
  readonly replies: string[] = [];
  /** How often it tried to connect, and how often it could. */
  readonly tries = { begun: 0, succeeded: 0 };
  readonly pings = { sent: 0, answered: 0 };
  readonly #options: AniCompanionOptions;
  readonly #timers = new Set<ReturnType<typeof setInterval>>();
  readonly #history: { role: string; content: string }[] = [];
  #avatar: Avatar = { clip: undefined, expression: "neutral" };
  #socket: WebSocket | undefined;
  #closed: Promise<void> = Promise.resolve();
  #listening = true;
  #busy: Promise<void> | undefined;
  #left = false;
  #news = Promise.withResolvers<void>();

  constructor(options: AniCompanionOptions) {
    this.#options = options;
    this.#connect();
  }

  get avatar(): Avatar {
    return this.#avatar;
  }

  /** Whether its events still reach the avatar. */
  get listening(): boolean {
    return this.#listening;
  }

  /** Resolves once this holds. */
  async until(holds: (app: this) => boolean): Promise<void> {
    while (!holds(this)) {
      const late = Promise.withResolvers<never>();
      const timer = setTimeout(() => {
        const { avatar, acts, rows, replies, tries } = this;
        late.reject(new Error(`It stays so: ${JSON.stringify({ avatar, acts, rows, replies, tries })}`));
      }, PATIENCE_MS);
      await Promise.race([this.#news.promise, late.promise]).finally(() => clearTimeout(timer));
    }
  }

  /** The user says something. */
  async sendMessage(text: string): Promise<void> {
    await this.#busy;
    await this.#chat(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#left = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#socket?.close();
    await this.#closed;
    await this.#busy;
  }

  #connect(): void {
    const { endpoint, apiKey, pingMs = 30_000, reconnectMs = 1_000 } = this.#options;
    this.tries.begun++;
    const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
    const socket = new WebSocket(socketUrl(endpoint), { headers });
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closed = promise;
    socket.onopen = () => {
      this.tries.succeeded++;
      socket.send(JSON.stringify(SUBSCRIBE));
      // The loop outlives its connection: it pings whichever there is.
      this.#timers.add(setInterval(() => this.#ping(), pingMs));
      this.#tell();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.#take(data);
    };
    socket.onclose = () => {
      resolve();
      if (this.#left) return;
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        this.#connect();
      }, reconnectMs);
      this.#timers.add(timer);
      this.#tell();
    };
  }

  #ping(): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send('{"type":"ping"}');
    this.pings.sent++;
  }

  /** A frame: fields of a wrong type are as good as none, and types that it does not know are passed over. */
  #take(frame: string): void {
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
    else if (this.#listening) {
      if (event.type === "agent_state") this.#show(text("state", "idle"));
      else if (event.type === "emotion") this.#feel(text("tag", "neutral"));
      else if (event.type === "tool_status") this.#row(text("tool_name", ""), text("status", ""));
      else if (event.type === "notification") this.#proactive(text("text", ""));
    }
    this.#tell();
  }

  #show(state: string): void {
    const clip = CLIPS[state];
    if (clip) this.#play(clip);
    else if (state === "idle") this.#stop();
    else if (state === "error") this.#express("surprised");
  }

  #feel(tag: string): void {
    const name = tag.toLowerCase().replace(/[[\]]/g, "").trim();
    if (EMOTIONS.has(name)) this.#express(name);
  }

  #row(name: string, status: string): void {
    if (name.trim() !== "") this.rows.push(`${name} ${status}`);
  }

  /** The text is a hidden prompt of the user; while it is busy, it is lost, however urgent it is. */
  #proactive(text: string): void {
    if (this.#busy === undefined && text !== "") this.#chat(text);
  }

  #chat(text: string): Promise<void> {
    if (!this.#options.mended) this.#listening = false;
    return this.#busy = this.#post(text).finally(() => {
      this.#busy = undefined;
      this.#tell();
    });
  }

  /** It thinks as long as the stream goes on, and speaks only then. */
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

  #tell(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }
}
