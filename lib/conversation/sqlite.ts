/** The SQLite file of conversations: its lock, its mode, its schema, and what happens if it is damaged. @module */

import type { DatabaseSync } from "node:sqlite";
import { messageOf } from "../core/errors.ts";

/** Longest wait for another program's lock at the start, in milliseconds: a server that restarts is about to end. */
const LOCK_WAIT_MS = 1_000;

const FILE = "conversations.db";
/** Damaged files that are kept. */
const MAX_QUARANTINED = 3;
/** The suffixes of the files that SQLite makes; the write-ahead log before the file that would take it for its own. */
const SUFFIXES = ["-shm", "-wal", ""];
/** SQLite's code for a damaged file. */
const CORRUPT = 11;
/** SQLite's codes for a damaged file: ERROR (other tables than expected), CORRUPT, NOTADB. */
const DAMAGE_CODES: ReadonlySet<number | undefined> = new Set([1, CORRUPT, 26]);
/** SQLite's codes for a file that another connection locks: BUSY, LOCKED, PROTOCOL. */
const LOCKED_CODES: ReadonlySet<number | undefined> = new Set([5, 6, 15]);

/** The migrations, oldest first. A released one never changes: a new form of the file is a new migration. */
const MIGRATIONS: readonly (readonly string[])[] = [
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
];

/** The log of problems with the file. */
export interface StoreLog {
  warn(message: string, fields: Readonly<Record<string, unknown>>): void;
}

/** Another program has the file open. */
export class FileInUseError extends Error {}

/** Makes the error of a file with damage that SQLite itself does not notice. */
export function damaged(message: string): Error {
  return Object.assign(new Error(message), { errcode: CORRUPT });
}

/**
 * Opens the database of a folder for this program alone, and passes it to `use`. The operating system frees the lock
 * however the program ends. A file that turns out to be damaged, also in `use`, is quarantined and a new one made.
 *
 * @throws {FileInUseError} if another program has the file open.
 * @throws {Error} if nothing can be stored in the folder; the message is for the user.
 */
export async function openDatabase<T>(
  folder: string,
  log: StoreLog,
  use: (database: DatabaseSync) => T,
): Promise<T> {
  // Loaded only if conversations are stored: the module takes time at the start.
  const { DatabaseSync } = await import("node:sqlite");
  const path = `${folder}/${FILE}`;
  const open = () => {
    makePrivate(folder, path);
    const database = new DatabaseSync(path);
    try {
      prepare(database);
      return use(database);
    } catch (error) {
      database.close();
      throw error;
    }
  };
  try {
    try {
      return open();
    } catch (error) {
      if (!DAMAGE_CODES.has(codeOf(error))) throw error;
      quarantine(folder, messageOf(error), log);
      return open();
    }
  } catch (error) {
    if (LOCKED_CODES.has(codeOf(error))) {
      const message = `VTUBER_DATA_DIR: another program uses ${path}. Give each server a folder of its own.`;
      throw new FileInUseError(message, { cause: error });
    }
    const message = `VTUBER_DATA_DIR: conversations cannot be stored in ${path}: ${messageOf(error)}`;
    throw new Error(message, { cause: error });
  }
}

/** Locks, checks and migrates a database. The file of a newer version stays as it is. */
function prepare(database: DatabaseSync): void {
  run(database, `PRAGMA busy_timeout = ${LOCK_WAIT_MS}`, "PRAGMA locking_mode = EXCLUSIVE");
  // The first transaction takes the lock.
  run(database, "BEGIN EXCLUSIVE", "COMMIT");
  const version = Number(database.prepare("PRAGMA user_version").get()?.user_version);
  if (version > MIGRATIONS.length) {
    throw new Error(
      `a newer version of the program wrote it (schema ${version}, this one knows ${MIGRATIONS.length}). ` +
        "Use that version, or another folder.",
    );
  }
  const check = database.prepare("PRAGMA quick_check(1)").get()?.quick_check;
  if (check !== "ok") throw damaged(String(check));
  // `secure_delete` overwrites forgotten conversations in the file.
  run(database, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA secure_delete = ON");
  // The lock is held from here on, so that no write has to wait for one.
  run(database, "PRAGMA busy_timeout = 0");
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    run(database, "BEGIN", ...migration, `PRAGMA user_version = ${index + 1}`, "COMMIT");
  }
}

/** Runs statements one by one: `exec` of several loses SQLite's error code. */
function run(database: DatabaseSync, ...statements: readonly string[]): void {
  for (const statement of statements) database.prepare(statement).run();
}

/**
 * Makes the folder and the file, and closes the file to other users. SQLite copies its mode to the files beside it. A
 * link is refused: another user may have made it, to have a file of this user overwritten or opened to others.
 */
function makePrivate(folder: string, path: string): void {
  Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const suffix of suffixesIn(folder)) {
    const { isSymlink, nlink } = Deno.lstatSync(path + suffix);
    if (isSymlink || (nlink ?? 1) > 1) {
      throw new Error(`${FILE}${suffix} is a link. Remove it, or use another folder.`);
    }
  }
  Deno.openSync(path, { write: true, create: true, mode: 0o600 }).close();
  if (Deno.build.os === "windows") return;
  for (const suffix of suffixesIn(folder)) Deno.chmodSync(path + suffix, 0o600);
}

/** Renames the files of a damaged database, and removes the oldest damaged ones beyond the limit. */
function quarantine(folder: string, reason: string, log: StoreLog): void {
  const name = `${FILE}.corrupt-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  for (const suffix of suffixesIn(folder)) {
    Deno.renameSync(`${folder}/${FILE}${suffix}`, `${folder}/${name}${suffix}`);
  }
  log.warn(
    "the file of conversations is damaged: it was renamed, and a new one started. Counts of turns begin at 0",
    {
      file: `${folder}/${name}`,
      reason,
    },
  );
  const names = [...Deno.readDirSync(folder)].map((entry) => entry.name);
  const damaged = names.filter((name) => /^conversations\.db\.corrupt-[\dTZ-]+$/.test(name)).sort();
  for (const old of damaged.slice(0, -MAX_QUARANTINED)) {
    for (const name of names.filter((name) => name.startsWith(old))) Deno.removeSync(`${folder}/${name}`);
  }
}

function suffixesIn(folder: string): string[] {
  const names = new Set([...Deno.readDirSync(folder)].map(({ name }) => name));
  return SUFFIXES.filter((suffix) => names.has(FILE + suffix));
}

/** Returns SQLite's primary result code. */
function codeOf(error: unknown): number | undefined {
  if (!(error instanceof Error && "errcode" in error && typeof error.errcode === "number")) return undefined;
  return error.errcode & 0xff;
}
