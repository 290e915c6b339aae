/** SQLite files: their lock, their mode, their migrations, and what happens if one is damaged. @module */

import type { DatabaseSync } from "node:sqlite";
import { messageOf } from "../core/errors.ts";

/** Longest wait for another program's lock at the start, in milliseconds: a server that restarts is about to end. */
const LOCK_WAIT_MS = 1_000;

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

/** A kind of file. */
export interface DatabaseFile {
  readonly name: string;
  /** The contents, for messages: `conversations`. */
  readonly contents: string;
  /** What the user has to know if the file is damaged, for the log. */
  readonly damageNote: string;
  /** The migrations, oldest first. A released one never changes: a new form of the file is a new migration. */
  readonly migrations: readonly (readonly string[])[];
}

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
 * Opens a database in a folder for this program alone, and passes it to `use`. The operating system frees the lock
 * however the program ends. A file that turns out to be damaged, also in `use`, is quarantined and a new one made.
 *
 * @throws {FileInUseError} if another program has the file open.
 * @throws {Error} if nothing can be stored in the folder; the message is for the user.
 */
export async function openDatabase<T>(
  folder: string,
  file: DatabaseFile,
  log: StoreLog,
  use: (database: DatabaseSync) => T,
): Promise<T> {
  // Loaded only if something is stored: the module takes time at the start.
  const { DatabaseSync } = await import("node:sqlite");
  const path = `${folder}/${file.name}`;
  const open = () => {
    makePrivate(folder, file.name);
    const database = new DatabaseSync(path);
    try {
      prepare(database, file.migrations);
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
      quarantine(folder, file, messageOf(error), log);
      return open();
    }
  } catch (error) {
    if (LOCKED_CODES.has(codeOf(error))) {
      const message = `VTUBER_DATA_DIR: another program uses ${path}. Give each server a folder of its own.`;
      throw new FileInUseError(message, { cause: error });
    }
    const message = `VTUBER_DATA_DIR: ${file.contents} cannot be stored in ${path}: ${messageOf(error)}`;
    throw new Error(message, { cause: error });
  }
}

/** Locks, checks and migrates a database. The file of a newer version stays as it is. */
function prepare(database: DatabaseSync, migrations: DatabaseFile["migrations"]): void {
  run(database, `PRAGMA busy_timeout = ${LOCK_WAIT_MS}`, "PRAGMA locking_mode = EXCLUSIVE");
  // The first transaction takes the lock.
  run(database, "BEGIN EXCLUSIVE", "COMMIT");
  const version = Number(database.prepare("PRAGMA user_version").get()?.user_version);
  if (version > migrations.length) {
    throw new Error(
      `a newer version of the program wrote it (schema ${version}, this one knows ${migrations.length}). ` +
        "Use that version, or another folder.",
    );
  }
  const check = database.prepare("PRAGMA quick_check(1)").get()?.quick_check;
  if (check !== "ok") throw damaged(String(check));
  // `secure_delete` overwrites deleted rows in the file.
  run(database, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA secure_delete = ON");
  // The lock is held from here on, so that no write has to wait for one.
  run(database, "PRAGMA busy_timeout = 0");
  for (const [index, migration] of migrations.entries()) {
    if (index < version) continue;
    run(database, "BEGIN", ...migration, `PRAGMA user_version = ${index + 1}`, "COMMIT");
  }
}

/** Does all of the work, or none if it throws. */
export function inTransaction(database: DatabaseSync, work: () => void): void {
  database.exec("BEGIN");
  try {
    work();
    database.exec("COMMIT");
  } catch (error) {
    // SQLite has ended it already after some errors.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
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
function makePrivate(folder: string, file: string): void {
  const path = `${folder}/${file}`;
  Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const suffix of suffixesIn(folder, file)) {
    const { isSymlink, nlink } = Deno.lstatSync(path + suffix);
    if (isSymlink || (nlink ?? 1) > 1) {
      throw new Error(`${file}${suffix} is a link. Remove it, or use another folder.`);
    }
  }
  Deno.openSync(path, { write: true, create: true, mode: 0o600 }).close();
  if (Deno.build.os === "windows") return;
  for (const suffix of suffixesIn(folder, file)) Deno.chmodSync(path + suffix, 0o600);
}

/** Renames the files of a damaged database, and removes the oldest damaged ones beyond the limit. */
function quarantine(folder: string, file: DatabaseFile, reason: string, log: StoreLog): void {
  const prefix = `${file.name}.corrupt-`;
  const name = prefix + new Date().toISOString().replaceAll(/[:.]/g, "-");
  for (const suffix of suffixesIn(folder, file.name)) {
    Deno.renameSync(`${folder}/${file.name}${suffix}`, `${folder}/${name}${suffix}`);
  }
  log.warn(
    `the file of ${file.contents} is damaged: it was renamed, and a new one started. ${file.damageNote}`,
    { file: `${folder}/${name}`, reason },
  );
  const names = [...Deno.readDirSync(folder)].map((entry) => entry.name);
  const isDamaged = (name: string) => name.startsWith(prefix) && /^[\dTZ-]+$/.test(name.slice(prefix.length));
  for (const old of names.filter(isDamaged).sort().slice(0, -MAX_QUARANTINED)) {
    for (const name of names.filter((name) => name.startsWith(old))) Deno.removeSync(`${folder}/${name}`);
  }
}

function suffixesIn(folder: string, file: string): string[] {
  const names = new Set([...Deno.readDirSync(folder)].map(({ name }) => name));
  return SUFFIXES.filter((suffix) => names.has(file + suffix));
}

/** Returns SQLite's primary result code. */
function codeOf(error: unknown): number | undefined {
  if (!(error instanceof Error && "errcode" in error && typeof error.errcode === "number")) return undefined;
  return error.errcode & 0xff;
}
