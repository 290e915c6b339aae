/** The app behind a real port, with event clients. @module */

import type { PermissionQuestion, PermissionResolution } from "../../../lib/turn/event.ts";
import type { MemoryPrompt } from "../agents/memory_agent.ts";
import { startApp, type TestApp, type TestAppOptions, WriteReader } from "./app_harness.ts";
import { EventClient, listen } from "./event_client.ts";
import { permissionQuestion } from "./events_fixture.ts";
import { withKey } from "./key_fixture.ts";

/** The path of the WebSocket. */
export const EVENTS_PATH = "/v1/vtuber/ws";

/** The app behind a real port. Its clients close before the port does. */
export class ServedApp implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;

  private constructor(readonly app: TestApp, readonly url: string, stack: AsyncDisposableStack) {
    this.#stack = stack;
  }

  static start(options: TestAppOptions = {}): ServedApp {
    const stack = new AsyncDisposableStack();
    const app = stack.use(startApp(options));
    const { url } = stack.use(listen((request) => app.serve(request)));
    return new ServedApp(app, url, stack);
  }

  /** Connects an event client, and takes the frames that it gets at first. */
  async connect(...events: string[]): Promise<EventClient> {
    const client = this.#stack.use(await EventClient.open(this.url + EVENTS_PATH));
    if (events.length > 0) client.send({ type: "subscribe", events });
    await client.sync();
    return client;
  }

  /** Starts a streamed chat, with a key if the app needs one, that goes on until the test ends it. */
  async startChat(
    conversation = "mao",
    key?: string,
  ): Promise<{ prompt: MemoryPrompt; reply: WriteReader; session: string | null }> {
    const response = await this.app.stream({}, {
      headers: { "x-session-id": conversation, ...key === undefined ? {} : withKey(key).headers },
    });
    const reply = this.#stack.use(new WriteReader(response));
    return {
      prompt: await this.app.agent.nextPrompt(),
      reply,
      session: response.headers.get("x-session-id"),
    };
  }

  /** Lets the agent ask for a permission in the turn of this prompt, until the signal aborts. */
  askPermission(
    prompt: MemoryPrompt,
    fields: Partial<PermissionQuestion> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<PermissionResolution | undefined> {
    return this.app.permissions.ask(permissionQuestion(fields), (event) => prompt.emit(event), signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}
