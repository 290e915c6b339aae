/** The upstreams of the configuration file: the table `[embeddings]`, and what every upstream has. Pure. @module */

import { z } from "zod";
import type { EmbeddingsConfig } from "../openai/embeddings.ts";
import { type TableReader, text } from "./config_file.ts";

/** A text that counts as left out if it is empty, because a variable in it may be empty. */
export const optionalText = text.trim().transform((text) => text || undefined).optional();
const ADDRESS = "such as http://127.0.0.1:11434/v1";
/** The address of an upstream. */
export const baseUrl = z.string({
  error: ({ input }) =>
    input === undefined
      ? `is required: the address of the server, ${ADDRESS}`
      : `must be a text: the address of the server, ${ADDRESS}`,
}).trim()
  .refine(
    (url) => /^https?:$/.test(URL.parse(url)?.protocol ?? ""),
    "must be an address that begins with http:// or https://",
  )
  .refine(
    (url) => !URL.parse(url)?.username && !URL.parse(url)?.password,
    "cannot have a name or a password in it: put the key into key",
  );

/** The key of an upstream. Other characters cannot be sent in a header. */
export const upstreamKey = optionalText.refine(
  (key) => key === undefined || /^[\x21-\x7e]+$/.test(key),
  "must be one word of ASCII characters",
);

const embeddingsTable = z.object({
  base_url: baseUrl,
  key: upstreamKey,
  model: optionalText,
}, "must be a table: [embeddings]");

/** The names of the keys of `[embeddings]`. */
export const EMBEDDINGS_SETTINGS: readonly string[] = Object.keys(embeddingsTable.shape);

/** Reads `[embeddings]`; `undefined` without the table, and if it has a mistake. */
export function readEmbeddings(reader: TableReader): EmbeddingsConfig | undefined {
  const path = "embeddings";
  const raw = reader.root[path];
  if (raw === undefined) return undefined;
  const table = reader.read(embeddingsTable, reader.expand(raw, path), path);
  return table && { baseUrl: table.base_url, key: table.key, model: table.model };
}
