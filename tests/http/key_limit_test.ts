import { assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { KeyLimit } from "../../lib/http/key_limit.ts";

Deno.test("KeyLimit: a key at its limit is refused, and takes nothing from another key", () => {
  const limit = new KeyLimit(2, "texts that are spoken");
  const [first] = [limit.take({ id: "a" }), limit.take({ id: "a" })];
  const error = assertThrows(() => limit.take({ id: "a" }), AppError);
  assertEquals([error.code, error.retryAfterSecs], ["rate_limit_exceeded", 5]);
  limit.take({ id: "b" });
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  limit.take({ id: "a" });
  assertThrows(
    () => limit.take({ id: "a" }),
    AppError,
    "This key has 2 texts that are spoken at once already.",
  );
});
