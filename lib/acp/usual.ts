/** What the sessions of an agent usually offer and begin with, kept from one of its processes to the next. @module */

import type { AgentModel } from "../turn/agent.ts";
import { type Choice, type Choices, unset } from "./models.ts";

/** What an agent told of its sessions. */
export class Usual {
  /** The models that it offers; none are known before a session was opened. */
  models: readonly AgentModel[] = [];
  #choices: Choices | undefined;
  #model: string | undefined;

  /** The model that its new sessions begin with, if it told. */
  get model(): string | undefined {
    return this.#model;
  }

  /** Whether it is known what its sessions offer. */
  get isKnown(): boolean {
    return this.#choices !== undefined;
  }

  /** A new session began with these. */
  began(choices: Choices): void {
    this.#choices = choices;
    this.#model = choices.model?.current ?? this.#model;
  }

  /**
   * What can be chosen in a session that was brought back: where the agent tells nothing of it, that of new ones, and
   * nothing is known of what is set.
   *
   * @param mode The mode that it should have. Where no new session was seen yet, it is taken to be there: a mode in
   *   which nothing may be written must not be lost.
   */
  broughtBack(told: Choices, mode: string | undefined): Choices {
    const before = this.#choices && unset(this.#choices);
    const model = told.model ?? before?.model;
    if (told.modes.length > 0) return { model, modes: told.modes };
    return { model, modes: before?.modes ?? (mode === undefined ? [] : [assumed(mode)]) };
  }
}

function assumed(mode: string): Choice {
  return { kind: "mode", configId: undefined, current: undefined, offered: [{ id: mode, name: mode }] };
}
