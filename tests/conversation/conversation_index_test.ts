import { assert, assertEquals } from "@std/assert";
import v8 from "node:v8";
import vm from "node:vm";
import { MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import type { ConversationRecord, Store } from "../../lib/conversation/record.ts";
import { MemoryAgent, saying } from "../support/agents/memory_agent.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { House } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const WARM = 20_000;
const ALL = 100_000;
const MAX_SESSIONS = 10;
/** After so many the agent forgets what it was asked, so that it is not its memory that grows. */
const BATCH = 1_000;
/** Far below what it would be if anything were kept of each of them. */
const MAX_GROWTH_BYTES = 20 * 1024 * 1024;

/** A store that knows only how many it keeps. */
class CountingStore implements Store {
  readonly key = new Uint8Array(32);
  readonly ids = new Set<string>();

  load(): ConversationRecord[] {
    return [];
  }

  save({ id }: ConversationRecord): boolean {
    this.ids.add(id);
    return true;
  }

  remove({ id }: Pick<ConversationRecord, "id">): boolean {
    this.ids.delete(id);
    return true;
  }

  removeAll(): boolean {
    this.ids.clear();
    return true;
  }

  [Symbol.dispose](): void {}
}

/** The heap in use once all rubbish is gone. */
function heapBytes(): number {
  v8.setFlagsFromString("--expose-gc");
  vm.runInNewContext("gc")();
  return Deno.memoryUsage().heapUsed;
}

/** Drops what the agent kept of closed sessions. @returns How many are open. */
function openSessions({ sessions, prompts }: MemoryAgent): number {
  const open = sessions.filter(({ closed }) => !closed.aborted);
  sessions.splice(0, sessions.length, ...open);
  prompts.length = 0;
  return open.length;
}

Deno.test(`Conversations: memory stays flat over ${ALL} of them, and so does what is kept and open`, async () => {
  const store = new CountingStore();
  const agent = new MemoryAgent();
  agent.script = saying("[happy] That is an answer.");
  using house = new House({ mode: "auto", store, agent, maxSessions: MAX_SESSIONS });
  const owners = ["", "another"];
  const mao = system("You are Mao.");
  let warm = 0;
  for (let number = 1; number <= ALL; number++) {
    const owner = owners[number % 2]!;
    const name = number % 10 === 0 ? `talk ${number}` : undefined;
    const messages = [mao, user(`Question ${number}`)];
    const turn = await house.beginAs({ owner, name }, messages);
    await turn.ended;
    if (number % 200 === 0) {
      // Some go on.
      messages.push(assistant("[happy] That is an answer."), user(`And ${number}?`));
      const next = await house.beginAs({ owner, name }, messages);
      assertEquals(next.sessionId, turn.sessionId);
      await next.ended;
    }
    if (number % BATCH === 0) {
      // What was referred to weakly is let go of only when the event loop goes on.
      await settled();
      assert(openSessions(agent) <= MAX_SESSIONS + 1, "open sessions");
      const known = owners.reduce((sum, each) => sum + house.conversations.list(each).length, 0);
      assert(
        known <= MAX_CONVERSATIONS && store.ids.size <= MAX_CONVERSATIONS,
        `${known} known, ${store.ids.size} kept`,
      );
    }
    if (number === WARM) warm = heapBytes();
  }
  const growth = heapBytes() - warm;
  assert(growth < MAX_GROWTH_BYTES, `the heap grew by ${Math.round(growth / 1024)} KiB`);
  assertEquals([house.slots.running, house.conversations.running.size], [0, 0]);
});
