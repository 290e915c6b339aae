/** A program's heap, by way of its inspector: what is left when nothing is left lying about. @module */

/** The inspector of a running program. */
export class Inspector implements Disposable {
  readonly #socket: WebSocket;
  readonly #pending = new Map<number, (result: Record<string, unknown>) => void>();

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const { id, result } = JSON.parse(data);
      this.#pending.get(id)?.(result ?? {});
      this.#pending.delete(id);
    };
  }

  /** Connects to a program that was started with `--inspect` on this port. */
  static async connect(port: number): Promise<Inspector> {
    const [target] = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
    const socket = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("the inspector does not answer"));
    });
    return new Inspector(socket);
  }

  /** Collects the garbage and measures what remains, in megabytes. */
  async heapMb(): Promise<number> {
    await this.#call("HeapProfiler.collectGarbage");
    return Number((await this.#call("Runtime.getHeapUsage")).usedSize) / 1e6;
  }

  /** Lets go of the program. */
  [Symbol.dispose](): void {
    this.#socket.close();
  }

  #call(method: string): Promise<Record<string, unknown>> {
    const id = this.#pending.size + 1;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, resolve);
      this.#socket.onclose = () => reject(new Error("the inspector is gone"));
      this.#socket.send(JSON.stringify({ id, method }));
    });
  }
}

/** A port of this machine that is free now. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
