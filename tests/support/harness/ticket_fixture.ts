import { DatabaseSync } from "node:sqlite";
import type { ConversationRecord, Store } from "../../../lib/conversation/record.ts";
import { openStore } from "../../../lib/conversation/store.ts";
import { Random } from "./random.ts";
import { anyConversation } from "./store_writer.ts";

/** Files there have no modes. */
export const onWindows = Deno.build.os === "windows";

/** A folder with a store's file, and what was warned of. */
export class Place implements Disposable {
  readonly folder = Deno.makeTempDirSync();
  readonly path = `${this.folder}/conversations.db`;
  readonly warnings: string[] = [];
  readonly #random = new Random(1);

  open(): Promise<Store> {
    const warn = (message: string, fields: Readonly<Record<string, unknown>>) => {
      this.warnings.push(`${message} ${Object.values(fields).join(" ")}`);
    };
    return openStore(this.folder, { warn });
  }

  /** The file as SQLite sees it. */
  raw(): DatabaseSync & Disposable {
    const database = new DatabaseSync(this.path);
    return Object.assign(database, { [Symbol.dispose]: () => database.close() });
  }

  /** Changes the file behind the back of the store. */
  change(sql: string): void {
    using database = this.raw();
    database.exec(sql);
  }

  /** How many conversations are in the file. */
  count(): unknown {
    using database = this.raw();
    return database.prepare("SELECT count(*) AS count FROM conversations").get()?.count;
  }

  /** Keeps so many conversations, and closes. */
  async fill(count: number): Promise<ConversationRecord[]> {
    using store = await this.open();
    const saved = Array.from({ length: count }, (_, usedAt) => anyConversation(this.#random, { usedAt }));
    for (const each of saved) store.save(each);
    return saved;
  }

  async loaded(): Promise<ConversationRecord[]> {
    using store = await this.open();
    return store.load();
  }

  files(): string[] {
    return [...Deno.readDirSync(this.folder)].map(({ name }) => name).sort();
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** Who may do what with a file, in octal. */
export function modeOf(path: string): string {
  return ((Deno.statSync(path).mode ?? 0) & 0o777).toString(8);
}
