/** The tool calls, permission requests and questions of a turn that are open. @module */

import { BoundedMap } from "../core/bounded_map.ts";
import {
  isOpen,
  type PermissionId,
  type PermissionRequest,
  type QuestionId,
  type ToolCallId,
  type TurnEvent,
} from "./event.ts";

/** Open tool calls of one turn that are followed. */
const MAX_TOOLS = 1_000;

/** Follows from the events of a turn what is open in it. */
export class OpenItems {
  readonly #permissions = new Map<PermissionId, PermissionRequest>();
  readonly #questions = new Set<QuestionId>();
  readonly #tools = new BoundedMap<ToolCallId, true>(MAX_TOOLS);

  /** Whether a tool call is open. */
  get hasTools(): boolean {
    return this.#tools.size > 0;
  }

  /** Whether the agent waits for a person. */
  get waitsForPerson(): boolean {
    return this.#permissions.size + this.#questions.size > 0;
  }

  /** The oldest open permission request. */
  get permission(): PermissionRequest | undefined {
    return this.#permissions.values().next().value;
  }

  hasQuestion(id: QuestionId): boolean {
    return this.#questions.has(id);
  }

  /** Takes the next event of the turn. */
  track(event: TurnEvent): void {
    switch (event.type) {
      case "permission":
        this.#permissions.set(event.request.id, event.request);
        break;
      case "permission_resolved":
        this.#permissions.delete(event.resolution.id);
        break;
      case "question":
        this.#questions.add(event.request.id);
        break;
      case "question_resolved":
        this.#questions.delete(event.resolution.id);
        break;
      case "tool":
        if (isOpen(event.tool)) this.#tools.set(event.tool.id, true);
        else this.#tools.delete(event.tool.id);
    }
  }

  /** Returns the events that end the open permission requests and questions with their turn. */
  resolutions(): TurnEvent[] {
    const end = { outcome: "cancelled", by: "turn" } as const;
    return [
      ...[...this.#permissions.keys()].map((
        id,
      ) => ({ type: "permission_resolved", resolution: { id, ...end } } as const)),
      ...[...this.#questions].map((
        id,
      ) => ({ type: "question_resolved", resolution: { id, ...end } } as const)),
    ];
  }
}
