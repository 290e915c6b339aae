/** The file of conversations: its form, its mode, and what becomes of it when it is damaged. @module */

import type { DatabaseSync } from "node:sqlite";
import { messageOf } from "../core/errors.ts";

/** Damaged files that are kept; the oldest makes room. */
const MAX_QUARANTINED = 3;
/** How long the program stands still for another one that writes, in milliseconds. */
const BUSY_MS = 200;
/** How often opening is tried while another program is in the way, and how long it waits in between. */
const MAX_TRIES = 10;
const RETRY_MS = 50;

const FILE = "conversations.db";
/** What SQLite answers when a file is no database, is damaged, or holds other tables than it should. */
const DAMAGE: ReadonlySet<number | undefined> = new Set([1, 11, 26]);
/** What it answers when another program is in the way. */
const BUSY: ReadonlySet<number | undefined> = new Set([5, 6, 15]);

/** Statements that bring a file to its next form. */
export type Migration = readonly string[];

/** How the file came to its form, oldest first. One that was released never changes: a new form is a new step. */
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

/** What a store says when it cannot keep something. */
export interface StoreLog {
  warn(message: string, fields: Readonly<Record<string, unknown>>): void;
}

/** What is wrong with a file beside what SQLite finds. */
export class DamagedFileError extends Error {}

/**
 * Opens the database of a folder, which is made if it is not there, and gives it to `use`. If it turns out to be
 * damaged, also in there, the file is set aside and a new one begun.
 *
 * @throws {Error} with a sentence for the user, if nothing can be kept there.
 */
export async function openDatabase<T>(
  folder: string,
  log: StoreLog,
  use: (database: DatabaseSync) => T,
): Promise<T> {
  const path = `${folder}/${FILE}`;
  try {
    return await openUndamaged(folder, path, log, use);
  } catch (error) {
    throw new Error(`VTUBER_DATA_DIR: conversations cannot be kept in ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

async function openUndamaged<T>(
  folder: string,
  path: string,
  log: StoreLog,
  use: (database: DatabaseSync) => T,
): Promise<T> {
  // Costs time at the start, which only those pay who keep conversations.
  const { DatabaseSync } = await import("node:sqlite");
  for (let tries = 1;; tries++) {
    const file = ownersFile(folder, path);
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(path);
      prepare(database);
      return use(database);
    } catch (error) {
      closeQuietly(database);
      const isDamaged = error instanceof DamagedFileError || DAMAGE.has(codeOf(error));
      if (tries === MAX_TRIES || !(isDamaged || BUSY.has(codeOf(error)))) throw error;
      if (!isDamaged) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      // Unless another program just did the same: then there is a new one already.
      else if (file === identityOf(path)) quarantine(folder, messageOf(error), log);
    }
  }
}

/** Brings a file of an older version to the form of the last step. A transaction that breaks ends with the database. */
export function migrate(database: DatabaseSync, steps: readonly Migration[] = MIGRATIONS): void {
  while (versionOf(database) < steps.length) {
    run(database, "BEGIN IMMEDIATE");
    // Another program may have been faster.
    const version = versionOf(database);
    const step = steps[version];
    if (step !== undefined) run(database, ...step, `PRAGMA user_version = ${version + 1}`);
    run(database, "COMMIT");
  }
}

/** Checks a database and brings it to today's form, without touching one that it does not understand. */
function prepare(database: DatabaseSync): void {
  run(database, `PRAGMA busy_timeout = ${BUSY_MS}`);
  const version = versionOf(database);
  if (version > MIGRATIONS.length) {
    throw new Error(
      `a newer version of the program wrote it (form ${version}, known is ${MIGRATIONS.length}). ` +
        "Use that version, or another folder.",
    );
  }
  const check = database.prepare("PRAGMA quick_check(1)").get()?.quick_check;
  if (check !== "ok") throw new DamagedFileError(String(check));
  // What is forgotten is also wiped out of the file.
  run(database, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA secure_delete = ON");
  migrate(database);
}

/** Runs statements one by one: the errors of several in one text come without SQLite's code. */
function run(database: DatabaseSync, ...statements: readonly string[]): void {
  for (const statement of statements) database.prepare(statement).run();
}

function versionOf(database: DatabaseSync): number {
  const version = database.prepare("PRAGMA user_version").get()?.user_version;
  if (typeof version !== "number" || version < 0) throw new DamagedFileError(`its version is ${version}`);
  return version;
}

/** Sees to it that the file is there and only its owner can read it; SQLite makes those beside it likewise. */
function ownersFile(folder: string, path: string): string {
  Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
  makeFile(path);
  if (Deno.build.os !== "windows") {
    for (const each of [path, `${path}-wal`, `${path}-shm`]) {
      const mode = infoOf(each)?.mode ?? 0;
      if ((mode & 0o077) !== 0) Deno.chmodSync(each, 0o600);
    }
  }
  return identityOf(path);
}

/** Makes the file if there is none. One that is there is not opened: closing it would free the locks of this process. */
function makeFile(path: string): void {
  try {
    Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    // SQLite would make the file that it means, for everybody to read.
    if (infoOf(path) === undefined) {
      throw new Error("it is a link to a file that is not there", { cause: error });
    }
  }
}

/** Tells a file from another one that took its place. */
function identityOf(path: string): string {
  const info = infoOf(path);
  return `${info?.dev} ${info?.ino}`;
}

function infoOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Gives a damaged file another name. What was written last goes first, or the new file would begin with it. */
function quarantine(folder: string, why: string, log: StoreLog): void {
  const name = `${FILE}.corrupt-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  for (const suffix of ["-shm", "-wal", ""]) {
    const path = `${folder}/${FILE}${suffix}`;
    if (infoOf(path) !== undefined) Deno.renameSync(path, `${folder}/${name}${suffix}`);
  }
  log.warn("the file of conversations is damaged: it was set aside and a new one begun", {
    file: `${folder}/${name}`,
    reason: why,
  });
  const names = [...Deno.readDirSync(folder)].map((entry) => entry.name);
  const aside = names.filter((each) => /^conversations\.db\.corrupt-[\dTZ-]+$/.test(each)).sort();
  for (const old of aside.slice(0, -MAX_QUARANTINED)) {
    for (const each of names.filter((each) => each.startsWith(old))) Deno.removeSync(`${folder}/${each}`);
  }
}

/** Closes what may be damaged, or open no more. */
export function closeQuietly(database: DatabaseSync | undefined): void {
  try {
    database?.close();
  } catch {
    // There is nothing to be done about it.
  }
}

/** SQLite's code of an error, without its details. */
function codeOf(error: unknown): number | undefined {
  if (!(error instanceof Error && "errcode" in error && typeof error.errcode === "number")) return undefined;
  return error.errcode & 0xff;
}
