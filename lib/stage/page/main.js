// @ts-check
/** The stage: brings together the character, the chat and the event channel. @module */

import { loadCharacter } from "./characters/character.js";
import { ChatError, latest, streamChat } from "./api/chat.js";
import { EventChannel } from "./api/events.js";
import { authorization } from "./api/key.js";
import { byId } from "./views/dom.js";
import { createVoice } from "./views/speech_queue.js";
import {
  loadMessages,
  loadTheme,
  saveKey,
  saveMessages,
  saveTheme,
  sessionName,
  takeKey,
} from "./api/storage.js";
import { learnTag, withoutTags } from "./views/tags.js";
import { createActivity, stateWords } from "./views/activity.js";
import { createComposer, createLog } from "./views/chat.js";
import { createKeyForm } from "./views/key.js";
import { createNotices } from "./views/notice.js";
import { createPermissions } from "./views/permission.js";

const OVERLAY = new URLSearchParams(location.search).get("overlay") === "1";
const EVENTS = ["agent_state", "emotion", "tool_status", "plan", "notification", "say"];
const ASKED_EVENTS = ["permission_request", "permission_resolved"];
const CHAT_URL = new URL("v1/chat/completions", document.baseURI);
const STATE_URL = new URL("v1/vtuber/state", document.baseURI);
const SOCKET_URL = new URL("v1/vtuber/ws", document.baseURI);
SOCKET_URL.protocol = SOCKET_URL.protocol.replace("http", "ws");
const ADMITTED_MS = 8_000;

document.documentElement.classList.toggle("overlay", OVERLAY);
let key = takeKey();
const session = sessionName();
/** @type {import("./api/chat.js").Message[]} */
const messages = loadMessages();
/** The answer that is being read. @type {AbortController | undefined} */
let running;
/** The conversation and turn that another client's words belong to. */
let heardTurn = "";
/** What the agent does, as it was told last; `speaking` where it thinks and speaks. */
let state = "idle";
/** Something was said since the turn began, or since the agent last did something else. */
let hasSpoken = false;
/** What the server said is now, when it let this page in. @type {any} */
let present = {};
/** The session of what runs elsewhere, for the stop button. */
let busySession = "";

const notices = createNotices();
const activity = createActivity();
const log = createLog();
const character = await loadCharacter(byId("character"), (problem) => notices.show(problem, "normal"));
const voice = createVoice({
  mouth: (openness) => character.mouth(openness),
  quiet: () => express("neutral", 1),
});
const composer = createComposer({ send, stop });
const keyForm = createKeyForm((next) => {
  key = next;
  saveKey(key);
  channel.connect();
});
const permissions = createPermissions({
  answer: (request_id, option_id) => channel.send({ type: "permission_response", request_id, option_id }),
  done: () => composer.focus(),
});

const channel = new EventChannel({
  url: SOCKET_URL,
  key: () => key,
  events: OVERLAY ? EVENTS : [...EVENTS, ...ASKED_EVENTS],
  admitted,
  receive,
  change: showConnection,
});

/** @param {string} tag @param {number} intensity */
function express(tag, intensity) {
  character.express(tag, intensity);
  const mood = byId("mood");
  const words = tag === "neutral" ? "" : `The character looks ${tag}.`;
  if (mood.textContent !== words) mood.textContent = words;
}

/** Whether the server lets this key in. @returns {Promise<"yes" | "no" | "away">} */
async function admitted() {
  // No header can carry another key.
  if (!/^[\x20-\x7e\xa0-\xff]*$/.test(key)) return "no";
  try {
    const response = await fetch(STATE_URL, {
      headers: authorization(key),
      cache: "no-store",
      signal: AbortSignal.timeout(ADMITTED_MS),
    });
    if (response.ok) present = await response.json();
    else await response.body?.cancel();
    if ([400, 401, 403].includes(response.status)) return "no";
    return response.status >= 500 ? "away" : "yes";
  } catch {
    return "away";
  }
}

/** @param {import("./api/events.js").ConnectionState} state */
function showConnection(state) {
  const chip = byId("connection");
  const words = {
    connecting: "Connecting…",
    open: "Connected",
    waiting: "Connection lost, trying again",
    locked: "Key needed",
  };
  chip.dataset.state = state === "waiting" ? "closed" : state;
  // An attempt that follows a lost connection is no news.
  if (state === "connecting" && chip.dataset.lost === "yes") chip.dataset.state = "closed";
  else chip.textContent = words[state];
  if (state !== "connecting") chip.dataset.lost = state === "waiting" ? "yes" : "no";
  if (state === "open") {
    keyForm.close();
    catchUp();
  }
  if (state === "waiting") setState("idle", {});
  if (state === "locked" && !OVERLAY) keyForm.ask(key !== "");
  // Nobody types into an overlay: the key may come with the next server.
  if (state === "locked" && OVERLAY) setTimeout(() => channel.connect(), 5_000);
}

/** What went on while nobody listened. */
function catchUp() {
  const asked = /** @type {{ request_id: string }[]} */ (present.permissions ?? []);
  permissions.keep(asked.map(({ request_id }) => request_id));
  for (const tool of present.tools ?? []) activity.setTool(tool);
  if (present.plan?.length > 0) activity.setPlan(present.plan, undefined);
}

/** @param {import("./api/events.js").Frame} frame */
function receive(frame) {
  switch (frame.type) {
    case "agent_state":
      busySession = /thinking|working|juggling|notification/.test(frame.state) ? frame.session_id ?? "" : "";
      setState(frame.state, frame.detail ?? {});
      break;
    case "emotion":
      learnTag(String(frame.tag));
      express(String(frame.tag), typeof frame.intensity === "number" ? frame.intensity : 1);
      break;
    case "tool_status":
      activity.setTool(/** @type {any} */ (frame));
      break;
    case "plan":
      activity.setPlan(frame.entries ?? [], frame.turn_id);
      break;
    case "notification":
      notices.show(String(frame.text), String(frame.urgency));
      // What is being said goes on; the notice is there to be read.
      if (running === undefined && heardTurn === "") voice.sayAll(String(frame.text));
      break;
    case "permission_request":
      permissions.show(/** @type {any} */ (frame));
      break;
    case "permission_resolved":
      permissions.resolve(/** @type {any} */ (frame));
      break;
    case "say":
      hear(frame);
      break;
    case "error":
      notices.show(permissions.refuse(String(frame.message)), "normal");
      break;
  }
}

/**
 * Who thinks and speaks is not seen thinking: the channel has no state for speaking, since it goes by what the agent
 * does and not by its text.
 *
 * @param {string} next
 * @param {import("./characters/character.js").StateDetail} detail
 */
function setState(next, detail) {
  if (/working|juggling/.test(next) || running === undefined && heardTurn === "") hasSpoken = false;
  // Its words come another way, and may have overtaken this.
  const isSpeaking = next === "thinking" && hasSpoken;
  state = isSpeaking ? "speaking" : next;
  character.act(isSpeaking ? "idle" : next, detail);
  showState(state);
  composer.setBusy(running !== undefined || busySession !== "");
  // A turn that was heard is over when the agent rests.
  if (/idle|attention|error/.test(state) && heardTurn !== "") {
    heardTurn = "";
    voice.end(false);
  }
}

/** @param {string} shown */
function showState(shown) {
  activity.setState(shown);
  const words = stateWords(shown);
  document.title = words === "" ? "oab-vtuber" : `${words} – oab-vtuber`;
}

/** The next piece of what is said. @param {string} piece */
function speak(piece) {
  voice.push(piece);
  if (piece.trim() === "") return;
  hasSpoken = true;
  if (state !== "thinking") return;
  state = "speaking";
  character.act("idle", {});
  showState("speaking");
}

/** Words of a turn; those of this tab's own come with its chat. @param {import("./api/events.js").Frame} frame */
function hear({ text, turn_id, session_id }) {
  if (!OVERLAY && (running !== undefined || session_id === session)) return;
  if (turn_id !== heardTurn) {
    heardTurn = turn_id;
    hasSpoken = false;
    voice.begin();
  }
  speak(String(text));
}

/** Sends a message; an answer that still runs is given up. @param {string} text */
async function send(text) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  heardTurn = "";
  hasSpoken = false;
  /** @type {import("./api/chat.js").Message} */
  const own = { role: "assistant", content: "" };
  messages.push({ role: "user", content: text }, own);
  log.addUser(text);
  const reply = log.addReply();
  voice.begin();
  composer.setBusy(true);
  let raw = "";
  let drawn = 0;
  let note = "";
  let isProblem = false;
  const show = () => {
    drawn = 0;
    reply.show(withoutTags(raw, mine.signal.aborted || running !== mine));
  };
  try {
    const pieces = streamChat({
      url: CHAT_URL,
      key,
      session,
      messages: latest(messages.filter(({ content }) => content !== "")),
      signal: mine.signal,
    });
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) {
        if (value === "cut") [note, isProblem] = ["The connection was lost before the end.", true];
        else if (value === "length") note = "The answer was cut short.";
        break;
      }
      raw += value;
      if (running === mine) speak(value);
      // Once a frame is enough, however fast the text comes.
      drawn ||= requestAnimationFrame(show);
    }
  } catch (error) {
    isProblem = !mine.signal.aborted;
    note = mine.signal.aborted
      ? "Stopped."
      : error instanceof ChatError
      ? error.message
      : "The server cannot be reached.";
    if (error instanceof ChatError && error.status === 401) keyForm.ask(key !== "");
  }
  cancelAnimationFrame(drawn);
  reply.show(withoutTags(raw, true));
  reply.end(note, isProblem);
  own.content = raw.trim() === "" ? "" : raw;
  messages.splice(0, messages.length, ...latest(messages));
  saveMessages(messages.filter(({ content }) => content !== ""));
  if (running !== mine) return;
  running = undefined;
  voice.end(mine.signal.aborted);
  if (isProblem) express("sad", 0.6);
  composer.setBusy(busySession !== "");
}

/** Stops the answer, and what the agent does for somebody else. */
function stop() {
  if (running) running.abort();
  else if (busySession !== "") channel.send({ type: "interrupt", session_id: busySession });
}

/** The button that goes through the colours. */
function createThemeButton() {
  const button = byId("theme");
  const themes = ["", "light", "dark"];
  const words = ["as the system has them", "light", "dark"];
  /** @param {string} theme */
  const apply = (theme) => {
    const index = Math.max(0, themes.indexOf(theme));
    if (index === 0) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", `Colours: ${words[index]}`);
    button.title = `Colours: ${words[index]}`;
  };
  apply(loadTheme());
  button.addEventListener("click", () => {
    const next = themes[(Math.max(0, themes.indexOf(loadTheme())) + 1) % themes.length] ?? "";
    saveTheme(next);
    apply(next);
  });
}

createThemeButton();
for (const { role, content } of messages) {
  if (role === "user") {
    log.addUser(content);
  } else {
    const reply = log.addReply();
    reply.show(withoutTags(content, true));
    reply.end("", false);
  }
}
// A link with a key may be opened in a tab that has the page already.
addEventListener("hashchange", () => {
  const next = takeKey();
  if (next === key) return;
  key = next;
  channel.connect();
});
channel.connect();
