import { assertEquals, assertRejects } from "@std/assert";
import { within } from "../../lib/ops/lifetime.ts";
import { settled, soon } from "../turn/heard.ts";

Deno.test("within: what settles in time", async () => {
  assertEquals(await within(60_000, Promise.resolve(7)), true);
  assertEquals(await within(60_000, settled()), true);
});

Deno.test("within: what does not", async () => {
  assertEquals(await soon(within(1, new Promise(() => {})), "the end of the wait"), false);
});

Deno.test("within: what fails in time is thrown, and leaves no timer", async () => {
  await assertRejects(() => within(60_000, Promise.reject(new Error("no"))), Error, "no");
});

/** A program that says which signals asked it to end, and no longer listens after the first. */
const LISTENER = `
import { onSignals } from "${import.meta.resolve("../../lib/ops/lifetime.ts")}";
const alive = setInterval(() => {}, 1_000_000);
const listening = onSignals({
  atTerminal: true,
  stop(signal) {
    listening[Symbol.dispose]();
    console.log("stop " + signal);
  },
  exit: (signal) => console.log("exit " + signal),
});
console.log("up");
`;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.test({
    name: `onSignals: ${signal} asks to stop; once disposed of it listens no more`,
    ignore: Deno.build.os === "windows",
    async fn() {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-lock", LISTENER],
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      const until = async (said: string) => {
        while (!text.includes(said)) {
          const { value, done } = await soon(reader.read(), said);
          if (done) throw new Error(`It ended without ${said}`);
          text += value;
        }
      };
      await until("up\n");
      child.kill(signal);
      await until(`stop ${signal}\n`);
      let status: Deno.CommandStatus | undefined;
      child.status.then((ended) => status = ended);
      // The runtime takes a moment to let go of a signal; one that comes before that is lost.
      while (status === undefined) {
        child.kill(signal);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assertEquals(status.signal, signal);
      await reader.cancel();
    },
  });
}
