/**
 * The responses that are kept, for their caller only. Without `store` in its request, a response stays in memory for an
 * hour. With `"store": true`, it is also in the file, if there is one. With `"store": false`, only its id is known.
 *
 * @module
 */

import { BoundedMap } from "../../core/bounded_map.ts";
import { startBackgroundTimer } from "../../core/background_timer.ts";
import { settlesWithin } from "../../core/deadline.ts";
import { AppError } from "../../core/errors.ts";
import { listExcess } from "../../core/excess.ts";
import type { Log } from "../../core/log.ts";
import { type ContentSize, contentSize, sizeFault } from "../wire.ts";
import type { EventLog } from "./event_log.ts";
import type { ResponseObject } from "./events.ts";
import { type HistoryItem, itemId, responseIdOf, toMessages } from "./items.ts";
import { MAX_CHARS, type Transcripts, type TranscriptSummary } from "./transcripts.ts";

/** Time for which a response is in memory after its end, in milliseconds. */
const KEEP_MS = 3_600_000;
/** Ended responses in memory, of all callers together. Beyond it, see {@linkcode listExcess}. */
const MAX_KEPT = 1_000;
/** Characters of the ended responses in memory, with their input. */
const MAX_KEPT_CHARS = 64 * 1024 * 1024;
/** Characters that a value counts beside those of its text. */
const CHARS_PER_VALUE = 32;
/** Characters that a request takes from responses, as many as it has bytes itself: for a chain, and for references. */
const MAX_TAKEN_CHARS = 20 * 1024 * 1024;
/** Responses of a chain. The oldest are left out. */
const MAX_CHAIN = 1_000;
/** Ids of responses with `"store": false`. */
const MAX_UNSTORED = 10_000;
/** Conversations of which the newest response is known. */
const MAX_NEWEST = 2_000;
/** Longest wait, at the end of the program, for responses whose turns have ended: a check of JSON takes 2 seconds. */
const END_MS = 5_000;

/** A response and its request. */
export interface KeptResponse {
  /** As `responseId` makes it. */
  readonly id: string;
  /** The caller's id. */
  readonly owner: string;
  /** The agent's name. */
  readonly agent: string;
  /** The id of the conversation; `undefined` until the turn has started. */
  readonly conversation: string | undefined;
  readonly previousId: string | undefined;
  /** The items of the request, with references replaced. */
  readonly input: readonly HistoryItem[];
  /** Unix milliseconds. */
  readonly createdAt: number;
  readonly isRunning: boolean;
  /** The events of a response in the background, while it is in memory. */
  readonly events?: EventLog | undefined;
  /** The response as it is now. */
  readonly response: ResponseObject;
  /** Cancels the response, if it is running. */
  cancel(): void;
}

/** A response that starts. */
export interface NewResponse
  extends Pick<KeptResponse, "id" | "owner" | "agent" | "previousId" | "input" | "createdAt" | "events"> {
  /** The conversation, if the request names it. */
  readonly conversation?: string | undefined;
  /** The field of the request. */
  readonly store: boolean | undefined;
  /** Returns the response as it is now. */
  readonly current: () => ResponseObject;
  readonly cancel: () => void;
}

/** A response while it runs. */
export interface RunningResponse {
  /** Tells the conversation and the agent, once the turn has started. */
  attach(turn: { readonly conversation: string; readonly resolvedModel: string }): void;
  /** Tells that the response is cut off: the one before it counts as the newest of the conversation too. */
  cutOff(): void;
  /**
   * Ends the response, however it ended. Unless it was deleted meanwhile, it is kept from now on.
   *
   * @returns Resolves once it is written to the file, or cannot be; at once if it is kept in memory only.
   */
  finish(response: ResponseObject): Promise<void>;
}

/** A conversation with responses in the file. */
export interface StoredConversation {
  readonly id: string;
  readonly agent: string;
  /** Number of responses in the file. */
  readonly responses: number;
  /** Unix milliseconds of the first response in the file. */
  readonly createdAt: number;
  /** Unix milliseconds of the last response in the file. */
  readonly usedAt: number;
}

/** An entry in memory. */
interface Entry extends KeptResponse {
  agent: string;
  conversation: string | undefined;
  isRunning: boolean;
  response: ResponseObject;
  /** Characters; counted once the response has ended. */
  chars: number;
  /** Time of the clock `performance.now()`; set once the response has ended. */
  expiresAt: number;
  /** Resolves at its end. */
  readonly ended: Promise<void>;
}

/** Dependencies of {@linkcode ResponseStore}. */
export interface ResponseStoreDeps {
  /** The file; without it, all responses are in memory only. */
  readonly transcripts?: Transcripts | undefined;
  readonly log: Pick<Log, "warn">;
}

/** The responses that are kept. Its owner keeps the file open for as long. */
export class ResponseStore implements AsyncDisposable {
  readonly #transcripts: Transcripts | undefined;
  readonly #log: Pick<Log, "warn">;
  /** Never evicted: the limit of turns bounds their number. */
  readonly #running = new Map<string, Entry>();
  /** In the order of their ends. */
  readonly #ended = new Map<string, Entry>();
  #endedChars = 0;
  /** The owners of responses that are not kept. */
  readonly #unstored = new BoundedMap<string, string>(MAX_UNSTORED);
  /** The newest response of each conversation, also if it is not kept. If it was cut off, the one before it too. */
  readonly #newest = new BoundedMap<string, readonly string[]>(MAX_NEWEST);
  #expiryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor({ transcripts, log }: ResponseStoreDeps) {
    this.#transcripts = transcripts;
    this.#log = log;
    for (const summary of transcripts?.all ?? []) this.#newest.set(conversationKey(summary), [summary.id]);
  }

  /** Takes a response that starts. Each has to be finished: until then it stays in memory. */
  start({ store, current, conversation, ...fields }: NewResponse): RunningResponse {
    const { id, owner } = fields;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const entry: Entry = {
      ...fields,
      ended,
      conversation,
      isRunning: true,
      get response() {
        return current();
      },
      chars: 0,
      expiresAt: Infinity,
    };
    if (store === false) this.#unstored.set(id, owner);
    else this.#running.set(id, entry);
    let newest: readonly string[] = [id];
    return {
      attach: ({ conversation, resolvedModel }) => {
        entry.conversation = conversation;
        // An answer to a permission request goes on with the turn of its agent, whatever model it names.
        entry.agent = resolvedModel.split("/", 1)[0]!;
        this.#newest.set(conversationKey({ ...entry, conversation }), newest);
      },
      cutOff: () => {
        const { conversation, previousId } = entry;
        if (conversation === undefined || previousId === undefined) return;
        newest = [id, previousId];
        const key = conversationKey({ ...entry, conversation });
        if (this.#newest.get(key)?.[0] === id) this.#newest.set(key, newest);
      },
      finish: async (response) => {
        resolve();
        // A response that was deleted, or is not kept.
        if (!this.#running.delete(id)) return;
        const chars = sizeOf(entry.input) + sizeOf(response);
        const expiresAt = performance.now() + KEEP_MS;
        this.#keep({
          ...{ ...entry, response, isRunning: false, cancel() {}, expiresAt },
          chars: chars + (entry.events?.chars ?? 0),
        });
        if (store) await this.#write(entry, chars, response);
      },
    };
  }

  /** Returns a response of a caller, if it is kept. @throws {AppError} `internal_error` if the file cannot be read. */
  get(owner: string, id: string): KeptResponse | undefined {
    const found = this.#find(owner, id);
    return found && "response" in found ? found : found && this.#read(found);
  }

  /** Returns a response of a caller. @throws {AppError} `not_found`. */
  require(owner: string, id: string): KeptResponse {
    const kept = this.get(owner, id);
    if (kept) return kept;
    throw this.#notFound(owner, id);
  }

  /**
   * Returns the response that a request continues.
   *
   * @throws {AppError} `previous_response_not_found`, which says whether the response was not to be kept.
   */
  requirePrevious(owner: string, id: string): KeptResponse {
    const kept = this.get(owner, id);
    if (kept) return kept;
    throw new AppError(
      "previous_response_not_found",
      `${this.#explainMissing(owner, id)} Send the whole conversation as "input" instead.`,
      { param: "previous_response_id" },
    );
  }

  /**
   * Creates the function that finds the items to which one request refers: those of responses that are kept, and of
   * their input, by the ids that the API shows.
   *
   * @throws {AppError} `invalid_value`, from the function, if the items are too large all together.
   */
  createItemFinder(owner: string): (id: string) => HistoryItem | undefined {
    // A response in the file is read once.
    const items = new Map<string, ReadonlyMap<string, HistoryItem>>();
    let chars = 0;
    return (id) => {
      const responseId = responseIdOf(id);
      if (responseId === undefined) return undefined;
      const kept = items.has(responseId) ? undefined : this.get(owner, responseId);
      if (kept) items.set(responseId, itemsById(kept));
      const item = items.get(responseId)?.get(id);
      chars += sizeOf(item);
      if (chars <= MAX_TAKEN_CHARS) return item;
      throw new AppError(
        "invalid_value",
        `"input" refers to items of more than ${MAX_TAKEN_CHARS} characters. Leave out the older ones.`,
        { param: "input" },
      );
    };
  }

  /**
   * Returns the input and the output of a response and of those before it, oldest first: as many of the newest ones as
   * are kept and as a request has room for.
   *
   * @param own The size of the request's own messages.
   */
  chain(owner: string, id: string, own: ContentSize): HistoryItem[] {
    const responses: (readonly HistoryItem[])[] = [];
    const seen = new Set<string>();
    let chars = 0;
    let size = own;
    let next: string | undefined = id;
    while (next !== undefined && !seen.has(next) && seen.size < MAX_CHAIN) {
      const kept = this.get(owner, next);
      const items = kept && fitting([...kept.input, ...kept.response.output], MAX_TAKEN_CHARS - chars);
      if (items === undefined) break;
      chars += sizeOf(items);
      size = contentSize(toMessages(items), size);
      if (sizeFault(size)) break;
      responses.push(items);
      seen.add(next);
      next = kept?.previousId;
    }
    return responses.reverse().flat();
  }

  /**
   * Whether nothing was said in a response's conversation after it, but for a response that was cut off, as far as is
   * known: if in doubt, it is not the newest.
   */
  isNewest({ id, owner, agent, conversation }: KeptResponse): boolean {
    if (conversation === undefined) return false;
    return this.#newest.get(conversationKey({ owner, agent, conversation }))?.includes(id) ?? false;
  }

  /**
   * Deletes a response of a caller. A response that runs is cancelled.
   *
   * @throws {AppError} `not_found`, or `internal_error` if the file still has it.
   */
  async delete(owner: string, id: string): Promise<void> {
    const found = this.#find(owner, id);
    if (found === undefined) throw this.#notFound(owner, id);
    // First, so that the end of the response does not keep it.
    const deleting = this.#delete([id]);
    if ("cancel" in found) found.cancel();
    await deleting;
  }

  /** Lists the conversations of a caller that have responses in the file. */
  listConversations(owner: string): StoredConversation[] {
    const found = new Map<string, StoredConversation>();
    for (const summary of this.#transcripts?.all ?? []) {
      if (summary.owner !== owner) continue;
      const { agent, conversation, createdAt } = summary;
      const key = conversationKey(summary);
      const { responses = 0, createdAt: first = createdAt } = found.get(key) ?? {};
      found.set(key, {
        ...{ id: conversation, agent, responses: responses + 1 },
        ...{ createdAt: first, usedAt: createdAt },
      });
    }
    return [...found.values()];
  }

  /**
   * Deletes the responses of a caller's conversation, with whichever agent, or all of the caller.
   *
   * @throws {AppError} `internal_error` if the file still has some of them.
   */
  async deleteConversation(owner: string, conversation: string | undefined): Promise<void> {
    const all = [
      ...this.#running.values(),
      ...this.#ended.values(),
      ...this.#transcripts?.all ?? [],
    ];
    const isDeleted = (each: Pick<TranscriptSummary, "owner"> & { conversation: string | undefined }) =>
      each.owner === owner && (conversation === undefined || each.conversation === conversation);
    await this.#delete([...new Set(all.filter(isDeleted).map(({ id }) => id))]);
  }

  /**
   * Waits for the responses whose turns have ended, and cancels those that take too long, so that the file has them as
   * they ended. Forgets what is in memory.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await settlesWithin(END_MS, Promise.all(this.#running.values().map(({ ended }) => ended)));
    for (const { cancel } of [...this.#running.values()]) cancel();
    clearTimeout(this.#expiryTimer);
    this.#running.clear();
    this.#ended.clear();
    this.#endedChars = 0;
  }

  /** Finds a response of a caller: in memory, or else in the file, without its words. */
  #find(owner: string, id: string): Entry | TranscriptSummary | undefined {
    const entry = this.#running.get(id) ?? this.#ended.get(id);
    // The timer may be late.
    const isKept = entry !== undefined && entry.expiresAt > performance.now();
    const found = isKept ? entry : this.#transcripts?.get(id);
    return found?.owner === owner ? found : undefined;
  }

  #keep(entry: Entry): void {
    this.#ended.set(entry.id, entry);
    this.#endedChars += entry.chars;
    if (this.#ended.size > MAX_KEPT || this.#endedChars > MAX_KEPT_CHARS) {
      for (const { id } of listExcess(this.#ended.values(), MAX_KEPT, MAX_KEPT_CHARS)) this.#drop(id);
    }
    this.#expiryTimer ??= this.#expireIn(KEEP_MS);
  }

  #drop(id: string): void {
    this.#endedChars -= this.#ended.get(id)?.chars ?? 0;
    this.#ended.delete(id);
  }

  #expireIn(ms: number): ReturnType<typeof setTimeout> {
    return startBackgroundTimer(() => {
      const now = performance.now();
      for (const { id, expiresAt } of this.#ended.values()) {
        if (expiresAt > now) break;
        this.#drop(id);
      }
      const [oldest] = this.#ended.values();
      this.#expiryTimer = oldest && this.#expireIn(oldest.expiresAt - now);
    }, ms);
  }

  async #write({ input, ...entry }: Entry, chars: number, response: ResponseObject): Promise<void> {
    if (!this.#transcripts) return;
    // A response that never got to its agent may have no conversation. As a branch does, it begins one of its own name.
    const { id, owner, agent, conversation = id, previousId, createdAt } = entry;
    const summary = { id, owner, agent, conversation, previousId, createdAt };
    const words = {
      input: JSON.stringify(chars > MAX_CHARS ? withoutMedia(input) : input),
      response: JSON.stringify(response),
    };
    if (words.input.length + words.response.length <= MAX_CHARS) {
      return await this.#transcripts.add(summary, words);
    }
    this.#log.warn("a response is too long for the file, and is kept in memory only", { response: id });
  }

  #read(summary: TranscriptSummary): KeptResponse | undefined {
    const words = this.#transcripts?.read(summary.id);
    if (words === undefined) return undefined;
    return {
      ...summary,
      input: JSON.parse(words.input),
      response: JSON.parse(words.response),
      isRunning: false,
      cancel() {},
    };
  }

  async #delete(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      this.#running.delete(id);
      this.#drop(id);
    }
    if (await this.#transcripts?.delete(ids) ?? true) return;
    throw new AppError(
      "internal_error",
      "The response is deleted until the next start only, because the file in VTUBER_DATA_DIR cannot be written. " +
        "Free disk space or mend its permissions, restart, and delete it again.",
    );
  }

  #notFound(owner: string, id: string): AppError {
    return new AppError("not_found", this.#explainMissing(owner, id));
  }

  #explainMissing(owner: string, id: string): string {
    return this.#unstored.get(id) === owner
      ? `The response "${id}" was not kept, because its request had "store": false.`
      : `There is no response "${id}". Without "store": true, a response is kept for an hour at most.`;
  }
}

function conversationKey(
  { owner, agent, conversation }: Pick<TranscriptSummary, "owner" | "agent" | "conversation">,
): string {
  return JSON.stringify([owner, agent, conversation]);
}

/** Estimates the characters that a value of JSON takes in memory. */
function sizeOf(value: unknown): number {
  if (typeof value === "string") return CHARS_PER_VALUE + value.length;
  if (typeof value !== "object" || value === null) return CHARS_PER_VALUE;
  return Object.values(value).reduce((sum, each) => sum + sizeOf(each), CHARS_PER_VALUE);
}

/** Returns the items of a response and of its request by their ids. */
function itemsById({ id, input, response }: KeptResponse): Map<string, HistoryItem> {
  return new Map<string, HistoryItem>([
    ...input.map((item, index) => [item.id || itemId(item.type, id, index, "input"), item] as const),
    ...response.output.map((item) => [item.id, item] as const),
  ]);
}

/** Returns items of at most so many characters; `undefined` if their text alone is longer. */
function fitting(items: readonly HistoryItem[], maxChars: number): readonly HistoryItem[] | undefined {
  return [items, withoutMedia(items)].find((each) => sizeOf(each) <= maxChars);
}

/** Replaces the images and sounds of a request by notes. */
function withoutMedia(input: readonly HistoryItem[]): HistoryItem[] {
  const note = { type: "text", text: "[An image or sound was too large to be kept.]" } as const;
  return input.map((item) =>
    "parts" in item ? { ...item, parts: item.parts.map((part) => part.type === "text" ? part : note) } : item
  );
}
