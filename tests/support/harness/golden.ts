/** Golden files: what goes out, to the byte. `UPDATE_GOLDEN=1 deno task test` writes them anew; look at the diff. @module */

import { assertEquals } from "@std/assert";

/** That the text is what the file in tests/fixtures/openai holds. */
export async function assertGolden(name: string, text: string): Promise<void> {
  const file = new URL(`../../fixtures/openai/${name}`, import.meta.url);
  if (Deno.env.get("UPDATE_GOLDEN")) return await Deno.writeTextFile(file, text);
  const golden = await Deno.readTextFile(file);
  // Git may write the line ends of Windows; what goes out never has any.
  assertEquals(text, golden.replaceAll("\r\n", "\n"), `${name} differs; UPDATE_GOLDEN=1 writes it anew`);
}
