/** The storage of conversations in a SQLite file, which a crash cannot damage. @module */

import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite";
import type { SessionId } from "../turn/event.ts";
import {
  type ConversationRecord,
  DELIVERY_STATES,
  type Fingerprint,
  type Store,
  type TurnCount,
  type TurnCounts,
} from "./record.ts";
import { damaged, type DatabaseFile, inTransaction, openDatabase, type StoreLog } from "./sqlite.ts";

const KEY_BYTES = 32;
const FINGERPRINT_CHARS = 16;
const FILE: DatabaseFile = {
  name: "conversations.db",
  contents: "conversations",
  damageNote: "Counts of turns begin at 0",
  migrations: [
    [
      "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
      `CREATE TABLE conversations (
        owner TEXT NOT NULL,
        agent TEXT NOT NULL,
        id TEXT NOT NULL,
        program TEXT NOT NULL,
        is_named INTEGER NOT NULL,
        persona TEXT NOT NULL,
        is_persona_open INTEGER NOT NULL,
        turns TEXT NOT NULL,
        turns_before INTEGER NOT NULL,
        reply TEXT,
        session_id TEXT,
        created_at INTEGER NOT NULL,
        used_at INTEGER NOT NULL,
        PRIMARY KEY (owner, agent, id)
      ) STRICT`,
      "CREATE INDEX conversations_by_use ON conversations (used_at)",
    ],
    [
      "CREATE TABLE turn_counts (key TEXT PRIMARY KEY, day INTEGER NOT NULL, count INTEGER NOT NULL) STRICT",
    ],
  ],
};
/** Longest delay of {@linkcode Store.saveSoon}, in milliseconds. */
const SAVE_DELAY_MS = 50;

/**
 * Opens the store of a folder. Makes the folder if it does not exist, for this user only. A damaged file is
 * quarantined, and a new one made.
 *
 * @throws {FileInUseError} if another program has the file open.
 * @throws {Error} if nothing can be stored in the folder; the message is for the user.
 */
export async function openStore(folder: string, log: StoreLog): Promise<Store> {
  return await openDatabase(folder, FILE, log, (database) => new SqliteStore(database, log));
}

class SqliteStore implements Store {
  readonly key: Uint8Array;
  readonly turnCounts: TurnCounts;
  readonly #database: DatabaseSync;
  readonly #log: StoreLog;
  readonly #readAll: StatementSync;
  readonly #upsert: StatementSync;
  readonly #remove: StatementSync;
  /** Conversations that wait to be written. */
  readonly #pending = new Set<ConversationRecord>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The delay of the running timer, in milliseconds. */
  #delayMs = Infinity;
  /** Resolves with the next write. */
  #flushed = Promise.withResolvers<void>();
  #isClosed = false;
  /** The last write failed, which was logged. */
  #isFailing = false;

  constructor(database: DatabaseSync, log: StoreLog) {
    this.#database = database;
    this.#log = log;
    this.key = readKey(database);
    this.turnCounts = createTurnCounts(database);
    this.#readAll = database.prepare(
      `SELECT ${COLUMNS.join(", ")} FROM conversations ORDER BY used_at, rowid`,
    );
    this.#upsert = database.prepare(
      `INSERT OR REPLACE INTO conversations (${COLUMNS.join(", ")}) VALUES (:${COLUMNS.join(", :")})`,
    );
    this.#remove = database.prepare("DELETE FROM conversations WHERE owner = ? AND agent = ? AND id = ?");
  }

  load(): ConversationRecord[] {
    return this.#readAll.all().map(fromRow);
  }

  saveSoon(conversation: ConversationRecord): void {
    this.#add(conversation, SAVE_DELAY_MS);
  }

  async save(conversation: ConversationRecord): Promise<void> {
    this.#add(conversation, 0);
    await this.#flushed.promise;
  }

  remove(conversation: ConversationRecord): boolean {
    const { owner, agent, id } = conversation;
    this.#pending.delete(conversation);
    return this.#write(() => this.#remove.run(owner, agent, id));
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#flush();
    this.#isClosed = true;
    this.#database.close();
  }

  #add(conversation: ConversationRecord, delayMs: number): void {
    if (this.#isClosed) return this.#flushed.resolve();
    this.#pending.add(conversation);
    if (delayMs >= this.#delayMs) return;
    clearTimeout(this.#timer);
    this.#delayMs = delayMs;
    this.#timer = setTimeout(() => this.#flush(), delayMs);
  }

  /** Writes all pending conversations in one transaction. If that fails, they are written with the next ones. */
  #flush(): void {
    clearTimeout(this.#timer);
    this.#delayMs = Infinity;
    const isWritten = this.#write(() =>
      inTransaction(this.#database, () => {
        for (const conversation of this.#pending) this.#upsert.run(toRow(conversation));
      })
    );
    if (isWritten) this.#pending.clear();
    this.#flushed.resolve();
    this.#flushed = Promise.withResolvers();
  }

  /** Writes. Logs the first of several failures in a row. */
  #write(work: () => void): boolean {
    if (this.#isClosed) return false;
    try {
      work();
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        this.#log.warn("conversations cannot be written: changes are lost at the next start", { error });
      }
      this.#isFailing = true;
    }
    return !this.#isFailing;
  }
}

/** Creates the storage of the counts of turns. */
function createTurnCounts(database: DatabaseSync): TurnCounts {
  const read = database.prepare("SELECT day, count FROM turn_counts WHERE key = ?");
  const write = database.prepare("INSERT OR REPLACE INTO turn_counts (key, day, count) VALUES (?, ?, ?)");
  const prune = database.prepare(
    "DELETE FROM turn_counts WHERE day < ? AND key NOT IN (SELECT value FROM json_each(?))",
  );
  return {
    read: (key) => read.get(key) as TurnCount | undefined,
    write(key, { day, count }) {
      // A failed write of conversations may have left its transaction open, which is not in the file.
      if (database.isTransaction) throw new Error("an earlier write has failed");
      write.run(key, day, count);
    },
    prune: (today, keys) => void prune.run(today, JSON.stringify(keys)),
  };
}

/** Reads the key of the fingerprints, which the first start makes. */
function readKey(database: DatabaseSync): Uint8Array {
  database.prepare("INSERT OR IGNORE INTO meta (name, value) VALUES ('key', ?)")
    .run(crypto.getRandomValues(new Uint8Array(KEY_BYTES)));
  const key = database.prepare("SELECT value FROM meta WHERE name = 'key'").get()?.value;
  if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) throw damaged("its key is incomplete");
  return key;
}

const COLUMNS = (
  "owner agent id program is_named persona is_persona_open turns turns_before " +
  "reply session_id created_at used_at"
).split(" ");

/** Writes a record. The turns are texts with spaces between them: the number of the state and the fingerprints. */
function toRow(record: ConversationRecord): Record<string, SQLInputValue> {
  return {
    owner: record.owner,
    agent: record.agent,
    id: record.id,
    program: record.program,
    is_named: Number(record.isNamed),
    persona: record.persona.join(" "),
    is_persona_open: Number(record.isPersonaOpen),
    turns: record.turns.map(({ state, words, media }) => DELIVERY_STATES.indexOf(state) + words + media).join(
      " ",
    ),
    turns_before: record.turnsBefore,
    reply: record.reply ?? null,
    session_id: record.sessionId ?? null,
    created_at: record.createdAt,
    used_at: record.usedAt,
  };
}

/** Reads a row. SQLite has checked the file, and the types of the columns, which are STRICT. */
function fromRow(row: Record<string, SQLOutputValue>): ConversationRecord {
  return {
    owner: row.owner as Fingerprint,
    agent: row.agent as string,
    id: row.id as string,
    program: row.program as Fingerprint,
    isNamed: row.is_named === 1,
    persona: listOf(row.persona) as Fingerprint[],
    isPersonaOpen: row.is_persona_open === 1,
    turns: listOf(row.turns).map((turn) => ({
      words: turn.slice(1, 1 + FINGERPRINT_CHARS) as Fingerprint,
      media: turn.slice(1 + FINGERPRINT_CHARS) as Fingerprint | "",
      state: DELIVERY_STATES[Number(turn[0])]!,
    })),
    turnsBefore: row.turns_before as number,
    reply: (row.reply as Fingerprint | null) ?? undefined,
    sessionId: (row.session_id as SessionId | null) ?? undefined,
    createdAt: row.created_at as number,
    usedAt: row.used_at as number,
  };
}

function listOf(value: SQLOutputValue | undefined): string[] {
  return value === "" ? [] : String(value).split(" ");
}
