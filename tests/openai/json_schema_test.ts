import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { checkJson } from "../../lib/openai/json_schema.ts";
import { programBundleArgs } from "../../scripts/build.ts";

const NEVER = new AbortController().signal;
const SLOW = { schema: { type: "string", pattern: "^(a+)+$" }, json: JSON.stringify("a".repeat(40) + "!") };

Deno.test("checkJson: finds the fault of a schema, and of JSON", async () => {
  const schema = { type: "object", properties: { a: { type: "string" } } };
  assertEquals(await checkJson({ schema }, NEVER), {});
  assertEquals(await checkJson({ schema, json: '{"a":"b"}' }, NEVER), {});
  assertMatch((await checkJson({ schema, json: '{"a":1}' }, NEVER)).json!, /^a: /);
  assertMatch((await checkJson({ schema: { type: "unheard-of" } }, NEVER)).schema!, /unheard-of/);
});

Deno.test("checkJson: a check that takes too long is a fault", async () => {
  assertMatch((await checkJson(SLOW, NEVER)).json!, /longer than 2 seconds/);
});

Deno.test("checkJson: two checks run at a time, 32 wait, and one more is refused", async () => {
  const [first, second] = [new AbortController(), new AbortController()];
  const refused = (check: Parameters<typeof checkJson>[0], signal: AbortSignal) =>
    assertRejects(() => checkJson(check, signal), DOMException);
  const slow = [first, second].map(({ signal }) => refused(SLOW, signal));
  const hangUp = new AbortController();
  const waiting = Array.from({ length: 32 }, () => refused({ schema: {} }, hangUp.signal));
  const error = await assertRejects(() => checkJson({ schema: {} }, NEVER), AppError);
  assertEquals([error.code, error.retryAfterSecs], ["rate_limit_exceeded", 5]);
  hangUp.abort();
  await Promise.all(waiting);
  const next = checkJson({ schema: {} }, NEVER);
  for (const each of [first, second]) each.abort();
  assertEquals(await next, {}, "who hung up has left the queue");
  await Promise.all(slow);
  assertEquals(await checkJson({ schema: {} }, NEVER), {});
});

Deno.test("checkJson: its worker runs in the bundle of the program too", async () => {
  const root = new URL("../..", import.meta.url);
  const output = await Deno.makeTempFile({ suffix: ".js" });
  const args = programBundleArgs("main.ts", output);
  const { success } = await new Deno.Command(Deno.execPath(), { args, cwd: root }).output();
  assertEquals(success, true);
  const worker = new Worker(new URL(`file://${output}`), { type: "module", name: "json-schema" });
  const next = () => new Promise<MessageEvent>((resolve) => worker.onmessage = resolve);
  assertEquals((await next()).data, "ready");
  worker.postMessage({ schema: { type: "unheard-of" } });
  assertMatch((await next()).data.schema, /unheard-of/);
  worker.terminate();
  await Deno.remove(output);
});
