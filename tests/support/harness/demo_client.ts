import { assertEquals } from "@std/assert";
import { type DemoOptions, serveDemo } from "../../../lib/demo/agent.ts";
import { JsonRpcPeer } from "../../../lib/acp/json_rpc.ts";
import { isObject, type Json } from "../agents/scripted_agent.ts";
import { soon } from "./turn_recorder.ts";
import { streamPair } from "./json_rpc_harness.ts";

/** Without any wait. */
export const AT_ONCE: DemoOptions = { tokenMs: 0, stepMs: 0, startMs: 0, sessionMs: 0 };
const OPTIONS_OF_PERMISSION = ["allow_once", "allow_always", "reject_once"];

/** A client of the demo agent, over streams in memory. */
export class DemoClient implements AsyncDisposable {
  readonly peer: JsonRpcPeer;
  readonly updates: Json[] = [];
  /** The messages of both ends, as they were written. */
  readonly sent: Json[] = [];
  readonly received: Json[] = [];
  /** The answer to a permission request. */
  decide: (options: Json[]) => Json | Promise<Json> = () => ({ outcome: { outcome: "cancelled" } });
  /** Called with each update. */
  hear: (update: Json) => void = () => {};
  readonly served: Promise<void>;

  constructor(options = AT_ONCE) {
    const [mine, theirs] = streamPair();
    this.served = serveDemo(
      { readable: theirs.readable, writable: watched(theirs.writable, this.received) },
      options,
    );
    this.peer = new JsonRpcPeer({ readable: mine.readable, writable: watched(mine.writable, this.sent) }, {
      onInvalidLine(line) {
        throw new Error(`The demo agent wrote ${line}`);
      },
      onNotification: (method, params) => {
        assertEquals(method, "session/update");
        const { update } = params as { update: Json };
        this.updates.push(update);
        this.hear(update);
      },
      onRequest: async (method, params) => {
        assertEquals(method, "session/request_permission");
        const { options } = params as { options: Json[] };
        assertEquals(options.map(({ kind }) => kind), OPTIONS_OF_PERMISSION);
        return await this.decide(options);
      },
    });
  }

  async session(): Promise<string> {
    const { sessionId } = await this.peer.request("session/new", { cwd: "/", mcpServers: [] }) as Json;
    return String(sessionId);
  }

  async prompt(sessionId: string, ...blocks: (string | Json)[]): Promise<Json> {
    const prompt = blocks.map((block) => typeof block === "string" ? { type: "text", text: block } : block);
    return await soon(this.peer.request("session/prompt", { sessionId, prompt }), "the answer") as Json;
  }

  of(kind: string): Json[] {
    return this.updates.filter(({ sessionUpdate }) => sessionUpdate === kind);
  }

  /** The text of the updates of a kind. */
  text(kind = "agent_message_chunk"): string {
    return this.of(kind).map(({ content }) => isObject(content) ? content.text : "").join("");
  }

  /** Chooses the option of this kind. */
  choose(kind: string): void {
    this.decide = (options) => ({
      outcome: { outcome: "selected", optionId: options.find((option) => option.kind === kind)?.optionId },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.peer.close();
    await soon(this.served, "the demo agent's end");
  }
}

/** A stream that also keeps the messages that go through it. */
function watched(writable: WritableStream<Uint8Array>, seen: Json[]): WritableStream<Uint8Array> {
  const through = new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, controller) {
      for (const line of new TextDecoder().decode(bytes).split("\n")) {
        if (line !== "") seen.push(JSON.parse(line));
      }
      controller.enqueue(bytes);
    },
  });
  through.readable.pipeTo(writable).catch(() => {});
  return through.writable;
}
