// @ts-check
/** The conversation of this tab: sends the user's messages and shows and stores the replies. @module */

import { ChatError, newestMessages, streamChat } from "./api/chat.js";
import { isStored, loadChatId, loadMessages, newChatId, saveChat, saveChatId } from "./api/storage.js";
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
  /** The name of the conversation. */
  let session = loadChatId();
  /** @type {import("./api/chat.js").Message[]} */
  let messages = [];
  /** Aborts the reply that is being read. @type {AbortController | undefined} */
  let running;
  show(session);

  /** Shows a conversation. @param {string} id */
  function show(id) {
    session = id;
    saveChatId(id);
    messages = loadMessages(id);
    messageList.clear();
    for (const { role, content } of messages) {
      if (role === "user") {
        messageList.addUser(content);
      } else {
        const view = messageList.addReply();
        view.show(stripTags(content, true));
        view.end("", false);
      }
    }
  }

  /** Sends a message and reads the reply. A reply that is still being read is aborted. @param {string} text */
  async function send(text) {
    running?.abort();
    const abort = new AbortController();
    running = abort;
    // The reply belongs to this conversation, also if another one is shown before it ends.
    const [id, chat] = [session, messages];
    /** @type {import("./api/chat.js").Message} */
    const reply = { role: "assistant", content: "" };
    chat.push({ role: "user", content: text }, reply);
    saveChat(id, chat.filter(hasContent));
    messageList.addUser(text);
    const view = messageList.addReply();
    performer.cut();
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
        session: id,
        messages: newestMessages(chat.filter(hasContent)),
        signal: abort.signal,
      });
      let next = await pieces.next();
      for (; !next.done; next = await pieces.next()) {
        raw += next.value;
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
    chat.splice(0, chat.length, ...newestMessages(chat));
    // It may have been deleted meanwhile.
    if (isStored(id)) saveChat(id, chat.filter(hasContent));

    // A newer message has taken over the stage.
    if (running !== abort) return;
    running = undefined;
    if (abort.signal.aborted) performer.cut();
    if (ending.isProblem) performer.express("sad", 0.6);
    onRunningChange();
  }

  return {
    send,
    get session() {
      return session;
    },
    /**
     * Shows another conversation; without an id, a new one. A reply that is still being read is aborted.
     *
     * @param {string} [id]
     */
    open(id = newChatId()) {
      running?.abort();
      show(id);
    },
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
