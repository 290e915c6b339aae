/** Local programs for the tests of the voice. `.ci/run` installs them; a test whose program is missing is ignored. */

import { createRedactor } from "../../../lib/core/redact.ts";
import type { ProgramDeps } from "../../../lib/speech/program.ts";

/** The parts that programs get in tests. */
export const PROGRAM_DEPS: ProgramDeps = {
  env: { PATH: Deno.env.get("PATH") ?? "", HOME: Deno.env.get("HOME") ?? "/" },
  redact: createRedactor(["secret-of-mine"]),
};

/** Defines a test that needs programs on the PATH. Its name says so if one is missing. */
export function testWith(programs: readonly string[], name: string, run: () => Promise<void>): void {
  const missing = programs.filter((program) => !isInstalled(program));
  const reason = missing.length > 0 ? ` (needs ${missing.join(" and ")})` : "";
  Deno.test({ name: name + reason, ignore: missing.length > 0, fn: run });
}

function isInstalled(program: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(Deno.build.os === "windows" ? ";" : ":").some((folder) => {
    try {
      return Deno.statSync(`${folder}/${program}`).isFile;
    } catch {
      return false;
    }
  });
}

/** The part of the words of a sentence that a transcript has. */
export function heardPart(text: string, sentence: string): number {
  const words = (line: string) => line.toLowerCase().match(/[a-z]+/g) ?? [];
  const heard = new Set(words(text));
  const said = words(sentence);
  return said.filter((word) => heard.has(word)).length / said.length;
}
