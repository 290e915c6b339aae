/** What the pet is yet to be told, in order; where there is too much of it, the newest states remain. @module */

import type { Step } from "./pet_state.ts";

/** Steps that wait: the pet answers in milliseconds, so more than a few are due to one that hangs. */
const MAX_STEPS = 100;

/** Posts and requests that wait to be sent. */
export class Outbox {
  readonly #steps: Exclude<Step, { type: "release" }>[] = [];

  /** How many wait. */
  get size(): number {
    return this.#steps.length;
  }

  /** Gets in line; a release takes its request out of it. */
  push(step: Step): void {
    if (step.type === "release") {
      return this.#leaveOut((other) => other.type === "ask" && other.ask.request_id === step.requestId);
    }
    // A turn that ends closes its tools: that is no failure that anybody must see.
    if (endsTurn(step)) {
      this.#leaveOut((other) => isSameSession(step, other) && isToolFailure(other));
    }
    this.#steps.push(step);
    if (this.#steps.length > MAX_STEPS) this.#shorten();
  }

  /** The next one. */
  shift(): Exclude<Step, { type: "release" }> | undefined {
    return this.#steps.shift();
  }

  /** Nothing waits any longer. */
  clear(): void {
    this.#steps.length = 0;
  }

  /** Leaves out the oldest state that a later one of its session replaces. */
  #shorten(): void {
    const replaced = this.#steps.findIndex((step, at) =>
      this.#steps.some((other, later) => later > at && isSameSession(step, other))
    );
    this.#steps.splice(Math.max(replaced, 0), 1);
  }

  #leaveOut(which: (step: Step) => boolean): void {
    for (let at = this.#steps.length - 1; at >= 0; at--) {
      const step = this.#steps[at];
      if (step !== undefined && which(step)) this.#steps.splice(at, 1);
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
