/** The Agent port: what the centre needs of an agent, whatever protocol it speaks. @module */

import type { SessionId, TurnReader } from "./event.ts";

/** One piece of a prompt. Text is always taken; the others only if the session {@linkcode Session.promptCapabilities} them. */
export type PromptBlock =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "image"; readonly mimeType: string; readonly data: string }
  | { readonly type: "audio"; readonly mimeType: string; readonly data: string };

/** Which kinds of {@linkcode PromptBlock} an agent takes beside text. */
export interface PromptCapabilities {
  readonly image: boolean;
  readonly audio: boolean;
}

/**
 * How an agent is: `idle` is not started (it starts with the next session), `starting` has made no session yet or lets
 * one wait for long, `failing` could not be started, died before it was of use, or made no session when it was last
 * asked.
 */
export type AgentState = "idle" | "starting" | "ready" | "failing" | "closed";

/** A prompt that the agent took. */
export interface RunningPrompt {
  /** Asks the agent to stop. The reader still gets its last event. Does nothing once that came. */
  cancel(): void;
}

/** A model that an agent can answer with. */
export interface AgentModel {
  /** As the agent calls it (ACP `modelId`, or the value of its option): `gpt-5/high`. */
  readonly id: string;
  /** For people: `GPT-5 (high)`. */
  readonly name: string;
}

/** A session of an agent: it remembers what was said in it. One prompt at a time. */
export interface Session {
  readonly id: SessionId;
  readonly promptCapabilities: PromptCapabilities;
  /** The id of the model that answers now, if the agent tells. */
  readonly model: string | undefined;
  /** Aborts when the session can serve no more: its agent died or it was closed. */
  readonly closed: AbortSignal;
  /**
   * Puts a prompt; resolves once the agent took it. From then on `reader` gets every event, `end` or `failure` last.
   * A prompt waits for the one before it in the same session.
   *
   * @throws {Failure} if the agent could not be given the prompt; the reader then gets nothing.
   */
  prompt(blocks: readonly PromptBlock[], reader: TurnReader): Promise<RunningPrompt>;
  /**
   * Chooses the model for the prompts to come, by its id; without one, that which the session began with. Nothing is
   * asked if it answers already.
   *
   * @throws {Failure} `model_not_found` if the agent does not offer it, `agent_error` if it refuses.
   */
  setModel(model: string | undefined): Promise<void>;
  /** Ends it, so that the agent need not hold it any longer. Where the agent can, {@linkcode Agent.resumeSession} brings it back. */
  close(): void;
}

/** An agent that can be talked to. */
export interface Agent extends AsyncDisposable {
  readonly name: string;
  readonly state: AgentState;
  /** What is started, and where. Sessions can be brought back by the same program only. */
  readonly program: string;
  /** The models it offers; none are known before a session was opened. */
  readonly models: readonly AgentModel[];
  /** Starts it, and makes a session, ahead of need. Never waits. */
  warm(): void;
  /**
   * Opens a session, starting the agent if it is not running.
   *
   * @throws {Failure} `agent_unavailable` or `agent_auth_required` with what to do; the signal's reason if it aborts.
   */
  newSession(signal?: AbortSignal): Promise<Session>;
  /**
   * Brings back a session that was closed, or whose process ended; nothing of it is told again.
   *
   * @returns Nothing if the agent cannot, or does not know it any more.
   * @throws {Failure} as {@linkcode newSession} does; the signal's reason if it aborts.
   */
  resumeSession(id: SessionId, signal?: AbortSignal): Promise<Session | undefined>;
  /** Lets the agent delete what it keeps of a session, where it can. It is no longer resumed. Never waits. */
  deleteSession(id: SessionId): void;
}
