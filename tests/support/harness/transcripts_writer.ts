/**
 * A program that stores responses in a folder, `FOLDER NAME`, and prints which it stored, to be killed while it does.
 * Stops when a response cannot be stored.
 *
 * @module
 */

import { Transcripts } from "../../../lib/openai/responses/transcripts.ts";
import { summaryOf, wordsOf } from "./transcripts_fixture.ts";
import { runWriter } from "./writer.ts";

if (import.meta.main) {
  const [folder = "", name = ""] = Deno.args;
  await runWriter(async (log, print) => {
    print("start");
    const transcripts = new Transcripts(folder, log);
    await transcripts.openExisting();
    return (nth) => {
      const id = `${name}.${nth}`;
      return transcripts.add(summaryOf(id, { createdAt: Date.now() }), wordsOf(id));
    };
  });
}
