// @ts-check
/** Client of the server's events: a connection that is made again by itself. @module */

import { readErrorMessage } from "./chat.js";
import { openEventSocket, openEventStream } from "./event_connection.js";
import { keyHeaders } from "./key.js";

/** Longest wait for the state of the server. */
const STATE_TIMEOUT_MS = 8_000;
/** Delay of the first reconnection, and the longest delay. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;

/** @typedef {import("./event_connection.js").Frame} Frame */
/**
 * The connection is being made, is open, waits for the next attempt, or needs another key.
 *
 * @typedef {"connecting" | "open" | "waiting" | "locked"} ConnectionState
 */
/**
 * Body of `GET /v1/vtuber/state`. `scopes` are the scopes of the page's key.
 *
 * @typedef {{ scopes?: string[], agents?: import("./event_connection.js").AgentStatus[], sessions?: import("./event_connection.js").TurnRef[],
 *   permissions?: import("./event_connection.js").PermissionRequest[], questions?: import("./event_connection.js").Question[], tools?: import("./event_connection.js").Tool[],
 *   plan?: import("./event_connection.js").PlanEntry[] }} Snapshot
 */

/**
 * @typedef {object} ChannelOptions
 * @property {URL} baseUrl Address of `/v1/vtuber/`.
 * @property {() => string} key
 * @property {readonly string[]} events Names of the events to subscribe to.
 * @property {(frame: Frame) => void} onFrame
 * @property {(state: ConnectionState, snapshot: Snapshot, problem: string) => void} onStateChange The snapshot is from
 *   before the subscription. It is empty unless the state is `open`. The problem is the server's reason for `locked`,
 *   empty if it does not know the key.
 */

/** The connection to the events of the server. */
export class EventChannel {
  #options;
  /** @type {import("./event_connection.js").EventConnection | undefined} */
  #connection;
  #isOpen = false;
  /** Failed attempts since the connection was last open. */
  #failures = 0;
  /** Number of the latest attempt. Earlier ones that are still waiting for the server then stop. */
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reconnectTimer;

  /** @param {ChannelOptions} options */
  constructor(options) {
    this.#options = options;
    addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => this.#retryNow());
    // The browser would notice the loss of an open connection much later.
    addEventListener("offline", () => {
      if (this.#connection !== undefined) this.#reconnect();
    });
  }

  /** Connects at once, with the present key. */
  async connect() {
    this.#disconnect();
    const attempt = ++this.#attempt;
    this.#options.onStateChange("connecting", {}, "");
    const result = await this.#fetchState();
    if (attempt !== this.#attempt) return;
    if (result === "unavailable") return this.#reconnect();
    if ("problem" in result) return this.#options.onStateChange("locked", {}, result.problem);
    this.#open(openEventSocket, result);
  }

  /**
   * Sends a command.
   *
   * @param {import("./event_connection.js").Command} command
   * @returns {boolean} False if the channel is not open.
   */
  send(command) {
    if (!this.#isOpen) return false;
    this.#connection?.send(command);
    return true;
  }

  /**
   * Reads the present state. This also tells whether the key is right, which a refused WebSocket does not.
   *
   * @returns {Promise<Snapshot | { problem: string } | "unavailable">}
   */
  async #fetchState() {
    const { baseUrl } = this.#options;
    const key = this.#options.key();
    // A header can only carry printable Latin-1 characters.
    if (!/^[\x20-\x7e\xa0-\xff]*$/.test(key)) return { problem: "" };
    try {
      const response = await fetch(new URL("state", baseUrl), {
        headers: keyHeaders(key),
        cache: "no-store",
        signal: AbortSignal.timeout(STATE_TIMEOUT_MS),
      });
      if (response.ok) return await response.json();
      const problem = await readErrorMessage(response);
      if (response.status === 403) return { problem };
      return [400, 401].includes(response.status) ? { problem: "" } : "unavailable";
    } catch {
      return "unavailable";
    }
  }

  /**
   * Opens a connection. A proxy may not let WebSockets pass: then the events come as a stream of server-sent events.
   *
   * @param {import("./event_connection.js").OpenConnection} openConnection
   * @param {Snapshot} snapshot
   */
  #open(openConnection, snapshot) {
    const { baseUrl, key, events, onFrame, onStateChange } = this.#options;
    const connection = openConnection({
      baseUrl,
      key: key(),
      events,
      onFrame: (frame) => {
        if (connection === this.#connection) onFrame(frame);
      },
      onOpen: () => {
        if (connection !== this.#connection) return;
        this.#isOpen = true;
        this.#failures = 0;
        onStateChange("open", snapshot, "");
      },
      onClose: () => {
        if (connection !== this.#connection) return;
        if (openConnection === openEventSocket && !this.#isOpen) this.#open(openEventStream, snapshot);
        else this.#reconnect();
      },
    });
    this.#connection = connection;
  }

  #reconnect() {
    this.#disconnect();
    this.#options.onStateChange("waiting", {}, "");
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
    const connection = this.#connection;
    this.#connection = undefined;
    this.#isOpen = false;
    connection?.close();
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
