import { assertEquals } from "@std/assert";
import { settled } from "../support/harness/turn_recorder.ts";
import { Stage, type Watcher } from "../support/harness/events_fixture.ts";

const untilIdle = (watcher: Watcher) => watcher.until(({ briefs }) => briefs.at(-1) === "state idle", "idle");
const notice = (text: string) => ({ text, urgency: "normal" as const });

Deno.test("Hub: a notification is shown, with its emotions, and goes to everybody who wants it", async () => {
  using stage = new Stage({ holdMs: 0 });
  const [one, two, deaf] = [stage.join(), stage.join(["notification"]), stage.join(["emotion"])];
  const count = stage.hub.notify({ text: "Build done", urgency: "high" }, [{ tag: "happy", intensity: 0.5 }]);
  assertEquals([count, stage.hub.audienceSize], [2, 2]);
  await untilIdle(one);
  assertEquals(one.briefs, [
    "state idle",
    "state notification",
    "emotion happy 0.5",
    "notification Build done",
    "state idle",
  ]);
  assertEquals([two.briefs, deaf.briefs], [["notification Build done"], ["emotion happy 0.5"]]);
  const { ts: _, ...frame } = two.frames[0]!;
  assertEquals(frame, { type: "notification", text: "Build done", urgency: "high" });
});

Deno.test("Hub: a notification for one goes to the one who came last of those who want it", () => {
  using stage = new Stage();
  const [first, last, deaf] = [stage.join(["notification"]), stage.join(["notification"]), stage.join([])];
  assertEquals(stage.hub.notify(notice("Psst"), [], true), 1);
  assertEquals([first.briefs, last.briefs, deaf.briefs], [[], ["notification Psst"], []]);
  last.client.detach();
  assertEquals(stage.hub.notify(notice("Psst"), [], true), 1);
  first.client.detach();
  assertEquals([stage.hub.notify(notice("Psst"), [], true), stage.hub.notify(notice("Psst"))], [0, 0]);
  assertEquals(first.briefs, ["notification Psst"]);
});

Deno.test("Hub: a notification while a turn runs leaves its state", async () => {
  using stage = new Stage({ holdMs: 0 });
  const watcher = stage.join();
  const { prompt } = await stage.begin();
  watcher.news();
  stage.hub.notify(notice("Build done"));
  assertEquals(watcher.news(), ["notification Build done"]);
  prompt.end();
  await untilIdle(watcher);
  assertEquals(watcher.briefs, ["state attention", "state idle"]);
});

Deno.test("Hub: a turn that begins while a notification is shown takes its place", async () => {
  using stage = new Stage();
  const watcher = stage.join();
  stage.hub.notify(notice("Build done"));
  const { turn, prompt } = await stage.begin();
  turn.cancel();
  prompt.end("cancelled");
  assertEquals(watcher.briefs, [
    "state idle",
    "state notification",
    "notification Build done",
    "state idle",
    "state thinking",
    "state idle",
  ]);
});

Deno.test("Hub: the state notification is not told again while it is shown", () => {
  using stage = new Stage();
  const watcher = stage.join(["agent_state"]);
  stage.hub.notify(notice("One"));
  stage.hub.notify(notice("Two"));
  assertEquals(watcher.briefs, ["state idle", "state notification"]);
});

Deno.test("Hub: a notification while the end of a turn is shown ends in one idle", async () => {
  using stage = new Stage({ holdMs: 0 });
  const watcher = stage.join(["agent_state"]);
  const { prompt } = await stage.begin();
  prompt.end();
  stage.hub.notify(notice("Build done"));
  await settled();
  assertEquals(watcher.briefs.filter((state, i) => state === watcher.briefs[i - 1]), []);
});
