// @ts-check
/** Starts the page: creates its views, the conversation and the connection to the server's events. @module */

import { EventChannel } from "./api/events.js";
import { keyHeaders } from "./api/key.js";
import { deleteChat, loadKey, saveKey } from "./api/storage.js";
import { loadCharacter } from "./characters/character.js";
import { createConversation } from "./conversation.js";
import { createAgents } from "./views/agents.js";
import { createActivity } from "./views/activity.js";
import { createConnectionChip, createThemeButton } from "./views/bar.js";
import { createComposer, createMessageList } from "./views/chat.js";
import { createCards } from "./views/cards.js";
import { createChatList } from "./views/chat_list.js";
import { byId } from "./views/dom.js";
import { createKeyForm } from "./views/key_form.js";
import { createNotices } from "./views/notice.js";
import { createPerformer } from "./views/performer.js";
import { createPermissions } from "./views/permission.js";
import { createQuestions } from "./views/question.js";
import { addTag } from "./views/tags.js";
import { createVoice } from "./voice.js";

/** In the overlay for streaming programs, the page shows the character and its words and takes no input. */
const PARAMETERS = new URLSearchParams(location.search);
const IS_OVERLAY = PARAMETERS.get("overlay") === "1";
const OVERLAY_EVENTS = ["agent_state", "emotion", "tool_status", "plan", "notification", "say"];
/** All that the key allows. */
const EVENTS = ["*", "say"];
const OVERLAY_RETRY_MS = 5_000;
const BASE_URL = new URL("v1/vtuber/", document.baseURI);

document.documentElement.classList.toggle("overlay", IS_OVERLAY);
let key = loadKey();
/** The conversation whose turn is running, of any client; empty if none. The stop button ends that turn too. */
let busySession = "";
/** Whether the key can end the turns of other clients. */
let canInterrupt = true;

createThemeButton();
const overlayProblem = byId("overlay-problem");
const notices = createNotices();
const connectionChip = createConnectionChip();
const agents = createAgents();
const activity = createActivity();
const messageList = createMessageList();
const character = await loadCharacter(byId("character"), (problem) => notices.show(problem, "normal"));
const voice = createVoice({
  isOverlay: IS_OVERLAY,
  overlayVoice: overlayVoice(PARAMETERS.get("voice") ?? ""),
  key: () => key,
  voiceEngine: () => performer.voiceEngine,
  onTalk: stop,
  onText: (text) => void conversation.send(text),
  onProblem: (problem) => notices.show(problem, "normal"),
});
const performer = createPerformer(character, activity, {
  voices: voice.voices,
  onReadingChange: updateStopButton,
  onProblem: (problem) => notices.show(problem, "normal"),
});
const keyForm = createKeyForm((entered) => {
  key = entered;
  saveKey(key);
  channel.connect();
});
const conversation = createConversation({
  key: () => key,
  messageList,
  performer,
  onRunningChange: updateStopButton,
  onKeyRefused: () => askForKey(""),
});
const composer = createComposer({ onSend: conversation.send, onStop: stop });
createChatList({
  current: () => conversation.session,
  onOpen(id) {
    conversation.open(id);
    composer.focus();
  },
  onDelete: forget,
});
const cards = createCards(() => composer.focus());
const permissions = createPermissions({
  cards,
  answer: (answer) => channel.send({ type: "permission_response", ...answer }),
  fetchWhole: fetchPermission,
});
const questions = createQuestions({
  cards,
  answer: (answer) => channel.send({ type: "question_response", ...answer }),
});
const channel = new EventChannel({
  baseUrl: BASE_URL,
  key: () => key,
  events: IS_OVERLAY ? OVERLAY_EVENTS : EVENTS,
  onFrame: handleFrame,
  onStateChange: handleConnection,
});

// A link with a key may be opened in a tab that shows the page already.
addEventListener("hashchange", () => {
  const next = loadKey();
  if (next === key) return;
  key = next;
  channel.connect();
});
channel.connect();

/** @type {import("./api/events.js").ChannelOptions["onStateChange"]} */
function handleConnection(state, snapshot, problem) {
  connectionChip.show(state);
  switch (state) {
    case "connecting":
      break;
    case "open":
      keyForm.close();
      overlayProblem.hidden = true;
      offerAllowed(snapshot.scopes ?? []);
      connectVoice(snapshot.scopes ?? []);
      showSnapshot(snapshot);
      break;
    case "waiting":
      performer.setState("idle", {});
      break;
    case "locked":
      if (!IS_OVERLAY) {
        askForKey(problem);
        break;
      }
      // A user cannot enter a key in the overlay. The server may be restarted with another key, so try again.
      overlayProblem.hidden = false;
      overlayProblem.textContent = problem ||
        (key === ""
          ? "The key is missing: add #key= and the key to the address of this overlay."
          : "The server does not take the key in the address of this overlay.");
      setTimeout(() => channel.connect(), OVERLAY_RETRY_MS);
      break;
    default:
      /** @satisfies {never} */ (state);
  }
}

/** Finds out what can be spoken and heard. Only the overlay has no other place to say why not. @param {string[]} scopes */
async function connectVoice(scopes) {
  if (await voice.connect(scopes) || !IS_OVERLAY) return;
  overlayProblem.hidden = false;
  overlayProblem.textContent =
    "The key in the address of this overlay lacks the scope “audio”: it cannot speak.";
}

/** Asks for a key. @param {string} problem Why the server refuses the present one; empty if it does not know it. */
function askForKey(problem) {
  keyForm.open(problem || (key === "" ? "" : "The server does not take this key."));
}

/** Offers what the key allows. Without `permissions`, nothing comes that could be answered. @param {string[]} scopes */
function offerAllowed(scopes) {
  canInterrupt = scopes.includes("operator");
  document.documentElement.classList.toggle("watching", !scopes.includes("chat"));
  updateStopButton();
}

/** Shows what was going on when the page connected. @param {import("./api/events.js").Snapshot} snapshot */
function showSnapshot(snapshot) {
  const { agents: unavailable = [], sessions = [], tools = [], plan = [] } = snapshot;
  const { permissions: asked = [], questions: open = [] } = snapshot;
  cards.keepOnly([
    ...asked.map(({ request_id }) => request_id),
    ...open.map(({ question_id }) => question_id),
  ]);
  agents.keepOnly(unavailable);
  const turn = sessions.at(-1)?.turn_id;
  if (turn === undefined) return;
  performer.enterTurn(turn);
  for (const tool of tools.filter(({ turn_id }) => turn_id === turn)) activity.setTool(tool);
  if (plan.length > 0) activity.setPlan(plan);
}

/**
 * Whether an event is performed: while this tab's reply is running, other conversations are not.
 *
 * @param {import("./api/events.js").Frame} frame
 */
function isPerformed({ session_id }) {
  return session_id === undefined || !conversation.isRunning || session_id === conversation.session;
}

/** @param {import("./api/events.js").Frame} frame */
function handleFrame(frame) {
  if (isPerformed(frame)) perform(frame);
  switch (frame.type) {
    case "notification":
      notices.show(String(frame.text), String(frame.urgency));
      performer.announce(String(frame.text));
      break;
    case "agent_status":
      agents.show(frame);
      break;
    case "permission_request":
      permissions.show(frame);
      break;
    case "permission_resolved":
      permissions.resolve(frame);
      break;
    case "question":
      questions.show(frame);
      break;
    case "question_resolved":
      questions.resolve(frame);
      break;
    case "error":
      cards.enable();
      notices.show(String(frame.message), "normal");
      break;
  }
}

/** Performs what the agent does and says. @param {import("./api/events.js").Frame} frame */
function perform(frame) {
  const turn = String(frame.turn_id ?? "");
  switch (frame.type) {
    case "agent_state": {
      const isRunning = turn !== "" && /thinking|working|juggling|notification/.test(frame.state);
      if (isRunning) performer.enterTurn(turn);
      // Another turn is performed.
      if (turn !== "" && !["", turn].includes(performer.turn)) break;
      busySession = isRunning ? frame.session_id ?? "" : "";
      performer.setState(frame.state, frame.detail ?? {});
      updateStopButton();
      if (!isRunning) performer.endTurn(turn);
      // The agent's own words, which are for its owner and not for an audience.
      if (frame.detail?.error) notices.show(String(frame.detail.error.message), "normal");
      break;
    }
    case "emotion": {
      const { tag, intensity = 1, at } = frame;
      addTag(String(tag));
      if (typeof at === "number") performer.expressAt(turn, String(tag), intensity, at);
      else performer.express(String(tag), intensity);
      break;
    }
    case "say":
      performer.speak(turn, String(frame.text));
      break;
    case "tool_status":
      if (turn === performer.turn) activity.setTool(frame);
      break;
    case "plan":
      if (turn === performer.turn) activity.setPlan(frame.entries ?? []);
      break;
    case "usage":
      if (turn === performer.turn) activity.setUsage(frame);
      break;
  }
}

/** Gets a permission request with its whole detail. @param {string} id @returns {Promise<import("./views/permission.js").Request>} */
async function fetchPermission(id) {
  const url = new URL(`permissions/${encodeURIComponent(id)}`, BASE_URL);
  const response = await fetch(url, { headers: keyHeaders(key) });
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  return await response.json();
}

/** Removes a conversation from this browser, and lets the server and the agent forget it. @param {string} id */
function forget(id) {
  deleteChat(id);
  const url = new URL("sessions", BASE_URL);
  url.searchParams.set("id", id);
  fetch(url, { method: "DELETE", headers: keyHeaders(key) }).catch(() => {
    notices.show("The server cannot be reached: only this browser has forgotten the conversation.", "normal");
  });
  if (id === conversation.session) conversation.open();
}

/** Returns the voice of the overlay: the id of one of the server's, or `1` for an automatic choice. @param {string} name */
function overlayVoice(name) {
  if (name === "" || name === "0") return undefined;
  return name === "1" ? "auto" : `server:${name}`;
}

function updateStopButton() {
  composer.setBusy(conversation.isRunning || performer.isReading || canInterrupt && busySession !== "");
}

/** Silences the voice, and stops this tab's reply, or else the turn of another client. */
function stop() {
  if (performer.isReading) performer.cut();
  if (conversation.isRunning) conversation.stop();
  else if (busySession !== "") channel.send({ type: "interrupt", session_id: busySession });
}
