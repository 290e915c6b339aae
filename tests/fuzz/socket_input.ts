/** WebSocket connections to the event channel: commands, and frames that no client library sends. @module */

import { EVENT_NAMES } from "../../lib/events/wire.ts";
import type { Random } from "../support/harness/random.ts";
import { encodeRequest, writeAll } from "./exchange.ts";
import { damage, join, mutate } from "./mutation.ts";

/** Ids of what the agent asks at the moment, or asked before. */
export interface AskedIds {
  readonly permission: string;
  readonly question: string;
}

function commandsOf({ permission, question }: AskedIds): readonly unknown[] {
  return [
    { type: "hello", client: "fuzz" },
    { type: "subscribe", events: [...EVENT_NAMES] },
    { type: "subscribe", events: ["*", "say", "no such event"] },
    { type: "ping" },
    { type: "permission_response", request_id: permission, decision: "allow" },
    {
      type: "permission_response",
      request_id: permission,
      option_id: "yes",
      detail_chars: 3,
      client: "fuzz",
    },
    { type: "question_response", question_id: question, action: "accept", content: { a: "yes" } },
    { type: "question_response", question_id: question, action: "decline" },
    { type: "interrupt" },
    { type: "interrupt", session_id: "talk" },
  ];
}
const HANDSHAKE: readonly (readonly [string, string])[] = [
  ["host", "127.0.0.1"],
  ["connection", "Upgrade"],
  ["upgrade", "websocket"],
  ["sec-websocket-version", "13"],
  ["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="],
];
/** Opcodes: continuation, text, binary, a reserved one, close, ping, pong. */
const OPCODES = [0, 1, 1, 1, 1, 2, 3, 8, 9, 10];
const MOST_FRAMES = 8;

/** One connection. */
export interface SocketInput {
  readonly handshake: Uint8Array;
  readonly frames: readonly Uint8Array[];
  /** Whether the client leaves without reading, so that its system resets the connection. */
  readonly isReset: boolean;
}

/** Makes a connection. */
export function socketInput(random: Random, ids: AskedIds): SocketInput {
  const headers = random.once(8)
    ? HANDSHAKE.filter(() => !random.once(4)).map(([name, value]) =>
      [name, random.once(4) ? "x" : value] as const
    )
    : HANDSHAKE;
  const method = random.once(15) ? "HEAD" : "GET";
  return {
    handshake: encodeRequest(`${method} /v1/vtuber/ws HTTP/1.1`, headers, new Uint8Array()),
    frames: Array.from({ length: random.below(MOST_FRAMES) }, () => frame(random, ids)),
    isReset: random.once(3),
  };
}

function frame(random: Random, ids: AskedIds): Uint8Array {
  const command = random.pick(commandsOf(ids));
  const text = JSON.stringify(random.once(3) ? command : mutate(random, command)) ?? "";
  const bytes = new TextEncoder().encode(text.slice(0, 100_000));
  const payload = random.once(8) ? damage(random, bytes) : bytes;
  const opcode = random.once(4) ? random.pick(OPCODES) : 1;
  const encoded = encodeFrame(payload, {
    first: (random.once(10) ? 0 : 0x80) | (random.once(20) ? 0x40 : 0) | opcode,
    isMasked: !random.once(15),
  });
  return random.once(15) ? damage(random, encoded) : encoded;
}

/** Encodes a frame. A mask of zeros leaves the payload unchanged. */
function encodeFrame(
  payload: Uint8Array,
  { first, isMasked }: { first: number; isMasked: boolean },
): Uint8Array {
  const mask = isMasked ? 0x80 : 0;
  const { length } = payload;
  const header = length < 126
    ? [first, mask | length]
    : length < 65_536
    ? [first, mask | 126, length >> 8, length & 255]
    : [first, mask | 127, 0, 0, 0, 0, length >>> 24, length >> 16 & 255, length >> 8 & 255, length & 255];
  return join(Uint8Array.from(header), new Uint8Array(isMasked ? 4 : 0), payload);
}

/** Plays a connection, and resolves when it has ended. */
export async function playSocket(port: number, { handshake, frames, isReset }: SocketInput): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const buffer = new Uint8Array(64 * 1024);
  const read = () => connection.read(buffer).catch(() => null);
  await writeAll(connection, handshake);
  if (!isReset && await read() === null) return;
  for (const frame of frames) {
    // The server may have closed the connection by now.
    if (!await writeAll(connection, frame).then(() => true, () => false)) return;
  }
  if (isReset) return;
  await connection.closeWrite().catch(() => {});
  while (await read() !== null);
}
