import { assertEquals } from "@std/assert";
import { emotionWords } from "../../lib/turn/emotion.ts";
import { beginTurn, observer, recordTurn } from "../support/harness/turn_fixture.ts";
import { isLast } from "../support/harness/turn_recorder.ts";

const EMOTIONS = emotionWords();

Deno.test("emotions: with an observer that wants speech, they come before the text that completes them", async () => {
  const watcher = observer(true);
  const { turn, prompt } = await beginTurn({ emotions: EMOTIONS, observer: watcher });
  const recorder = recordTurn(turn);
  for (const piece of ["[ha", "ppy] Hi ", "[sad]", "!"]) prompt.say(piece);
  prompt.end();
  assertEquals(recorder.summaries, [
    "text [ha",
    "emotion happy 1",
    "speech  Hi ",
    "text ppy] Hi ",
    "text [sad]",
    "emotion sad 1",
    "speech !",
    "text !",
    "end end_turn",
  ]);
  assertEquals(watcher.summaries, ["start", ...recorder.summaries]);
  assertEquals(recorder.text, "[happy] Hi [sad]!");
});

Deno.test("emotions: without such an observer they are found when the text pauses, and there is no speech", async () => {
  for (const watcher of [undefined, observer(false)]) {
    const { turn, prompt } = await beginTurn({ emotions: EMOTIONS, observer: watcher });
    const recorder = recordTurn(turn);
    for (const piece of ["[ha", "ppy] Hi ", "[sad]"]) prompt.say(piece);
    prompt.tool({ title: "ls" });
    prompt.say("[shy");
    prompt.think("hm");
    prompt.say("]");
    prompt.end();
    assertEquals(recorder.summaries, [
      ...["text [ha", "text ppy] Hi ", "text [sad]", "emotion happy 1", "emotion sad 1"],
      ...["tool ls read in_progress", "text [shy", "thought hm", "text ]", "emotion shy 1", "end end_turn"],
    ]);
  }
});

Deno.test("emotions: an observer that begins to want speech gets speech from then on, and earlier emotions", async () => {
  const watcher = observer(false);
  const { prompt } = await beginTurn({ emotions: EMOTIONS, observer: watcher });
  prompt.say("[happy] unheard. ");
  watcher.wantsSpeech = true;
  prompt.say("Heard.");
  watcher.wantsSpeech = false;
  prompt.say(" Unheard again.");
  prompt.end();
  assertEquals(watcher.summaries.slice(1), [
    "text [happy] unheard. ",
    "emotion happy 1",
    "speech Heard.",
    "text Heard.",
    "text  Unheard again.",
    "end end_turn",
  ]);
});

for (const wantsSpeech of [true, false]) {
  Deno.test(`emotions: \`at\` counts the speech before, whether it is wanted: ${wantsSpeech}`, async () => {
    const { turn, prompt } = await beginTurn({ emotions: EMOTIONS, observer: observer(wantsSpeech) });
    const recorder = recordTurn(turn);
    for (const text of ["[happy] Hi \ud834\udd1e", "!\n```\ncode\n```\nSo [sa", "d]."]) prompt.say(text);
    prompt.end();
    await recorder.until(isLast);
    const emotions = recorder.events.filter(({ type }) => type === "emotion");
    const sad = { type: "emotion", tag: "sad", intensity: 1, at: " Hi \ud834\udd1e!\nSo ".length } as const;
    assertEquals(emotions, [{ ...sad, tag: "happy", at: 0 }, sad]);
  });
}

for (const how of ["end", "failure", "cancel"] as const) {
  Deno.test(`emotions: a tag at the very end comes before the last event: ${how}`, async () => {
    const { turn, prompt } = await beginTurn({ emotions: EMOTIONS });
    const recorder = recordTurn(turn);
    prompt.say("[happy]");
    if (how === "cancel") turn.cancel();
    prompt.end(how === "end" ? "end_turn" : "cancelled");
    const last = { end: "end end_turn", failure: "failure agent_cancelled", cancel: "end cancelled" }[how];
    assertEquals(recorder.summaries, ["text [happy]", "emotion happy 1", last]);
  });
}

Deno.test("emotions: a recorded turn replays them in their place, without speech", async () => {
  const { turn, prompt } = await beginTurn({ emotions: EMOTIONS, observer: observer(true), record: true });
  prompt.say("[happy] a [sad]");
  prompt.end();
  const expected = ["emotion happy 1", "text [happy] a [sad]", "emotion sad 1", "end end_turn"];
  assertEquals(recordTurn(turn).summaries, expected);
});
