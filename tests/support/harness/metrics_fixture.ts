/** Reads metrics with a parser that is not the program's. @module */

import parse from "parse-prometheus-text-format";

/** One sample. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Parses the text of `GET /metrics`. The parser knows no histograms with labels, so each sample is read by itself. */
export function parseSamples(text: string): Sample[] {
  const families: { name: string; metrics: { value: string; labels?: Record<string, string> }[] }[] = parse(
    text.replaceAll(/^# .*\n/gm, ""),
  );
  return families.flatMap(({ name, metrics }) =>
    metrics.map(({ value, labels = {} }) => ({ name, labels, value: Number(value) }))
  );
}

/** Writes samples as lines for tables: `http_requests_total /v1/models GET 200`, with the value of each. */
export function sampleTable(samples: readonly Sample[]): Map<string, number> {
  return new Map(
    samples.map(({ name, labels, value }) => [[name, ...Object.values(labels)].join(" "), value]),
  );
}

/** Lists the samples whose values are larger than before, with the difference. */
export function increases(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): Map<string, number> {
  const all = [...after].map(([name, value]) => [name, value - (before.get(name) ?? 0)] as const);
  return new Map(all.filter(([, difference]) => difference > 0));
}
