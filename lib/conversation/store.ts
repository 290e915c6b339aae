/** Conversations in a file that neither a crash nor a second server in the same folder can harm. @module */

import type { SessionId } from "../turn/event.ts";
import { MAX_CONVERSATIONS } from "./conversation.ts";
import {
  type ConversationRecord,
  DELIVERY_STATES,
  type DeliveryState,
  type Fingerprint,
  type Store,
  type TurnRecord,
} from "./record.ts";
import { closeQuietly, DamagedFileError, openDatabase, type StoreLog } from "./sqlite.ts";
import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite";

const KEY_BYTES = 32;
/** What tells a row from others. */
const NAME = ["owner", "agent", "id"];
/** What changes in it. */
const CHANGING = [
  ...["program", "is_named", "persona", "is_persona_open", "turns", "turns_before", "reply", "session_id"],
  "used_at",
];
const COLUMNS = [...NAME, "created_at", ...CHANGING].join(", ");
const NEW_IS_LOST = "conversations cannot be written: what is new is forgotten at the next start";
const OLD_IS_KEPT = "a conversation cannot be removed from the file: it is there again at the next start";

/**
 * Opens the store of a folder, which is made if it is not there, for its owner only. A damaged file is set aside, and a
 * new one begun.
 *
 * @throws {Error} with a sentence for the user, if nothing can be kept there.
 */
export async function openStore(folder: string, log: StoreLog): Promise<Store> {
  return await openDatabase(folder, log, (database) => new SqliteStore(database, log));
}

/** A SQLite database as a store. */
class SqliteStore implements Store {
  readonly key: Uint8Array;
  readonly #database: DatabaseSync;
  readonly #log: StoreLog;
  readonly #all: StatementSync;
  readonly #begin: StatementSync;
  readonly #change: StatementSync;
  readonly #remove: StatementSync;
  readonly #removeAll: StatementSync;
  readonly #discard: StatementSync;
  readonly #trim: StatementSync;
  /**
   * When those began that were loaded or written here, by their names, until they are removed: as many as are
   * remembered. Another program may have removed one since, and begun another of its name.
   */
  readonly #begun = new Map<string, SQLOutputValue>();
  #isClosed = false;
  /** What was said of writes that fail. */
  readonly #said = new Set<string>();

  constructor(database: DatabaseSync, log: StoreLog) {
    this.#database = database;
    this.#log = log;
    this.key = keyOf(database);
    this.#all = database.prepare(`SELECT rowid, ${COLUMNS} FROM conversations ORDER BY used_at, rowid`);
    // A number beyond those of JavaScript would otherwise throw, and take the other rows with it.
    this.#all.setReadBigInts(true);
    // Of one that another program began under the same name both know when that was.
    this.#begin = database.prepare(
      `INSERT INTO conversations (${COLUMNS}) VALUES (${COLUMNS.replaceAll(/\w+/g, ":$&")}) ` +
        `ON CONFLICT (${NAME.join(", ")}) DO UPDATE SET ${settings("excluded.")} RETURNING created_at`,
    );
    this.#change = database.prepare(
      `UPDATE conversations SET ${settings(":")} ` +
        "WHERE owner = :owner AND agent = :agent AND id = :id AND created_at = :created_at",
    );
    this.#remove = database.prepare("DELETE FROM conversations WHERE owner = ? AND agent = ? AND id = ?");
    this.#removeAll = database.prepare("DELETE FROM conversations WHERE owner = ?");
    this.#discard = database.prepare("DELETE FROM conversations WHERE rowid = ?");
    this.#trim = database.prepare(
      "DELETE FROM conversations WHERE rowid IN " +
        `(SELECT rowid FROM conversations ORDER BY used_at DESC, rowid DESC LIMIT -1 OFFSET ${MAX_CONVERSATIONS})`,
    );
  }

  load(): ConversationRecord[] {
    if (this.#isClosed) return [];
    this.#write(() => this.#trim.run().changes, NEW_IS_LOST);
    const known: ConversationRecord[] = [];
    const damaged: SQLOutputValue[] = [];
    try {
      for (const row of this.#all.all()) {
        try {
          const conversation = conversationOf(row);
          known.push(conversation);
          this.#begun.set(nameOf(conversation), conversation.createdAt);
        } catch {
          damaged.push(row.rowid ?? null);
        }
      }
    } catch (error) {
      this.#log.warn("conversations cannot be read: those of earlier are forgotten", { error });
      return [];
    }
    if (damaged.length > 0) {
      this.#log.warn("some conversations were damaged and are forgotten", { count: damaged.length });
      for (const row of damaged) this.#write(() => this.#discard.run(row).changes, NEW_IS_LOST);
    }
    return known;
  }

  save(conversation: ConversationRecord): boolean {
    const { agent, id, sessionId = "" } = conversation;
    if (![agent, id, sessionId].every(isStorable)) return true;
    const row = rowOf(conversation);
    const name = nameOf(conversation);
    const begun = this.#begun.get(name);
    let isThere = true;
    this.#write(() => {
      if (begun === undefined) {
        this.#begun.set(name, this.#begin.get(row)?.created_at ?? null);
        return 1;
      }
      const { changes } = this.#change.run({ ...row, created_at: begun });
      isThere = changes > 0;
      if (!isThere) this.#begun.delete(name);
      return changes;
    }, NEW_IS_LOST);
    return isThere;
  }

  remove(conversation: Pick<ConversationRecord, "owner" | "agent" | "id">): boolean {
    const { owner, agent, id } = conversation;
    this.#begun.delete(nameOf(conversation));
    if (!isStorable(agent) || !isStorable(id)) return true;
    return this.#write(() => this.#remove.run(owner, agent, id).changes, OLD_IS_KEPT);
  }

  removeAll(owner: Fingerprint): boolean {
    return this.#write(() => this.#removeAll.run(owner).changes, OLD_IS_KEPT);
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      // Closing does that as well, but not while another program has the file open.
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // What is in the log file is as safe there.
    }
    closeQuietly(this.#database);
  }

  /** Writes, and counts what changed; each kind of failure is said once, until something was written again. */
  #write(work: () => number | bigint, failure: string): boolean {
    if (this.#isClosed) return false;
    try {
      // To change nothing also works where nothing can be written.
      if (work() > 0) this.#said.clear();
      return true;
    } catch (error) {
      if (!this.#said.has(failure)) this.#log.warn(failure, { error });
      this.#said.add(failure);
      return false;
    }
  }
}

function settings(from: string): string {
  return CHANGING.map((column) => `${column} = ${from}${column}`).join(", ");
}

function nameOf({ owner, agent, id }: Pick<ConversationRecord, "owner" | "agent" | "id">): string {
  return JSON.stringify([owner, agent, id]);
}

/** The key of the prints; whoever comes first makes it, also of two programs at once. */
function keyOf(database: DatabaseSync): Uint8Array {
  database.prepare("INSERT OR IGNORE INTO meta (name, value) VALUES ('key', ?)")
    .run(crypto.getRandomValues(new Uint8Array(KEY_BYTES)));
  const key = database.prepare("SELECT value FROM meta WHERE name = 'key'").get()?.value;
  if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) {
    throw new DamagedFileError("its key is not whole");
  }
  return key;
}

/** What stands before a turn's prints in the file, where it never changes. */
const STATE_MARKS: Readonly<Record<DeliveryState, string>> = { pending: "0", delivered: "1", answered: "2" };

/** A conversation as the values of its columns. */
export function rowOf(conversation: ConversationRecord): Record<string, SQLInputValue> {
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
export function conversationOf(row: Readonly<Record<string, SQLOutputValue>>): ConversationRecord {
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

function turnOf(text: string): TurnRecord {
  const state = DELIVERY_STATES.find((each) => STATE_MARKS[each] === text[0]);
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

function printOf(value: SQLOutputValue | undefined): Fingerprint {
  const text = textOf(value);
  if (!/^[\w-]{16}$/.test(text)) throw new TypeError("no print");
  return text as Fingerprint;
}

/** One print of older programs, or two. */
function replyOf(value: SQLOutputValue | undefined): Fingerprint {
  const text = textOf(value);
  if (!/^[\w-]{16}(?:[\w-]{16})?$/.test(text)) throw new TypeError("no answer");
  return text as Fingerprint;
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
export function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}
