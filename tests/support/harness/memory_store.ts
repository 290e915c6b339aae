/** A store in memory: what a server kept, as the next one finds it. @module */

import type { ConversationRecord, Fingerprint, Store } from "../../../lib/conversation/record.ts";

/** The store. It outlives the registries that are made over it. */
export class MemoryStore implements Store {
  readonly key: Uint8Array = new Uint8Array(32).fill(7);
  /** As they were saved last. */
  readonly kept = new Map<string, ConversationRecord>();

  /** Those that were loaded or saved since, and not removed here: what another program removes is not saved. */
  readonly #begun = new Set<string>();

  /** Nothing can be removed. */
  isFull = false;

  load(): ConversationRecord[] {
    for (const name of this.kept.keys()) this.#begun.add(name);
    return [...this.kept.values()].sort((a, b) => a.usedAt - b.usedAt).map(copied);
  }

  save(conversation: ConversationRecord): boolean {
    const name = nameOf(conversation);
    if (this.#begun.has(name) && !this.kept.has(name)) {
      this.#begun.delete(name);
      return false;
    }
    this.#begun.add(name);
    // The one that is saved last stands at the end, as long as the clock does not go on.
    this.kept.delete(name);
    this.kept.set(name, copied(conversation));
    return true;
  }

  remove(conversation: Pick<ConversationRecord, "owner" | "agent" | "id">): boolean {
    if (this.isFull) return false;
    this.#begun.delete(nameOf(conversation));
    this.kept.delete(nameOf(conversation));
    return true;
  }

  removeAll(owner: Fingerprint): boolean {
    if (this.isFull) return false;
    for (const [name, kept] of this.kept) if (kept.owner === owner) this.kept.delete(name);
    return true;
  }

  [Symbol.dispose](): void {}
}

function nameOf({ owner, agent, id }: Pick<ConversationRecord, "owner" | "agent" | "id">): string {
  return JSON.stringify([owner, agent, id]);
}

/** As a file would give it back: what becomes of the original is nothing to it. */
function copied(conversation: ConversationRecord): ConversationRecord {
  return structuredClone({ ...conversation });
}
