/** Figures of several programs side by side, in 110 columns, with their targets. @module */

/** A measured program: the server, another checkout's server, and the bare relay. */
export type Column = "server" | "against" | "relay";

/** A value of each program. */
export type Columns<T> = Readonly<Partial<Record<Column, T>>>;

/** One figure of all programs; `undefined` if it cannot be measured on this system. */
export interface Row {
  readonly figure: string;
  readonly values: Columns<number | undefined>;
  /** Digits after the point. */
  readonly digits?: number;
  readonly target?: Target;
}

/** The target of the server's figure. */
export interface Target {
  readonly text: string;
  /** Whether the target is a multiple of the relay's figure. */
  readonly isRelative: boolean;
  isMet(server: number, relay: number): boolean;
}

/** A target for the server alone. */
export function atMost(limit: number, unit = ""): Target {
  return { text: `<= ${limit}${unit && ` ${unit}`}`, isRelative: false, isMet: (server) => server <= limit };
}

/** A target as a multiple of the relay's figure. */
export function ratioAtMost(limit: number): Target {
  return { text: `<= ${limit}x`, isRelative: true, isMet: (server, relay) => server <= relay * limit };
}

/** A target as a multiple of the relay's figure, if more is better. */
export function ratioAtLeast(limit: number): Target {
  return { text: `>= ${limit}x`, isRelative: true, isMet: (server, relay) => server >= relay * limit };
}

/** Applies a function to each column. */
export function mapColumns<T, U>(columns: Columns<T>, map: (value: T, column: Column) => U): Columns<U> {
  const entries = Object.entries(columns) as [Column, T][];
  return Object.fromEntries(entries.map(([column, value]) => [column, map(value, column)]));
}

/** Measures programs several times, in turns, so that a busy moment of the machine meets all of them. */
export async function measureInTurns<P, T>(
  runs: number,
  programs: Columns<P>,
  measure: (program: P) => Promise<T>,
): Promise<Columns<T[]>> {
  const results = mapColumns(programs, (): T[] => []);
  for (let i = 0; i < runs; i++) {
    for (const [column, program] of Object.entries(programs) as [Column, P][]) {
      results[column]!.push(await measure(program));
    }
  }
  return results;
}

/** Returns the medians of one figure. */
export function medians<T>(
  results: Columns<readonly T[]>,
  figure: (result: T) => number | undefined,
): Columns<number | undefined> {
  return mapColumns(results, (values) => median(values.map(figure)));
}

/** Returns the median; undefined if there are no values or one is undefined. */
export function median(values: readonly (number | undefined)[]): number | undefined {
  return values.includes(undefined) ? undefined : percentile(values as readonly number[], 0.5);
}

/** Returns the smallest value that is not exceeded by this part (0 to 1) of all values. */
export function percentile(values: readonly number[], part: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)];
}

/** Returns a percentile of microseconds, in milliseconds. */
export function percentileMs(micros: readonly number[], part: number): number | undefined {
  const value = percentile(micros, part);
  return value === undefined ? undefined : value / 1000;
}

/** Subtracts figures that may be undefined. */
export function difference(after: number | undefined, before: number | undefined): number | undefined {
  return before === undefined || after === undefined ? undefined : after - before;
}

/** Divides a figure that may be undefined. */
export function perUnit(figure: number | undefined, count: number): number | undefined {
  return figure === undefined ? undefined : figure / count;
}

const FIGURE_WIDTH = 60;
const VALUE_WIDTH = 10;
const RATIO_WIDTH = 8;

/** Formats rows as a table, with columns for another checkout if `hasAgainst`. */
export function formatTable(rows: readonly Row[], hasAgainst: boolean): string {
  const others = hasAgainst ? ["against", "relay"] as const : ["relay"] as const;
  const format = (figure: string, cells: readonly string[], end: readonly string[]) => {
    const padded = cells.map((cell, index) => cell.padStart(index % 2 === 0 ? VALUE_WIDTH : RATIO_WIDTH));
    return [figure.padEnd(FIGURE_WIDTH), ...padded, ...end.map((cell) => cell.padEnd(VALUE_WIDTH))].join(" ")
      .trimEnd();
  };
  const lines = rows.map((row) => {
    const { figure, values, digits = 0, target } = row;
    const cellOf = (column: Column) => column in values ? formatNumber(values[column], digits) : "";
    const ratios = others.flatMap((column) => [ratio(values.server, values[column]), cellOf(column)]);
    return format(figure, [cellOf("server"), ...ratios], [target?.text ?? "", verdict(row)]);
  });
  const heading = format("", ["server", ...others.flatMap((column) => ["ratio to", column])], ["target"]);
  if (rows.some((row) => verdict(row) === "over*")) {
    lines.push("", "over*: the bare relay misses the target too, because this machine is busy or slow");
  }
  return [heading, ...lines].join("\n");
}

function ratio(server: number | undefined, other: number | undefined): string {
  return server !== undefined && server > 0 && other !== undefined && other > 0
    ? formatNumber(server / other, 2)
    : "";
}

function verdict({ values: { server, relay }, target }: Row): string {
  if (target === undefined) return "";
  if (server === undefined || target.isRelative && relay === undefined) return "n/a";
  if (target.isMet(server, relay ?? NaN)) return "ok";
  return relay === undefined || target.isMet(relay, relay) ? "over" : "over*";
}

function formatNumber(value: number | undefined, digits: number): string {
  if (value === undefined) return "n/a";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
