/** Makes the character say something outside a chat: a given text, or the agent's answer to a prompt. @module */

import { isSilentReply, type Message } from "../conversation/message.ts";
import type { ConversationRegistry } from "../conversation/registry.ts";
import { AppError } from "../core/errors.ts";
import type { Caller } from "../turn/caller.ts";
import type { CannedReplies } from "../turn/canned_replies.ts";
import { EmotionScanner, type EmotionWords } from "../turn/emotion.ts";
import { collectTurn } from "../turn/turn.ts";
import type { Emotion, EventHub } from "./hub.ts";
import type { Urgency } from "./wire.ts";

/** Characters of a reply that are announced; the rest is cut off. */
const MAX_REPLY_CHARS = 8_000;

/** The sentence that tells a person of a lost memory. */
const MEMORY_LOST = "I have lost my memory of our conversation. Please tell me again what I should know.";

/** A text for the character to say. */
export interface Announcement {
  /** The text with its emotion tags, as a chat reply would have them. */
  readonly reply: string;
  /** The text without the tags. */
  readonly text: string;
  readonly emotions: readonly Emotion[];
}

/** Announces texts. */
export type Notifier = ReturnType<typeof createNotifier>;

/** Creates a notifier. */
export function createNotifier({ hub, cannedReplies, emotions: words, conversations }: {
  readonly hub: Pick<EventHub, "notify">;
  readonly cannedReplies: CannedReplies;
  readonly emotions: EmotionWords;
  readonly conversations: Pick<ConversationRegistry, "startTurn">;
}) {
  /** Makes an announcement of a text. */
  function fromText(reply: string): Announcement {
    return { reply, ...splitEmotions(reply, words) };
  }

  return {
    fromText,

    /**
     * Sends an announcement to all clients. A client that posts the text back gets the reply.
     *
     * @param toNewest Sends it to the client that connected last instead.
     * @returns The number of clients that got it.
     */
    announce({ reply, text, emotions }: Announcement, urgency: Urgency, toNewest = false): number {
      const callers = hub.notify(text, urgency, { emotions, toNewest });
      cannedReplies.remember(text, reply, callers);
      return callers.length;
    },

    /** Says that the agent no longer knows a conversation. */
    announceMemoryLost(conversation: string): void {
      const cause = { code: "memory_lost", session_id: conversation } as const;
      const callers = hub.notify(MEMORY_LOST, "normal", { cause });
      cannedReplies.remember(MEMORY_LOST, MEMORY_LOST, callers);
    },

    /**
     * Prompts the agent in a session of its own.
     *
     * @param options.caller The caller that asks for it; none if the program itself does.
     * @param options.earlierReplies The agent's replies to earlier prompts, oldest first.
     * @returns The announcement of its reply, or nothing if the reply is silent.
     * @throws {AppError} if the turn fails or is interrupted; the signal's reason if it aborts.
     */
    async ask(
      prompt: string,
      { caller, earlierReplies = [] }: {
        readonly caller?: Caller;
        readonly earlierReplies?: readonly string[];
      },
      signal: AbortSignal,
    ): Promise<Announcement | undefined> {
      const messages = [
        ...earlierReplies.map((reply) => textMessage("assistant", reply)),
        textMessage("user", prompt),
      ];
      const turn = await conversations.startTurn(
        { caller, messages, unsolicited: true, record: false },
        signal,
      );
      let text = "";
      await collectTurn<void>(turn, ({ resolve, reject }) => (event) => {
        if (event.type === "text" && text.length < MAX_REPLY_CHARS) text += event.text;
        else if (event.type === "failure") reject(event.failure.afterPrompt());
        else if (event.type === "end" && event.reason === "cancelled") {
          reject(new AppError("turn_cancelled", "The turn was interrupted."));
        } else if (event.type === "end") {
          resolve();
        }
      }, signal);
      const reply = text.slice(0, MAX_REPLY_CHARS).toWellFormed().trim();
      return isSilentReply(reply) ? undefined : fromText(reply);
    },
  };
}

function textMessage(role: Message["role"], text: string): Message {
  return { role, parts: [{ type: "text", text }] };
}

/** Separates a reply from its emotion tags. A reply of tags alone stays as it is. */
export function splitEmotions(reply: string, words: EmotionWords): { text: string; emotions: Emotion[] } {
  let text = "";
  let followsTag = false;
  const emotions: Emotion[] = [];
  const scanner = new EmotionScanner(words, {
    isVerbatim: true,
    emotion(tag, intensity) {
      emotions.push({ tag, intensity });
      followsTag = true;
    },
    speak(piece) {
      // Keep one of the two spaces around a tag.
      text += followsTag && /(^|\s)$/.test(text) ? piece.replace(/^ /, "") : piece;
      followsTag = false;
    },
  });
  scanner.push(reply);
  scanner.end();
  return { text: text.trim() || reply.trim(), emotions };
}
