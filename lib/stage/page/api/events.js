// @ts-check
/** The event channel: a WebSocket that comes back whenever it is lost. @module */

import { waitMs } from "./backoff.js";
import { protocolsOf } from "./key.js";

const PING_MS = 25_000;
/** How long an answer to a ping may take. */
const PONG_MS = 15_000;

/** @typedef {"connecting" | "open" | "waiting" | "locked"} ConnectionState */
/** @typedef {{ type: string, [field: string]: any }} Frame */

/**
 * @typedef {object} ChannelOptions
 * @property {URL} url
 * @property {() => string} key
 * @property {readonly string[]} events What to be told of.
 * @property {() => Promise<"yes" | "no" | "away">} admitted Whether the server lets this key in: a WebSocket that is
 *   refused does not say why.
 * @property {(frame: Frame) => void} receive
 * @property {(state: ConnectionState) => void} change
 */

export class EventChannel {
  #options;
  /** @type {WebSocket | undefined} */
  #socket;
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pings;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pong;
  /** Counts attempts, so that one that was given up changes nothing later. */
  #turn = 0;
  #closed = false;

  /** @param {ChannelOptions} options */
  constructor(options) {
    this.#options = options;
    addEventListener("online", this.#now);
    addEventListener("offline", this.#away);
    document.addEventListener("visibilitychange", this.#now);
  }

  /** Connects, now; also with another key. */
  async connect() {
    clearTimeout(this.#timer);
    this.#drop();
    const turn = ++this.#turn;
    const { admitted, change } = this.#options;
    change("connecting");
    const answer = await admitted();
    if (turn !== this.#turn || this.#closed) return;
    if (answer === "no") return change("locked");
    if (answer === "away") return this.#later();
    this.#open();
  }

  /**
   * Sends a command, if there is somebody to hear it.
   *
   * @param {Frame} command
   * @returns {boolean} Whether it was sent.
   */
  send(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(command));
    return true;
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    removeEventListener("online", this.#now);
    removeEventListener("offline", this.#away);
    document.removeEventListener("visibilitychange", this.#now);
    this.#drop();
  }

  #open() {
    const { url, key, events, receive, change } = this.#options;
    const socket = new WebSocket(url, protocolsOf(key()));
    this.#socket = socket;
    socket.onopen = () => {
      this.#attempt = 0;
      this.send({ type: "hello", client: "stage" });
      this.send({ type: "subscribe", events });
      this.#pings = setInterval(() => this.#ping(), PING_MS);
      change("open");
    };
    socket.onmessage = ({ data }) => {
      const frame = readFrame(data);
      if (frame === undefined) return;
      clearTimeout(this.#pong);
      this.#pong = undefined;
      receive(frame);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#drop();
      this.#later();
    };
  }

  #ping() {
    this.send({ type: "ping" });
    // A network that went away says nothing: silence has to.
    this.#pong ??= setTimeout(() => {
      this.#drop();
      this.#later();
    }, PONG_MS);
  }

  #later() {
    if (this.#closed) return;
    this.#options.change("waiting");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.connect(), waitMs(this.#attempt++, Math.random()));
  }

  /** The page is seen or the network is there again: what was to wait, waits no longer. */
  #now = () => {
    if (document.hidden || this.#timer === undefined || this.#socket !== undefined) return;
    this.#attempt = 0;
    this.connect();
  };

  /** The network is gone: a socket would notice much later. */
  #away = () => {
    if (this.#socket === undefined) return;
    this.#drop();
    this.#later();
  };

  #drop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    clearInterval(this.#pings);
    clearTimeout(this.#pong);
    this.#pong = undefined;
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }
}

/** @param {unknown} data @returns {Frame | undefined} */
function readFrame(data) {
  try {
    const frame = JSON.parse(String(data));
    return typeof frame?.type === "string" ? frame : undefined;
  } catch {
    return undefined;
  }
}
