/** The server of clawd-on-desk 0.5.10 for tests of the driver: its limit, its states, its open permission requests. @module */

import { waitFor } from "./turn_recorder.ts";

/** Any JSON object. */
export type Json = Record<string, unknown>;

/** The states that the driver uses, of those that the server accepts. */
const STATES = ["idle", "thinking", "working", "juggling", "attention", "notification", "error"];
const MAX_STATE_BYTES = 1_024;

/** A permission request on the screen; `decide` without a decision breaks its connection. */
interface Bubble {
  readonly body: Json;
  decide(decision: Json | undefined): void;
}

/** A fake pet. */
export class FakeClawd implements AsyncDisposable {
  /** The accepted states, in order. */
  readonly posts: Json[] = [];
  /** Everything that happened: `STATE EVENT SESSION`, `ask TOOL`, `closed TOOL`, `413`, `400 STATE`. */
  readonly log: string[] = [];
  /** The open permission requests, oldest first. */
  readonly bubbles: Bubble[] = [];
  /** "Do not disturb": breaks off permission requests. */
  dnd = false;
  probes = 0;
  readonly #identity: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #change = Promise.withResolvers<void>();

  /** @param identity The value of the identity header. */
  constructor(identity = "clawd-on-desk") {
    this.#identity = identity;
    const address = { hostname: "127.0.0.1", port: 0, onListen() {}, onError: () => Response.error() };
    this.#server = Deno.serve(address, async (request) => {
      const response = await this.#answer(request);
      this.#changed();
      return response;
    });
  }

  get port(): number {
    return this.#server.addr.port;
  }

  /** The text of `runtime.json`. */
  get runtime(): string {
    return JSON.stringify({ app: "clawd-on-desk", port: this.port, ownerPid: 1 });
  }

  /** Waits until the condition holds; looks after each request. */
  async until(holds: () => boolean, what = "the pet"): Promise<void> {
    while (!holds()) await waitFor(this.#change.promise, `${what}; so far: ${this.log.join(", ")}`);
  }

  /** Waits until the line is in the log so many times. */
  untilLogged(line: string, times = 1): Promise<void> {
    return this.until(() => this.log.filter((one) => one === line).length >= times, line);
  }

  /** Decides the newest open request, with its first suggestion if there should be one. */
  decide(behavior: "allow" | "deny", { message, always }: { message?: string; always?: boolean } = {}): void {
    const { body, decide } = this.bubbles.at(-1)!;
    const suggestions = body.permission_suggestions as unknown[];
    decide({ behavior, message, updatedPermissions: always ? [suggestions[0]] : undefined });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { decide } of this.bubbles) decide(undefined);
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const headers = { "x-clawd-server": this.#identity };
    const text = await request.text();
    if (request.method === "GET") {
      this.probes++;
      return Response.json({ ok: true, app: "clawd-on-desk", port: this.port }, { headers });
    }
    if (new URL(request.url).pathname === "/permission") {
      return await this.#ask(JSON.parse(text), request.signal);
    }
    const size = new TextEncoder().encode(text).length;
    if (size > MAX_STATE_BYTES) return this.#refuse(413, "413");
    const { state, event = "-", session_id, ...more } = JSON.parse(text);
    if (!STATES.includes(state)) return this.#refuse(400, `400 ${state}`);
    this.log.push(`${state} ${event} ${session_id}`);
    this.posts.push({ state, event, session_id, ...more });
    return new Response("ok", { headers });
  }

  #refuse(status: number, line: string): Response {
    this.log.push(line);
    return new Response("no", { status });
  }

  async #ask(body: Json, closed: AbortSignal): Promise<Response> {
    if (this.dnd) {
      this.log.push("dnd");
      return broken();
    }
    const { promise, resolve } = Promise.withResolvers<Json | undefined>();
    const bubble = { body, decide: resolve };
    this.bubbles.push(bubble);
    this.log.push(`ask ${body.tool_name}`);
    this.#changed();
    closed.addEventListener("abort", () => {
      this.log.push(`closed ${body.tool_name}`);
      resolve(undefined);
    });
    const decision = await promise;
    this.bubbles.splice(this.bubbles.indexOf(bubble), 1);
    if (decision === undefined) return broken();
    return Response.json({ hookSpecificOutput: { hookEventName: "PermissionRequest", decision } });
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}

/** A response whose connection breaks. */
function broken(): Response {
  return new Response(new ReadableStream({ pull: (controller) => controller.error(new Error("broken")) }));
}
