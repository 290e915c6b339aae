import { assertEquals } from "@std/assert";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { startApp } from "../support/harness/app_harness.ts";

for (const onBusy of BUSY_MODES) {
  Deno.test(`response_format: ${onBusy}: what is asked for once more waits for the real end of the first turn`, async () => {
    await using app = startApp({ onBusy });
    app.agent.answersCancels = false;
    const answer = app.chat({
      conversation_id: "mao",
      response_format: { type: "json_object" },
      stop: ["#"],
    });
    const first = await app.agent.nextPrompt();
    first.say("Sorry.#");
    await first.cancelled;
    await settled();
    assertEquals([app.agent.prompts.length, first.cancels], [1, 1]);
    first.end("cancelled");
    const second = await app.agent.nextPrompt();
    second.say("{}");
    second.end();
    assertEquals((await (await answer).json()).choices[0].message.content, "{}");
    assertEquals(app.agent.sessions.length, 1);
  });
}
