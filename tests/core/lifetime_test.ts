import { assertEquals } from "@std/assert";
import { readLines } from "../support/agents/agent_io.ts";
import { waitFor } from "../support/harness/turn_recorder.ts";

/** A program that prints the signals that it gets. */
const LISTENER = `
import { onSignals } from "${import.meta.resolve("../../lib/core/lifetime.ts")}";
setInterval(() => {}, 1_000_000);
const say = (what) => (signal) => console.log(what + " " + signal);
onSignals(say("stop"), say("exit"));
Deno.addSignalListener("SIGUSR1", () => console.log("still here"));
console.log("up");
`;

const CASES: [start: string, steps: [signal: Deno.Signal, line?: string][]][] = [
  ["exec", [["SIGINT", "stop SIGINT"]]],
  ["exec", [["SIGTERM", "stop SIGTERM"]]],
  ["exec", [["SIGQUIT", "stop SIGQUIT"]]],
  ["exec", [["SIGHUP", "stop SIGHUP"]]],
  ["exec nohup", [["SIGHUP"], ["SIGUSR1", "still here"], ["SIGTERM", "stop SIGTERM"]]],
];

for (const [start, steps] of CASES) {
  Deno.test({
    name: `onSignals: ${start}: ${steps.join(", ")}`,
    ignore: Deno.build.os === "windows",
    async fn() {
      const child = new Deno.Command("sh", {
        args: ["-c", `${start} "$@"`, "sh", Deno.execPath(), "eval", "--no-lock", LISTENER],
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const lines = readLines(child.stdout);
      const next = async () => (await waitFor(lines.next(), "a line")).value;
      assertEquals(await next(), "up");
      for (const [signal, line] of steps) {
        child.kill(signal);
        if (line) assertEquals(await next(), line);
      }
      child.kill("SIGKILL");
      assertEquals((await waitFor(child.status, "its end")).signal, "SIGKILL");
      assertEquals(await next(), undefined);
    },
  });
}
