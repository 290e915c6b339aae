/** The storage of conversations in a SQLite file, which a crash cannot damage. @module */

import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite";
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

const KEY_BYTES = 32;
/** Longest delay of {@linkcode Store.saveSoon}, in milliseconds. */
const SAVE_DELAY_MS = 50;

const NOT_WRITTEN = "conversations cannot be written: changes are lost at the next start";
const NOT_REMOVED = "a conversation cannot be removed from the file: it is back at the next start";

/**
 * Opens the store of a folder. Makes the folder if it does not exist, for this user only. A damaged file is quarantined,
 * and a new one made.
 *
 * @throws {FileInUseError} if another program has the file open.
 * @throws {Error} if nothing can be stored in the folder; the message is for the user.
 */
export async function openStore(folder: string, log: StoreLog): Promise<Store> {
  return await openDatabase(folder, log, (database) => new SqliteStore(database, log));
}

class SqliteStore implements Store {
  readonly key: Uint8Array;
  readonly #database: DatabaseSync;
  readonly #log: StoreLog;
  readonly #readAll: StatementSync;
  readonly #upsert: StatementSync;
  readonly #remove: StatementSync;
  readonly #discard: StatementSync;
  /** Conversations that wait to be written. */
  readonly #pending = new Set<ConversationRecord>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  /** Problems that were logged since the last successful write. */
  readonly #logged = new Set<string>();

  constructor(database: DatabaseSync, log: StoreLog) {
    this.#database = database;
    this.#log = log;
    this.key = readKey(database);
    const columns = FIELDS.map(({ column }) => column);
    this.#readAll = database.prepare(
      `SELECT rowid, ${columns.join(", ")} FROM conversations ORDER BY used_at, rowid`,
    );
    // Without it a number beyond JavaScript's safe integers would throw, and all other rows would be lost.
    this.#readAll.setReadBigInts(true);
    this.#upsert = database.prepare(
      `INSERT INTO conversations (${columns.join(", ")}) VALUES (:${columns.join(", :")}) ` +
        "ON CONFLICT (owner, agent, id) DO UPDATE SET " +
        columns.map((column) => `${column} = excluded.${column}`).join(", "),
    );
    this.#remove = database.prepare("DELETE FROM conversations WHERE owner = ? AND agent = ? AND id = ?");
    this.#discard = database.prepare("DELETE FROM conversations WHERE rowid = ?");
  }

  load(): ConversationRecord[] {
    const rows = this.#readRows().map((row) => ({ rowid: row.rowid ?? null, record: recordOf(row) }));
    const intact = rows.flatMap(({ rowid, record }) => record ? [{ rowid, record }] : []);
    const damaged = rows.filter(({ record }) => record === undefined);
    const excess = intact.splice(0, Math.max(0, intact.length - MAX_CONVERSATIONS));
    if (damaged.length > 0) {
      this.#log.warn("some conversations were damaged and are forgotten", { count: damaged.length });
    }
    for (const { rowid } of [...damaged, ...excess]) {
      this.#write(NOT_WRITTEN, () => this.#discard.run(rowid).changes);
    }
    return intact.map(({ record }) => record);
  }

  #readRows(): Row[] {
    if (this.#isClosed) return [];
    try {
      return this.#readAll.all();
    } catch (error) {
      this.#log.warn("conversations cannot be read: the earlier ones are forgotten", { error });
      return [];
    }
  }

  saveSoon(conversation: ConversationRecord): void {
    if (this.#isClosed) return;
    this.#pending.add(conversation);
    this.#timer ??= setTimeout(() => this.#flush(), SAVE_DELAY_MS);
  }

  save(conversation: ConversationRecord): void {
    this.#pending.add(conversation);
    this.#flush();
  }

  remove(conversation: ConversationRecord): boolean {
    const { owner, agent, id } = conversation;
    this.#pending.delete(conversation);
    if (!isStorable({ agent, id, sessionId: undefined })) return true;
    return this.#write(NOT_REMOVED, () => this.#remove.run(owner, agent, id).changes);
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#flush();
    this.#isClosed = true;
    closeQuietly(this.#database);
  }

  /** Writes all pending conversations in one transaction. A conversation that fails is written with its next turn. */
  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const pending = [...this.#pending];
    this.#pending.clear();
    const rows = pending.filter(isStorable).map(rowOf);
    if (rows.length === 0) return;
    this.#write(NOT_WRITTEN, () => {
      this.#database.exec("BEGIN");
      try {
        for (const row of rows) this.#upsert.run(row);
        this.#database.exec("COMMIT");
      } catch (error) {
        rollBack(this.#database);
        throw error;
      }
      return rows.length;
    });
  }

  /** Runs a write that returns the number of changed rows. Logs each problem once, until a write succeeds. */
  #write(problem: string, work: () => number | bigint): boolean {
    if (this.#isClosed) return false;
    try {
      // A write without changes also succeeds on a full disk.
      if (work() > 0) this.#logged.clear();
      return true;
    } catch (error) {
      if (!this.#logged.has(problem)) this.#log.warn(problem, { error });
      this.#logged.add(problem);
      return false;
    }
  }
}

function rollBack(database: DatabaseSync): void {
  try {
    database.exec("ROLLBACK");
  } catch {
    // SQLite has rolled back by itself, as it does when the disk is full.
  }
}

/** Reads the key of the fingerprints, which the first start makes. */
function readKey(database: DatabaseSync): Uint8Array {
  database.prepare("INSERT OR IGNORE INTO meta (name, value) VALUES ('key', ?)")
    .run(crypto.getRandomValues(new Uint8Array(KEY_BYTES)));
  const key = database.prepare("SELECT value FROM meta WHERE name = 'key'").get()?.value;
  if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) {
    throw new DamagedFileError("its key is incomplete");
  }
  return key;
}

type Row = Readonly<Record<string, SQLOutputValue>>;

/** Writes a field to a column, and reads it back. `read` throws if `write` makes no such value. */
interface Codec<T> {
  readonly write: (value: T) => SQLInputValue;
  readonly read: (value: SQLOutputValue | undefined) => T;
}

/** A text of this form. */
function text<T extends string>(pattern: RegExp): Codec<T> {
  const read = (value: SQLOutputValue | undefined) => {
    if (typeof value !== "string" || !pattern.test(value)) throw new TypeError(`not ${pattern}`);
    return value as T;
  };
  return { write: (value) => value, read };
}

/** Texts with a space between them. */
function list<T>({ write, read }: Codec<T>): Codec<readonly T[]> {
  return {
    write: (items) => items.map(write).join(" "),
    read: (value) => value === "" ? [] : ANY_TEXT.read(value).split(" ").map(read),
  };
}

function optional<T>({ write, read }: Codec<T>): Codec<T | undefined> {
  return {
    write: (value) => value === undefined ? null : write(value),
    read: (value) => value === null ? undefined : read(value),
  };
}

const ANY_TEXT = text<string>(/^/);
const FINGERPRINT = text<Fingerprint>(/^[\w-]{16}$/);
/** One hash in older files, else two. */
const REPLY = text<Fingerprint>(/^(?:[\w-]{16}){1,2}$/);

const NUMBER: Codec<number> = {
  write: (value) => value,
  read: (value) => {
    const number = typeof value === "bigint" ? Number(value) : NaN;
    if (!Number.isSafeInteger(number) || number < 0) throw new TypeError("not a number");
    return number;
  },
};

const FLAG: Codec<boolean> = { write: Number, read: (value) => NUMBER.read(value) === 1 };

/** The mark before a turn's fingerprints. Released marks never change. */
const STATE_MARKS: Readonly<Record<DeliveryState, string>> = { pending: "0", delivered: "1", answered: "2" };
const TURN_TEXT = text<string>(/^[012][\w-]{16}(?:[\w-]{16})?$/);

const TURN: Codec<TurnRecord> = {
  write: ({ state, words, media }) => STATE_MARKS[state] + words + media,
  read: (value) => {
    const turn = TURN_TEXT.read(value);
    const state = DELIVERY_STATES.find((state) => STATE_MARKS[state] === turn[0])!;
    return { words: turn.slice(1, 17) as Fingerprint, media: turn.slice(17) as Fingerprint | "", state };
  },
};

/** How each field is stored, in the column of its name in snake case. */
const CODECS: { readonly [K in keyof ConversationRecord]: Codec<ConversationRecord[K]> } = {
  owner: FINGERPRINT,
  agent: ANY_TEXT,
  id: ANY_TEXT,
  program: FINGERPRINT,
  isNamed: FLAG,
  persona: list(FINGERPRINT),
  isPersonaOpen: FLAG,
  turns: list(TURN),
  turnsBefore: NUMBER,
  reply: optional(REPLY),
  sessionId: optional(text<SessionId>(/^/)),
  createdAt: NUMBER,
  usedAt: NUMBER,
};
const FIELDS = Object.entries(CODECS).map(([field, codec]) => ({
  field: field as keyof ConversationRecord,
  column: field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  codec: codec as Codec<unknown>,
}));

function rowOf(record: ConversationRecord): Record<string, SQLInputValue> {
  return Object.fromEntries(FIELDS.map(({ field, column, codec }) => [column, codec.write(record[field])]));
}

/** Reads a row; undefined if it is damaged. */
function recordOf(row: Row): ConversationRecord | undefined {
  try {
    const entries = FIELDS.map(({ field, column, codec }) => [field, codec.read(row[column])]);
    return Object.fromEntries(entries) as ConversationRecord;
  } catch {
    return undefined;
  }
}

/** Whether SQLite returns the names unchanged. A changed one could be taken for another. */
function isStorable(
  { agent, id, sessionId }: Pick<ConversationRecord, "agent" | "id" | "sessionId">,
): boolean {
  return [agent, id, sessionId ?? ""].every((name) => name.isWellFormed() && !name.includes("\0"));
}
