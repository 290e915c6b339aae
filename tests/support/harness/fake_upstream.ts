/** An OpenAI-compatible server on a port of this machine, which records its requests and answers as a test says. */

import { assertEquals } from "@std/assert";
import { listen } from "./event_client.ts";

/** A request that the server received. */
export interface UpstreamCall {
  /** Path and query. */
  readonly path: string;
  readonly authorization: string | null;
  /** The JSON of the body. */
  // deno-lint-ignore no-explicit-any
  readonly body: any;
  /** The body as a form, if it is one. */
  readonly form: FormData | undefined;
  readonly signal: AbortSignal;
}

/** Answers a call. */
export type UpstreamScript = (call: UpstreamCall) => Response | Promise<Response>;

/** A running server. */
export class FakeUpstream implements AsyncDisposable {
  readonly calls: UpstreamCall[] = [];
  readonly url: string;
  readonly #server: AsyncDisposable;

  constructor(public script: UpstreamScript = embed()) {
    const server = listen(async (request) => {
      const { pathname, search } = new URL(request.url);
      const isForm = request.headers.get("content-type")?.startsWith("multipart/form-data");
      const form = isForm ? await request.formData() : undefined;
      const text = isForm ? "" : await request.text();
      const call = {
        path: pathname + search,
        authorization: request.headers.get("authorization"),
        body: text && JSON.parse(text),
        form,
        signal: request.signal,
      };
      this.calls.push(call);
      return this.script(call);
    });
    this.#server = server;
    this.url = server.url;
  }

  /** The only call. */
  get call(): UpstreamCall {
    assertEquals(this.calls.length, 1);
    return this.calls[0]!;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#server[Symbol.asyncDispose]());
  }
}

/** The vector of the input at an index: numbers that 32 bits hold exactly. */
export function vectorOf(index: number): number[] {
  return [index, 0.5, -1.25];
}

/** Encodes numbers as little-endian 32-bit floats in base64. */
export function base64Of(numbers: readonly number[]): string {
  const view = new DataView(new ArrayBuffer(numbers.length * 4));
  numbers.forEach((number, index) => view.setFloat32(index * 4, number, true));
  return btoa(String.fromCharCode(...new Uint8Array(view.buffer)));
}

/** Answers with {@linkcode vectorOf} each input, in the format that is asked for or in this one. */
export function embed(format?: "float" | "base64"): UpstreamScript {
  return ({ body: { input, encoding_format, model } }) => {
    const isList = Array.isArray(input) && typeof input[0] !== "number";
    const data = Array.from({ length: isList ? input.length : 1 }, (_, index) => ({
      object: "embedding",
      index,
      embedding: (format ?? encoding_format) === "base64" ? base64Of(vectorOf(index)) : vectorOf(index),
    }));
    const usage = { prompt_tokens: data.length, total_tokens: data.length };
    return Response.json({ object: "list", data, model: `served-${model}`, usage });
  };
}

/** Answers with bytes, each piece in a chunk of its own, of a media type. */
export function sound(mediaType: string, ...pieces: readonly (string | Uint8Array)[]): Response {
  const encoder = new TextEncoder();
  const chunks = pieces.map((piece) => typeof piece === "string" ? encoder.encode(piece) : piece);
  return new Response(ReadableStream.from(chunks), { headers: { "content-type": mediaType } });
}
