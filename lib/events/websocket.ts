/** `GET /v1/vtuber/ws`: delivers events over a WebSocket and handles the commands of the client. @module */

import type { ConversationRegistry } from "../conversation/registry.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Handler } from "../http/router.ts";
import { REQUIRED_SCOPES } from "../http/scopes.ts";
import { upgrade } from "../http/websocket.ts";
import { requireScopes } from "../turn/caller.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import type { QuestionBroker } from "../turn/question.ts";
import type { EventHub } from "./hub.ts";
import { type Subscriber, type Transport, TRY_AGAIN_LATER } from "./subscriber.ts";
import { parseCommand, parsePermissionAnswer, parseQuestionAnswer } from "./wire.ts";

/** The subprotocol that is chosen if the client offers it. */
const PROTOCOL = "vtuber";
/** Commands of one client that are answered in a second. AniCompanion's pings multiply with each reconnect. */
const MAX_COMMANDS_PER_SECOND = 50;

/** Dependencies of the WebSocket handler. */
export interface WebSocketDeps {
  readonly hub: EventHub;
  readonly permissions: Pick<PermissionBroker, "answer">;
  readonly questions: Pick<QuestionBroker, "answer">;
  readonly conversations: Pick<ConversationRegistry, "interrupt">;
  readonly version: string;
  readonly log: Log;
}

/** Answers the WebSocket handshake. */
export function webSocketHandler(deps: WebSocketDeps): Handler {
  const { hub, log } = deps;
  return (request, { caller }) => {
    hub.admit();
    const { socket, response } = upgrade(request, PROTOCOL);
    const ended = Promise.withResolvers<void>();
    let subscriber: Subscriber | undefined;
    let second = 0;
    let commands = 0;
    socket.onopen = () => {
      try {
        subscriber = hub.subscribe(webSocketTransport(socket, ended.promise), caller);
        log.debug("client connected", { client: subscriber.id });
      } catch (error) {
        socket.close(TRY_AGAIN_LATER, toAppError(error, "internal_error").code);
      }
    };
    socket.onmessage = ({ data }) => {
      if (subscriber === undefined) return;
      const now = Math.floor(performance.now() / 1000);
      commands = now === second ? commands + 1 : 1;
      second = now;
      // Only the first command above the limit gets an error.
      if (commands > MAX_COMMANDS_PER_SECOND + 1) return;
      try {
        if (commands > MAX_COMMANDS_PER_SECOND) {
          throw new AppError(
            "rate_limit_exceeded",
            `More than ${MAX_COMMANDS_PER_SECOND} commands in a second. Further ones are ignored until the next.`,
          );
        }
        handleCommand(deps, subscriber, typeof data === "string" ? data : "");
      } catch (error) {
        const { code, message } = toAppError(error, "internal_error");
        if (code === "internal_error") log.error("a command failed", { error });
        subscriber.send({ type: "error", code, message });
      }
    };
    // Deno may fire both events for one socket, and each of them twice. A socket that never opens has no subscriber.
    // The request's signal says nothing here: in an executable, it also aborts when the socket opens.
    socket.onclose = socket.onerror = () => {
      ended.resolve();
      if (subscriber === undefined) return;
      subscriber.detach();
      log.debug("client disconnected", { client: subscriber.id });
      subscriber = undefined;
    };
    return response;
  };
}

function handleCommand(deps: WebSocketDeps, client: Subscriber, text: string): void {
  const command = parseCommand(text);
  const row = `ws ${command.type}` as const;
  requireScopes(client.caller, REQUIRED_SCOPES[row], "This command");
  switch (command.type) {
    case "hello":
      client.name = command.client ?? client.id;
      return client.send({
        type: "hello",
        client_id: client.id,
        server: "oab-vtuber",
        version: deps.version,
      });
    case "subscribe":
      return deps.hub.changeSubscription(client, command.events);
    case "ping":
      return client.send({ type: "pong" });
    case "permission_response":
      if (!client.answersPermissions) {
        throw new AppError(
          "invalid_value",
          'To answer permission requests, subscribe to "permission_request" first.',
        );
      }
      deps.permissions.answer(command.request_id, parsePermissionAnswer(command).answer, client.name);
      return;
    case "question_response":
      if (!client.answersQuestions) {
        throw new AppError("invalid_value", 'To answer questions, subscribe to "question" first.');
      }
      deps.questions.answer(command.question_id, parseQuestionAnswer(command).answer, client.name);
      return;
    case "interrupt":
      return client.send({
        type: "interrupted",
        turns: deps.conversations.interrupt(command.session_id ?? undefined),
      });
    default:
      return command satisfies never;
  }
}

function webSocketTransport(socket: WebSocket, ended: Promise<void>): Transport {
  return {
    send({ frame }) {
      if (socket.readyState === WebSocket.OPEN) socket.send(frame);
    },
    get backlog() {
      return socket.bufferedAmount;
    },
    close(code, reason) {
      if (socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
      return ended;
    },
  };
}
