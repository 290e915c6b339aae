import { assertEquals } from "@std/assert";
import { readLines } from "../support/agents/agent_io.ts";
import { waitFor } from "../support/harness/turn_recorder.ts";

/** A program that prints the signals that it gets. */
const LISTENER = `
import { onSignals } from "${import.meta.resolve("../../lib/core/lifetime.ts")}";
setInterval(() => {}, 1_000_000);
const say = (what) => (signal) => console.log(what + " " + signal);
onSignals(true, say("stop"), say("exit"));
console.log("up");
`;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.test({
    name: `onSignals: ${signal} calls stop, and does not end the program`,
    ignore: Deno.build.os === "windows",
    async fn() {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-lock", LISTENER],
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const lines = readLines(child.stdout);
      const next = async () => (await waitFor(lines.next(), "a line")).value;
      assertEquals(await next(), "up");
      child.kill(signal);
      assertEquals(await next(), `stop ${signal}`);
      child.kill("SIGKILL");
      assertEquals((await waitFor(child.status, "its end")).signal, "SIGKILL");
      assertEquals(await next(), undefined);
    },
  });
}
