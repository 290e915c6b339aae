/** A fake clawd-on-desk beside the program. */

import { assertEquals } from "@std/assert";
import { FakeClawd } from "../support/harness/fake_clawd.ts";
import { withKey } from "../support/harness/key_fixture.ts";
import { replyOf, script, startServer } from "../support/harness/server_process.ts";

/** The folder of Deno's cache, which would otherwise be below `HOME`. */
const { denoDir } = JSON.parse(
  new TextDecoder().decode(
    new Deno.Command(Deno.execPath(), { args: ["info", "--json"], stderr: "null" }).outputSync().stdout,
  ),
);

Deno.test("clawd-on-desk: is the owner's, needs no key, and answers a permission", async () => {
  await using pet = new FakeClawd();
  const home = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${home}/.clawd`);
    await Deno.writeTextFile(`${home}/.clawd/runtime.json`, pet.runtime);
    const env = {
      HOME: home,
      DENO_DIR: denoDir,
      VTUBER_CLAWD: "true",
      VTUBER_AUTH_KEY: "a-key-of-the-owner",
    };
    await using server = await startServer({ env });
    await server.logged("found clawd-on-desk");
    const toolCall = { toolCallId: "t1", title: "ls", kind: "execute", rawInput: { command: "ls" } };
    const options = [{ optionId: "yes", name: "Yes", kind: "allow_once" }];
    const steps = script({ permission: { toolCall, options } });
    const reply = replyOf(server.chat(steps, {}, withKey("a-key-of-the-owner")));
    await pet.untilLogged("ask Bash");
    pet.decide("allow");
    assertEquals((await reply).text.includes('"yes"'), true);
    await server.end("SIGTERM");
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
