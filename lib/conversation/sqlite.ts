/** The SQLite file of conversations: its lock, its mode, its migrations, and what happens if it is damaged. @module */

import type { DatabaseSync } from "node:sqlite";
import { messageOf } from "../core/errors.ts";

/** Damaged files that are kept. */
const MAX_QUARANTINED = 3;
/** Longest wait for another program's lock at the start, in milliseconds: a server that restarts is about to end. */
const LOCK_WAIT_MS = 1_000;

const FILE = "conversations.db";
/** The suffixes of the files that SQLite makes; the write-ahead log first, which a new file would take for its own. */
const SUFFIXES = ["-shm", "-wal", ""];
/** SQLite's codes for a damaged file: ERROR (other tables than expected), CORRUPT, NOTADB. */
const DAMAGE_CODES: ReadonlySet<number | undefined> = new Set([1, 11, 26]);
/** SQLite's codes for a file that another connection locks: BUSY, LOCKED, PROTOCOL. */
const LOCKED_CODES: ReadonlySet<number | undefined> = new Set([5, 6, 15]);

/** The statements of one migration. */
export type Migration = readonly string[];

/** The migrations, oldest first. A released one never changes: a new form of the file is a new migration. */
export const MIGRATIONS: readonly Migration[] = [
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
];

/** The log of problems with the file. */
export interface StoreLog {
  warn(message: string, fields: Readonly<Record<string, unknown>>): void;
}

/** Damage that SQLite itself does not notice. */
export class DamagedFileError extends Error {}

/** Another program has the file open. */
export class FileInUseError extends Error {}

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
  const path = `${folder}/${FILE}`;
  try {
    return await openOrReplace(folder, path, log, use);
  } catch (error) {
    if (LOCKED_CODES.has(codeOf(error))) {
      const message = `VTUBER_DATA_DIR: another program uses ${path}. Give each server a folder of its own.`;
      throw new FileInUseError(message, { cause: error });
    }
    const message = `VTUBER_DATA_DIR: conversations cannot be stored in ${path}: ${messageOf(error)}`;
    throw new Error(message, { cause: error });
  }
}

async function openOrReplace<T>(
  folder: string,
  path: string,
  log: StoreLog,
  use: (database: DatabaseSync) => T,
): Promise<T> {
  // Loaded only if conversations are stored: the module takes time at the start.
  const { DatabaseSync } = await import("node:sqlite");
  for (let hasReplaced = false;; hasReplaced = true) {
    makePrivate(folder, path);
    const database = new DatabaseSync(path);
    try {
      prepare(database);
      return use(database);
    } catch (error) {
      closeQuietly(database);
      const isDamaged = error instanceof DamagedFileError || DAMAGE_CODES.has(codeOf(error));
      if (hasReplaced || !isDamaged) throw error;
      quarantine(folder, messageOf(error), log);
    }
  }
}

/** Applies the missing migrations. An unfinished one is undone when the database is closed. */
export function migrate(database: DatabaseSync, migrations: readonly Migration[] = MIGRATIONS): void {
  for (let version = versionOf(database); version < migrations.length; version++) {
    run(database, "BEGIN", ...migrations[version]!, `PRAGMA user_version = ${version + 1}`, "COMMIT");
  }
}

/** Locks, checks and migrates a database. The file of a newer version stays as it is. */
function prepare(database: DatabaseSync): void {
  run(database, `PRAGMA busy_timeout = ${LOCK_WAIT_MS}`, "PRAGMA locking_mode = EXCLUSIVE");
  // The first transaction takes the lock.
  run(database, "BEGIN EXCLUSIVE", "COMMIT");
  const version = versionOf(database);
  if (version > MIGRATIONS.length) {
    throw new Error(
      `a newer version of the program wrote it (schema ${version}, this one knows ${MIGRATIONS.length}). ` +
        "Use that version, or another folder.",
    );
  }
  const check = database.prepare("PRAGMA quick_check(1)").get()?.quick_check;
  if (check !== "ok") throw new DamagedFileError(String(check));
  // `secure_delete` overwrites forgotten conversations in the file.
  run(database, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA secure_delete = ON");
  migrate(database);
}

/** Runs statements one by one: `exec` of several loses SQLite's error code. */
function run(database: DatabaseSync, ...statements: readonly string[]): void {
  for (const statement of statements) database.prepare(statement).run();
}

function versionOf(database: DatabaseSync): number {
  const version = database.prepare("PRAGMA user_version").get()?.user_version;
  if (typeof version !== "number" || version < 0) throw new DamagedFileError(`its version is ${version}`);
  return version;
}

/** Makes the folder and the file, and closes the file to other users. SQLite copies its mode to the files beside it. */
function makePrivate(folder: string, path: string): void {
  Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    // SQLite would create the missing target of a link, readable for everyone.
    if (!exists(path)) throw new Error("it is a link to a file that does not exist", { cause: error });
  }
  if (Deno.build.os === "windows") return;
  for (const file of SUFFIXES.map((suffix) => path + suffix).filter(exists)) {
    if (((Deno.statSync(file).mode ?? 0) & 0o077) !== 0) Deno.chmodSync(file, 0o600);
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Renames a damaged file, and deletes the oldest of the earlier ones. */
function quarantine(folder: string, reason: string, log: StoreLog): void {
  const name = `${FILE}.corrupt-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  for (const suffix of SUFFIXES.filter((suffix) => exists(`${folder}/${FILE}${suffix}`))) {
    Deno.renameSync(`${folder}/${FILE}${suffix}`, `${folder}/${name}${suffix}`);
  }
  log.warn("the file of conversations is damaged: it was renamed, and a new one started", {
    file: `${folder}/${name}`,
    reason,
  });
  const names = [...Deno.readDirSync(folder)].map((entry) => entry.name);
  const quarantined = names.filter((name) => /^conversations\.db\.corrupt-[\dTZ-]+$/.test(name)).sort();
  for (const old of quarantined.slice(0, -MAX_QUARANTINED)) {
    for (const name of names.filter((name) => name.startsWith(old))) Deno.removeSync(`${folder}/${name}`);
  }
}

/** Closes a database that may be damaged or closed already. */
export function closeQuietly(database: DatabaseSync): void {
  try {
    database.close();
  } catch {
    // The operating system frees what is left.
  }
}

/** Returns SQLite's primary result code. */
function codeOf(error: unknown): number | undefined {
  if (!(error instanceof Error && "errcode" in error && typeof error.errcode === "number")) return undefined;
  return error.errcode & 0xff;
}
