/** HTTP over a plain connection, so that a request may be anything. @module */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** When a client hangs up by itself: when it has sent everything, unread answer or not, or when it has the head. */
export type HangUp = "sent" | "head";

/** What came back. */
export interface Answer {
  /** `undefined` if the connection ended before a head. */
  readonly status: number | undefined;
  readonly head: string;
  readonly body: string;
  /** Whether the client hung up before the end of the body. */
  readonly isCut: boolean;
}

/**
 * Sends bytes and reads the answer to the end of the connection. An event stream that follows a GET has no end, so it is
 * cut after its head.
 */
export async function exchange(port: number, bytes: Uint8Array, hangUp?: HangUp): Promise<Answer> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const writing = writeAll(connection, bytes).catch(() => {});
  if (hangUp === "sent") {
    await writing;
    return { status: undefined, head: "", body: "", isCut: true };
  }
  const isGet = decoder.decode(bytes.subarray(0, 4)) === "GET ";
  let text = "";
  let isCut = false;
  const buffer = new Uint8Array(64 * 1024);
  const stream = new TextDecoder();
  for (;;) {
    // A server that refuses a request may close with the rest of it unread, which resets the connection.
    const length = await connection.read(buffer).catch(() => null);
    if (length === null) break;
    text += stream.decode(buffer.subarray(0, length), { stream: true });
    text = text.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, "");
    const hasHead = text.includes("\r\n\r\n");
    isCut = hasHead && (hangUp === "head" || isGet && /^content-type: text\/event-stream/im.test(text));
    if (isCut) break;
  }
  const end = text.indexOf("\r\n\r\n");
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
  return {
    status: status === undefined ? undefined : Number(status),
    head: end < 0 ? text : text.slice(0, end),
    body: end < 0 ? "" : text.slice(end + 4),
    isCut,
  };
}

/** Writes all bytes. */
export async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** Encodes a request: its first line, its headers in order, and its body. */
export function encodeRequest(
  line: string,
  headers: readonly (readonly [name: string, value: string])[],
  body: Uint8Array,
): Uint8Array {
  const head = encoder.encode(
    [line, ...headers.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n"),
  );
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}
