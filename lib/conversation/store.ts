/** Conversations in a file that neither a crash nor a second server in the same folder can harm. @module */

import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import { closeQuietly, Damage, openDatabase, type StoreLog } from "./database.ts";
import { MAX_KNOWN } from "./known.ts";
import type { KnownConversation, Print, Store } from "./memory.ts";
import { comesBack, conversationOf, rowOf } from "./row.ts";

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
        `(SELECT rowid FROM conversations ORDER BY used_at DESC, rowid DESC LIMIT -1 OFFSET ${MAX_KNOWN})`,
    );
  }

  load(): KnownConversation[] {
    if (this.#isClosed) return [];
    this.#write(() => this.#trim.run().changes, NEW_IS_LOST);
    const known: KnownConversation[] = [];
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

  save(conversation: KnownConversation): boolean {
    const { agent, id, sessionId = "" } = conversation;
    if (![agent, id, sessionId].every(comesBack)) return true;
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

  remove(conversation: Pick<KnownConversation, "owner" | "agent" | "id">): boolean {
    const { owner, agent, id } = conversation;
    this.#begun.delete(nameOf(conversation));
    if (!comesBack(agent) || !comesBack(id)) return true;
    return this.#write(() => this.#remove.run(owner, agent, id).changes, OLD_IS_KEPT);
  }

  removeAll(owner: Print): boolean {
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

function nameOf({ owner, agent, id }: Pick<KnownConversation, "owner" | "agent" | "id">): string {
  return JSON.stringify([owner, agent, id]);
}

/** The key of the prints; whoever comes first makes it, also of two programs at once. */
function keyOf(database: DatabaseSync): Uint8Array {
  database.prepare("INSERT OR IGNORE INTO meta (name, value) VALUES ('key', ?)")
    .run(crypto.getRandomValues(new Uint8Array(KEY_BYTES)));
  const key = database.prepare("SELECT value FROM meta WHERE name = 'key'").get()?.value;
  if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) throw new Damage("its key is not whole");
  return key;
}
