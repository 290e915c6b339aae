import { assertEquals } from "@std/assert";
import { textOf } from "../../lib/conversation/message.ts";
import { parseChatRequest } from "../../lib/openai/wire.ts";
import { SKIN_REQUESTS } from "../support/skins/skin_requests.ts";

for (const { name, body, says } of SKIN_REQUESTS) {
  Deno.test(`parseChatRequest: the request of ${name}`, () => {
    const request = parseChatRequest(JSON.parse(JSON.stringify(body)));
    const { messages } = body as { messages: unknown[] };
    assertEquals(request.messages.length, messages.length);
    assertEquals(textOf(request.messages.at(-1)!), says);
    assertEquals(request.model, body.model ?? "");
  });
}

Deno.test("parseChatRequest: the pictures of skins arrive as pictures", () => {
  const kinds = SKIN_REQUESTS.flatMap(({ body }) => parseChatRequest(body).messages)
    .flatMap(({ parts }) => parts.filter(({ type }) => type === "image"));
  assertEquals(kinds.length, 3);
  for (const image of kinds) {
    assertEquals(image, { type: "image", mimeType: "image/jpeg", data: "/9j/4AAQSkZJRg==" });
  }
});
