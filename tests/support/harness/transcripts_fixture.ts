/** A folder with the file of responses, and responses to put into it. @module */

import { DatabaseSync } from "node:sqlite";
import {
  Transcripts,
  type TranscriptSummary,
  type TranscriptWords,
} from "../../../lib/openai/responses/transcripts.ts";

/** The start of the clock: 2026-01-01, in Unix milliseconds. */
export const START = Date.UTC(2026, 0, 1);

/** A folder with the file, the warnings about it, and a clock. */
export class TranscriptsFixture implements Disposable {
  readonly folder = Deno.makeTempDirSync();
  readonly path = `${this.folder}/transcripts.db`;
  readonly warnings: string[] = [];
  /** Unix milliseconds. */
  now = START;

  /** Opens the file if it exists. */
  async open(folder = this.folder): Promise<Transcripts> {
    const warn = (message: string, fields: Readonly<Record<string, unknown>>) => {
      this.warnings.push(`${message} ${Object.values(fields).join(" ")}`);
    };
    const transcripts = new Transcripts(folder, { warn }, () => this.now);
    await transcripts.openExisting();
    return transcripts;
  }

  /** Changes the file while it is closed. */
  change(sql: string): void {
    const database = new DatabaseSync(this.path);
    database.exec(sql);
    database.close();
  }

  /** Adds responses, and closes the file. */
  async fill(...ids: readonly string[]): Promise<void> {
    await using transcripts = await this.open();
    await Promise.all(ids.map((id) => transcripts.add(summaryOf(id, { createdAt: this.now }), wordsOf(id))));
  }

  /** Lists the ids that the next start finds. */
  async load(): Promise<string[]> {
    await using transcripts = await this.open();
    return idsOf(transcripts);
  }

  /** Whether any file of the folder has these words. */
  has(words: string): boolean {
    return this.files().some((name) =>
      new TextDecoder("latin1").decode(Deno.readFileSync(`${this.folder}/${name}`)).includes(words)
    );
  }

  files(): string[] {
    return [...Deno.readDirSync(this.folder)].map(({ name }) => name).sort();
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/** Makes a response without its words. */
export function summaryOf(id: string, fields: Partial<TranscriptSummary> = {}): TranscriptSummary {
  return {
    id,
    owner: "keys.stage",
    agent: "openab",
    conversation: "mao",
    previousId: undefined,
    createdAt: START,
    ...fields,
  };
}

/** Makes the words of a response; they have its id in them. */
export function wordsOf(id: string): TranscriptWords {
  return { input: `["question of ${id}: 你好"]`, response: `{"text":"answer to ${id} 😀"}` };
}

/** Lists the ids of the responses. */
export function idsOf(transcripts: Transcripts): string[] {
  return [...transcripts.all].map(({ id }) => id);
}
