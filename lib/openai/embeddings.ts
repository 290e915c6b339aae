/** `POST /v1/embeddings`: texts as vectors. Agents make none, so an OpenAI-compatible upstream does. @module */

import { z } from "zod";
import { AppError } from "../core/errors.ts";
import { firstOf } from "../core/schema.ts";
import { holdMore } from "../http/body.ts";
import { readJson } from "../http/json_body.ts";
import type { Handler } from "../http/router.ts";
import {
  createUpstream,
  type Upstream,
  type UpstreamConfig,
  type UpstreamRequestOptions,
} from "../core/upstream.ts";
import { modelName, parse } from "./wire.ts";

/** Inputs of one request, and tokens of all of them: OpenAI's limits. */
const MAX_INPUTS = 2_048;
const MAX_TOKENS = 300_000;
/** Values of a body: the tokens, the arrays around them, and the other fields. */
const MAX_VALUES = MAX_TOKENS + MAX_INPUTS + 100;

/** The upstream that makes embeddings: the table `[embeddings]`. */
export interface EmbeddingsConfig extends UpstreamConfig {
  /** The model of every request; `undefined` lets clients choose. */
  readonly model: string | undefined;
}

/** Tells what is wrong with an input: a text, several texts, the tokens of a text, or those of several texts. */
function inputFault(input: unknown): string | undefined {
  if (typeof input === "string") return undefined;
  const isList = Array.isArray(input) && input.length > 0 &&
    (input.every((text) => typeof text === "string") || input.every(isTokens));
  if (!isList && !isTokens(input)) {
    return "must be a string, or an array of strings, of tokens or of arrays of tokens, and not empty";
  }
  return countInputs(input) > MAX_INPUTS ? `has more than ${MAX_INPUTS} inputs` : undefined;
}

function isTokens(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 &&
    value.every((token) => Number.isInteger(token) && token >= 0);
}

/** Counts the vectors that an input asks for. */
function countInputs(input: unknown): number {
  return Array.isArray(input) && !isTokens(input) ? input.length : 1;
}

const embeddingsBody = z.object({
  input: z.unknown().superRefine((input, context) => {
    const fault = inputFault(input);
    if (fault !== undefined) context.addIssue(fault);
  }),
  model: modelName,
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: z.number().int().min(1).nullish(),
  user: z.string().nullish(),
});

const tokenCount = z.number().int().nonnegative();
const embeddingsAnswer = z.object({
  // A longer list is a fault too.
  data: firstOf(
    z.object({
      index: z.number().int(),
      embedding: z.union([z.string(), z.custom<number[]>(isVector, "is no vector")], "is no vector"),
    }),
    MAX_INPUTS + 1,
  ),
  model: z.string().optional().catch(undefined),
  // Some servers do not count.
  usage: z.object({ prompt_tokens: tokenCount, total_tokens: tokenCount })
    .catch({ prompt_tokens: 0, total_tokens: 0 }),
});

function isVector(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every(Number.isFinite);
}

/** A request to the upstream. */
interface EmbeddingsRequest {
  readonly model: string;
  readonly input: unknown;
  readonly encoding_format?: "float" | "base64";
  readonly dimensions?: number;
  readonly user?: string;
}

/** Creates the handler. Without an upstream, it answers that there is none. */
export function embeddingsHandler(config: EmbeddingsConfig | undefined): Handler {
  if (config === undefined) {
    return () => {
      throw new AppError(
        "not_configured",
        "An agent makes no embeddings: set base_url of [embeddings] in config.toml to a server that does.",
      );
    };
  }
  const upstream = createUpstream("embeddings", config);
  return async (http) => {
    const body = parse(embeddingsBody, (await readJson(http, { maxValues: MAX_VALUES })).value);
    const model = config.model ?? body.model;
    if (!model) {
      const message = '"model" is required, because model of [embeddings] in config.toml is not set.';
      throw new AppError("missing_required_parameter", message, { param: "model" });
    }
    const { input, encoding_format, dimensions, user } = body;
    const request = {
      ...{ model, input },
      ...encoding_format && { encoding_format },
      ...dimensions && { dimensions },
      ...user && { user },
    };
    const hold = (bytes: number) => holdMore(http, bytes);
    return Response.json(await requestEmbeddings(upstream, request, { signal: http.signal, hold }));
  };
}

/**
 * Requests embeddings of an upstream, and returns OpenAI's list of them, in the order of the inputs.
 *
 * @throws {AppError} if the upstream does not answer with one vector for each input.
 */
export async function requestEmbeddings(
  upstream: Upstream,
  request: EmbeddingsRequest,
  options: UpstreamRequestOptions,
) {
  const { data: answer, error } = embeddingsAnswer.safeParse(
    await upstream.postJson("/embeddings", request, options),
  );
  const fault = (text: string) =>
    new AppError("upstream_unavailable", `${upstream.subject} gives a wrong answer: ${text}.`);
  if (answer === undefined) throw fault(z.core.toDotPath(error.issues[0]!.path) || "it is no object");
  const { data, model = request.model, usage } = answer;
  const embeddings = data.toSorted((a, b) => a.index - b.index);
  if (embeddings.length !== countInputs(request.input) || embeddings.some(({ index }, at) => index !== at)) {
    throw fault("it does not have one embedding for each input");
  }
  const { encoding_format: format = "float" } = request;
  return {
    object: "list" as const,
    data: embeddings.map(({ index, embedding }) => {
      const vector = toFormat(embedding, format);
      if (vector === undefined) throw fault(`data[${index}].embedding`);
      return { object: "embedding" as const, index, embedding: vector };
    }),
    model,
    usage,
  };
}

/**
 * Converts a vector, because some servers ignore `encoding_format`, and OpenAI's library decodes only what it asked
 * for. Base64 holds little-endian 32-bit floats, which is the order of bytes wherever Deno runs.
 */
function toFormat(vector: string | number[], format: "float" | "base64"): string | number[] | undefined {
  if (typeof vector !== "string") {
    return format === "float" ? vector : new Uint8Array(Float32Array.from(vector).buffer).toBase64();
  }
  const bytes = decodeBase64(vector);
  if (bytes === undefined || bytes.length === 0 || bytes.length % Float32Array.BYTES_PER_ELEMENT > 0) {
    return undefined;
  }
  const numbers = Array.from(new Float32Array(bytes.buffer));
  if (!isVector(numbers)) return undefined;
  return format === "float" ? numbers : bytes.toBase64();
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return undefined;
  }
}
