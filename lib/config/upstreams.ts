/** The upstreams of the configuration file: the table `[embeddings]`. Pure. @module */

import { z } from "zod";
import type { EmbeddingsConfig } from "../openai/embeddings.ts";
import { type TableReader, text } from "./config_file.ts";

/** A text that counts as left out if it is empty, because a variable in it may be empty. */
const optionalText = text.trim().transform((text) => text || undefined).optional();
const ADDRESS = "such as http://127.0.0.1:11434/v1";
const baseUrl = z.string({
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

const embeddingsTable = z.object({
  base_url: baseUrl,
  // Other characters cannot be sent in a header.
  key: optionalText.refine(
    (key) => key === undefined || /^[\x21-\x7e]+$/.test(key),
    "must be one word of ASCII characters",
  ),
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
