import { assertEquals, assertRejects } from "@std/assert";
import { JsonRpcPeer } from "../../lib/acp/json_rpc.ts";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import type { Json } from "../support/agents/scripted_agent.ts";
import {
  closePeers,
  peerPair,
  rawPair,
  RawPeer,
  RecordingHandlers,
  streamPair,
} from "../support/harness/json_rpc_harness.ts";

const failing = (error: unknown) => new RecordingHandlers(() => Promise.reject(error));

Deno.test("Peer: requests and notifications, both ways at once", async () => {
  const [toldOne, toldOther] = [new RecordingHandlers(), new RecordingHandlers()];
  const [one, other] = peerPair(toldOne, toldOther);
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
  await closePeers(one, other);
});

Deno.test("Peer: answers find their requests in any order", async () => {
  const { peer, end } = rawPair();
  const answers = Promise.all(["a", "b", "c"].map((method) => peer.request(method, {})));
  const asked = [await end.receive(), await end.receive(), await end.receive()];
  for (const message of asked.toReversed()) await end.send({ id: message?.id, result: message?.method });
  assertEquals(await answers, ["a", "b", "c"]);
  assertEquals(new Set(asked.map((message) => message?.id)).size, 3);
  await peer.close();
});

Deno.test("Peer: what it sends is JSON-RPC 2.0, a message a line", async () => {
  const { peer, end } = rawPair();
  peer.notify("note", { text: "two\nlines" });
  peer.request("ask", { n: 1 }).catch(() => {});
  assertEquals(await end.receive(), { jsonrpc: "2.0", method: "note", params: { text: "two\nlines" } });
  assertEquals(await end.receive(), { jsonrpc: "2.0", id: 0, method: "ask", params: { n: 1 } });
  await peer.close();
});

for (const id of ["a string", "", "0", 0, -7, 4_294_967_296]) {
  Deno.test(`Peer: a request with the id ${JSON.stringify(id)} is answered with it`, async () => {
    const { peer, end } = rawPair();
    await end.send({ id, method: "ask", params: { x: 1 } });
    assertEquals(await end.receive(), { jsonrpc: "2.0", id, result: { method: "ask", params: { x: 1 } } });
    await peer.close();
  });
}

Deno.test("Peer: ids of the other end are not its own: both may use the same", async () => {
  const { peer, end } = rawPair();
  const answer = peer.request("mine", {});
  assertEquals((await end.receive())?.id, 0);
  await end.send({ id: 0, method: "theirs", params: {} }, { id: 0, result: "for mine" });
  assertEquals(await answer, "for mine");
  assertEquals((await end.receive())?.id, 0);
  await peer.close();
});

Deno.test("Peer: a request that resolves to nothing is answered with an empty result", async () => {
  const { peer, end } = rawPair(new RecordingHandlers(() => Promise.resolve(undefined)));
  await end.send({ id: 1, method: "ask" });
  assertEquals(await end.receive(), { jsonrpc: "2.0", id: 1, result: {} });
  await peer.close();
});

Deno.test("Peer: an answer never overtakes the notifications before it, all in one write", async () => {
  const { peer, end, told } = rawPair();
  const tell = (text: string) => ({ method: "say", params: text });
  peer.call("ask", {}, {
    resolve: (result) => told.entries.push(`answer ${result}`),
    reject: () => {},
  });
  await end.receive();
  await end.send(tell("1"), tell("2"), { id: 0, result: "yes" }, tell("3"));
  assertEquals(told.entries, ['say "1"', 'say "2"', "answer yes", 'say "3"']);
  await peer.close();
});

Deno.test("Peer: who awaits an answer has been told all that came before it", async () => {
  for (const count of [0, 1, 5, 100]) {
    const { peer, end, told } = rawPair();
    const answer = peer.request("ask", {}).then(() => told.entries.length);
    await end.receive();
    const before = Array.from({ length: count }, () => ({ method: "say", params: 1 }));
    await end.send(...before, { id: 0, result: {} });
    assertEquals(await answer, count);
    await peer.close();
  }
});

Deno.test("Peer: a message cut into many writes is one message", async () => {
  const [mine, theirs] = streamPair();
  const told = new RecordingHandlers();
  const peer = new JsonRpcPeer(mine, told);
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
    const { peer, end, told } = rawPair();
    const answer = peer.request("ask", {});
    await end.receive();
    await end.send(line, { method: "say", params: 1 }, { id: 0, result: "yes" });
    assertEquals(await answer, "yes");
    assertEquals(told.entries, [`garbage: ${why}: ${line}`, "say 1"]);
    await peer.close();
  });
}

Deno.test("Peer: a request whose id is of no allowed kind is skipped and said", async () => {
  const { peer, end, told } = rawPair();
  await end.send('{"id":{},"method":"ask"}', '{"id":true,"method":"ask"}', { id: 1, method: "ask" });
  assertEquals((await end.receive())?.id, 1);
  assertEquals(told.entries.length, 2);
  await peer.close();
});

Deno.test("Peer: empty lines and Windows line ends are nothing to speak of", async () => {
  const { peer, end, told } = rawPair();
  await end.send("", "\r", '{"method":"say","params":1}\r', "");
  await end.send({ method: "say", params: 2 });
  assertEquals(told.entries, ["say 1", "say 2"]);
  await peer.close();
});

Deno.test("Peer: a request with the id null is a notification", async () => {
  const { peer, end, told } = rawPair();
  await end.send({ id: null, method: "say", params: 1 });
  assertEquals(told.entries, ["say 1"]);
  await peer.close();
});

Deno.test("Peer: the same answer twice is heard once", async () => {
  const { peer, end, told } = rawPair();
  const answer = peer.request("ask", {});
  await end.receive();
  await end.send({ id: 0, result: "first" }, { id: 0, result: "second" });
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
    const { peer, end } = rawPair();
    const answer = peer.request("ask", {});
    await end.receive();
    await end.send({ id: 0, error });
    const thrown: RpcError = await assertRejects(() => answer, RpcError);
    assertEquals(
      { code: thrown.code, message: thrown.message, data: thrown.data },
      { data: undefined, ...expected },
    );
    await peer.close();
  });
}

Deno.test("Peer: an answer with a result and an error that is null is a result", async () => {
  const { peer, end } = rawPair();
  const answer = peer.request("ask", {});
  await end.receive();
  await end.send({ result: { ok: 1 }, error: null, id: 0 });
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
    const { peer, end } = rawPair(failing(error));
    await end.send({ id: "x", method: "ask" });
    assertEquals(await end.receive(), { jsonrpc: "2.0", id: "x", error: expected });
    await peer.close();
  }
});

Deno.test("Peer: an error crosses whole from peer to peer", async () => {
  const [one, other] = peerPair(new RecordingHandlers(), failing(new RpcError(-32042, "No.", [1])));
  const error: RpcError = await assertRejects(() => one.request("ask", {}), RpcError, "No.");
  assertEquals([error.code, error.data], [-32042, [1]]);
  await closePeers(one, other);
});

Deno.test("Peer: $/cancel_request aborts the request that it names, and no other", async () => {
  const signals = new Map<unknown, AbortSignal>();
  const told = new RecordingHandlers(async (_method, params, signal) => {
    signals.set(params, signal);
    await untilAborted(signal);
    throw signal.reason;
  });
  const { peer, end } = rawPair(told);
  await end.send({ id: "x", method: "ask", params: "one" }, { id: 2, method: "ask", params: "two" });
  await end.send(
    { method: "$/cancel_request", params: { requestId: "unknown" } },
    { method: "$/cancel_request", params: {} },
    { method: "$/cancel_request" },
    { method: "$/cancel_request", params: { requestId: "x" } },
  );
  const answer = await end.receive();
  assertEquals([answer?.id, (answer?.error as Json | undefined)?.code], ["x", RPC.cancelled]);
  assertEquals([signals.get("one")?.aborted, signals.get("two")?.aborted], [true, false]);
  assertEquals(told.entries, []);
  await end.send({ method: "$/cancel_request", params: { requestId: "x" } });
  await peer.close();
  assertEquals(signals.get("two")?.aborted, true);
});

Deno.test("Peer: only so many requests of the other end are open; one too many is answered with an error", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  let asked = 0;
  const told = new RecordingHandlers(() => {
    asked++;
    return promise;
  });
  const { peer, end } = rawPair(told);
  const limit = 1_000;
  await end.send(...Array.from({ length: limit + 1 }, (_, id) => ({ id, method: "ask" })));
  const refused = await end.receive();
  assertEquals([refused?.id, (refused?.error as Json | undefined)?.code], [limit, RPC.internalError]);
  resolve("at last");
  for (let id = 0; id < limit; id++) assertEquals((await end.receive())?.result, "at last");
  await end.send({ id: "room again", method: "ask" });
  assertEquals((await end.receive())?.result, "at last");
  assertEquals(asked, limit + 1);
  await peer.close();
});

const HIDDEN: readonly (readonly [name: string, error: Json | string, explanation: string])[] = [
  ["message", { code: 1, message: "The key sk-1 is wrong" }, "The key *** is wrong"],
  ["details in words", { code: 1, message: "No", data: "the key sk-1" }, "No: the key ***"],
  ["details", { code: 1, message: "No", data: { details: "sk-1", more: ["sk-1"] } }, "No: ***"],
  ["error in words", "sk-1", '"***"'],
  ["details that are cut", { message: "No", data: "x".repeat(498) + "sk-1" }, `No: ${"x".repeat(498)}**`],
];
for (const [name, error, explanation] of HIDDEN) {
  Deno.test(`Peer: no secret is told on: ${name}`, async () => {
    const [mine, theirs] = streamPair();
    const end = new RawPeer(theirs);
    const peer = new JsonRpcPeer(mine, new RecordingHandlers(), (text) => text.replaceAll("sk-1", "***"));
    const answer = peer.request("ask", {});
    await end.receive();
    await end.send({ id: 0, error });
    const thrown: RpcError = await assertRejects(() => answer, RpcError);
    assertEquals([thrown.explanation, JSON.stringify(thrown.data ?? "").includes("sk-1")], [
      explanation,
      false,
    ]);
    await peer.close();
  });
}

Deno.test("Peer: details that are nested without end are left out", async () => {
  const { peer, end } = rawPair();
  const answer = peer.request("ask", {});
  await end.receive();
  const deep = "[".repeat(200_000) + "]".repeat(200_000);
  await end.send(`{"id":0,"error":{"code":1,"message":"No","data":${deep}}}`);
  const thrown: RpcError = await assertRejects(() => answer, RpcError, "No");
  assertEquals([thrown.data, peer.closed.aborted], [undefined, false]);
  await peer.close();
});
