/** Changes JSON values and bytes at random, along their structure. @module */

import type { Random } from "../support/harness/random.ts";

/** Texts that have broken some program: control characters, commands, names of JavaScript's own, long ones. */
export const ODD_TEXTS: readonly string[] = [
  "",
  " \n\t",
  "\u0000",
  "\ud83d",
  "\udc00\ud800",
  "\ufeffbom",
  "\u202e\u0085\u009b31mred",
  "👩‍💻".repeat(300),
  "__proto__",
  "constructor",
  "toString",
  "../../../etc/passwd",
  "%00%ff%zz%",
  "/allow-all on",
  "$skill ! @/etc/passwd",
  "[happy] \n[".repeat(400),
  "data: [DONE]\n\n",
  "```json\n{\n```",
  "1e999",
  "x".repeat(40_000),
  "^(a+)+$",
];
const ODD_NUMBERS: readonly number[] = [0, -0, -1, 0.5, 1e21, 1e308, 2 ** 53, -(2 ** 63), 2 ** 31, 65_536];
/** Nesting of the deepest value. */
const DEEP = 2_000;
/** Entries of the longest value. */
const LONG = 3_000;
const MOST_CHANGES = 3;
/** Characters of a repeated value: a generator in the server's own process has to be quick. */
const MOST_REPEATED_CHARS = 300_000;

/** A value that no schema expects. */
function oddValue(random: Random): unknown {
  switch (random.below(8)) {
    case 0:
      return random.pick([null, true, false]);
    case 1:
      return random.pick(ODD_NUMBERS);
    case 2:
      return random.pick([[], {}, [[]], [null], { "": "" }]);
    case 3:
      return JSON.parse("[".repeat(DEEP) + "]".repeat(DEEP));
    case 4:
      return Array.from({ length: random.below(LONG) }, () => random.pick([{}, "", 0, null]));
    case 5:
      return Object.fromEntries(Array.from({ length: random.below(LONG) }, (_, at) => [`key${at}`, at]));
    case 6:
      return JSON.parse('{"__proto__":{"polluted":true},"constructor":1,"toJSON":2,"then":3}');
    default:
      return random.pick(ODD_TEXTS);
  }
}

/** Copies a JSON value and changes up to three places: replaces, removes, repeats, moves, or adds a field. */
export function mutate(random: Random, value: unknown): unknown {
  let copy = structuredClone(value);
  for (let changes = 1 + random.below(MOST_CHANGES); changes > 0; changes--) {
    const place = random.pick(placesIn(copy));
    if (place === undefined) copy = oddValue(random);
    else change(random, place);
  }
  return copy;
}

/** A value inside of another one. */
interface Place {
  readonly parent: Record<string, unknown>;
  readonly key: string;
}

/** Lists the places of a value, with `undefined` for the value itself. */
function placesIn(value: unknown): (Place | undefined)[] {
  const places: (Place | undefined)[] = [undefined];
  const walk = (parent: unknown, depth: number) => {
    if (typeof parent !== "object" || parent === null || depth > 8) return;
    for (const key of Object.keys(parent).slice(0, 50)) {
      places.push({ parent: parent as Record<string, unknown>, key });
      walk((parent as Record<string, unknown>)[key], depth + 1);
    }
  };
  walk(value, 0);
  return places;
}

function change(random: Random, { parent, key }: Place): void {
  switch (random.below(6)) {
    case 0:
      delete parent[key];
      return;
    case 1:
      parent[random.pick(ODD_TEXTS)] = parent[key];
      return;
    case 2: {
      const repeated = parent[key];
      const most = MOST_REPEATED_CHARS / (JSON.stringify(repeated) ?? "").length;
      const length = 1 + random.below(Math.min(100, most));
      // Copies, because a later change of the one value would change all.
      parent[key] = Array.from({ length }, () => structuredClone(repeated));
      return;
    }
    case 3:
      if (typeof parent[key] === "string") parent[key] += random.pick(ODD_TEXTS);
      else parent[key] = JSON.stringify(parent[key]) ?? "";
      return;
    default:
      parent[key] = oddValue(random);
  }
}

/** Damages bytes: cuts, repeats, flips or inserts some, which need not be UTF-8 any longer. */
export function damage(random: Random, bytes: Uint8Array): Uint8Array {
  const at = random.below(bytes.length + 1);
  const to = at + random.below(bytes.length - at + 1);
  switch (random.below(5)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return join(bytes.subarray(0, to), bytes.subarray(at));
    case 2:
      return join(bytes.subarray(0, at), bytes.subarray(to));
    case 3:
      return join(bytes.subarray(0, at), Uint8Array.of(random.below(256), 0xff, 0x00), bytes.subarray(at));
    default: {
      const flipped = bytes.slice();
      if (at < flipped.length) flipped[at]! ^= 1 << random.below(8);
      return flipped;
    }
  }
}

/** Joins pieces of bytes. */
export function join(...pieces: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}
