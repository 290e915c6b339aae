/** The skins' own stream readers in front of a real server, each with the request that its skin sends. */

import { assertEquals } from "@std/assert";
import { script, type ServerProcess, testServer } from "../support/harness/server_process.ts";
import { checkWireProfile } from "../support/harness/wire_profile.ts";
import { readLive, type SkinName, SKINS } from "../support/skins/skins.ts";

/** Text that is hard for some reader: tags, line breaks, `data:`, `::`, separators, long characters. */
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
].map((text) => ({ text }));
const TEXT =
  '[happy]Hello! data: is a word, and std::cout too.\n\n- one\n- two\n\nこんにちは。\n元気？👩‍💻 a\nb\u0085c "quoted" \\ and {"json": [1]} [sad]\nGood bye\n';

interface SkinRequest {
  readonly path?: string;
  readonly body?: Record<string, unknown>;
  readonly headers?: HeadersInit;
}

const REQUESTS: Partial<Record<SkinName, SkinRequest>> = {
  aniCompanion: {
    path: "/v1/v1/chat/completions",
    body: { model: "hermes-agent" },
    headers: { accept: "text/event-stream" },
  },
  chatVrm: { body: { model: "gpt-3.5-turbo", max_tokens: 200 } },
  chatdollKit: {
    body: { model: "m", temperature: 0.5, frequency_penalty: 0, presence_penalty: 0, tool_choice: "none" },
    headers: { "api-key": "x", authorization: "Bearer x" },
  },
  aituberKit: { body: { threadId: "9b2f", stream: undefined } },
  amica: { path: "//v1/chat/completions", body: { model: "m", max_tokens: 200 } },
  xsai: { body: { model: "m", stream_options: { include_usage: true }, tools: [] } },
};

/** ChatVRM needs a space before each line break. */
function withoutTrailingSpaces(text: string): string {
  return text.replaceAll(" \n", "\n");
}

function ask(server: ServerProcess, name: SkinName): Promise<Response> {
  const { path = "/v1/chat/completions", body, headers = {} } = REQUESTS[name] ?? {};
  const text = script(...PIECES);
  const content = name === "chatdollKit" ? [{ type: "text", text }] : text;
  return server.post(path, { stream: true, ...body, messages: [{ role: "user", content }] }, { headers });
}

testServer("skins", {}, {
  ...Object.fromEntries(
    (Object.entries(SKINS) as [SkinName, (typeof SKINS)[SkinName]][]).map(([name, reader]) => [
      `${name} gets the whole reply`,
      async (server: ServerProcess) => {
        const result = await readLive(reader, await ask(server, name));
        assertEquals([result.died, result.errors, result.unspoken.trim()], [undefined, [], ""]);
        assertEquals(withoutTrailingSpaces(result.text), withoutTrailingSpaces(TEXT));
      },
    ]),
  ),

  async "a stream follows the wire profile"(server) {
    const response = await server.chat(script(...PIECES, { tokens: 3_000, text: "é" }));
    // The network joins and cuts writes, so the profile is checked event by event.
    const events = (await response.text()).split(/(?<=\n\n)/);
    assertEquals(checkWireProfile(events.map((event) => new TextEncoder().encode(event))), []);
  },
});
