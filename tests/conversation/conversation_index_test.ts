import { assert, assertEquals } from "@std/assert";
import { UNMATCHED } from "../../lib/conversation/match.ts";
import {
  ConversationIndex,
  MAX_CONVERSATIONS,
  mergeTranscript,
} from "../../lib/conversation/conversation.ts";
import type { ConversationRecord } from "../../lib/conversation/record.ts";
import { MemoryAgent, saying } from "../support/agents/memory_agent.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { FINGERPRINTER, messagesOf, newConversation } from "../support/harness/fingerprint_fixture.ts";
import { ownHeapBytes } from "../support/harness/inspector.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { user } from "../support/harness/message_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const noneBusy = () => false;

Deno.test("ConversationIndex: touch makes a conversation the last used one", () => {
  const index = new ConversationIndex(undefined);
  const [a] = ["a", "b"].map((id) => newConversation("", index, id));
  index.touch(a!, 9, noneBusy);
  assertEquals([...index.all].map(({ id, usedAt }) => [id, usedAt]), [["b", 0], ["a", 9]]);
});

Deno.test("ConversationIndex: a forgotten conversation is removed once, and not saved any more", () => {
  const store = new MemoryStore();
  const index = new ConversationIndex(store);
  const conversation = newConversation("", index);
  index.save(conversation);
  for (let again = 0; again < 2; again++) {
    index.forget(conversation);
    index.save(conversation);
  }
  assertEquals([store.calls, index.all.size], [["save a", "remove a"], 0]);
});

/** An index that is full: the given conversations are the oldest, the others have two turns. */
class FullIndex {
  readonly store = new MemoryStore();
  readonly index = new ConversationIndex(this.store);
  readonly #ids: readonly string[];

  constructor(...oldest: readonly (readonly [id: string, turns: number, isNamed?: boolean])[]) {
    for (const each of oldest) this.add(...each);
    while (this.index.all.size < MAX_CONVERSATIONS) this.add(`filler ${this.index.all.size}`, 2);
    this.#ids = this.ids;
  }

  get ids(): string[] {
    return [...this.index.all].map(({ id }) => id);
  }

  /** The conversations that made room for others. */
  get forgotten(): string[] {
    const stored = [...this.store.records.values()].map(({ id }) => id);
    assertEquals(stored.toSorted(), this.ids.toSorted());
    return this.#ids.filter((id) => !this.ids.includes(id));
  }

  add(
    id: string,
    turns: number,
    isNamed = false,
    isBusy: (conversation: ConversationRecord) => boolean = noneBusy,
  ): void {
    const lines = Array.from({ length: turns }, (_, turn) => `u: turn ${turn}`);
    const transcript = FINGERPRINTER.transcript(messagesOf(...lines));
    const conversation = newConversation("", this.index, id, isNamed);
    mergeTranscript(conversation, transcript, { positions: lines.map(() => UNMATCHED), isRetry: false });
    this.index.touch(conversation, 0, isBusy);
    this.index.save(conversation);
  }
}

Deno.test("ConversationIndex: single questions make room first, then the oldest; a named one counts as longer", () => {
  const full = new FullIndex(["long 1", 2], ["single 1", 1], ["named", 1, true], ["single 2", 1]);
  for (
    const forgotten of [
      ["single 1"],
      ["single 1", "single 2"],
      ["long 1", "single 1", "single 2"],
      ["long 1", "single 1", "named", "single 2"],
    ]
  ) {
    full.add(`more ${forgotten.length}`, 2);
    assertEquals([full.forgotten, full.index.all.size], [forgotten, MAX_CONVERSATIONS]);
  }
});

Deno.test("ConversationIndex: a busy conversation stays, and so does the one that is used now", () => {
  const full = new FullIndex(["long", 2], ["busy", 1], ["single", 1]);
  const isBusy = ({ id }: ConversationRecord) => id === "busy";
  full.add("new 1", 1, false, isBusy);
  assertEquals(full.forgotten, ["single"]);
  full.add("new 2", 1, false, isBusy);
  assertEquals([full.forgotten, full.ids.includes("new 1")], [["single"], false]);
  full.add("new 3", 2, false, isBusy);
  full.add("last", 1, false, isBusy);
  assertEquals([full.forgotten, full.ids.includes("last")], [["long", "single"], true]);
});

Deno.test("ConversationIndex: however many conversations a key starts, those of other keys stay", () => {
  const index = new ConversationIndex(undefined);
  const [mine, theirs] = ["mine", "theirs"].map((name) => FINGERPRINTER.fingerprint("owner", name));
  const start = (owner: typeof mine, id: number) => {
    const conversation = Object.assign(newConversation("", index, `${id}`, true), { owner });
    index.touch(conversation, id, noneBusy);
  };
  for (let id = 0; id < 3; id++) start(mine, id);
  for (let id = 0; id < 2 * MAX_CONVERSATIONS; id++) start(theirs, id);
  const owners = Object.groupBy(index.all, ({ owner }) => owner);
  assertEquals([owners[mine!]?.length, owners[theirs!]?.length], [3, MAX_CONVERSATIONS - 3]);
});

Deno.test("ConversationIndex: while all are busy there may be more than the limit", () => {
  const index = new ConversationIndex(undefined);
  for (let id = 0; id < MAX_CONVERSATIONS + 3; id++) {
    index.touch(newConversation("", index, `${id}`), id, () => true);
  }
  assertEquals(index.all.size, MAX_CONVERSATIONS + 3);
  index.touch([...index.all][5]!, 0, noneBusy);
  assertEquals(index.all.size, MAX_CONVERSATIONS);
});

/** After as many requests, every map of the registry is full. */
const WARM_UP = 12_000;
const REQUESTS = 18_000;
const MAX_SESSIONS = 10;
/** Below the growth if each request after the warm-up kept 200 bytes. */
const MAX_GROWTH_BYTES = 200 * (REQUESTS - WARM_UP);

Deno.test(`registry: memory, records and open sessions stay within limits over ${REQUESTS} conversations`, async () => {
  const store = new MemoryStore();
  const agent = new MemoryAgent();
  agent.script = saying("[happy] That is an answer.");
  using harness = new ConversationHarness({ mode: "auto", store, agent, maxSessions: MAX_SESSIONS });
  let warm = 0;
  for (let number = 1; number <= REQUESTS; number++) {
    const name = number % 10 === 0 ? `conversation ${number}` : undefined;
    await (await harness.start(name, [user(`Question ${number}`)])).ended;
    if (number % 1_000 === 0) {
      // The engine releases weakly held objects only when the event loop goes on.
      await nextTask();
      // The agent's own records must not grow either.
      const open = agent.sessions.filter(({ closed }) => !closed.aborted);
      agent.sessions.splice(0, agent.sessions.length, ...open);
      store.calls.length = agent.prompts.length = 0;
      assert(open.length <= MAX_SESSIONS + 1, "open sessions");
      assert(Math.max(harness.registry.list("").length, store.records.size) <= MAX_CONVERSATIONS);
    }
    if (number === WARM_UP) warm = ownHeapBytes();
  }
  const growth = ownHeapBytes() - warm;
  assert(growth < MAX_GROWTH_BYTES, `the heap grew by ${Math.round(growth / 1024)} KiB`);
  assertEquals([harness.running, harness.registry.running.size], [0, 0]);
});
