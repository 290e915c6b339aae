// @ts-check
/** Starts the page: creates its views, the conversation and the connection to the server's events. @module */

import { EventChannel } from "./api/events.js";
import { loadKey, saveKey } from "./api/storage.js";
import { loadCharacter } from "./characters/character.js";
import { createConversation } from "./conversation.js";
import { createActivity } from "./views/activity.js";
import { createConnectionChip, createThemeButton } from "./views/bar.js";
import { createComposer, createMessageList } from "./views/chat.js";
import { byId } from "./views/dom.js";
import { createKeyForm } from "./views/key_form.js";
import { createNotices } from "./views/notice.js";
import { createPerformer } from "./views/performer.js";
import { createPermissions } from "./views/permission.js";
import { addTag } from "./views/tags.js";

/** In the overlay for streaming programs, the page shows the character and its words and takes no input. */
const IS_OVERLAY = new URLSearchParams(location.search).get("overlay") === "1";
const OVERLAY_EVENTS = ["agent_state", "emotion", "tool_status", "plan", "notification", "say"];
const EVENTS = [...OVERLAY_EVENTS, "permission_request", "permission_resolved"];
const OVERLAY_RETRY_MS = 5_000;
const STATE_URL = new URL("v1/vtuber/state", document.baseURI);
const SOCKET_URL = new URL("v1/vtuber/ws", document.baseURI);
SOCKET_URL.protocol = SOCKET_URL.protocol.replace("http", "ws");

document.documentElement.classList.toggle("overlay", IS_OVERLAY);
let key = loadKey();
/** The conversation whose turn is running, of any client; empty if none. The stop button ends that turn too. */
let busySession = "";

createThemeButton();
const notices = createNotices();
const connectionChip = createConnectionChip();
const activity = createActivity();
const messageList = createMessageList();
const character = await loadCharacter(byId("character"), (problem) => notices.show(problem, "normal"));
const performer = createPerformer(character, activity);
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
  onKeyRefused: () => keyForm.open(key !== ""),
});
const composer = createComposer({ onSend: conversation.send, onStop: stop });
const permissions = createPermissions({
  answer: (request_id, option_id) => channel.send({ type: "permission_response", request_id, option_id }),
  onFocusLost: () => composer.focus(),
});
const channel = new EventChannel({
  socketUrl: SOCKET_URL,
  stateUrl: STATE_URL,
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
function handleConnection(state, { permissions: open = [], tools = [], plan = [] }) {
  connectionChip.show(state);
  switch (state) {
    case "connecting":
      break;
    case "open":
      keyForm.close();
      permissions.keepOnly(open.map(({ request_id }) => request_id));
      for (const tool of tools) activity.setTool(tool);
      if (plan.length > 0) activity.setPlan(plan, undefined);
      break;
    case "waiting":
      showState("idle", {});
      break;
    case "locked":
      // A user cannot enter a key in the overlay. The server may be restarted with another key, so try again.
      if (IS_OVERLAY) setTimeout(() => channel.connect(), OVERLAY_RETRY_MS);
      else keyForm.open(key !== "");
      break;
    default:
      /** @satisfies {never} */ (state);
  }
}

/** @param {import("./api/events.js").Frame} frame */
function handleFrame(frame) {
  switch (frame.type) {
    case "agent_state":
      busySession = /thinking|working|juggling|notification/.test(frame.state) ? frame.session_id ?? "" : "";
      showState(frame.state, frame.detail ?? {});
      break;
    case "emotion":
      addTag(String(frame.tag));
      performer.express(String(frame.tag), typeof frame.intensity === "number" ? frame.intensity : 1);
      break;
    case "tool_status":
      activity.setTool(/** @type {any} */ (frame));
      break;
    case "plan":
      activity.setPlan(frame.entries ?? [], frame.turn_id);
      break;
    case "notification":
      notices.show(String(frame.text), String(frame.urgency));
      performer.announce(String(frame.text));
      break;
    case "permission_request":
      permissions.show(/** @type {any} */ (frame));
      break;
    case "permission_resolved":
      permissions.resolve(/** @type {any} */ (frame));
      break;
    case "say":
      // The words of this tab's own conversation come with the response to its request.
      if (!IS_OVERLAY && (conversation.isRunning || frame.session_id === conversation.session)) break;
      if (frame.turn_id !== performer.turn) performer.beginTurn(frame.turn_id);
      performer.speak(String(frame.text));
      break;
    case "error":
      permissions.enableAnswers();
      notices.show(String(frame.message), "normal");
      break;
  }
}

/** @param {string} state @param {import("./characters/character.js").StateDetail} detail */
function showState(state, detail) {
  performer.setState(state, detail);
  updateStopButton();
  // Another client's turn ends when its agent rests. This tab's own turn ends with its response.
  if (/idle|attention|error/.test(state) && !conversation.isRunning) performer.endTurn(false);
}

function updateStopButton() {
  composer.setBusy(conversation.isRunning || busySession !== "");
}

/** Stops this tab's reply, or else the turn of another client. */
function stop() {
  if (conversation.isRunning) conversation.stop();
  else if (busySession !== "") channel.send({ type: "interrupt", session_id: busySession });
}
