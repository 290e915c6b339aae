/** The file of the responses that are stored on request: `transcripts.db`, the only one with words in it. @module */

import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import { startBackgroundTimer } from "../../core/background_timer.ts";
import { AppError } from "../../core/errors.ts";
import { listExcess } from "../../core/excess.ts";
import { nextTask } from "../../core/next_task.ts";
import { type DatabaseFile, inTransaction, openDatabase, type StoreLog } from "../../conversation/sqlite.ts";

/** Responses in the file. Beyond it, see {@linkcode listExcess}. */
const MAX_RESPONSES = 1_000;
/** Characters of all responses in the file. */
const MAX_ALL_CHARS = 64 * 1024 * 1024;
/** Characters of a response in the file, with its input. */
export const MAX_CHARS = 1024 * 1024;
/** Longest time in the file, in milliseconds: 30 days. */
const MAX_AGE_MS = 30 * 86_400_000;
/** Time between two looks for old responses, in milliseconds. */
const PRUNE_INTERVAL_MS = 3_600_000;
/** Longest delay of a write, in milliseconds. */
const WRITE_DELAY_MS = 50;
/** Rows that are deleted in one go: each may be a megabyte, which is overwritten. */
const ROWS_PER_DELETE = 8;

const FILE: DatabaseFile = {
  name: "transcripts.db",
  contents: "responses",
  damageNote: "The renamed file may still have their words",
  migrations: [
    [
      // `number` keeps the order of the responses. The large columns are the last ones, so that no other reads them.
      `CREATE TABLE responses (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        agent TEXT NOT NULL,
        model TEXT NOT NULL,
        conversation TEXT NOT NULL,
        previous_id TEXT,
        created_at INTEGER NOT NULL,
        chars INTEGER NOT NULL,
        input TEXT NOT NULL,
        response TEXT NOT NULL
      ) STRICT`,
    ],
    ["ALTER TABLE responses DROP COLUMN model"],
  ],
};
const SUMMARY_COLUMNS = "id, owner, agent, conversation, previous_id, created_at, chars";

/** A response in the file, without its words. */
export interface TranscriptSummary {
  readonly id: string;
  /** `caller.id` */
  readonly owner: string;
  readonly agent: string;
  readonly conversation: string;
  readonly previousId: string | undefined;
  /** Unix milliseconds. */
  readonly createdAt: number;
}

/** The words of a response in the file. */
export interface TranscriptWords {
  /** JSON of the request's items. */
  readonly input: string;
  /** JSON of the response. */
  readonly response: string;
}

/** A response that waits to be written. */
interface PendingTranscript {
  readonly summary: IndexEntry;
  readonly words: TranscriptWords;
}

type IndexEntry = TranscriptSummary & { readonly chars: number };

/**
 * The responses in the file, which is made for the first response. A response that cannot be written is in memory only.
 * A response that is deleted, or makes room for others, is overwritten at once.
 */
export class Transcripts implements AsyncDisposable {
  readonly #folder: string;
  readonly #log: StoreLog;
  readonly #now: () => number;
  /** The responses in the file and those that wait, oldest first. */
  readonly #index = new Map<string, IndexEntry>();
  readonly #pending = new Map<string, PendingTranscript>();
  #opening: Promise<void> | undefined;
  #file: OpenFile | undefined;
  /** Nothing is written any more. */
  #isClosed = false;
  /** The last access failed, which was logged. */
  #isFailing = false;
  /** Deleted words may still stand in the write-ahead log. */
  #hasRemains = false;
  #writing:
    | { readonly timer: ReturnType<typeof setTimeout>; readonly written: PromiseWithResolvers<void> }
    | undefined;
  #pruneTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param now The time in Unix milliseconds. */
  constructor(folder: string, log: StoreLog, now: () => number = Date.now) {
    this.#folder = folder;
    this.#log = log;
    this.#now = now;
  }

  /** Opens the file if it exists. */
  async openExisting(): Promise<void> {
    const exists = await Deno.lstat(`${this.#folder}/${FILE.name}`).then(() => true, () => false);
    if (exists) await this.#open();
  }

  /** The responses in the file, oldest first. */
  get all(): Iterable<TranscriptSummary> {
    return this.#index.values();
  }

  get(id: string): TranscriptSummary | undefined {
    return this.#index.get(id);
  }

  /** Reads the words of a response, if the file has it. @throws {AppError} `internal_error` if it cannot be read. */
  read(id: string): TranscriptWords | undefined {
    const pending = this.#pending.get(id);
    if (pending || !this.#index.has(id)) return pending?.words;
    let words: TranscriptWords | undefined;
    if (this.#try("read from", (file) => words = file.read(id))) return words;
    throw new AppError(
      "internal_error",
      `The response "${id}" cannot be read from ${FILE.name} in VTUBER_DATA_DIR. The log says why.`,
    );
  }

  /** Writes a response soon, with others. Resolves once it is written, or cannot be. */
  async add(summary: TranscriptSummary, words: TranscriptWords): Promise<void> {
    const chars = words.input.length + words.response.length;
    if (this.#isClosed || chars > MAX_CHARS) return;
    const entry = { ...summary, chars };
    this.#index.set(entry.id, entry);
    this.#pending.set(entry.id, { summary: entry, words });
    this.#writing ??= {
      timer: setTimeout(() => void this.#flush(), WRITE_DELAY_MS),
      written: Promise.withResolvers(),
    };
    await this.#writing.written.promise;
  }

  /** Deletes responses. Resolves to false if they are still in the file, which the next start reads. */
  async delete(ids: readonly string[]): Promise<boolean> {
    const known = ids.filter((id) => this.#index.has(id));
    return known.length === 0 || await this.#deleteRows(known);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#writing) await this.#flush();
    this.#isClosed = true;
    await this.#opening;
    clearTimeout(this.#pruneTimer);
    this.#file?.close();
    this.#file = undefined;
  }

  #open(): Promise<void> {
    return this.#opening ??= this.#openFile();
  }

  async #openFile(): Promise<void> {
    try {
      this.#file = await openDatabase(this.#folder, FILE, this.#log, (database) => new OpenFile(database));
    } catch (error) {
      this.#log.warn('responses with "store": true are kept only until this program ends', { error });
      this.#isClosed = true;
      this.#pending.clear();
      this.#index.clear();
      return;
    }
    const waiting = [...this.#index.values()];
    this.#index.clear();
    for (const entry of [...this.#file.summaries, ...waiting]) this.#index.set(entry.id, entry);
    await this.#prune();
  }

  /** Writes what waits in one transaction. */
  async #flush(): Promise<void> {
    const { timer, written } = this.#writing!;
    clearTimeout(timer);
    await this.#open();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    this.#writing = undefined;
    if (pending.length > 0 && !this.#try("written to", (file) => file.insert(pending))) {
      for (const { summary } of pending) this.#index.delete(summary.id);
    }
    const excess = listExcess(this.#index.values(), MAX_RESPONSES, MAX_ALL_CHARS);
    await this.#deleteRows(excess.map(({ id }) => id));
    written.resolve();
  }

  /** Deletes old responses, now and from now on. */
  async #prune(): Promise<void> {
    const oldest = this.#now() - MAX_AGE_MS;
    const old = this.#index.values().filter(({ createdAt }) => createdAt < oldest).map(({ id }) => id);
    await this.#deleteRows([...old]);
    if (this.#isClosed) return;
    this.#pruneTimer = startBackgroundTimer(() => void this.#prune(), PRUNE_INTERVAL_MS);
  }

  /** Deletes responses, and all that is left of deleted ones. Resolves to whether nothing is left. */
  async #deleteRows(ids: readonly string[]): Promise<boolean> {
    for (const id of ids) {
      this.#index.delete(id);
      this.#pending.delete(id);
    }
    for (let i = 0; i < ids.length && this.#file; i += ROWS_PER_DELETE) {
      // Lets turns go on between two steps.
      if (i > 0) await nextTask();
      this.#hasRemains = true;
      if (!this.#try("deleted from", (file) => file.delete(ids.slice(i, i + ROWS_PER_DELETE)))) return false;
    }
    if (this.#hasRemains) this.#hasRemains = !this.#try("deleted from", (file) => file.emptyLog());
    return !this.#hasRemains;
  }

  /** Uses the file. Logs the first of several failures in a row. */
  #try(what: string, work: (file: OpenFile) => void): boolean {
    if (!this.#file) return false;
    try {
      work(this.#file);
      this.#isFailing = false;
      return true;
    } catch (error) {
      if (!this.#isFailing) this.#log.warn(`responses cannot be ${what} ${FILE.name}`, { error });
      this.#isFailing = true;
      return false;
    }
  }
}

/** The opened file. Every call may throw. */
class OpenFile {
  readonly summaries: readonly IndexEntry[];
  readonly #database: DatabaseSync;
  readonly #read: StatementSync;
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.summaries = database.prepare(`SELECT ${SUMMARY_COLUMNS} FROM responses ORDER BY number`).all()
      .map(fromRow);
    this.#read = database.prepare("SELECT input, response FROM responses WHERE id = ?");
    this.#insert = database.prepare(
      `INSERT INTO responses (${SUMMARY_COLUMNS}, input, response) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#delete = database.prepare("DELETE FROM responses WHERE id IN (SELECT value FROM json_each(?))");
  }

  read(id: string): TranscriptWords | undefined {
    const row = this.#read.get(id);
    return row && { input: String(row.input), response: String(row.response) };
  }

  /** Inserts all or none. */
  insert(transcripts: readonly PendingTranscript[]): void {
    inTransaction(this.#database, () => {
      for (const { summary, words } of transcripts) {
        const { id, owner, agent, conversation, previousId = null, createdAt, chars } = summary;
        const { input, response } = words;
        this.#insert.run(...[id, owner, agent, conversation, previousId, createdAt, chars, input, response]);
      }
    });
  }

  delete(ids: readonly string[]): void {
    this.#delete.run(JSON.stringify(ids));
  }

  /** Writes the log into the file, and empties it. */
  emptyLog(): void {
    this.#database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get();
  }

  close(): void {
    this.#database.close();
  }
}

function fromRow(row: Record<string, SQLOutputValue>): IndexEntry {
  return {
    id: String(row.id),
    owner: String(row.owner),
    agent: String(row.agent),
    conversation: String(row.conversation),
    previousId: row.previous_id === null ? undefined : String(row.previous_id),
    createdAt: Number(row.created_at),
    chars: Number(row.chars),
  };
}
