import { assertEquals } from "@std/assert";
import { JsonRpcPeer } from "../../../lib/acp/json_rpc.ts";
import { serveDemo } from "../../../lib/demo/agent.ts";
import type { Pace } from "../../../lib/demo/script.ts";
import { isObject, type Json } from "../agents/agent_io.ts";
import { streamPair } from "./json_rpc_harness.ts";
import { waitFor } from "./turn_recorder.ts";

/** A pace without any delay. */
export const NO_DELAYS: Pace = { tokenMs: 0, stepMs: 0 };

/** A client of the demo agent, over streams in memory. */
export class DemoClient implements AsyncDisposable {
  readonly peer: JsonRpcPeer;
  readonly updates: Json[] = [];
  /** The messages to and from the agent. */
  readonly sent: Json[] = [];
  readonly received: Json[] = [];
  /** Answers a permission request. */
  onPermission: (options: Json[]) => Json | Promise<Json> = () => ({ outcome: { outcome: "cancelled" } });
  onUpdate: (update: Json) => void = () => {};
  readonly #served: Promise<void>;

  constructor(pace = NO_DELAYS) {
    const [mine, theirs] = streamPair();
    this.#served = serveDemo({ ...theirs, writable: recording(theirs.writable, this.received) }, pace);
    this.peer = new JsonRpcPeer({ ...mine, writable: recording(mine.writable, this.sent) }, {
      onInvalidLine(line) {
        throw new Error(`The demo agent wrote ${line}`);
      },
      onNotification: (method, params) => {
        assertEquals(method, "session/update");
        const { update } = params as { update: Json };
        this.updates.push(update);
        this.onUpdate(update);
      },
      onRequest: async (method, params) => {
        assertEquals(method, "session/request_permission");
        const { options } = params as { options: Json[] };
        assertEquals(options.map(({ kind }) => kind), ["allow_once", "allow_always", "reject_once"]);
        return await this.onPermission(options);
      },
    });
  }

  /** Sends a request about a session. */
  request(method: string, sessionId?: string): Promise<unknown> {
    return waitFor(
      this.peer.request(method, { sessionId, cwd: "/", mcpServers: [] }),
      `the answer to ${method}`,
    );
  }

  async newSession(): Promise<string> {
    return String((await this.request("session/new") as Json).sessionId);
  }

  async prompt(sessionId: string, ...blocks: (string | Json)[]): Promise<Json> {
    const prompt = blocks.map((block) => typeof block === "string" ? { type: "text", text: block } : block);
    return await waitFor(this.peer.request("session/prompt", { sessionId, prompt }), "the answer") as Json;
  }

  cancel(sessionId: string): void {
    this.peer.notify("session/cancel", { sessionId });
  }

  /** Returns the updates of a kind. */
  updatesOf(kind: string): Json[] {
    return this.updates.filter(({ sessionUpdate }) => sessionUpdate === kind);
  }

  /** Returns the text of the updates of a kind. */
  text(kind = "agent_message_chunk"): string {
    return this.updatesOf(kind).map(({ content }) => isObject(content) ? content.text : "").join("");
  }

  /** Answers permission requests with the option of this kind. */
  choose(kind: string): void {
    this.onPermission = (options) => ({
      outcome: { outcome: "selected", optionId: options.find((option) => option.kind === kind)?.optionId },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.peer.close();
    await waitFor(this.#served, "the demo agent's end");
  }
}

/** Wraps a stream so that the messages written to it are recorded. */
function recording(writable: WritableStream<Uint8Array>, messages: Json[]): WritableStream<Uint8Array> {
  const through = new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, controller) {
      for (const line of new TextDecoder().decode(bytes).split("\n")) {
        if (line !== "") messages.push(JSON.parse(line));
      }
      controller.enqueue(bytes);
    },
  });
  through.readable.pipeTo(writable).catch(() => {});
  return through.writable;
}
