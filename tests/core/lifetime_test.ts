import { assertEquals, assertRejects } from "@std/assert";
import { settlesWithin } from "../../lib/core/deadline.ts";
import { onSignals } from "../../lib/core/lifetime.ts";
import { readLines } from "../support/agents/scripted_agent.ts";
import { settled, soon } from "../support/harness/turn_recorder.ts";

Deno.test("within: what settles in time", async () => {
  assertEquals(await settlesWithin(60_000, Promise.resolve(7)), true);
  assertEquals(await settlesWithin(60_000, settled()), true);
});

Deno.test("within: what does not", async () => {
  assertEquals(await soon(settlesWithin(1, new Promise(() => {})), "the end of the wait"), false);
});

Deno.test("within: what fails in time is thrown, and leaves no timer", async () => {
  await assertRejects(() => settlesWithin(60_000, Promise.reject(new Error("no"))), Error, "no");
});

Deno.test("onSignals: once disposed of, nothing is left of it", () => {
  const heard: string[] = [];
  const say = (signal: string) => heard.push(signal);
  onSignals({ atTerminal: true, stop: say, exit: say })[Symbol.dispose]();
  assertEquals(heard, []);
});

/** A program that says which signals asked it to end. */
const LISTENER = `
import { onSignals } from "${import.meta.resolve("../../lib/core/lifetime.ts")}";
setInterval(() => {}, 1_000_000);
const say = (what) => (signal) => console.log(what + " " + signal);
onSignals({ atTerminal: true, stop: say("stop"), exit: say("exit") });
console.log("up");
`;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.test({
    name: `onSignals: ${signal} asks to stop, and does not end the program by itself`,
    ignore: Deno.build.os === "windows",
    async fn() {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-lock", LISTENER],
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const lines = readLines(child.stdout);
      const next = async () => (await soon(lines.next(), "a line")).value;
      assertEquals(await next(), "up");
      child.kill(signal);
      assertEquals(await next(), `stop ${signal}`);
      child.kill("SIGKILL");
      assertEquals((await soon(child.status, "its end")).signal, "SIGKILL");
      assertEquals(await next(), undefined);
    },
  });
}
