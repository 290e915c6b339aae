/** A store in memory: what a server kept, as the next one finds it. @module */

import type { KnownConversation, Store } from "../../lib/conversation/memory.ts";

/** The store. It outlives the registries that are made over it. */
export class MemoryStore implements Store {
  readonly key: Uint8Array = new Uint8Array(32).fill(7);
  /** As they were saved last. */
  readonly kept = new Map<string, KnownConversation>();

  /** Nothing can be removed. */
  isFull = false;

  load(): KnownConversation[] {
    return [...this.kept.values()].sort((a, b) => a.usedAt - b.usedAt).map(copied);
  }

  save(conversation: KnownConversation): void {
    // The one that is saved last stands at the end, as long as the clock does not go on.
    this.remove(conversation);
    this.kept.set(nameOf(conversation), copied(conversation));
  }

  remove(conversation: Pick<KnownConversation, "owner" | "agent" | "id">): boolean {
    if (this.isFull) return false;
    this.kept.delete(nameOf(conversation));
    return true;
  }

  [Symbol.dispose](): void {}
}

function nameOf({ owner, agent, id }: Pick<KnownConversation, "owner" | "agent" | "id">): string {
  return JSON.stringify([owner, agent, id]);
}

/** As a file would give it back: what becomes of the original is nothing to it. */
function copied(conversation: KnownConversation): KnownConversation {
  return structuredClone({ ...conversation });
}
