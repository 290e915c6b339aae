// @ts-check
/** Client of `/v1/vtuber/ws`: a WebSocket that reconnects by itself. @module */

import { keyHeaders, socketProtocols } from "./key.js";

/** Time between pings, and longest wait for any frame after one. */
const PING_MS = 25_000;
const PONG_MS = 15_000;
/** Longest wait for the state of the server. */
const STATE_TIMEOUT_MS = 8_000;
/** Delay of the first reconnection, and the longest delay. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;

/** @typedef {{ type: string, [field: string]: any }} Frame */
/**
 * The connection is being made, is open, waits for the next attempt, or needs another key.
 *
 * @typedef {"connecting" | "open" | "waiting" | "locked"} ConnectionState
 */
/** @typedef {{ sessions?: any[], permissions?: any[], questions?: any[], tools?: any[], plan?: any[] }} Snapshot Body of
 *   `GET /v1/vtuber/state`. */

/**
 * @typedef {object} ChannelOptions
 * @property {URL} socketUrl
 * @property {URL} stateUrl
 * @property {() => string} key
 * @property {readonly string[]} events Names of the events to subscribe to.
 * @property {(frame: Frame) => void} onFrame
 * @property {(state: ConnectionState, snapshot: Snapshot) => void} onStateChange The snapshot is from before the
 *   subscription. It is empty unless the state is `open`.
 */

/** The connection to the events of the server. */
export class EventChannel {
  #options;
  /** @type {WebSocket | undefined} */
  #socket;
  /** Failed attempts since the connection was last open. */
  #failures = 0;
  /** Number of the latest attempt. Earlier ones that are still waiting for the server then stop. */
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reconnectTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pingTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pongTimer;

  /** @param {ChannelOptions} options */
  constructor(options) {
    this.#options = options;
    addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => this.#retryNow());
    // The browser would notice the loss of an open socket much later.
    addEventListener("offline", () => {
      if (this.#socket !== undefined) this.#reconnect();
    });
  }

  /** Connects at once, with the present key. */
  async connect() {
    this.#disconnect();
    const attempt = ++this.#attempt;
    this.#options.onStateChange("connecting", {});
    const result = await this.#fetchState();
    if (attempt !== this.#attempt) return;
    if (result === "denied") return this.#options.onStateChange("locked", {});
    if (result === "unavailable") return this.#reconnect();
    this.#open(result);
  }

  /**
   * Sends a command.
   *
   * @param {Frame} command
   * @returns {boolean} False if the channel is not open.
   */
  send(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(command));
    return true;
  }

  /**
   * Reads the present state. This also tells whether the key is right, which a refused WebSocket does not.
   *
   * @returns {Promise<Snapshot | "denied" | "unavailable">}
   */
  async #fetchState() {
    const key = this.#options.key();
    // A header can only carry printable Latin-1 characters.
    if (!/^[\x20-\x7e\xa0-\xff]*$/.test(key)) return "denied";
    try {
      const response = await fetch(this.#options.stateUrl, {
        headers: keyHeaders(key),
        cache: "no-store",
        signal: AbortSignal.timeout(STATE_TIMEOUT_MS),
      });
      if (response.ok) return await response.json();
      await response.body?.cancel();
      if ([400, 401, 403].includes(response.status)) return "denied";
      return response.status >= 500 ? "unavailable" : {};
    } catch {
      return "unavailable";
    }
  }

  /** @param {Snapshot} snapshot */
  #open(snapshot) {
    const { socketUrl, key, events, onFrame, onStateChange } = this.#options;
    const socket = new WebSocket(socketUrl, socketProtocols(key()));
    this.#socket = socket;
    socket.onopen = () => {
      this.#failures = 0;
      this.send({ type: "hello", client: "stage" });
      this.send({ type: "subscribe", events });
      this.#pingTimer = setInterval(() => this.#ping(), PING_MS);
      onStateChange("open", snapshot);
    };
    socket.onmessage = ({ data }) => {
      const frame = parseFrame(data);
      if (frame === undefined) return;
      clearTimeout(this.#pongTimer);
      this.#pongTimer = undefined;
      onFrame(frame);
    };
    socket.onclose = () => {
      if (this.#socket === socket) this.#reconnect();
    };
  }

  /** Sends a ping. Without any frame in time, the network is gone. */
  #ping() {
    this.send({ type: "ping" });
    this.#pongTimer ??= setTimeout(() => this.#reconnect(), PONG_MS);
  }

  #reconnect() {
    this.#disconnect();
    this.#options.onStateChange("waiting", {});
    this.#reconnectTimer = setTimeout(
      () => this.connect(),
      reconnectDelayMs(this.#failures++, Math.random()),
    );
  }

  /** Skips the delay, because the page became visible or the network came back. */
  #retryNow() {
    if (document.hidden || this.#reconnectTimer === undefined) return;
    this.#failures = 0;
    this.connect();
  }

  #disconnect() {
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = undefined;
    clearInterval(this.#pingTimer);
    clearTimeout(this.#pongTimer);
    this.#pongTimer = undefined;
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }
}

/**
 * Returns the delay before an attempt: it doubles up to 15 s, less up to a quarter at random.
 *
 * @param {number} failures Failed attempts before this one.
 * @param {number} random From 0 to 1.
 */
export function reconnectDelayMs(failures, random) {
  const delayMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(failures, 10));
  return Math.round(delayMs * (0.75 + 0.25 * random));
}

/** @param {unknown} data @returns {Frame | undefined} */
function parseFrame(data) {
  try {
    const frame = JSON.parse(String(data));
    return typeof frame?.type === "string" ? frame : undefined;
  } catch {
    return undefined;
  }
}
