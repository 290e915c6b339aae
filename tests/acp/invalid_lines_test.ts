import { assertEquals, assertStringIncludes } from "@std/assert";
import { logInvalidLines } from "../../lib/acp/ndjson.ts";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { failureOf, settled } from "../support/harness/turn_recorder.ts";
import { LogRecorder } from "../support/harness/json_rpc_harness.ts";
import { AcpHarness } from "../support/agents/memory_acp_agent.ts";

const redact = (text: string) => text.replaceAll("secret", "***");

Deno.test("skippedLines: five in a minute, and the next one tells how many there were besides", () => {
  const recorder = new LogRecorder();
  let nowMs = 0;
  const skip = logInvalidLines(recorder.log, redact, () => nowMs);
  for (let count = 0; count < 100; count++) skip(`line ${count}`, "not JSON");
  const told = () => recorder.entries.map(({ fields }) => [fields.line, fields.why, fields.untold]);
  const first = ["0", "1", "2", "3", "4"].map((name) => [`line ${name}`, "not JSON", undefined]);
  assertEquals(told(), first);
  nowMs = 59_999;
  skip("line 100", "not JSON");
  assertEquals(told(), first);
  nowMs = 60_000;
  skip("line 101", "not JSON");
  skip("line 102", "not JSON");
  assertEquals(told().slice(5), [["line 101", "not JSON", 96], ["line 102", "not JSON", undefined]]);
});

Deno.test("skippedLines: a secret that would be cut is hidden before", () => {
  const recorder = new LogRecorder();
  logInvalidLines(recorder.log, redact, () => 0)("x".repeat(196) + "secret", "not JSON");
  assertEquals(recorder.entries.map(({ fields }) => fields.line), ["x".repeat(196) + "***"]);
});

Deno.test("AcpAgent: what it says is told on without the secrets, in its failures and in the log", async () => {
  await using house = new AcpHarness({
    "session/new": () => {
      throw new RpcError(RPC.internalError, "No account", { details: "the secret is wrong" });
    },
  }, { redact: redact });
  assertStringIncludes((await failureOf(house.agent.newSession())).message, "No account: the *** is wrong");
  house.running.sendInvalid("x".repeat(150) + "secret".repeat(20));
  await house.recorder.waitFor("skipped a line of the agent");
  await settled();
  assertEquals(JSON.stringify(house.recorder.entries).includes("secret"), false);
});

Deno.test("AcpAgent: what it writes is skipped without end, and said a few times, also after it was started again", async () => {
  await using house = new AcpHarness();
  for (let start = 0; start < 2; start++) {
    await house.agent.newSession();
    for (let count = 0; count < 20; count++) house.running.sendInvalid();
    await settled();
    house.nowMs += 20_000;
    house.running.exit();
    await settled();
  }
  assertEquals(house.recorder.matching("skipped a line of the agent").length, 5);
});
