import { assert, assertEquals, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";
import {
  ClosedError,
  explain,
  JsonRpcPeer,
  type PeerStreams,
  RPC,
  RpcError,
  TimeoutError,
} from "../../lib/acp/json_rpc.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import type { Json } from "../support/agents/agent_io.ts";
import {
  peerPair,
  rawPair,
  RawPeer,
  RecordingHandlers,
  streamPair,
} from "../support/harness/json_rpc_harness.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

const IGNORE = { resolve() {}, reject() {} };
const never = () => new Promise<unknown>(() => {});
const failing = (error: unknown) => new RecordingHandlers(() => Promise.reject(error));

// Messages

Deno.test("JsonRpcPeer: sends requests and notifications both ways at once", async () => {
  const [left, right] = [new RecordingHandlers(), new RecordingHandlers()];
  const [one, other] = peerPair(left, right);
  one.notify("n1", { a: 1 });
  other.notify("n2", undefined);
  const answers = await Promise.all([
    one.request("first", { x: "ä😀" }),
    other.request("second", [1]),
    one.request("third", undefined),
  ]);
  assertEquals(answers, [
    { method: "first", params: { x: "ä😀" } },
    { method: "second", params: [1] },
    { method: "third" },
  ]);
  assertEquals([left.entries, right.entries], [["n2 undefined"], ['n1 {"a":1}']]);
  await one.close();
  await other.close();
});

Deno.test("JsonRpcPeer: sends JSON-RPC 2.0, one message a line", async () => {
  const { peer, remote } = rawPair();
  peer.notify("note", { text: "two\nlines" });
  peer.request("ask", { n: 1 }).catch(() => {});
  assertEquals(await remote.receive(), { jsonrpc: "2.0", method: "note", params: { text: "two\nlines" } });
  assertEquals(await remote.receive(), { jsonrpc: "2.0", id: 0, method: "ask", params: { n: 1 } });
  await peer.close();
});

Deno.test("JsonRpcPeer: matches answers to requests in any order", async () => {
  const { peer, remote } = rawPair();
  const answers = Promise.all(["a", "b", "c"].map((method) => peer.request(method, {})));
  const requests = [await remote.receive(), await remote.receive(), await remote.receive()];
  for (const message of requests.toReversed()) {
    await remote.send({ id: message?.id, result: message?.method });
  }
  assertEquals(await answers, ["a", "b", "c"]);
  assertEquals(new Set(requests.map((message) => message?.id)).size, 3);
  await peer.close();
});

for (const id of ["a string", "", 0, -7]) {
  Deno.test(`JsonRpcPeer: answers a request with its id ${JSON.stringify(id)}`, async () => {
    const { peer, remote } = rawPair();
    await remote.send({ id, method: "ask", params: { x: 1 } });
    assertEquals(await remote.receive(), { jsonrpc: "2.0", id, result: { method: "ask", params: { x: 1 } } });
    await peer.close();
  });
}

Deno.test("JsonRpcPeer: an answer keeps its place among the notifications of one write", async () => {
  const { peer, remote, handlers } = rawPair();
  const say = (text: string) => ({ method: "say", params: text });
  peer.call("ask", {}, { ...IGNORE, resolve: (result) => handlers.entries.push(`answer ${result}`) });
  await remote.receive();
  await remote.send(say("1"), say("2"), { id: 0, result: "yes" }, say("3"));
  assertEquals(handlers.entries, ['say "1"', 'say "2"', "answer yes", 'say "3"']);
  await peer.close();
});

// Invalid lines

for (
  const [line, why] of [
    ["npm warn deprecated", "not JSON"],
    ['{"method":"cut', "not JSON"],
    ['[{"jsonrpc":"2.0","method":"say"}]', "not a JSON-RPC message"],
    ["null", "not a JSON-RPC message"],
    ["{}", "neither a method nor an id"],
    ['{"id":{},"method":"ask"}', "an id that is neither a string nor a number"],
    ['{"id":99,"result":{}}', "an answer to no pending request"],
    ['{"id":"0","result":{}}', "an answer to no pending request"],
    ['{"id":null,"error":{"code":-32700,"message":"Parse error"}}', "an answer to no pending request"],
  ] as const
) {
  Deno.test(`JsonRpcPeer: reports and skips ${line}`, async () => {
    const { peer, remote, handlers } = rawPair();
    const answer = peer.request("ask", {});
    await remote.receive();
    await remote.send(line, { method: "say", params: 1 }, { id: 0, result: "yes" });
    assertEquals(await answer, "yes");
    assertEquals(handlers.entries, [`invalid: ${why}: ${line}`, "say 1"]);
    await peer.close();
  });
}

Deno.test("JsonRpcPeer: reports and skips a line of 40 MB, and reads on", async () => {
  const { peer, remote, handlers } = rawPair();
  const answer = peer.request("ask", {});
  await remote.receive();
  await remote.send({ method: "say", params: "x".repeat(40_000_000) }, { id: 0, result: "yes" });
  assertEquals(await answer, "yes");
  assertEquals(handlers.entries.map((entry) => entry.slice(0, 70)), [
    'invalid: longer than 33554432 characters: {"jsonrpc":"2.0","method":"s',
  ]);
  await peer.close();
});

Deno.test("JsonRpcPeer: reports and skips a long line of many or deep values, which would take seconds to parse", async () => {
  const { peer, remote, handlers } = rawPair();
  const answer = peer.request("ask", {});
  await remote.receive();
  const long = "x".repeat(2_000_000);
  await remote.send(
    `{"method":"many","params":[${"[],".repeat(5_000_000)}0]}`,
    `{"method":"deep","params":${"[".repeat(2_000_000)}`,
    { method: "say", params: { long, values: Array(150_000).fill(1) } },
    { id: 0, result: "yes" },
  );
  assertEquals(await answer, "yes");
  assertEquals(handlers.entries.map((entry) => entry.slice(0, 50)), [
    'invalid: has more than 200000 values: {"method":"m',
    'invalid: is nested deeper than 1000 levels: {"meth',
    `say {"long":"${"x".repeat(37)}`,
  ]);
  await peer.close();
});

Deno.test("JsonRpcPeer: ignores empty lines and Windows line ends", async () => {
  const { peer, remote, handlers } = rawPair();
  await remote.send("", "\r", '{"method":"say","params":1}\r', "", { method: "say", params: 2 });
  assertEquals(handlers.entries, ["say 1", "say 2"]);
  await peer.close();
});

// Errors

/** Sends a request that is answered with this message, and returns the thrown error. */
async function errorFor(answer: Json | string, redact?: (text: string) => string): Promise<RpcError> {
  const [mine, theirs] = streamPair();
  const remote = new RawPeer(theirs);
  const peer = new JsonRpcPeer(mine, new RecordingHandlers(), redact);
  const result = peer.request("ask", {});
  await remote.receive();
  await remote.send(answer);
  const error: RpcError = await assertRejects(() => result, RpcError);
  assertEquals(peer.closed.aborted, false);
  await peer.close();
  return error;
}

for (
  const [error, expected] of [
    [{ code: -32000, message: "Log in", data: { how: 1 } }, [RPC.authRequired, "Log in", undefined]],
    [{ code: 400, message: "Bad" }, [400, "Bad", undefined]],
    [{ message: "no code" }, [RPC.internalError, "no code", undefined]],
    [{ code: "odd", message: 7 }, [RPC.internalError, '{"code":"odd","message":7}', undefined]],
    ["in words", [RPC.internalError, '"in words"', undefined]],
    [{}, [RPC.internalError, "{}", undefined]],
  ] as const
) {
  Deno.test(`JsonRpcPeer: throws the error ${JSON.stringify(error)}`, async () => {
    const { code, message, data } = await errorFor({ id: 0, error });
    assertEquals([code, message, data], [...expected]);
  });
}

for (
  const [name, error, explanation] of [
    ["the message", { code: 1, message: "The key sk-1 is wrong" }, "The key *** is wrong"],
    ["details in words", { code: 1, message: "No", data: "the key sk-1" }, "No: the key ***"],
    ["details", { code: 1, message: "No", data: { details: "sk-1", more: ["sk-1"] } }, "No: ***"],
    ["details as codex sends them", { code: 1, message: "No", data: { message: "sk-1" } }, "No: ***"],
    ["the sentence in Gemini's JSON", { code: 1, message: '{"error":{"message":"Key sk-1"}}' }, "Key ***"],
    ["an error in words", "sk-1", '"***"'],
    ["details that are cut", { message: "No", data: "x".repeat(498) + "sk-1" }, `No: ${"x".repeat(498)}**`],
  ] as const
) {
  Deno.test(`JsonRpcPeer: redacts ${name}`, async () => {
    const thrown = await errorFor({ id: 0, error }, (text) => text.replaceAll("sk-1", "***"));
    assertEquals(explain(thrown), explanation);
    assertEquals(JSON.stringify(thrown.data ?? "").includes("sk-1"), false);
  });
}

Deno.test("JsonRpcPeer: answers a thrown RpcError as it is, and other errors as internal errors", async () => {
  const cases: readonly (readonly [unknown, Json])[] = [
    [new RpcError(RPC.methodNotFound, "Method not found: x", { a: 1 }), {
      code: -32601,
      message: "Method not found: x",
      data: { a: 1 },
    }],
    [new RpcError(RPC.cancelled, "Cancelled."), { code: -32800, message: "Cancelled." }],
    [new TypeError("odd"), { code: -32603, message: "odd" }],
    ["in words", { code: -32603, message: "in words" }],
  ];
  for (const [error, expected] of cases) {
    const { peer, remote } = rawPair(failing(error));
    await remote.send({ id: "x", method: "ask" });
    assertEquals(await remote.receive(), { jsonrpc: "2.0", id: "x", error: expected });
    await peer.close();
  }
});

// Requests of the peer

Deno.test("JsonRpcPeer: $/cancel_request aborts the named request only", async () => {
  const signals = new Map<unknown, AbortSignal>();
  const { peer, remote, handlers } = rawPair(
    new RecordingHandlers(async (_method, params, signal) => {
      signals.set(params, signal);
      await untilAborted(signal);
      throw signal.reason;
    }),
  );
  await remote.send({ id: "x", method: "ask", params: "one" }, { id: 2, method: "ask", params: "two" });
  await remote.send(
    { method: "$/cancel_request", params: { requestId: "unknown" } },
    { method: "$/cancel_request", params: {} },
    { method: "$/cancel_request" },
    { method: "$/cancel_request", params: { requestId: "x" } },
  );
  const answer = await remote.receive();
  assertEquals([answer?.id, (answer?.error as Json | undefined)?.code], ["x", RPC.cancelled]);
  assertEquals([signals.get("one")?.aborted, signals.get("two")?.aborted], [true, false]);
  assertEquals(handlers.entries, []);
  await remote.send({ method: "$/cancel_request", params: { requestId: "x" } });
  await peer.close();
  assertEquals(signals.get("two")?.aborted, true);
});

Deno.test("JsonRpcPeer: answers requests beyond 1000 open ones with an error", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  let handled = 0;
  const { peer, remote } = rawPair(new RecordingHandlers(() => (handled++, promise)));
  const limit = 1_000;
  await remote.send(...Array.from({ length: limit + 1 }, (_, id) => ({ id, method: "ask" })));
  const refused = await remote.receive();
  assertEquals([refused?.id, (refused?.error as Json | undefined)?.code], [limit, RPC.internalError]);
  resolve("at last");
  for (let id = 0; id < limit; id++) assertEquals((await remote.receive())?.result, "at last");
  await remote.send({ id: "room again", method: "ask" });
  assertEquals((await remote.receive())?.result, "at last");
  assertEquals(handled, limit + 1);
  await peer.close();
});

// Writing

/** Streams whose writes the test settles one by one. */
class WriteGate {
  readonly writes: string[] = [];
  readonly streams: PeerStreams;
  #write = Promise.withResolvers<void>();

  constructor() {
    this.streams = {
      readable: streamPair()[0].readable,
      writable: new WritableStream({
        write: (bytes) => {
          this.writes.push(new TextDecoder().decode(bytes));
          return this.#write.promise;
        },
      }),
    };
  }

  /** Finishes the write in flight. */
  async pass(): Promise<void> {
    this.#write.resolve();
    this.#write = Promise.withResolvers();
    await nextTask();
  }

  /** Fails the write in flight. */
  async fail(error: Error): Promise<void> {
    this.#write.reject(error);
    await nextTask();
  }

  /** The lines of each write. */
  get lineCounts(): number[] {
    return this.writes.map((text) => text.split("\n").length - 1);
  }
}

function gatedPeer(): { peer: JsonRpcPeer; gate: WriteGate } {
  const gate = new WriteGate();
  return { peer: new JsonRpcPeer(gate.streams, new RecordingHandlers()), gate };
}

Deno.test("JsonRpcPeer: joins messages that are sent during a write, in order", async () => {
  const { peer, gate } = gatedPeer();
  for (let number = 0; number < 10; number++) peer.notify("n", number);
  await nextTask();
  for (let number = 10; number < 110; number++) peer.notify("n", number);
  await nextTask();
  assertEquals(gate.lineCounts, [10]);
  await gate.pass();
  assertEquals(gate.lineCounts, [10, 100]);
  peer.notify("n", 110);
  await gate.pass();
  assertEquals(gate.lineCounts, [10, 100, 1]);
  const numbers = gate.writes.join("").trim().split("\n").map((line) => JSON.parse(line).params);
  assertEquals(numbers, Array.from({ length: 111 }, (_, number) => number));
  await gate.pass();
  await peer.close();
});

Deno.test("JsonRpcPeer: a call counts as sent once it is written, before it is answered", async () => {
  const { peer, gate } = gatedPeer();
  let sent = 0;
  peer.call("a", {}, IGNORE).then(() => sent++);
  await nextTask();
  peer.call("b", {}, IGNORE).then(() => sent++);
  assertEquals(sent, 0);
  await gate.pass();
  assertEquals(sent, 1);
  await gate.pass();
  assertEquals(sent, 2);
  await peer.close();
});

Deno.test("JsonRpcPeer: a failed write closes the connection and rejects the pending requests", async () => {
  const { peer, gate } = gatedPeer();
  const sent = peer.call("a", {}, IGNORE);
  const rejections = Promise.all([
    assertRejects(() => sent, ClosedError, "broken pipe"),
    assertRejects(() => peer.request("b", {}), ClosedError, "broken pipe"),
  ]);
  await nextTask();
  await gate.fail(new Error("broken pipe"));
  await rejections;
  assert(peer.closed.aborted);
  await peer.close();
});

Deno.test("JsonRpcPeer: rejects requests while 64 MiB wait for a peer that does not read", async () => {
  const { peer, gate } = gatedPeer();
  peer.notify("in flight", {});
  await nextTask();
  const half = "x".repeat(30 * 1024 * 1024);
  peer.notify("half", half);
  peer.notify("whole", half);
  const sent = peer.call("too much", half, IGNORE);
  await assertRejects(() => waitFor(sent, "the rejection"), ClosedError, "does not read");
  await assertRejects(
    () => waitFor(peer.request("again", half), "the rejection"),
    ClosedError,
    "does not read",
  );
  assertEquals(peer.closed.aborted, false);
  await gate.pass();
  assertEquals(gate.lineCounts, [1, 2]);
  peer.notify("room again", {});
  await gate.pass();
  assertEquals(gate.lineCounts, [1, 2, 1]);
  await peer.close();
});

// Closing

Deno.test("JsonRpcPeer: the peer's end closes the connection, its requests and the pending ones", async () => {
  const signals: AbortSignal[] = [];
  const { peer, remote } = rawPair(
    new RecordingHandlers((_method, _params, signal) => {
      signals.push(signal);
      return never();
    }),
  );
  const rejections = Promise.all(
    ["a", "b"].map((method) => assertRejects(() => peer.request(method, {}), ClosedError)),
  );
  await remote.send({ id: 1, method: "ask" });
  await remote.close();
  await rejections;
  await waitFor(untilAborted(peer.closed), "the close");
  assertInstanceOf(peer.closed.reason, ClosedError);
  assertEquals(signals.map((signal) => signal.aborted), [true]);
  await peer.close();
});

Deno.test("JsonRpcPeer: a broken stream closes the connection with its error", async () => {
  const { peer, remote } = rawPair();
  const rejection = assertRejects(() => peer.request("a", {}), ClosedError, "pulled the plug");
  await remote.receive();
  await remote.abort(new Error("pulled the plug"));
  await rejection;
  await peer.close();
});

Deno.test("JsonRpcPeer: sends nothing after close, and keeps the first reason", async () => {
  const { peer } = rawPair();
  const pending = assertRejects(() => peer.request("a", {}), ClosedError, "enough");
  await peer.close("enough");
  await pending;
  peer.notify("dropped", {});
  await assertRejects(() => peer.request("a", {}), ClosedError, "enough");
  let rejected: unknown;
  const sent = peer.call("a", {}, { ...IGNORE, reject: (error) => rejected = error });
  await assertRejects(() => sent, ClosedError, "enough");
  assertStrictEquals(rejected, peer.closed.reason);
  await peer.close("again");
  assertEquals(peer.closed.reason.message, "enough");
});

Deno.test("endInput: ends the output once it is written, while reading continues", async () => {
  const { peer, remote, handlers } = rawPair();
  const answer = peer.request("ask", {});
  peer.notify("last words", {});
  const ended = peer.endInput();
  assertEquals((await remote.receive())?.method, "ask");
  assertEquals((await remote.receive())?.method, "last words");
  assertEquals(await remote.receive(), undefined);
  await ended;
  peer.notify("too late", {});
  await remote.send({ id: "x", method: "theirs" }, { method: "say", params: 1 });
  await nextTask();
  await remote.send({ id: 0, result: "yes" });
  assertEquals(await waitFor(answer, "the answer"), "yes");
  assertEquals(handlers.entries, ["say 1"]);
  await peer.close();
});

// Requests that are given up

Deno.test("call: rejects requests beyond 1000 pending ones", async () => {
  const { peer, remote } = rawPair();
  const pending = Array.from({ length: 1_000 }, () => peer.request("ask", {}));
  await assertRejects(() => peer.request("ask", {}), ClosedError, "does not answer");
  await remote.send({ id: (await remote.receive())?.id, result: "yes" });
  assertEquals(await pending[0], "yes");
  const next = peer.request("ask", {});
  await nextTask();
  await peer.close();
  const outcomes = await Promise.allSettled([...pending.slice(1), next]);
  assertEquals(outcomes.every(({ status }) => status === "rejected"), true);
});

Deno.test("request: forgets a request that is not answered in time", async () => {
  const { peer, remote, handlers } = rawPair();
  // Together more than may be pending at once.
  for (let round = 0; round < 4; round++) {
    const requests = Array.from({ length: 300 }, () => peer.request("ask", {}, { timeoutMs: 1 }));
    await waitFor(Promise.allSettled(requests), "the time limits");
    for (let count = 0; count < 300; count++) await remote.receive();
  }
  await assertRejects(() => peer.request("ask", {}, { timeoutMs: 1 }), TimeoutError, "within 0.001 seconds");
  await remote.send({ id: (await remote.receive())?.id, result: "late" });
  assertEquals(handlers.entries.length, 1, "a late answer is an invalid line");
  await peer.close();
});
