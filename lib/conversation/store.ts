/** Conversations in a file that neither a crash nor a second server in the same folder can harm. @module */

import type { DatabaseSync, SQLOutputValue, StatementResultingChanges, StatementSync } from "node:sqlite";
import { closeQuietly, Damage, openDatabase, type StoreLog } from "./database.ts";
import { MAX_KNOWN } from "./known.ts";
import type { KnownConversation, Store } from "./memory.ts";
import { comesBack, conversationOf, rowOf } from "./row.ts";

const KEY_BYTES = 32;
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
  readonly #put: StatementSync;
  readonly #remove: StatementSync;
  readonly #discard: StatementSync;
  readonly #trim: StatementSync;
  #isClosed = false;
  /** What was said of writes that fail. */
  readonly #said = new Set<string>();

  constructor(database: DatabaseSync, log: StoreLog) {
    this.#database = database;
    this.#log = log;
    this.key = keyOf(database);
    const columns = "owner, agent, id, program, is_named, persona, is_persona_open, turns, turns_before, " +
      "reply, session_id, created_at, used_at";
    this.#all = database.prepare(`SELECT rowid, ${columns} FROM conversations ORDER BY used_at, rowid`);
    // A number beyond those of JavaScript would otherwise throw, and take the other rows with it.
    this.#all.setReadBigInts(true);
    this.#put = database.prepare(
      `INSERT OR REPLACE INTO conversations (${columns}) VALUES (${columns.replaceAll(/\w+/g, ":$&")})`,
    );
    this.#remove = database.prepare("DELETE FROM conversations WHERE owner = ? AND agent = ? AND id = ?");
    this.#discard = database.prepare("DELETE FROM conversations WHERE rowid = ?");
    this.#trim = database.prepare(
      "DELETE FROM conversations WHERE rowid IN " +
        `(SELECT rowid FROM conversations ORDER BY used_at DESC, rowid DESC LIMIT -1 OFFSET ${MAX_KNOWN})`,
    );
  }

  load(): KnownConversation[] {
    if (this.#isClosed) return [];
    this.#write(() => this.#trim.run(), NEW_IS_LOST);
    const known: KnownConversation[] = [];
    const damaged: SQLOutputValue[] = [];
    try {
      for (const row of this.#all.all()) {
        try {
          known.push(conversationOf(row));
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
      for (const row of damaged) this.#write(() => this.#discard.run(row), NEW_IS_LOST);
    }
    return known;
  }

  save(conversation: KnownConversation): void {
    const { agent, id, sessionId = "" } = conversation;
    if (![agent, id, sessionId].every(comesBack)) return;
    this.#write(() => this.#put.run(rowOf(conversation)), NEW_IS_LOST);
  }

  remove({ owner, agent, id }: Pick<KnownConversation, "owner" | "agent" | "id">): boolean {
    if (!comesBack(agent) || !comesBack(id)) return true;
    return this.#write(() => this.#remove.run(owner, agent, id), OLD_IS_KEPT);
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

  /** Writes; each kind of failure is said once, until something was written again. */
  #write(work: () => StatementResultingChanges, failure: string): boolean {
    if (this.#isClosed) return false;
    try {
      // To change nothing also works where nothing can be written.
      if (work().changes > 0) this.#said.clear();
      return true;
    } catch (error) {
      if (!this.#said.has(failure)) this.#log.warn(failure, { error });
      this.#said.add(failure);
      return false;
    }
  }
}

/** The key of the prints; whoever comes first makes it, also of two programs at once. */
function keyOf(database: DatabaseSync): Uint8Array {
  database.prepare("INSERT OR IGNORE INTO meta (name, value) VALUES ('key', ?)")
    .run(crypto.getRandomValues(new Uint8Array(KEY_BYTES)));
  const key = database.prepare("SELECT value FROM meta WHERE name = 'key'").get()?.value;
  if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) throw new Damage("its key is not whole");
  return key;
}
