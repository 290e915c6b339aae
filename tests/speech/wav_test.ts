import { assertEquals } from "@std/assert";
import { encodeWav, parseWav } from "../../lib/speech/wav.ts";

Deno.test("parseWav: reads the file that encodeWav makes", () => {
  const pcm = { rate: 24_000, samples: Int16Array.of(0, 1, -1, 32_767, -32_768) };
  assertEquals(parseWav(encodeWav(pcm)), pcm);
});
