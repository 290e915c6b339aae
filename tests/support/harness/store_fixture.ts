/** A store's folder, and random records to put into it. @module */

import { DatabaseSync } from "node:sqlite";
import {
  type ConversationRecord,
  DELIVERY_STATES,
  type Fingerprint,
  type Store,
} from "../../../lib/conversation/record.ts";
import { openStore } from "../../../lib/conversation/store.ts";
import type { SessionId } from "../../../lib/turn/event.ts";
import { Random } from "./random.ts";

/** Windows has no file modes, and does not rename open files. */
export const onWindows = Deno.build.os === "windows";

/** A folder with a store's file, and the warnings about it. */
export class StoreFixture implements Disposable {
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

  /** Changes the file while the store is closed. */
  change(sql: string): void {
    const database = new DatabaseSync(this.path);
    database.exec(sql);
    database.close();
  }

  /** Stores so many conversations. */
  async fill(count: number): Promise<ConversationRecord[]> {
    using store = await this.open();
    const saved = Array.from({ length: count }, (_, usedAt) => randomRecord(this.#random, { usedAt }));
    await Promise.all(saved.map((record) => store.save(record)));
    return saved;
  }

  /** Loads what the next start finds. */
  async load(): Promise<ConversationRecord[]> {
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

/** Runs a writer of this folder, and kills it once it has printed so many lines. Returns the lines. */
export async function writeUntilKilled(
  writer: "store_writer.ts" | "transcripts_writer.ts",
  folder: string,
  name: string,
  lines: number,
): Promise<string[]> {
  const permissions = ["--no-prompt", "--allow-read", "--allow-write", "--allow-env"];
  const program = new URL(writer, import.meta.url).href;
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", ...permissions, program, folder, name],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let output = "";
  let isKilled = false;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    output += text;
    if (isKilled || output.split("\n").length <= lines) continue;
    child.kill("SIGKILL");
    isKilled = true;
  }
  if ((await child.status).success) throw new Error("The writer ended by itself.");
  return output.split("\n").slice(0, -1);
}

/** Returns the last number that a writer saved, or -1. */
export function lastSaved(printed: readonly string[]): number {
  return Number(printed.findLast((line) => line.startsWith("saved "))?.slice(6) ?? -1);
}

/** Returns the mode of a file, in octal. */
export function modeOf(path: string): string {
  return ((Deno.statSync(path).mode ?? 0) & 0o777).toString(8);
}

const BASE64URL = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"];

/** Makes a random fingerprint. */
function randomFingerprint(random: Random): Fingerprint {
  return Array.from({ length: 16 }, () => random.pick(BASE64URL)).join("") as Fingerprint;
}

/** Makes a random record with up to so many turns. */
export function randomRecord(
  random: Random,
  fields: Partial<ConversationRecord> = {},
  maxTurns = 8,
): ConversationRecord {
  const fingerprint = () => randomFingerprint(random);
  const maybe = <T>(value: T) => random.below(2) === 0 ? undefined : value;
  const upTo = <T>(most: number, make: () => T) => Array.from({ length: random.below(most + 1) }, make);
  return {
    id: random.text(["conv_", "ü", "😀", "'", " ", "%", "\\", '"', "会"], 12),
    owner: fingerprint(),
    agent: random.pick(["default", "claude code", "o'agent"]),
    program: fingerprint(),
    isNamed: random.below(2) === 0,
    persona: upTo(3, fingerprint),
    isPersonaOpen: random.below(2) === 0,
    turns: upTo(maxTurns, () => ({
      words: fingerprint(),
      media: random.below(4) === 0 ? fingerprint() : "",
      state: random.pick(DELIVERY_STATES),
    })),
    turnsBefore: random.below(1000),
    reply: maybe(fingerprint() + fingerprint() as Fingerprint),
    sessionId: maybe(random.text(["ses_", "a", "-", "é"], 9) as SessionId),
    createdAt: random.below(2 ** 31) * 1000,
    usedAt: random.below(2 ** 31) * 1000,
    ...fields,
  };
}
