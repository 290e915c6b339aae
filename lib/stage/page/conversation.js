// @ts-check
/** The conversation of this tab: sends the user's messages and shows, speaks and stores the replies. @module */

import { ChatError, newestMessages, streamChat } from "./api/chat.js";
import { loadMessages, loadSessionName, saveMessages } from "./api/storage.js";
import { stripTags } from "./views/tags.js";

const CHAT_URL = new URL("v1/chat/completions", document.baseURI);

/** @typedef {{ note: string, isProblem: boolean }} Ending The line below a reply that tells how it ended. */

/** @type {Ending} */
const COMPLETE = { note: "", isProblem: false };
/** @type {Ending} */
const STOPPED = { note: "Stopped.", isProblem: false };
/** Endings by finish reason. @type {Readonly<Record<string, Ending>>} */
const ENDINGS = {
  cut: { note: "The connection was lost before the end.", isProblem: true },
  length: { note: "The answer was cut short.", isProblem: false },
};

/** @param {import("./api/chat.js").Message} message */
const hasContent = ({ content }) => content !== "";

/**
 * Restores the conversation of the tab.
 *
 * @param {object} options
 * @param {() => string} options.key
 * @param {ReturnType<typeof import("./views/chat.js").createMessageList>} options.messageList
 * @param {ReturnType<typeof import("./views/performer.js").createPerformer>} options.performer
 * @param {() => void} options.onRunningChange
 * @param {() => void} options.onKeyRefused
 */
export function createConversation({ key, messageList, performer, onRunningChange, onKeyRefused }) {
  const session = loadSessionName();
  const messages = loadMessages();
  /** Aborts the reply that is being read. @type {AbortController | undefined} */
  let running;

  for (const { role, content } of messages) {
    if (role === "user") {
      messageList.addUser(content);
    } else {
      const view = messageList.addReply();
      view.show(stripTags(content, true));
      view.end("", false);
    }
  }

  /** Sends a message and reads the reply. A reply that is still being read is aborted. @param {string} text */
  async function send(text) {
    running?.abort();
    const abort = new AbortController();
    running = abort;
    /** @type {import("./api/chat.js").Message} */
    const reply = { role: "assistant", content: "" };
    messages.push({ role: "user", content: text }, reply);
    messageList.addUser(text);
    const view = messageList.addReply();
    performer.beginTurn("own");
    onRunningChange();

    let raw = "";
    let frame = 0;
    const render = () => {
      frame = 0;
      view.show(stripTags(raw, abort.signal.aborted));
    };
    let ending = COMPLETE;
    try {
      const pieces = streamChat({
        url: CHAT_URL,
        key: key(),
        session,
        messages: newestMessages(messages.filter(hasContent)),
        signal: abort.signal,
      });
      let next = await pieces.next();
      for (; !next.done; next = await pieces.next()) {
        raw += next.value;
        if (running === abort) performer.speak(next.value);
        // Render at most once a frame, however fast the text comes.
        frame ||= requestAnimationFrame(render);
      }
      ending = ENDINGS[next.value] ?? COMPLETE;
    } catch (error) {
      const problem = error instanceof ChatError ? error.message : "The server cannot be reached.";
      ending = abort.signal.aborted ? STOPPED : { note: problem, isProblem: true };
      if (error instanceof ChatError && error.status === 401) onKeyRefused();
    }
    cancelAnimationFrame(frame);
    view.show(stripTags(raw, true));
    view.end(ending.note, ending.isProblem);
    reply.content = raw.trim() === "" ? "" : raw;
    messages.splice(0, messages.length, ...newestMessages(messages));
    saveMessages(messages.filter(hasContent));

    // A newer message has taken over the stage.
    if (running !== abort) return;
    running = undefined;
    performer.endTurn(abort.signal.aborted);
    if (ending.isProblem) performer.express("sad", 0.6);
    onRunningChange();
  }

  return {
    session,
    send,
    /** Whether a reply is being read. */
    get isRunning() {
      return running !== undefined;
    },
    /** Aborts the reply that is being read. */
    stop() {
      running?.abort();
    },
  };
}
