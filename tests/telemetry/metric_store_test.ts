import { assertEquals } from "@std/assert";
import { type Definition, MetricStore } from "../../lib/telemetry/metric_store.ts";
import { parseSamples } from "../support/harness/metrics_fixture.ts";

const DEFINITIONS = {
  calls_total: { type: "counter", help: "Calls\nand \\ more", labels: ["who"] },
  all_total: { type: "counter", help: "All calls" },
  level: { type: "gauge", help: "A level", labels: ["of"] },
  size: { type: "gauge", help: "A size" },
  wait_seconds: { type: "histogram", help: "A wait", labels: ["who"], buckets: [0.1, 1] },
} as const satisfies Readonly<Record<string, Definition>>;

const NO_GAUGES = { level: [], size: 0 };

Deno.test("MetricStore: writes counters, gauges and cumulative histograms", () => {
  const store = new MetricStore(DEFINITIONS);
  store.add("calls_total", ["mao"]);
  store.add("calls_total", ["mao"], 2);
  store.add("calls_total", ["idle"], 0);
  store.add("all_total");
  for (const secs of [0.1, 0.05, 1, 2]) store.observe("wait_seconds", ["mao"], secs);
  assertEquals(
    store.write({ level: [[["a"], 1], [["b"], 0.5]], size: 7 }),
    `# HELP calls_total Calls\\nand \\\\ more
# TYPE calls_total counter
calls_total{who="mao"} 3
calls_total{who="idle"} 0
# HELP all_total All calls
# TYPE all_total counter
all_total 1
# HELP level A level
# TYPE level gauge
level{of="a"} 1
level{of="b"} 0.5
# HELP size A size
# TYPE size gauge
size 7
# HELP wait_seconds A wait
# TYPE wait_seconds histogram
wait_seconds_bucket{who="mao",le="0.1"} 2
wait_seconds_bucket{who="mao",le="1"} 3
wait_seconds_bucket{who="mao",le="+Inf"} 4
wait_seconds_sum{who="mao"} 3.15
wait_seconds_count{who="mao"} 4
`,
  );
});

Deno.test("MetricStore: escapes the values of labels", () => {
  const store = new MetricStore(DEFINITIONS);
  const value = 'a"b\\c\nd{},= ü';
  store.add("calls_total", [value]);
  const [sample] = parseSamples(store.write(NO_GAUGES));
  assertEquals(sample, { name: "calls_total", labels: { who: value }, value: 1 });
});

Deno.test("MetricStore: keeps a thousand series of a metric, which go on counting", () => {
  const store = new MetricStore(DEFINITIONS);
  for (let number = 0; number < 2_000; number++) {
    store.add("calls_total", [`${number}`]);
    store.observe("wait_seconds", [`${number}`], 1);
  }
  store.add("calls_total", ["0"]);
  const samples = parseSamples(store.write(NO_GAUGES));
  const valuesOf = (name: string) => samples.flatMap((sample) => sample.name === name ? [sample.value] : []);
  assertEquals([valuesOf("calls_total").length, valuesOf("wait_seconds_count").length], [1_000, 1_000]);
  assertEquals(valuesOf("calls_total")[0], 2);
});
