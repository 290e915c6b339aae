import { assert, assertEquals, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";
import { request } from "../../lib/acp/json_rpc.ts";
import { JsonRpcPeer, type PeerStreams } from "../../lib/acp/json_rpc.ts";
import { ClosedError } from "../../lib/acp/json_rpc.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import { settled, soon } from "../support/harness/turn_recorder.ts";
import {
  peerPair,
  rawPair,
  RawPeer,
  RecordingHandlers,
  streamPair,
} from "../support/harness/json_rpc_harness.ts";

/** A stream to write to that takes one write at a time, when the test lets it. */
class Gate {
  readonly writes: string[] = [];
  readonly streams: PeerStreams;
  readonly end: RawPeer;
  #open = Promise.withResolvers<void>();

  constructor() {
    const [mine, theirs] = streamPair();
    this.end = new RawPeer(theirs);
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
  const peer = new JsonRpcPeer(gate.streams, new RecordingHandlers());
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
  const peer = new JsonRpcPeer(gate.streams, new RecordingHandlers());
  for (let number = 0; number < 10; number++) peer.notify("n", number);
  await settled();
  assertEquals(gate.lines, [10]);
  await gate.pass();
  await peer.close();
});

Deno.test("Peer: a call is sent once it was written, which may be long before it is answered", async () => {
  const gate = new Gate();
  const peer = new JsonRpcPeer(gate.streams, new RecordingHandlers());
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
  const peer = new JsonRpcPeer(gate.streams, new RecordingHandlers());
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
  const peer = new JsonRpcPeer(gate.streams, new RecordingHandlers());
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
  const told = new RecordingHandlers((_method, _params, signal) => {
    signals.push(signal);
    return new Promise(() => {});
  });
  const { peer, end } = rawPair(told);
  const answers = [peer.request("a", {}), peer.request("b", {})];
  await end.send({ id: 1, method: "ask" });
  const rejected = Promise.all(answers.map((answer) => assertRejects(() => answer, ClosedError)));
  await end.close();
  await rejected;
  await soon(untilAborted(peer.closed), "the close");
  assertInstanceOf(peer.closed.reason, ClosedError);
  assertEquals(signals.map((signal) => signal.aborted), [true]);
  await peer.close();
});

Deno.test("Peer: what was said before the end is heard, also a last line that is not terminated", async () => {
  const [mine, theirs] = streamPair();
  const told = new RecordingHandlers();
  const peer = new JsonRpcPeer(mine, told);
  const answer = peer.request("ask", {});
  const writer = theirs.writable.getWriter();
  await writer.write(new TextEncoder().encode('{"method":"say","params":1}\n{"id":0,"result":"yes"}'));
  await writer.close();
  assertEquals(await answer, "yes");
  assertEquals(told.entries, ["say 1"]);
  await peer.close();
});

Deno.test("Peer: an other end that breaks closes it with the reason", async () => {
  const { peer, end } = rawPair();
  const answer = assertRejects(() => peer.request("a", {}), ClosedError, "pulled the plug");
  await end.receive();
  await end.abort(new Error("pulled the plug"));
  await answer;
  await peer.close();
});

Deno.test("Peer: after close nothing can be asked, and what is said goes nowhere", async () => {
  const { peer } = rawPair();
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
  const [one, other] = peerPair();
  await one.close();
  await soon(untilAborted(other.closed), "the other's close");
  await assertRejects(() => other.request("a", {}), ClosedError);
  await other.close();
});

Deno.test("Peer: an answer that comes to be after the close goes nowhere", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const { peer, end } = rawPair(new RecordingHandlers(() => promise));
  await end.send({ id: 1, method: "ask" });
  await peer.close();
  resolve({});
  await settled();
});

Deno.test("Peer: it closes at the end of its scope", async () => {
  const { peer } = rawPair();
  {
    await using _peer = peer;
  }
  assert(peer.closed.aborted);
});

Deno.test("Peer: endInput ends what it says once that is written; it still hears", async () => {
  const { peer, end, told } = rawPair();
  const answer = peer.request("ask", {});
  peer.notify("last words", {});
  const ended = peer.endInput();
  assertEquals((await end.receive())?.method, "ask");
  assertEquals((await end.receive())?.method, "last words");
  assertEquals(await end.receive(), undefined);
  await ended;
  await end.send({ method: "say", params: 1 }, { id: 0, result: "yes" });
  assertEquals(await answer, "yes");
  assertEquals(told.entries, ["say 1"]);
  await peer.close();
});

Deno.test("Peer: what is said after endInput goes nowhere, and harms nothing that still comes", async () => {
  const { peer, end, told } = rawPair();
  const answer = peer.request("ask", {}).catch((error) => error);
  await end.receive();
  await peer.endInput();
  peer.notify("too late", {});
  await end.send({ id: "x", method: "theirs" }, { method: "say", params: 1 });
  await settled();
  await end.send({ id: 0, result: "yes" });
  assertEquals(await soon(answer, "the answer"), "yes");
  assertEquals(told.entries, ["say 1"]);
  await peer.close();
});

Deno.test("Peer: endInput of a closed connection resolves", async () => {
  const { peer } = rawPair();
  await peer.close();
  await soon(peer.endInput(), "endInput");
});

Deno.test("Peer: a request that is forgotten is not kept, and its answer is skipped", async () => {
  const { peer, end, told } = rawPair();
  const heard: string[] = [];
  const settle = { resolve: () => heard.push("resolved"), reject: () => heard.push("rejected") };
  peer.call("ask", {}, settle).discard();
  const { id } = await end.receive() ?? {};
  await end.send({ id, result: {} });
  assertEquals([heard, told.entries.length], [[], 1]);
  await peer.close();
  assertEquals(heard, []);
});

Deno.test("Peer: a thousand requests may wait for an answer, and one more is refused", async () => {
  const { peer, end } = rawPair();
  const waiting = Array.from({ length: 1_000 }, () => peer.request("ask", {}));
  await assertRejects(() => peer.request("ask", {}), ClosedError, "does not answer");
  const { id } = await end.receive() ?? {};
  await end.send({ id, result: "yes" });
  assertEquals(await waiting[0], "yes");
  const next = peer.request("ask", {});
  await settled();
  await peer.close();
  const all = await Promise.allSettled([...waiting.slice(1), next]);
  assertEquals(all.every((one) => one.status === "rejected"), true);
});

Deno.test("ask: nothing is kept of requests that are not answered in time, unless a late answer is wanted", async () => {
  const { peer, end } = rawPair();
  const late: unknown[] = [];
  const question = { method: "ask", params: {}, timeoutMs: 1, read: (result: unknown) => result };
  // More than may wait at once.
  for (let count = 0; count < 4; count++) {
    const asked = Array.from({ length: 300 }, () => request(peer, question));
    await soon(Promise.allSettled(asked), "their times");
    for (let line = 0; line < 300; line++) await end.receive();
  }
  await assertRejects(
    () => request(peer, { ...question, onLate: (result) => late.push(result) }),
    Error,
    "within",
  );
  await end.send({ id: (await end.receive())?.id, result: "late" });
  assertEquals(late, ["late"]);
  await peer.close();
});
