/** Golden files: the exact bytes that the server writes. `UPDATE_GOLDEN=1 deno task test` rewrites them. @module */

import { assertEquals } from "@std/assert";

/** Checks that a text equals the file of this name in a folder of tests/fixtures. */
export async function assertGolden(name: string, text: string, folder = "openai"): Promise<void> {
  const file = new URL(`../../fixtures/${folder}/${name}`, import.meta.url);
  if (Deno.env.get("UPDATE_GOLDEN")) return await Deno.writeTextFile(file, text);
  const golden = await Deno.readTextFile(file);
  // Git may check the file out with Windows line ends.
  assertEquals(text, golden.replaceAll("\r\n", "\n"), `${name} differs; UPDATE_GOLDEN=1 rewrites the file`);
}
