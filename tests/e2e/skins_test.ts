/** The skins' own readers, fed by the live server with what each skin sends. */

import { assertEquals } from "@std/assert";
import { readLive, type SkinName, SKINS } from "../support/skins/skins.ts";
import { checkWireProfile } from "../support/harness/wire_profile.ts";
import { script, type Server, startServer } from "../support/harness/server_process.ts";

/** What is hard for one reader or another: tags, breaks, `data:`, `::`, separators, characters of several units. */
const PIECES = [
  "\n\n[happy]",
  "\nHel",
  "lo! data: is ",
  "a word, and std::cout ",
  "too.\n",
  "\n",
  "- one\n- two\n\n",
  "こんにちは。",
  "\n",
  "元気？👩‍💻 ",
  "a\u2028b\u0085c ",
  '"quoted" \\ and {"json": [1]} ',
  "[sad]",
  "\nGood bye",
];
const TEXT =
  '[happy]Hello! data: is a word, and std::cout too.\n\n- one\n- two\n\nこんにちは。\n元気？👩‍💻 a\nb\u0085c "quoted" \\ and {"json": [1]} [sad]\nGood bye\n';

const BODIES: Partial<
  Record<SkinName, { path: string; body: Record<string, unknown>; headers?: HeadersInit }>
> = {
  aniCompanion: {
    path: "/v1/v1/chat/completions",
    body: { model: "hermes-agent", stream: true },
    headers: { accept: "text/event-stream" },
  },
  chatVrm: { path: "/v1/chat/completions", body: { model: "gpt-3.5-turbo", max_tokens: 200, stream: true } },
  chatdollKit: {
    path: "/v1/chat/completions",
    body: {
      model: "m",
      temperature: 0.5,
      frequency_penalty: 0,
      presence_penalty: 0,
      tool_choice: "none",
      stream: true,
    },
    headers: { "api-key": "x", authorization: "Bearer x" },
  },
  aituberKit: { path: "/v1/chat/completions", body: { threadId: "9b2f" } },
  amica: { path: "//v1/chat/completions", body: { model: "m", max_tokens: 200, stream: true } },
  xsai: {
    path: "/v1/chat/completions",
    body: { model: "m", stream: true, stream_options: { include_usage: true }, tools: [] },
  },
};

async function ask(server: Server, name: SkinName): Promise<Response> {
  const { path, body, headers } = BODIES[name] ?? { path: "/v1/chat/completions", body: { stream: true } };
  const text = script(...PIECES.map((text) => ({ text })));
  const content = name === "chatdollKit" ? [{ type: "text", text }] : text;
  return await server.post(
    path,
    { ...body, messages: [{ role: "user", content }] },
    headers ? { headers } : {},
  );
}

for (const [name, reader] of Object.entries(SKINS) as [SkinName, (typeof SKINS)[SkinName]][]) {
  Deno.test(`${name} gets the whole reply`, async () => {
    await using server = await startServer();
    const result = await readLive(reader, await ask(server, name));
    assertEquals(result.died, undefined);
    assertEquals(result.errors, []);
    assertEquals(plain(result.text), plain(TEXT));
    assertEquals(result.unspoken.trim(), "");
  });
}

Deno.test("what goes out keeps to the wire profile", async () => {
  await using server = await startServer();
  const response = await server.post("/v1/chat/completions", {
    stream: true,
    messages: [{
      role: "user",
      content: script(...PIECES.map((text) => ({ text })), { tokens: 3_000, text: "é" }),
    }],
  });
  const whole = new Uint8Array(await response.arrayBuffer());
  assertEquals(checkWireProfile(events(whole)), []);
});

/** A space may stand before a line break, so that ChatVRM gets over it. */
function plain(text: string): string {
  return text.replaceAll(" \n", "\n");
}

/** The network joins and cuts writes: what is looked at here is event by event. */
function events(bytes: Uint8Array): Uint8Array[] {
  return new TextDecoder().decode(bytes).split(/(?<=\n\n)/).map((event) => new TextEncoder().encode(event));
}
