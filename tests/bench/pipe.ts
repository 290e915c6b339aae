/** The agent of a bare program: its process, and messages over its pipe, of which nothing is checked. @module */

type Settle = (result: { sessionId: string }) => void;

/** What an agent says that it does. */
export interface Update {
  readonly sessionUpdate: string;
  readonly content?: { readonly text?: unknown };
  readonly [field: string]: unknown;
}

/** An agent at the other end of a pipe. */
export interface Pipe {
  /** Sends a message that nobody answers. */
  send(message: unknown): void;
  call(method: string, params: unknown, settle: Settle): void;
  request(method: string, params: unknown): Promise<{ sessionId: string }>;
}

/** Starts an agent, and says hello to it. */
export function openPipe(
  [program = "", ...args]: readonly string[],
  heard: (sessionId: string, update: Update) => void,
): Pipe {
  const agent = new Deno.Command(program, { args, stdin: "piped", stdout: "piped" }).spawn();
  const writer = agent.stdin.getWriter();
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  const pending = new Map<number, Settle>();
  let nextId = 0;
  let unsent = "";
  let sending = false;

  /** One write is in flight; what comes meanwhile goes out joined. */
  async function send(message: unknown): Promise<void> {
    unsent += JSON.stringify(message) + "\n";
    if (sending) return;
    sending = true;
    while (unsent !== "") {
      const text = unsent;
      unsent = "";
      await writer.write(encoder.encode(text));
    }
    sending = false;
  }

  function call(method: string, params: unknown, settle: Settle): void {
    const id = nextId++;
    pending.set(id, settle);
    send({ jsonrpc: "2.0", id, method, params });
  }

  function receive(line: string): void {
    const { id, method, params, result } = JSON.parse(line);
    if (method === undefined) {
      pending.get(id)?.(result);
      pending.delete(id);
    } else if (method === "session/update") {
      heard(params.sessionId, params.update);
    }
  }

  async function listen(): Promise<void> {
    const reader = agent.stdout.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(64 * 1024);
    let begun = "";
    for (;;) {
      const { value, done } = await reader.read(new Uint8Array(buffer));
      if (done || value === undefined) return;
      buffer = value.buffer;
      const text = decoder.decode(value, { stream: true });
      let start = 0;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
        receive(begun + text.slice(start, end));
        begun = "";
        start = end + 1;
      }
      begun += text.slice(start);
    }
  }

  const pipe: Pipe = {
    send,
    call,
    request: (method, params) => new Promise((resolve) => call(method, params, resolve)),
  };
  listen();
  pipe.request("initialize", { protocolVersion: 1, clientCapabilities: {} });
  return pipe;
}
