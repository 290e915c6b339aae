/** Schemas that several protocols need. @module */

import { z } from "zod";

/** A list that is cut before its entries are checked: to check a hundred thousand takes a second. */
export function firstOf<T>(entry: z.ZodType<T>, maxEntries: number) {
  return z.array(z.unknown()).transform((entries) => entries.slice(0, maxEntries)).pipe(z.array(entry));
}
