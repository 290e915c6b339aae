import { assert, assertEquals } from "@std/assert";
import { createAccessControl } from "../../lib/http/access.ts";
import { MAX_WAITING, MAX_WAITING_PER_ADDRESS, networkOf } from "../../lib/http/wrong_keys.ts";
import { AppError } from "../../lib/core/errors.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";

const KEY = "s3cret-key";

/** Returns a function that sends a key to an access control. @returns `admitted`, the code of the error, or `left`. */
function guard() {
  const access = createAccessControl({ authKey: KEY, allowedOrigins: [], insecure: false });
  return async (key: string, address: string, signal?: AbortSignal): Promise<string> => {
    const headers = { authorization: `Bearer ${key}` };
    const request = new Request("http://127.0.0.1/v1/models", { headers, ...signal && { signal } });
    try {
      await access.identify(request, address, {});
      return "admitted";
    } catch (error) {
      return error instanceof AppError ? error.code : "left";
    }
  };
}

/** Lets everything happen that waits for no timer. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

function count(results: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    Object.entries(Object.groupBy(results, (result) => result)).map(([name, all]) => [
      name,
      all!.length,
    ]),
  );
}

const ADDRESSES: readonly [address: string, network: string][] = [
  ["192.168.1.7", "192.168.1.7"],
  ["::ffff:192.168.1.7", "192.168.1.7"],
  ["::FFFF:192.168.1.7", "192.168.1.7"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
  ["2001:db8:1:2::7", "2001:db8:1:2"],
  ["2001:db8:1::7", "2001:db8:1:0"],
  ["2001:db8::7", "2001:db8:0:0"],
  ["2001::1:2:3:4:5:6", "2001:0:1:2"],
  ["fe80::1%eth0", "fe80:0:0:0"],
  ["2001:db8::", "2001:db8:0:0"],
  ["::1", "0:0:0:0"],
  ["", ""],
];
for (const [address, network] of ADDRESSES) {
  Deno.test(`networkOf: ${address || "an unknown address"} counts as ${network || "one"}`, () => {
    assertEquals(networkOf(address), network);
  });
}

Deno.test("wrong keys: after five, those of an address wait a second, others do not", async () => {
  using clock = new FakeClock();
  const send = guard();
  for (let i = 0; i < 5; i++) assertEquals(await send(`wrong${i}`, "192.168.1.7"), "invalid_api_key");
  const slow = send("wrong", "192.168.1.7");
  assertEquals(clock.waits.length, 1);
  assertEquals(await send("wrong", "192.168.1.8"), "invalid_api_key");
  clock.advance(1_000);
  assertEquals(await slow, "invalid_api_key");
  clock.advance(60_001);
  assertEquals(await send("wrong", "192.168.1.7"), "invalid_api_key", "forgotten after a minute");
  assertEquals(clock.waits, []);
});

Deno.test("wrong keys: the addresses of an IPv6 network count as one", async () => {
  using clock = new FakeClock();
  const send = guard();
  for (let i = 0; i < 5; i++) await send("wrong", `2001:db8:1:2::${i}`);
  const slow = send("wrong", "2001:db8:1:2:ffff::1");
  assertEquals(clock.waits.length, 1);
  assertEquals(await send("wrong", "2001:db8:1:3::1"), "invalid_api_key");
  clock.advance(1_000);
  await slow;
});

Deno.test("wrong keys: more than 100 that wait are refused at once, and the right one is admitted", async () => {
  using clock = new FakeClock();
  const send = guard();
  const all = Array.from({ length: 5 + MAX_WAITING_PER_ADDRESS }, (_, i) => send(`wrong${i}`, "192.168.1.7"));
  assertEquals(clock.waits.length, MAX_WAITING_PER_ADDRESS);
  assertEquals(await send("wrong", "192.168.1.7"), "rate_limit_exceeded");
  assertEquals(await send(KEY, "192.168.1.7"), "admitted");
  clock.advance(1_000);
  assertEquals(count(await Promise.all(all)), { invalid_api_key: 105 });
});

Deno.test("wrong keys: a client that hangs up frees its place", async () => {
  using clock = new FakeClock();
  const send = guard();
  const leaving = new AbortController();
  const [first, ...others] = Array.from(
    { length: 5 + MAX_WAITING_PER_ADDRESS },
    (_, i) => send(`wrong${i}`, "192.168.1.7", i < 6 ? leaving.signal : undefined),
  );
  assertEquals([await first, await send("wrong", "192.168.1.7")], ["invalid_api_key", "rate_limit_exceeded"]);
  leaving.abort();
  await settle();
  assertEquals(clock.waits.length, 99);
  const next = send("wrong", "192.168.1.7");
  assertEquals(clock.waits.length, MAX_WAITING_PER_ADDRESS);
  clock.advance(1_000);
  assertEquals(count([...await Promise.all(others), await next]), { invalid_api_key: 104, left: 1 });
});

/** Wrong keys in all, and the addresses that they come from in turns. */
const FLOODS: readonly [keys: number, addresses: number, results: Record<string, number>][] = [
  // The first five of each address are answered at once.
  [10_000, 1_000, { invalid_api_key: 6_000, rate_limit_exceeded: 4_000 }],
  [10_000, 10_000, { invalid_api_key: 10_000 }],
  [10_000, 1, { invalid_api_key: 105, rate_limit_exceeded: 9_895 }],
  // A thousand addresses are remembered and no more, so that these are new each time.
  [20_000, 2_000, { invalid_api_key: 20_000 }],
];
for (const [keys, addresses, results] of FLOODS) {
  Deno.test(`wrong keys: ${keys} from ${addresses} addresses neither fill the memory nor delay the right one`, async () => {
    using clock = new FakeClock();
    const send = guard();
    const wrong: Promise<string>[] = [];
    for (let i = 0; i < keys; i++) {
      const number = i % addresses;
      const address = `10.0.${number >> 8}.${number & 255}`;
      wrong.push(send(`wrong${i}`, address));
      if (i % 10 === 0) {
        const waits = clock.waits.length;
        // The clock stands still, so that a right key that waits would never be admitted.
        assertEquals(await send(KEY, address), "admitted");
        assertEquals(clock.waits.length, waits);
      }
    }
    // No wait has ended yet.
    assert(clock.waits.length <= MAX_WAITING);
    clock.advance(1_000);
    assertEquals(count(await Promise.all(wrong)), results);
  });
}
