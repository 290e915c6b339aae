/** An app in memory with an agent that asks for permission, and clients that answer as the Responses API has it. @module */

import { assertEquals } from "@std/assert";
import type { ResponseObject } from "../../../lib/openai/responses/events.ts";
import { SCOPES } from "../../../lib/turn/caller.ts";
import type { TurnEvent } from "../../../lib/turn/event.ts";
import type { Decision, PermissionBroker, PermissionPolicy } from "../../../lib/turn/permission.ts";
import { AcpHarness } from "../agents/memory_acp_agent.ts";
import { startApp, type TestApp } from "./app_harness.ts";
import { apiKey, withKey } from "./key_fixture.ts";

export const PATH = "/v1/responses";
/** A tool that says that the client answers permission requests. */
export const TOOLS = [{ type: "mcp", server_label: "agent", require_approval: "always" }];
const OPTIONS = ["reject", "allow"].map((name) => ({ optionId: name, name, kind: `${name}_once` }));
/** The result of a permission request, as the agent gets it. */
type Decided = { readonly outcome: { readonly outcome: string; readonly optionId?: string } };
export type Json = Record<string, unknown>;

/** An app with an agent that asks for each of these commands, tells the outcomes, and ends its turn. */
export class Asking implements AsyncDisposable {
  readonly agent: AcpHarness;
  readonly app: TestApp;
  /** The outcomes, as the agent got them. */
  readonly outcomes: string[] = [];
  /** The ids of the permission requests. */
  readonly permissionIds: string[] = [];
  /** The agent's work with its permissions. */
  work: Promise<void> = Promise.resolve();

  constructor(commands: readonly string[] = ["rm -r build"], permissions: PermissionPolicy = "ask") {
    let prompts = 0;
    this.agent = new AcpHarness({
      "session/prompt": async ({ sessionId }, running) => {
        if (prompts++ > 0) {
          running.sendText(sessionId, "Next.");
          return { stopReason: "end_turn" };
        }
        running.sendText(sessionId, "Let me.");
        for (const [index, command] of commands.entries()) {
          const toolCallId = `t${index}`;
          const toolCall = { toolCallId, title: "Clean", kind: "execute", rawInput: { command } };
          const request = { sessionId, toolCall, options: OPTIONS };
          const { outcome } = await running.peer.request("session/request_permission", request) as Decided;
          this.outcomes.push(outcome.optionId ?? outcome.outcome);
          running.update(sessionId, { sessionUpdate: "tool_call_update", toolCallId, status: "completed" });
        }
        await this.work;
        running.sendText(sessionId, ` Then ${this.outcomes.join()}.`);
        const isCancelled = this.outcomes.includes("cancelled");
        return { stopReason: isCancelled ? "cancelled" : "end_turn" };
      },
    }, { permissions, broker: { ask: (...asked) => this.#ask(...asked) } });
    const keys = [
      apiKey("one", SCOPES, { agent: "agent" }),
      apiKey("two", SCOPES, { agent: "agent" }),
      apiKey("chat", ["chat"], { agent: "agent" }),
      // The same caller as the first, with fewer rights.
      { ...apiKey("less", ["chat"], { agent: "agent", id: "keys.one" }) },
    ];
    this.app = startApp({ agents: [this.agent.agent], access: { keys }, sessions: "auto" });
  }

  #ask(...[question, reader, signal]: Parameters<PermissionBroker["ask"]>) {
    const watch = (event: TurnEvent) => {
      if (event.type === "permission") this.permissionIds.push(event.request.id);
      reader(event);
    };
    const { answersPermissions } = reader;
    return this.app.permissions.ask(question, Object.assign(watch, { answersPermissions }), signal);
  }

  post(body: Json, key = "one", signal?: AbortSignal): Promise<Response> {
    return this.app.post(PATH, body, { ...withKey(key), ...(signal ? { signal } : {}) });
  }

  /** Sends the first request, and returns its response. */
  async ask(body: Json = {}, key = "one"): Promise<ResponseObject> {
    return await responseOf(await this.post({ input: "Clean up.", tools: TOOLS, ...body }, key));
  }

  /** Answers an approval request. */
  answer(response: ResponseObject, approve = true, body: Json = {}, key = "one"): Promise<Response> {
    const input = [approval(askedIn(response)!.id, approve)];
    return this.post({ input, previous_response_id: response.id, tools: TOOLS, ...body }, key);
  }

  /** Answers the newest permission request as a watcher. */
  watcherAnswers(decision: Decision): void {
    this.app.permissions.answer(this.permissionIds.at(-1)!, { decision }, "Mao");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.app[Symbol.asyncDispose]();
    await this.agent[Symbol.asyncDispose]();
  }
}

export const approval = (id: string, approve = true) => ({
  type: "mcp_approval_response",
  approval_request_id: id,
  approve,
});

/** Reads a response, sent as JSON or as a stream. */
export async function responseOf(answer: Response): Promise<ResponseObject> {
  const text = await answer.text();
  assertEquals(answer.status, 200, text);
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) return JSON.parse(text);
  const last = text.trimEnd().split("\n\n").at(-1)!;
  return JSON.parse(/^data: (.+)$/m.exec(last)![1]!).response;
}

export function askedIn({ output }: ResponseObject) {
  return output.find((item) => item.type === "mcp_approval_request");
}

export function textOf({ output }: ResponseObject): string {
  return output.flatMap((item) => item.type === "message" ? item.content : [])
    .map((part) => part.type === "refusal" ? part.refusal : part.text).join("").trim();
}
