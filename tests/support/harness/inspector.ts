/** The heap of a Deno process that was started with `--inspect=127.0.0.1:PORT`. @module */

/** Collects the garbage and returns the heap in megabytes. */
export async function heapMb(port: number): Promise<number> {
  const [target] = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const closed = Promise.withResolvers<void>();
  socket.onerror = () => reject(new Error("the inspector does not answer"));
  socket.onclose = () => {
    reject(new Error("the inspector has left"));
    closed.resolve();
  };
  socket.onopen = () => {
    socket.send('{"id":1,"method":"HeapProfiler.collectGarbage"}');
    socket.send('{"id":2,"method":"Runtime.getHeapUsage"}');
  };
  socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(data);
    if (id === 2) resolve(Number(result.usedSize) / 1e6);
  };
  try {
    return await promise;
  } finally {
    socket.close();
    await closed.promise;
  }
}

/** Finds a port that is free now. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
