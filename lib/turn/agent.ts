/** The agent port: the interface that the centre needs of an agent, whatever protocol the agent speaks. @module */

import type { SessionId, TurnReader } from "./event.ts";
import type { PermissionPolicy } from "./permission.ts";

/** One block of a prompt. Every agent accepts text; for the others see {@linkcode Session.promptCapabilities}. */
export type PromptBlock =
  | {
    readonly type: "text";
    readonly text: string;
    /** The text may trigger commands of the agent. Only {@linkcode Session.prompt} reads this; the agent never gets it. */
    readonly mayCommand?: true;
  }
  | { readonly type: "image"; readonly mimeType: string; readonly data: string }
  | { readonly type: "audio"; readonly mimeType: string; readonly data: string };

/** The kinds of {@linkcode PromptBlock} that an agent accepts beside text. */
export interface PromptCapabilities {
  readonly image: boolean;
  readonly audio: boolean;
}

/**
 * The state of an agent.
 *
 * - `idle`: not started; the next session starts it.
 * - `starting`: has opened no session yet, or takes long to open one.
 * - `ready`: opens sessions.
 * - `failing`: could not be started, exited during start-up, or failed to open the latest session.
 * - `closed`: disposed of.
 */
export type AgentState = "idle" | "starting" | "ready" | "failing" | "closed";

/** A prompt that the agent took. */
export interface RunningPrompt {
  /**
   * Asks the agent to stop. The reader gets no more text, and `end` with the reason `cancelled` whatever the agent
   * answers; after a grace time also without an answer, and the session is then closed. Does nothing if the agent has
   * answered.
   */
  cancel(): void;
}

/** A model that an agent offers. */
export interface AgentModel {
  /** The agent's id of the model (ACP `modelId`, or the value of its option): `gpt-5/high`. */
  readonly id: string;
  /** The name for people: `GPT-5 (high)`. */
  readonly name: string;
}

/** A session of an agent, which remembers its turns. One prompt runs at a time. */
export interface Session {
  readonly id: SessionId;
  readonly promptCapabilities: PromptCapabilities;
  /** The id of the current model, if the agent reports it. */
  readonly model: string | undefined;
  /** Aborts when the session can serve no more, because its agent exited or it was closed. */
  readonly closed: AbortSignal;
  /**
   * Sends a prompt; resolves once the agent took it. From then on `reader` gets every event, with `end` or `failure`
   * last. A prompt waits for the earlier one of the session.
   *
   * @param permissions The permission policy while this prompt runs; by default the agent's. `deny` also cancels the
   *   agent's questions.
   * @throws {AppError} if the agent did not take the prompt; the reader then gets nothing.
   */
  prompt(
    blocks: readonly PromptBlock[],
    reader: TurnReader,
    permissions?: PermissionPolicy,
  ): Promise<RunningPrompt>;
  /**
   * Sets the model of later prompts by its id; `undefined` is the model that the session began with. Does not ask the
   * agent if the model is set already.
   *
   * @throws {AppError} `model_not_found` if the agent does not offer the model, `agent_error` if it refuses.
   */
  setModel(model: string | undefined): Promise<void>;
  /** Closes the session for the agent. If the agent can, {@linkcode Agent.resumeSession} continues it later. */
  close(): void;
}

/** An agent that answers prompts. */
export interface Agent extends AsyncDisposable {
  readonly name: string;
  readonly state: AgentState;
  /** Identifies the program and its folder. Only the same program can resume a session. */
  readonly program: string;
  /** The models that the agent offers; empty before the first session. */
  readonly models: readonly AgentModel[];
  /** Starts the agent, and opens a session, ahead of need. Never waits. */
  warm(): void;
  /**
   * Opens a session, and starts the agent if necessary.
   *
   * @throws {AppError} `agent_unavailable` or `agent_auth_required` with what to do; the signal's reason if it aborts.
   */
  newSession(signal?: AbortSignal): Promise<Session>;
  /**
   * Continues a session that was closed or whose process exited. Its earlier events are not repeated.
   *
   * @returns `undefined` if the agent cannot resume sessions, or does not know this one.
   * @throws {AppError} as {@linkcode newSession} does; the signal's reason if it aborts.
   */
  resumeSession(id: SessionId, signal?: AbortSignal): Promise<Session | undefined>;
  /** Lets the agent delete its record of a session, if it can. The session is not resumed again. Never waits. */
  deleteSession(id: SessionId): void;
}
