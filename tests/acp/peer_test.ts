import { assert, assertEquals, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";
import { ClosedError, Peer, type PeerStreams, RPC, RpcError } from "../../lib/acp/peer.ts";
import { aborted } from "../../lib/turn/abort.ts";
import type { Json } from "../fakes/agent.ts";
import { settled, soon } from "../turn/heard.ts";
import { closeAll, crossed, RawEnd, Told } from "./ends.ts";

/** A peer, what it was told, and its other end in raw lines. */
function raw(told = new Told()): { peer: Peer; told: Told; end: RawEnd } {
  const [mine, theirs] = crossed();
  return { peer: new Peer(mine, told), told, end: new RawEnd(theirs) };
}

/** Two peers that talk to each other. */
function two(one = new Told(), other = new Told()): [Peer, Peer] {
  const [mine, theirs] = crossed();
  return [new Peer(mine, one), new Peer(theirs, other)];
}

const failing = (error: unknown) => new Told(() => Promise.reject(error));

Deno.test("Peer: requests and notifications, both ways at once", async () => {
  const [toldOne, toldOther] = [new Told(), new Told()];
  const [one, other] = two(toldOne, toldOther);
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
  assertEquals([toldOne.entries, toldOther.entries], [["n2 undefined"], ['n1 {"a":1}']]);
  await closeAll(one, other);
});

Deno.test("Peer: answers find their requests in any order", async () => {
  const { peer, end } = raw();
  const answers = Promise.all(["a", "b", "c"].map((method) => peer.request(method, {})));
  const asked = [await end.next(), await end.next(), await end.next()];
  for (const message of asked.toReversed()) await end.say({ id: message?.id, result: message?.method });
  assertEquals(await answers, ["a", "b", "c"]);
  assertEquals(new Set(asked.map((message) => message?.id)).size, 3);
  await peer.close();
});

Deno.test("Peer: what it sends is JSON-RPC 2.0, a message a line", async () => {
  const { peer, end } = raw();
  peer.notify("note", { text: "two\nlines" });
  peer.request("ask", { n: 1 }).catch(() => {});
  assertEquals(await end.next(), { jsonrpc: "2.0", method: "note", params: { text: "two\nlines" } });
  assertEquals(await end.next(), { jsonrpc: "2.0", id: 0, method: "ask", params: { n: 1 } });
  await peer.close();
});

for (const id of ["a string", "", "0", 0, -7, 4_294_967_296]) {
  Deno.test(`Peer: a request with the id ${JSON.stringify(id)} is answered with it`, async () => {
    const { peer, end } = raw();
    await end.say({ id, method: "ask", params: { x: 1 } });
    assertEquals(await end.next(), { jsonrpc: "2.0", id, result: { method: "ask", params: { x: 1 } } });
    await peer.close();
  });
}

Deno.test("Peer: ids of the other end are not its own: both may use the same", async () => {
  const { peer, end } = raw();
  const answer = peer.request("mine", {});
  assertEquals((await end.next())?.id, 0);
  await end.say({ id: 0, method: "theirs", params: {} }, { id: 0, result: "for mine" });
  assertEquals(await answer, "for mine");
  assertEquals((await end.next())?.id, 0);
  await peer.close();
});

Deno.test("Peer: a request that resolves to nothing is answered with an empty result", async () => {
  const { peer, end } = raw(new Told(() => Promise.resolve(undefined)));
  await end.say({ id: 1, method: "ask" });
  assertEquals(await end.next(), { jsonrpc: "2.0", id: 1, result: {} });
  await peer.close();
});

Deno.test("Peer: an answer never overtakes the notifications before it, all in one write", async () => {
  const { peer, end, told } = raw();
  const tell = (text: string) => ({ method: "say", params: text });
  peer.call("ask", {}, {
    resolve: (result) => told.entries.push(`answer ${result}`),
    reject: () => {},
  });
  await end.next();
  await end.say(tell("1"), tell("2"), { id: 0, result: "yes" }, tell("3"));
  assertEquals(told.entries, ['say "1"', 'say "2"', "answer yes", 'say "3"']);
  await peer.close();
});

Deno.test("Peer: who awaits an answer has been told all that came before it", async () => {
  for (const count of [0, 1, 5, 100]) {
    const { peer, end, told } = raw();
    const answer = peer.request("ask", {}).then(() => told.entries.length);
    await end.next();
    const before = Array.from({ length: count }, () => ({ method: "say", params: 1 }));
    await end.say(...before, { id: 0, result: {} });
    assertEquals(await answer, count);
    await peer.close();
  }
});

Deno.test("Peer: a message cut into many writes is one message", async () => {
  const [mine, theirs] = crossed();
  const told = new Told();
  const peer = new Peer(mine, told);
  const writer = theirs.writable.getWriter();
  const bytes = new TextEncoder().encode('{"method":"say","params":"ä😀"}\n');
  for (const byte of bytes) await writer.write(new Uint8Array([byte]));
  assertEquals(told.entries, ['say "ä😀"']);
  await peer.close();
});

const GARBAGE: readonly (readonly [string, string])[] = [
  ["npm warn deprecated", "not JSON"],
  ['{"method":"cut', "not JSON"],
  ["[]", "not a JSON-RPC message"],
  ['[{"jsonrpc":"2.0","method":"say"}]', "not a JSON-RPC message"],
  ["null", "not a JSON-RPC message"],
  ["1", "not a JSON-RPC message"],
  ['"say"', "not a JSON-RPC message"],
  ["{}", "neither a method nor an id"],
  ['{"jsonrpc":"2.0","params":{}}', "neither a method nor an id"],
  ['{"id":99,"result":{}}', "an answer to nothing that was asked"],
  ['{"id":"0","result":{}}', "an answer to nothing that was asked"],
  ['{"id":null,"error":{"code":-32700,"message":"Parse error"}}', "an answer to nothing that was asked"],
];
for (const [line, why] of GARBAGE) {
  Deno.test(`Peer: ${line} is skipped and said, and what follows is heard`, async () => {
    const { peer, end, told } = raw();
    const answer = peer.request("ask", {});
    await end.next();
    await end.say(line, { method: "say", params: 1 }, { id: 0, result: "yes" });
    assertEquals(await answer, "yes");
    assertEquals(told.entries, [`garbage: ${why}: ${line}`, "say 1"]);
    await peer.close();
  });
}

Deno.test("Peer: a request whose id is of no allowed kind is skipped and said", async () => {
  const { peer, end, told } = raw();
  await end.say('{"id":{},"method":"ask"}', '{"id":true,"method":"ask"}', { id: 1, method: "ask" });
  assertEquals((await end.next())?.id, 1);
  assertEquals(told.entries.length, 2);
  await peer.close();
});

Deno.test("Peer: empty lines and Windows line ends are nothing to speak of", async () => {
  const { peer, end, told } = raw();
  await end.say("", "\r", '{"method":"say","params":1}\r', "");
  await end.say({ method: "say", params: 2 });
  assertEquals(told.entries, ["say 1", "say 2"]);
  await peer.close();
});

Deno.test("Peer: a request with the id null is a notification", async () => {
  const { peer, end, told } = raw();
  await end.say({ id: null, method: "say", params: 1 });
  assertEquals(told.entries, ["say 1"]);
  await peer.close();
});

Deno.test("Peer: the same answer twice is heard once", async () => {
  const { peer, end, told } = raw();
  const answer = peer.request("ask", {});
  await end.next();
  await end.say({ id: 0, result: "first" }, { id: 0, result: "second" });
  assertEquals(await answer, "first");
  assertEquals(told.entries.length, 1);
  await peer.close();
});

const ERRORS: readonly (readonly [unknown, { code: number; message: string; data?: unknown }])[] = [
  [{ code: -32000, message: "Log in", data: { how: 1 } }, {
    code: RPC.authRequired,
    message: "Log in",
    data: { how: 1 },
  }],
  [{ code: 400, message: "Bad" }, { code: 400, message: "Bad" }],
  [{ message: "no code" }, { code: RPC.internalError, message: "no code" }],
  [{ code: "odd", message: 7 }, { code: RPC.internalError, message: '{"code":"odd","message":7}' }],
  ["in words", { code: RPC.internalError, message: '"in words"' }],
  [{}, { code: RPC.internalError, message: "{}" }],
];
for (const [error, expected] of ERRORS) {
  Deno.test(`Peer: the error ${JSON.stringify(error)} is thrown`, async () => {
    const { peer, end } = raw();
    const answer = peer.request("ask", {});
    await end.next();
    await end.say({ id: 0, error });
    const thrown: RpcError = await assertRejects(() => answer, RpcError);
    assertEquals(
      { code: thrown.code, message: thrown.message, data: thrown.data },
      { data: undefined, ...expected },
    );
    await peer.close();
  });
}

Deno.test("Peer: an answer with a result and an error that is null is a result", async () => {
  const { peer, end } = raw();
  const answer = peer.request("ask", {});
  await end.next();
  await end.say({ result: { ok: 1 }, error: null, id: 0 });
  assertEquals(await answer, { ok: 1 });
  await peer.close();
});

Deno.test("Peer: an RpcError that is thrown is answered as it is, anything else as an internal error", async () => {
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
    const { peer, end } = raw(failing(error));
    await end.say({ id: "x", method: "ask" });
    assertEquals(await end.next(), { jsonrpc: "2.0", id: "x", error: expected });
    await peer.close();
  }
});

Deno.test("Peer: an error crosses whole from peer to peer", async () => {
  const [one, other] = two(new Told(), failing(new RpcError(-32042, "No.", [1])));
  const error: RpcError = await assertRejects(() => one.request("ask", {}), RpcError, "No.");
  assertEquals([error.code, error.data], [-32042, [1]]);
  await closeAll(one, other);
});

Deno.test("Peer: $/cancel_request aborts the request that it names, and no other", async () => {
  const signals = new Map<unknown, AbortSignal>();
  const told = new Told(async (_method, params, signal) => {
    signals.set(params, signal);
    await aborted(signal);
    throw signal.reason;
  });
  const { peer, end } = raw(told);
  await end.say({ id: "x", method: "ask", params: "one" }, { id: 2, method: "ask", params: "two" });
  await end.say(
    { method: "$/cancel_request", params: { requestId: "unknown" } },
    { method: "$/cancel_request", params: {} },
    { method: "$/cancel_request" },
    { method: "$/cancel_request", params: { requestId: "x" } },
  );
  const answer = await end.next();
  assertEquals([answer?.id, (answer?.error as Json | undefined)?.code], ["x", RPC.cancelled]);
  assertEquals([signals.get("one")?.aborted, signals.get("two")?.aborted], [true, false]);
  assertEquals(told.entries, []);
  await end.say({ method: "$/cancel_request", params: { requestId: "x" } });
  await peer.close();
  assertEquals(signals.get("two")?.aborted, true);
});

Deno.test("Peer: only so many requests of the other end are open; one too many is answered with an error", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  let asked = 0;
  const told = new Told(() => {
    asked++;
    return promise;
  });
  const { peer, end } = raw(told);
  const limit = 1_000;
  await end.say(...Array.from({ length: limit + 1 }, (_, id) => ({ id, method: "ask" })));
  const refused = await end.next();
  assertEquals([refused?.id, (refused?.error as Json | undefined)?.code], [limit, RPC.internalError]);
  resolve("at last");
  for (let id = 0; id < limit; id++) assertEquals((await end.next())?.result, "at last");
  await end.say({ id: "room again", method: "ask" });
  assertEquals((await end.next())?.result, "at last");
  assertEquals(asked, limit + 1);
  await peer.close();
});

/** A stream to write to that takes one write at a time, when the test lets it. */
class Gate {
  readonly writes: string[] = [];
  readonly streams: PeerStreams;
  readonly end: RawEnd;
  #open = Promise.withResolvers<void>();

  constructor() {
    const [mine, theirs] = crossed();
    this.end = new RawEnd(theirs);
    this.streams = {
      readable: mine.readable,
      writable: new WritableStream({
        write: (bytes) => {
          this.writes.push(new TextDecoder().decode(bytes));
          return this.#open.promise;
        },
      }),
    };
  }

  /** Lets go what is being written. */
  async pass(): Promise<void> {
    this.#open.resolve();
    this.#open = Promise.withResolvers();
    await settled();
  }

  /** What is being written fails. */
  async fail(error: Error): Promise<void> {
    this.#open.reject(error);
    await settled();
  }

  get lines(): number[] {
    return this.writes.map((text) => text.split("\n").length - 1);
  }
}

Deno.test("Peer: what is said while a write is in flight goes out with the next, in one and in order", async () => {
  const gate = new Gate();
  const peer = new Peer(gate.streams, new Told());
  peer.notify("n", 0);
  await settled();
  for (let number = 1; number <= 100; number++) peer.notify("n", number);
  await settled();
  assertEquals(gate.lines, [1]);
  await gate.pass();
  assertEquals(gate.lines, [1, 100]);
  peer.notify("n", 101);
  await gate.pass();
  assertEquals(gate.lines, [1, 100, 1]);
  const numbers = gate.writes.join("").trim().split("\n").map((line) => JSON.parse(line).params);
  assertEquals(numbers, Array.from({ length: 102 }, (_, number) => number));
  await gate.pass();
  await peer.close();
});

Deno.test("Peer: what is said in one go is one write", async () => {
  const gate = new Gate();
  const peer = new Peer(gate.streams, new Told());
  for (let number = 0; number < 10; number++) peer.notify("n", number);
  await settled();
  assertEquals(gate.lines, [10]);
  await gate.pass();
  await peer.close();
});

Deno.test("Peer: a call is sent once it was written, which may be long before it is answered", async () => {
  const gate = new Gate();
  const peer = new Peer(gate.streams, new Told());
  const settle = { resolve() {}, reject() {} };
  let sent = 0;
  peer.call("a", {}, settle).sent.then(() => sent++);
  await settled();
  peer.call("b", {}, settle).sent.then(() => sent++);
  assertEquals(sent, 0);
  await gate.pass();
  assertEquals(sent, 1);
  await gate.pass();
  assertEquals(sent, 2);
  await peer.close();
});

Deno.test("Peer: a write that fails closes the connection, and all that waits is rejected", async () => {
  const gate = new Gate();
  const peer = new Peer(gate.streams, new Told());
  const { sent } = peer.call("a", {}, { resolve() {}, reject() {} });
  const written = assertRejects(() => sent, ClosedError, "broken pipe");
  const asked = assertRejects(() => peer.request("b", {}), ClosedError, "broken pipe");
  await settled();
  await gate.fail(new Error("broken pipe"));
  await Promise.all([written, asked]);
  assert(peer.closed.aborted);
  await peer.close();
});

Deno.test("Peer: for an end that does not read only so much waits; a request beyond it is rejected", async () => {
  const gate = new Gate();
  const peer = new Peer(gate.streams, new Told());
  peer.notify("in flight", {});
  await settled();
  const half = "x".repeat(30 * 1024 * 1024);
  peer.notify("half", half);
  peer.notify("whole", half);
  const { sent } = peer.call("one too many", half, { resolve() {}, reject() {} });
  await assertRejects(() => soon(sent, "the refusal"), ClosedError, "does not read");
  await assertRejects(
    () => soon(peer.request("another", half), "the refusal of a request", 2_000),
    ClosedError,
    "does not read",
  );
  assertEquals(peer.closed.aborted, false);
  await gate.pass();
  assertEquals(gate.lines, [1, 2]);
  peer.notify("room again", {});
  await gate.pass();
  assertEquals(gate.lines, [1, 2, 1]);
  await peer.close();
});

Deno.test("Peer: the end of the other end closes it, and rejects what waits", async () => {
  const signals: AbortSignal[] = [];
  const told = new Told((_method, _params, signal) => {
    signals.push(signal);
    return new Promise(() => {});
  });
  const { peer, end } = raw(told);
  const answers = [peer.request("a", {}), peer.request("b", {})];
  await end.say({ id: 1, method: "ask" });
  const rejected = Promise.all(answers.map((answer) => assertRejects(() => answer, ClosedError)));
  await end.end();
  await rejected;
  await soon(aborted(peer.closed), "the close");
  assertInstanceOf(peer.closed.reason, ClosedError);
  assertEquals(signals.map((signal) => signal.aborted), [true]);
  await peer.close();
});

Deno.test("Peer: what was said before the end is heard, also a last line that is not terminated", async () => {
  const [mine, theirs] = crossed();
  const told = new Told();
  const peer = new Peer(mine, told);
  const answer = peer.request("ask", {});
  const writer = theirs.writable.getWriter();
  await writer.write(new TextEncoder().encode('{"method":"say","params":1}\n{"id":0,"result":"yes"}'));
  await writer.close();
  assertEquals(await answer, "yes");
  assertEquals(told.entries, ["say 1"]);
  await peer.close();
});

Deno.test("Peer: an other end that breaks closes it with the reason", async () => {
  const { peer, end } = raw();
  const answer = assertRejects(() => peer.request("a", {}), ClosedError, "pulled the plug");
  await end.next();
  await end.fail(new Error("pulled the plug"));
  await answer;
  await peer.close();
});

Deno.test("Peer: after close nothing can be asked, and what is said goes nowhere", async () => {
  const { peer } = raw();
  const waiting = assertRejects(() => peer.request("a", {}), ClosedError, "enough");
  await peer.close("enough");
  await waiting;
  peer.notify("to nobody", {});
  await assertRejects(() => peer.request("a", {}), ClosedError, "enough");
  let rejected: unknown;
  const { sent } = peer.call("a", {}, { resolve() {}, reject: (error) => rejected = error });
  assertStrictEquals(rejected, peer.closed.reason);
  await assertRejects(() => sent, ClosedError, "enough");
  await peer.close("again");
  assertEquals(peer.closed.reason.message, "enough");
});

Deno.test("Peer: its other end notices that it closed", async () => {
  const [one, other] = two();
  await one.close();
  await soon(aborted(other.closed), "the other's close");
  await assertRejects(() => other.request("a", {}), ClosedError);
  await other.close();
});

Deno.test("Peer: an answer that comes to be after the close goes nowhere", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const { peer, end } = raw(new Told(() => promise));
  await end.say({ id: 1, method: "ask" });
  await peer.close();
  resolve({});
  await settled();
});

Deno.test("Peer: it closes at the end of its scope", async () => {
  const { peer } = raw();
  {
    await using _peer = peer;
  }
  assert(peer.closed.aborted);
});

Deno.test("Peer: endInput ends what it says once that is written; it still hears", async () => {
  const { peer, end, told } = raw();
  const answer = peer.request("ask", {});
  peer.notify("last words", {});
  const ended = peer.endInput();
  assertEquals((await end.next())?.method, "ask");
  assertEquals((await end.next())?.method, "last words");
  assertEquals(await end.next(), undefined);
  await ended;
  await end.say({ method: "say", params: 1 }, { id: 0, result: "yes" });
  assertEquals(await answer, "yes");
  assertEquals(told.entries, ["say 1"]);
  await peer.close();
});

Deno.test("Peer: what is said after endInput goes nowhere, and harms nothing that still comes", async () => {
  const { peer, end, told } = raw();
  const answer = peer.request("ask", {}).catch((error) => error);
  await end.next();
  await peer.endInput();
  peer.notify("too late", {});
  await end.say({ id: "x", method: "theirs" }, { method: "say", params: 1 });
  await settled();
  await end.say({ id: 0, result: "yes" });
  assertEquals(await soon(answer, "the answer"), "yes");
  assertEquals(told.entries, ["say 1"]);
  await peer.close();
});

Deno.test("Peer: endInput of a closed connection resolves", async () => {
  const { peer } = raw();
  await peer.close();
  await soon(peer.endInput(), "endInput");
});
