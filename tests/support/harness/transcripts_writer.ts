/**
 * A program that stores responses in a folder, `FOLDER NAME`, and prints which it stored, to be killed while it does.
 * Stops when a response cannot be stored.
 *
 * @module
 */

import { Transcripts } from "../../../lib/openai/responses/transcripts.ts";
import { summaryOf, wordsOf } from "./transcripts_fixture.ts";

if (import.meta.main) {
  const [folder = "", name = ""] = Deno.args;
  const print = (line: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
  let isFailing = false;
  const log = {
    warn(message: string, fields: Readonly<Record<string, unknown>>) {
      console.error(message, fields);
      isFailing = true;
    },
  };
  print("start");
  await using transcripts = new Transcripts(folder, log);
  await transcripts.openExisting();
  for (let nth = 0; !isFailing; nth++) {
    const id = `${name}.${nth}`;
    await transcripts.add(summaryOf(id, { createdAt: Date.now() }), wordsOf(id));
    if (!isFailing) print(`saved ${nth}`);
  }
}
