import { assertEquals, assertStringIncludes } from "@std/assert";
import { openCharacter } from "../../lib/stage/character.ts";
import { CHROMIUM, IN_CHROMIUM, openViewer, type Viewer } from "../support/harness/character_viewer.ts";

// By its address: the page's modules are checked with a browser's types, and this one is not.
const module = new URL("../../lib/stage/page/characters/pictures/pictures.js", import.meta.url).href;
const { candidates }: { candidates(word: string): string[] } = await import(module);

/** A picture that tells by its width which one it is. */
function picture(width: number): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="40">` +
    '<rect width="100%" height="100%" fill="teal"/></svg>';
}

/** A folder of pictures, removed at the end of the test. */
async function pictures(...words: string[]): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "oab-vtuber-pictures-" });
  for (const [i, word] of words.entries()) await Deno.writeTextFile(`${path}/${word}.svg`, picture(i + 1));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The file that is seen. */
const SEEN = `[...container.querySelectorAll("img")]
  .filter((image) => image.style.visibility !== "hidden" && image.parentElement.style.opacity === "1")
  .map((image) => decodeURIComponent(image.src.split("/").pop())).join()`;

function browserTest(name: string, run: (viewer: Viewer) => Promise<void>): void {
  Deno.test(IN_CHROMIUM + name, { ignore: CHROMIUM === undefined }, async () => {
    await using viewer = await openViewer();
    await run(viewer);
  });
}

Deno.test("candidates() begins with the word itself, and ends with what is close to it", () => {
  assertEquals(candidates("joy"), ["joy", "happy", "fun", "laugh", "smile"]);
  for (const word of ["no such word", "__proto__", "constructor"]) assertEquals(candidates(word), [word]);
  const presets = {
    sorrow: "sad",
    sadness: "sad",
    anger: "angry",
    fun: "happy",
    surprise: "surprised",
    love: "happy",
  };
  for (const [word, preset] of Object.entries(presets)) {
    assertEquals(candidates(word).includes(preset), true, word);
  }
});

browserTest("pictures: the one for the word, or the closest, or neutral", async (viewer) => {
  await using dir = await pictures("neutral", "happy", "happy-open", "sad", "thinking", "my own");
  const view = await viewer.show(await openCharacter(dir.path));
  assertEquals(await view.look("globalThis.failed"), undefined);
  assertEquals(await view.look("({ ...container.dataset })"), { expression: "neutral", state: "idle" });
  assertEquals(await view.look(SEEN), "neutral.svg");
  const cases = [
    ["happy", "happy"],
    ["JOY", "happy"],
    ["sorrow", "sad"],
    ["my own", "my own"],
    ["angry", "neutral"],
    ["no such word", "neutral"],
    ["__proto__", "neutral"],
    ["../../secret", "neutral"],
  ] as const;
  for (const [tag, file] of cases) {
    await view.look(`character.express(${JSON.stringify(tag)}, 1)`);
    assertEquals([await view.look(SEEN), await view.look("container.dataset.expression")], [
      `${file}.svg`,
      file,
    ], tag);
  }

  await view.look(`character.express("happy", 1)`);
  for (
    const [openness, file] of [[0.8, "happy-open.svg"], [0.1, "happy.svg"], [1, "happy-open.svg"], [
      0,
      "happy.svg",
    ]]
  ) {
    await view.look(`character.mouth(${openness})`);
    assertEquals(await view.look(SEEN), file);
  }
  assertEquals(await view.look(`container.querySelector("img[alt*=happy]") !== null`), true);

  // The later of the two is shown: a state that lasts does not hide what is felt in it.
  const steps = [
    [`character.act("thinking")`, "thinking"],
    [`character.express("sad", 1)`, "sad"],
    [`character.act("thinking")`, "sad"],
    [`character.act("working")`, "sad"],
    [`character.act("error")`, "sad"],
    [`character.act("thinking")`, "thinking"],
    [`character.act("idle")`, "sad"],
  ] as const;
  for (const [step, file] of steps) {
    await view.look(step);
    assertEquals(await view.look(SEEN), `${file}.svg`, step);
  }
  assertEquals(await view.look("container.dataset.state"), "idle");
  // Whatever was asked for last wins, however long the others take.
  await view.look(`void ["happy", "sad", "angry", "thinking"].map((tag) => character.express(tag, 1))`);
  await view.until(`${SEEN} === "thinking.svg"`);
  assertEquals(view.complaints, []);
  await view.look(`character.dispose()`);
  assertEquals(await view.look("container.children.length"), 0);
});

browserTest("pictures: without neutral there is still one", async (viewer) => {
  await using dir = await pictures("angry-open", "grim");
  const view = await viewer.show(await openCharacter(dir.path));
  assertEquals(await view.look(SEEN), "grim.svg");
});

browserTest("pictures at an address: what is there is found, under the policy", async (viewer) => {
  await using dir = await pictures("neutral", "joy");
  const asked: string[] = [];
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const name = new URL(request.url).pathname.slice("/mine/".length);
    asked.push(name);
    if (!/^(neutral|joy)\.png$/.test(name)) return new Response(null, { status: 404 });
    const body = await Deno.readTextFile(`${dir.path}/${name.replace("png", "svg")}`);
    return new Response(body, { headers: { "content-type": "image/svg+xml" } });
  });
  const view = await viewer.show(await openCharacter(`http://127.0.0.1:${server.addr.port}/mine`));
  assertEquals(await view.look(SEEN), "neutral.png");
  for (const [tag, file] of [["happy", "joy.png"], ["angry", "neutral.png"], ["angry", "neutral.png"]]) {
    await view.look(`character.express("${tag}", 1)`);
    assertEquals(await view.look(SEEN), file);
  }
  assertEquals(new Set(asked).size, asked.length, "asked for something twice");

  const nothing = await viewer.show(await openCharacter(`http://127.0.0.1:${server.addr.port}/other/`));
  assertStringIncludes(await nothing.look<string>("globalThis.failed"), "Not one picture");
  assertEquals(await nothing.look("container.children.length"), 0);
});
