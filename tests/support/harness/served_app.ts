/** The app behind a real port, with watchers at it. @module */

import type { PermissionQuestion, PermissionResolution } from "../../../lib/turn/permission.ts";
import { startApp, type TestApp, type TestAppOptions, Writes } from "./app_harness.ts";
import type { MemoryPrompt } from "../agents/memory_agent.ts";
import { listen, Socket } from "./websocket_harness.ts";
import { question } from "./events_fixture.ts";

/** Where a client watches. */
export const WATCH = "/v1/vtuber/ws";

/** The app behind a real port, and sockets that are closed before it is. */
export class Served implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;

  private constructor(readonly app: TestApp, readonly url: string, stack: AsyncDisposableStack) {
    this.#stack = stack;
  }

  static start(options: TestAppOptions = {}): Served {
    const stack = new AsyncDisposableStack();
    const app = stack.use(startApp(options));
    const { url } = stack.use(listen((request) => app.serve(request)));
    return new Served(app, url, stack);
  }

  /** Lets somebody watch; what it is told when it comes is forgotten. */
  async watch(...events: string[]): Promise<Socket> {
    const socket = this.#stack.use(await Socket.open(this.url + WATCH));
    if (events.length > 0) socket.send({ type: "subscribe", events });
    await socket.answered();
    return socket;
  }

  /** Begins a streamed chat of this conversation, and leaves it running. */
  async chat(conversation = "mao"): Promise<{ prompt: MemoryPrompt; reply: Writes; session: string | null }> {
    const response = await this.app.stream({}, { headers: { "x-session-id": conversation } });
    const reply = this.#stack.use(new Writes(response));
    return {
      prompt: await this.app.agent.nextPrompt(),
      reply,
      session: response.headers.get("x-session-id"),
    };
  }

  /** The agent asks, in the turn of this prompt. */
  ask(
    prompt: MemoryPrompt,
    fields: Partial<PermissionQuestion> = {},
  ): Promise<PermissionResolution | undefined> {
    return this.app.desk.ask(question(fields), (event) => prompt.emit(event), new AbortController().signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}
