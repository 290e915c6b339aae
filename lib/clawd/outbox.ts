/** The queue of steps for the pet. A full queue drops states that newer ones replace. @module */

import type { Step } from "./pet_state.ts";

/** Steps that can wait. The pet answers in milliseconds, so a long queue means that it hangs. */
const MAX_STEPS = 100;

/** A step that is sent to the pet. */
export type QueuedStep = Exclude<Step, { type: "release" }>;

/** Steps that wait to be sent, oldest first. */
export class Outbox {
  readonly #steps: QueuedStep[] = [];

  /** Waiting steps. */
  get size(): number {
    return this.#steps.length;
  }

  /** Adds a step. A release removes its request. */
  push(step: Step): void {
    if (step.type === "release") {
      return this.#remove((other) => other.type === "ask" && other.request.request_id === step.requestId);
    }
    // The end of a turn closes its tools, which is no failure to show.
    if (endsTurn(step)) this.#remove((other) => isSameSession(step, other) && isToolFailure(other));
    this.#steps.push(step);
    if (this.#steps.length > MAX_STEPS) this.#dropReplaced();
  }

  /** Removes and returns the oldest step. */
  shift(): QueuedStep | undefined {
    return this.#steps.shift();
  }

  clear(): void {
    this.#steps.length = 0;
  }

  /** Drops the oldest state that a newer one of the same session replaces. */
  #dropReplaced(): void {
    const index = this.#steps.findIndex((step, at) =>
      this.#steps.some((other, later) => later > at && isSameSession(step, other))
    );
    this.#steps.splice(Math.max(index, 0), 1);
  }

  #remove(matches: (step: QueuedStep) => boolean): void {
    for (let at = this.#steps.length - 1; at >= 0; at--) {
      if (matches(this.#steps[at]!)) this.#steps.splice(at, 1);
    }
  }
}

function endsTurn(step: Step): boolean {
  return step.type === "post" &&
    (step.body.event === "Stop" || step.body.event === "StopFailure" || step.body.state === "idle");
}

function isToolFailure(step: Step): boolean {
  return step.type === "post" && step.body.event === "PostToolUseFailure";
}

function isSameSession(step: Step, other: Step): boolean {
  return step.type === "post" && other.type === "post" && step.body.session_id === other.body.session_id;
}
