/** A store in memory: the conversations that one registry saved, for the next. @module */

import type { ConversationRecord, Store, TurnCount, TurnCounts } from "../../../lib/conversation/record.ts";

/** The store. It outlives the registries that use it. */
export class MemoryStore implements Store {
  readonly key: Uint8Array = new Uint8Array(32).fill(7);
  /** The records by their key, the last saved one at the end. */
  readonly records = new Map<string, ConversationRecord>();
  /** The ids in the order of the calls. */
  readonly calls: string[] = [];
  /** Nothing can be removed or counted. */
  isFull = false;
  /** The counts of turns by their key. */
  readonly counts = new Map<string, TurnCount>();
  readonly turnCounts: TurnCounts = {
    read: (key) => this.counts.get(key),
    write: (key, count) => {
      if (this.isFull) throw new Error("database or disk is full");
      this.calls.push(`count ${key} ${count.count}`);
      this.counts.set(key, count);
    },
    prune: () => {},
  };

  load(): ConversationRecord[] {
    return [...this.records.values()].sort((a, b) => a.usedAt - b.usedAt).map(copyOf);
  }

  saveSoon(conversation: ConversationRecord): void {
    this.#write("save soon", conversation);
  }

  save(conversation: ConversationRecord): Promise<void> {
    this.#write("save", conversation);
    return Promise.resolve();
  }

  remove(conversation: ConversationRecord): boolean {
    this.calls.push(`remove ${conversation.id}`);
    if (!this.isFull) this.records.delete(keyOf(conversation));
    return !this.isFull;
  }

  #write(call: string, conversation: ConversationRecord): void {
    this.calls.push(`${call} ${conversation.id}`);
    // Conversations that are used in the same millisecond keep their order.
    this.records.delete(keyOf(conversation));
    this.records.set(keyOf(conversation), copyOf(conversation));
  }

  [Symbol.dispose](): void {}
}

function keyOf({ owner, agent, id }: ConversationRecord): string {
  return JSON.stringify([owner, agent, id]);
}

function copyOf(conversation: ConversationRecord): ConversationRecord {
  return { ...conversation, turns: conversation.turns.map((turn) => ({ ...turn })) };
}
