/** Watches how long a server takes to answer `/health`. @module */

import { assertEquals } from "@std/assert";
import { cpuMicros } from "./inspector.ts";
import type { ServerProcess } from "./server_process.ts";

/** Longest time in which a server answers `/health`, whatever else it does, in milliseconds. */
export const MAX_HEALTH_MS = 500;
const PAUSE_MS = 20;

/** A moment, and the processor time that a process had used by then. */
export class Stopwatch {
  readonly #startedAt = performance.now();
  readonly #cpuMs: () => number | undefined;
  readonly #startCpuMs: number | undefined;

  /** @param cpuMs Processor time of the process that is timed; undefined on systems that do not tell. */
  constructor(cpuMs: () => number | undefined) {
    this.#cpuMs = cpuMs;
    this.#startCpuMs = cpuMs();
  }

  /** The time since then as far as the process used the processor, so that a busy machine does not count. */
  get elapsedMs(): number {
    const cpuMs = this.#cpuMs();
    const wallMs = performance.now() - this.#startedAt;
    return cpuMs === undefined || this.#startCpuMs === undefined
      ? wallMs
      : Math.min(wallMs, cpuMs - this.#startCpuMs);
  }
}

/** Asks for `/health` again and again, until it is stopped. */
export class HealthMonitor {
  /** The longest answer so far, in milliseconds. */
  maxMs = 0;
  /** What was wrong with answers, until it is taken. */
  readonly #faults: string[] = [];
  readonly #polling: Promise<void>;
  #isStopped = false;

  constructor(url: string, cpuMs: () => number | undefined) {
    this.#polling = this.#poll(`${url}/health`, cpuMs);
  }

  async #poll(url: string, cpuMs: () => number | undefined): Promise<void> {
    while (!this.#isStopped) {
      const watch = new Stopwatch(cpuMs);
      const response = await fetch(url).catch((error) => error);
      await response.body?.cancel();
      const ms = watch.elapsedMs;
      this.maxMs = Math.max(this.maxMs, ms);
      if (response.status !== 200) this.#faults.push(`/health: ${response.status ?? response}`);
      if (ms > MAX_HEALTH_MS) this.#faults.push(`/health took ${Math.round(ms)} ms`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  takeFaults(): string[] {
    return this.#faults.splice(0);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#polling;
  }
}

/** Asserts that a server answers `/health` in time while this work runs. */
export async function assertHealthyDuring(server: ServerProcess, work: () => Promise<void>): Promise<void> {
  const health = new HealthMonitor(server.url, () => {
    // The event loop runs in the main thread.
    const micros = cpuMicros(`${server.pid}/task/${server.pid}`);
    return micros === undefined ? undefined : micros / 1000;
  });
  try {
    await work();
  } finally {
    await health.stop();
  }
  assertEquals(health.takeFaults(), []);
}
