/** A remembered conversation as a row of a table, and back. @module */

import type { SQLInputValue, SQLOutputValue } from "node:sqlite";
import type { SessionId } from "../turn/event.ts";
import { type KnownConversation, type KnownTurn, type Print, TURN_STATES, type TurnState } from "./memory.ts";

/** What stands before a turn's prints in the file, where it never changes. */
const STATE_MARKS: Readonly<Record<TurnState, string>> = { asked: "0", told: "1", answered: "2" };

/** A conversation as the values of its columns. */
export function rowOf(conversation: KnownConversation): Record<string, SQLInputValue> {
  return {
    owner: conversation.owner,
    agent: conversation.agent,
    id: conversation.id,
    program: conversation.program,
    is_named: Number(conversation.isNamed),
    persona: conversation.persona.join(" "),
    is_persona_open: Number(conversation.isPersonaOpen),
    turns: conversation.turns.map(({ words, media, state }) => STATE_MARKS[state] + words + media).join(" "),
    turns_before: conversation.turnsBefore,
    reply: conversation.reply ?? null,
    session_id: conversation.sessionId ?? null,
    created_at: conversation.createdAt,
    used_at: conversation.usedAt,
  };
}

/**
 * The conversation of a row.
 *
 * @throws {TypeError} if {@linkcode rowOf} makes no such row.
 */
export function conversationOf(row: Readonly<Record<string, SQLOutputValue>>): KnownConversation {
  return {
    id: textOf(row.id),
    owner: printOf(row.owner),
    agent: textOf(row.agent),
    program: printOf(row.program),
    isNamed: numberOf(row.is_named) === 1,
    persona: piecesOf(row.persona).map(printOf),
    isPersonaOpen: numberOf(row.is_persona_open) === 1,
    turns: piecesOf(row.turns).map(turnOf),
    turnsBefore: numberOf(row.turns_before),
    reply: row.reply === null ? undefined : replyOf(row.reply),
    sessionId: row.session_id === null ? undefined : textOf(row.session_id) as SessionId,
    createdAt: numberOf(row.created_at),
    usedAt: numberOf(row.used_at),
  };
}

function turnOf(text: string): KnownTurn {
  const state = TURN_STATES.find((each) => STATE_MARKS[each] === text[0]);
  if (state === undefined) throw new TypeError("no state");
  return {
    words: printOf(text.slice(1, 17)),
    media: text.length === 17 ? "" : printOf(text.slice(17)),
    state,
  };
}

function piecesOf(value: SQLOutputValue | undefined): string[] {
  const text = textOf(value);
  return text === "" ? [] : text.split(" ");
}

function printOf(value: SQLOutputValue | undefined): Print {
  const text = textOf(value);
  if (!/^[\w-]{16}$/.test(text)) throw new TypeError("no print");
  return text as Print;
}

/** One print of older programs, or two. */
function replyOf(value: SQLOutputValue | undefined): Print {
  const text = textOf(value);
  if (!/^[\w-]{16}(?:[\w-]{16})?$/.test(text)) throw new TypeError("no answer");
  return text as Print;
}

function textOf(value: SQLOutputValue | undefined): string {
  if (typeof value !== "string") throw new TypeError("no text");
  return value;
}

function numberOf(value: SQLOutputValue | undefined): number {
  const number = typeof value === "bigint" ? Number(value) : NaN;
  if (!Number.isSafeInteger(number) || number < 0) throw new TypeError("no number");
  return number;
}

/** Whether SQLite gives a text back as it was; one that it would change could be taken for another. */
export function comesBack(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}
