import { assertEquals, assertStringIncludes } from "@std/assert";
import { openCharacter } from "../../lib/stage/character.ts";
import { type View, viewerTest } from "../support/harness/character_viewer.ts";

// Imported by address, because this module is type-checked with the types of the DOM and this file is not.
const module = new URL("../../lib/stage/page/characters/pictures/pictures.js", import.meta.url).href;
const { candidates }: { candidates(word: string): string[] } = await import(module);

/** Creates a folder with a picture for each word. */
async function createPictures(...words: string[]): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "oab-vtuber-pictures-" });
  const picture = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">' +
    '<rect width="100%" height="100%" fill="teal"/></svg>';
  for (const word of words) await Deno.writeTextFile(`${path}/${word}.svg`, picture);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Expression for the name of the visible file. */
const VISIBLE = `[...container.querySelectorAll("img")]
  .filter((image) => image.style.visibility !== "hidden" && image.parentElement.style.opacity === "1")
  .map((image) => decodeURIComponent(image.src.split("/").pop())).join()`;

/** Runs steps in the page, and compares the visible file after each. */
async function assertSteps(
  view: View,
  steps: readonly (readonly [step: string, file: string])[],
): Promise<void> {
  for (const [step, file] of steps) {
    await view.evaluate(step);
    assertEquals(await view.evaluate(VISIBLE), file, step);
  }
}

Deno.test("candidates: begins with the word itself and continues with its alternatives", () => {
  assertEquals(candidates("joy"), ["joy", "happy", "fun", "laugh", "smile"]);
  for (const word of ["no such word", "__proto__", "constructor"]) assertEquals(candidates(word), [word]);
  // Presets of VRM for words that have none.
  const presets = [["sorrow", "sad"], ["sadness", "sad"], ["anger", "angry"], ["fun", "happy"], [
    "love",
    "happy",
  ]];
  for (const [word, preset] of [...presets, ["surprise", "surprised"]]) {
    assertEquals(candidates(word!).includes(preset!), true, word);
  }
});

viewerTest("pictures: shows the picture of a word, of an alternative, or neutral", async (viewer) => {
  await using folder = await createPictures("neutral", "happy", "happy-open", "sad", "thinking", "my own");
  const view = await viewer.show(await openCharacter(folder.path));
  assertEquals(await view.evaluate("globalThis.failure"), undefined);
  assertEquals(await view.evaluate("({ ...container.dataset })"), { expression: "neutral", state: "idle" });
  assertEquals(await view.evaluate(VISIBLE), "neutral.svg");
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
  for (const [tag, word] of cases) {
    await assertSteps(view, [[`character.express(${JSON.stringify(tag)}, 1)`, `${word}.svg`]]);
    assertEquals(await view.evaluate("container.dataset.expression"), word, tag);
  }

  await assertSteps(view, [
    [`character.express("happy", 1)`, "happy.svg"],
    ["character.mouth(0.8)", "happy-open.svg"],
    ["character.mouth(0.1)", "happy.svg"],
    ["character.mouth(1)", "happy-open.svg"],
    ["character.mouth(0)", "happy.svg"],
  ]);
  assertEquals(await view.evaluate(`container.querySelector("img[alt*=happy]") !== null`), true);

  // The later one of state and emotion is visible: a long state does not hide the emotions in it.
  await assertSteps(view, [
    [`character.act("thinking")`, "thinking.svg"],
    [`character.express("sad", 1)`, "sad.svg"],
    [`character.act("thinking")`, "sad.svg"],
    [`character.act("working")`, "sad.svg"],
    [`character.act("error")`, "sad.svg"],
    [`character.act("thinking")`, "thinking.svg"],
    [`character.act("idle")`, "sad.svg"],
  ]);
  assertEquals(await view.evaluate("container.dataset.state"), "idle");
  // The last call wins, however long the pictures of the others take to load.
  await view.evaluate(`void ["happy", "sad", "angry", "thinking"].map((tag) => character.express(tag, 1))`);
  await view.waitFor(`${VISIBLE} === "thinking.svg"`);
  assertEquals(view.errors, []);
  await view.evaluate("character.dispose()");
  assertEquals(await view.evaluate("container.children.length"), 0);
});

viewerTest("pictures: without neutral, shows another picture with a closed mouth", async (viewer) => {
  await using folder = await createPictures("angry-open", "grim");
  const view = await viewer.show(await openCharacter(folder.path));
  assertEquals(await view.evaluate(VISIBLE), "grim.svg");
});

viewerTest("pictures at an address: are found under the policy, and asked for once", async (viewer) => {
  await using folder = await createPictures("neutral", "joy");
  const requested: string[] = [];
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const name = new URL(request.url).pathname.slice("/mine/".length);
    requested.push(name);
    if (!/^(neutral|joy)\.png$/.test(name)) return new Response(null, { status: 404 });
    const body = await Deno.readTextFile(`${folder.path}/${name.replace("png", "svg")}`);
    return new Response(body, { headers: { "content-type": "image/svg+xml" } });
  });
  const origin = `http://127.0.0.1:${server.addr.port}`;
  const view = await viewer.show(await openCharacter(`${origin}/mine`));
  assertEquals(await view.evaluate(VISIBLE), "neutral.png");
  await assertSteps(view, [
    [`character.express("happy")`, "joy.png"],
    [`character.express("angry")`, "neutral.png"],
    [`character.express("angry")`, "neutral.png"],
  ]);
  assertEquals(new Set(requested).size, requested.length, "a file was requested twice");

  const empty = await viewer.show(await openCharacter(`${origin}/other/`));
  assertStringIncludes(await empty.evaluate<string>("globalThis.failure"), "No picture");
  assertEquals(await empty.evaluate("container.children.length"), 0);
});
