/**
 * Counters and histograms, and their text for Prometheus (text format 0.0.4). The package `prom-client` adds 67 kB to
 * the program and 50 milliseconds to its start, and its event loop lag is wrong in Deno.
 *
 * @module
 */

/** Limit of the series of a metric. Further series are not counted: a label with so many values is a mistake. */
const MAX_SERIES = 1_000;

/** The content type of the text. */
export const METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A metric as the text and the docs describe it. */
export type Definition =
  & { readonly help: string; readonly labels?: readonly string[] }
  & (
    | { readonly type: "counter" | "gauge" }
    /** The upper bounds of the buckets, ascending. */
    | { readonly type: "histogram"; readonly buckets: readonly number[] }
  );

/** The values of a metric's labels, in the order of their names. */
export type LabelValues = readonly string[];
/** The values of a gauge: one for each series. */
export type Readings = readonly (readonly [labels: LabelValues, value: number])[];

type NameOf<D, Type> = { [N in keyof D]: D[N] extends { readonly type: Type } ? N & string : never }[keyof D];

/** Sum, count and the counts of the buckets, each without the buckets below it. */
interface Distribution {
  readonly labels: string;
  readonly buckets: number[];
  sum: number;
  count: number;
}

/** Counts and measures. Gauges are read when the text is written. */
export class MetricStore<D extends Readonly<Record<string, Definition>>> {
  readonly #definitions: D;
  readonly #counters: Map<string, Map<string, number>>;
  readonly #histograms = new Map<string, Map<string, Distribution>>();

  constructor(definitions: D) {
    this.#definitions = definitions;
    this.#counters = new Map(Object.keys(definitions).map((name) => [name, new Map()]));
  }

  /** Adds to a counter. A new series starts with this value, so add 0 to series that are known beforehand. */
  add(name: NameOf<D, "counter">, labels: LabelValues = [], value = 1): void {
    const series = this.#counters.get(name)!;
    const key = labelText(this.#definitions[name]!.labels, labels);
    const before = series.get(key);
    if (before !== undefined || series.size < MAX_SERIES) series.set(key, (before ?? 0) + value);
  }

  /** Adds a value to a histogram. */
  observe(name: NameOf<D, "histogram">, labels: LabelValues, value: number): void {
    const { labels: names, buckets } = this.#definitions[name] as Definition & { readonly type: "histogram" };
    let series = this.#histograms.get(name);
    if (series === undefined) this.#histograms.set(name, series = new Map());
    const key = labelText(names, labels);
    let found = series.get(key);
    if (found === undefined) {
      if (series.size >= MAX_SERIES) return;
      found = { labels: key, buckets: new Array(buckets.length).fill(0), sum: 0, count: 0 };
      series.set(key, found);
    }
    const bucket = buckets.findIndex((bound) => value <= bound);
    if (bucket >= 0) found.buckets[bucket]!++;
    found.sum += value;
    found.count++;
  }

  /** Writes every metric. */
  write(gauges: Readonly<Record<NameOf<D, "gauge">, number | Readings>>): string {
    const lines: string[] = [];
    for (const [name, definition] of Object.entries(this.#definitions)) {
      lines.push(`# HELP ${name} ${definition.help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`);
      lines.push(`# TYPE ${name} ${definition.type}`);
      switch (definition.type) {
        case "counter":
          for (const [labels, value] of this.#counters.get(name)!) lines.push(sample(name, labels, value));
          break;
        case "gauge": {
          const read: number | Readings = gauges[name as NameOf<D, "gauge">];
          for (const [values, value] of typeof read === "number" ? [[[], read] as const] : read) {
            lines.push(sample(name, labelText(definition.labels, values), value));
          }
          break;
        }
        case "histogram":
          for (const series of this.#histograms.get(name)?.values() ?? []) {
            lines.push(...histogramSamples(name, definition.buckets, series));
          }
          break;
        default:
          definition satisfies never;
      }
    }
    return lines.join("\n") + "\n";
  }
}

function histogramSamples(name: string, bounds: readonly number[], series: Distribution): string[] {
  const { labels, sum, count } = series;
  const prefix = labels === "" ? "" : `${labels},`;
  let total = 0;
  const below = bounds.map((bound, index) => {
    total += series.buckets[index]!;
    return sample(`${name}_bucket`, `${prefix}le="${bound}"`, total);
  });
  return [
    ...below,
    sample(`${name}_bucket`, `${prefix}le="+Inf"`, count),
    sample(`${name}_sum`, labels, sum),
    sample(`${name}_count`, labels, count),
  ];
}

function sample(name: string, labels: string, value: number): string {
  return labels === "" ? `${name} ${value}` : `${name}{${labels}} ${value}`;
}

function labelText(names: readonly string[] = [], values: LabelValues): string {
  const escape = (value: string) =>
    value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return names.map((name, index) => `${name}="${escape(values[index] ?? "")}"`).join(",");
}
