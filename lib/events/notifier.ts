/** Says something through the character that nobody asked for: a script's words, or the agent's own. @module */

import type { PrivateConversation } from "../conversation/private_conversation.ts";
import type { Message, Role } from "../conversation/message.ts";
import type { ConversationRegistry } from "../conversation/registry.ts";
import { collectTurn } from "../turn/turn.ts";
import { AppError } from "../core/errors.ts";
import type { CannedReplies } from "../turn/canned_replies.ts";
import type { Turn } from "../turn/turn.ts";
import { isSilentReply } from "../conversation/message.ts";
import { EmotionScanner, type EmotionWords } from "../turn/emotion.ts";
import type { Urgency } from "./wire.ts";
import type { EventHub } from "./hub.ts";

/** Characters of a notification that the agent makes; what is beyond is left out. */
const MAX_TEXT_CHARS = 8_000;

/** An emotion of a text. */
export interface Emotion {
  readonly tag: string;
  readonly intensity: number;
}

/** What an agent made of a prompt. */
export interface Announcement {
  /** As the agent said it, with its tags. */
  readonly reply: string;
  /** Without them. */
  readonly text: string;
  readonly emotions: readonly Emotion[];
}

/** A conversation with the agent, apart from every other. */
export interface PromptContext {
  readonly conversation: PrivateConversation;
  /** What the agent said in it, the last at the end: told where its session does not know. */
  readonly earlierReplies: readonly string[];
}

/** What a herald is made of. */
export interface NotifierOptions {
  readonly hub: Pick<EventHub, "notify">;
  readonly cannedReplies: CannedReplies;
  readonly emotions: EmotionWords;
  readonly conversations: Pick<ConversationRegistry, "startTurn">;
}

/** Says things. */
export class Notifier {
  readonly #options: NotifierOptions;

  constructor(options: NotifierOptions) {
    this.#options = options;
  }

  /** These words, to be said as they are. */
  fromText(reply: string): Announcement {
    return { reply, ...splitEmotions(reply, this.#options.emotions) };
  }

  /** Says it, to everybody. @returns How many clients were told. */
  announce({ reply, text, emotions }: Announcement, urgency: Urgency): number {
    const { hub, cannedReplies: prepared } = this.#options;
    const count = hub.notify({ text, urgency }, emotions);
    prepared.remember(text, reply, count);
    return count;
  }

  /** Sends a prompt as OpenAB does, to one client, which posts it back; it is answered with what was prepared. */
  sendPrompt(prompt: string, { reply }: Announcement, urgency: Urgency): number {
    const { hub, cannedReplies: prepared } = this.#options;
    const count = hub.notify({ text: prompt, urgency }, [], true);
    prepared.remember(prompt, reply, count);
    return count;
  }

  /**
   * Puts a prompt to the agent.
   *
   * @param aside The conversation to put it in; without it one of its own.
   * @returns What it made of it, or nothing if it had nothing to say.
   * @throws {AppError} the turn's own, if it failed; the signal's reason if it aborts.
   */
  async ask(prompt: string, signal: AbortSignal, aside?: PromptContext): Promise<Announcement | undefined> {
    const { conversations } = this.#options;
    const said = aside?.earlierReplies.map((reply) => messageOf("assistant", reply)) ?? [];
    const messages = [...said, messageOf("user", prompt)];
    const request = { conversation: aside?.conversation, messages, unsolicited: true, record: false };
    const turn = await conversations.startTurn(request, signal);
    const reply = await replyOf(turn, signal);
    const utterance = this.fromText(reply);
    return isSilentReply(reply) ? undefined : utterance;
  }
}

function messageOf(role: Role, text: string): Message {
  return { role, parts: [{ type: "text", text }] };
}

/** A text without its emotion tags, and those. A text that is nothing but tags stays as it is. */
export function splitEmotions(reply: string, words: EmotionWords): { text: string; emotions: Emotion[] } {
  let text = "";
  let isBehindTag = false;
  const emotions: Emotion[] = [];
  const scanner = new EmotionScanner(words, {
    isVerbatim: true,
    emotion(tag, intensity) {
      emotions.push({ tag, intensity });
      isBehindTag = true;
    },
    speak(piece) {
      // Of the spaces around a tag one is left.
      text += isBehindTag && /(^|\s)$/.test(text) ? piece.replace(/^ /, "") : piece;
      isBehindTag = false;
    },
  });
  scanner.push(reply);
  scanner.end();
  return { text: text.trim() || reply.trim(), emotions };
}

/** All that a turn says. */
function replyOf(turn: Turn, signal: AbortSignal): Promise<string> {
  return collectTurn(turn, ({ resolve, reject }) => {
    let reply = "";
    return (event) => {
      if (event.type === "text" && reply.length < MAX_TEXT_CHARS) reply += event.text;
      else if (event.type === "failure") reject(event.failure.afterPrompt());
      else if (event.type === "end" && event.reason === "cancelled") {
        reject(new AppError("turn_cancelled", "The turn was interrupted."));
      } else if (event.type === "end") {
        resolve(reply.slice(0, MAX_TEXT_CHARS).toWellFormed().trim());
      }
    };
  }, signal);
}
