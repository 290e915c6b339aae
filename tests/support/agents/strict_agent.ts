/** An agent that minds how it is used, and keeps in mind what each of its sessions was told. @module */

import type { SessionId } from "../../../lib/turn/event.ts";
import { AppError } from "../../../lib/core/errors.ts";
import { MemoryAgent, type MemoryPrompt, type MemorySession } from "./memory_agent.ts";

/** The marks by which messages are known: of questions (`q12q`), system texts (`s1s`) and what is new (`n7n`). */
const MARKS = /([qsn])\d+\1/g;

/** The marks in a text, in order. */
export function marksIn(text: string): string[] {
  return text.match(MARKS) ?? [];
}

/** The agent. A session that was brought back remembers what it was told before. */
export class StrictAgent extends MemoryAgent {
  /** Sessions that were asked two things at once. */
  readonly overlaps: string[] = [];
  readonly #putting = new Set<SessionId>();
  readonly #told = new Map<SessionId, Map<string, number>>();
  readonly #running = new Set<MemoryPrompt>();

  /** The prompts that it has not answered. */
  get running(): MemoryPrompt[] {
    const running: MemoryPrompt[] = [];
    for (const prompt of this.#running) {
      if (prompt.over) this.#running.delete(prompt);
      else running.push(prompt);
    }
    return running;
  }

  /** What the sessions were told: of each how often which mark. */
  get told(): ReadonlyMap<SessionId, ReadonlyMap<string, number>> {
    return this.#told;
  }

  override async newSession(signal?: AbortSignal): Promise<MemorySession> {
    return this.#strict(await super.newSession(signal));
  }

  override async resumeSession(id: SessionId, signal?: AbortSignal): Promise<MemorySession | undefined> {
    const session = await super.resumeSession(id, signal);
    return session && this.#strict(session);
  }

  override took(prompt: MemoryPrompt): void {
    this.#running.add(prompt);
    const { id } = prompt.session;
    const told = this.#told.get(id) ?? new Map<string, number>();
    this.#told.set(id, told);
    for (const mark of new Set(marksIn(prompt.text))) told.set(mark, (told.get(mark) ?? 0) + 1);
    super.took(prompt);
  }

  /** A session dies, in whatever it was doing. */
  crash(session: MemorySession): void {
    session.close();
    for (const prompt of this.running) {
      if (prompt.session === session) prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
    }
  }

  #strict(session: MemorySession): MemorySession {
    const { id } = session;
    const put = session.prompt.bind(session);
    session.prompt = async (blocks, reader) => {
      if (session.closed.aborted) throw new AppError("agent_unavailable", "The session is gone.");
      if (this.#putting.has(id) || this.running.some((prompt) => prompt.session.id === id)) {
        this.overlaps.push(id);
      }
      this.#putting.add(id);
      try {
        return await put(blocks, reader);
      } finally {
        this.#putting.delete(id);
        if (session.closed.aborted) this.crash(session);
      }
    };
    return session;
  }
}
