/** Figures side by side, in 110 columns. @module */

/** One figure of both programs. */
export interface Row {
  readonly figure: string;
  /** `undefined` where it cannot be told. */
  readonly server: number | undefined;
  /** Left out where the relay has nothing like it. */
  readonly relay?: number | undefined;
  /** Digits after the point. */
  readonly digits?: number;
  readonly target?: Target;
}

/** What the server's figure should be. */
export interface Target {
  readonly text: string;
  /** Whether it is told as a part of the relay's. */
  readonly relative: boolean;
  ok(server: number, relay: number): boolean;
}

/** A target for the server alone. */
export function atMost(limit: number, unit = ""): Target {
  return { text: `<= ${limit}${unit && ` ${unit}`}`, relative: false, ok: (server) => server <= limit };
}

/** A target for the server's figure as a part of the relay's. */
export function ratioAtMost(limit: number): Target {
  return { text: `<= ${limit}x`, relative: true, ok: (server, relay) => server <= relay * limit };
}

/** A target for the server's figure as a part of the relay's, where more is better. */
export function ratioAtLeast(limit: number): Target {
  return { text: `>= ${limit}x`, relative: true, ok: (server, relay) => server >= relay * limit };
}

/** The median; undefined of nothing, or if one cannot be told. */
export function median(values: readonly (number | undefined)[]): number | undefined {
  return values.includes(undefined) ? undefined : percentile(values as readonly number[], 0.5);
}

/** The value that so large a part of the others does not exceed. */
export function percentile(values: readonly number[], part: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)];
}

const HEADINGS = ["", "server", "bare relay", "ratio", "target", ""] as const;
const WIDTHS = [61, 11, 11, 8, 11, 6] as const;

/** What `over*` means. */
export const FOOTNOTE = "over*: the bare relay is over it too, so it is this machine that is busy or slow";

/** The table, as text. */
export function table(rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const { figure, server, relay, digits = 0, target } = row;
    return [
      figure,
      shown(server, digits),
      "relay" in row ? shown(relay, digits) : "",
      server !== undefined && server > 0 && relay !== undefined && relay > 0 ? shown(server / relay, 2) : "",
      target?.text ?? "",
      verdict(row),
    ];
  });
  return [HEADINGS, WIDTHS.map((width) => "-".repeat(width - 1)), ...lines].map(line).join("\n");
}

function verdict({ server, relay, target }: Row): string {
  if (target === undefined) return "";
  if (server === undefined || target.relative && relay === undefined) return "n/a";
  if (target.ok(server, relay ?? NaN)) return "ok";
  return relay === undefined || target.ok(relay, relay) ? "over" : "over*";
}

function shown(value: number | undefined, digits: number): string {
  if (value === undefined) return "n/a";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function line(cells: readonly string[]): string {
  return cells.map((cell, index) => {
    const width = WIDTHS[index]! - 1;
    return index === 0 || index > 3 ? cell.padEnd(width) : cell.padStart(width);
  }).join(" ").trimEnd();
}
