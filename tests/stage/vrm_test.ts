import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";
import { type Character, openCharacter } from "../../lib/stage/character.ts";
import { readPageFile } from "../../lib/stage/page_files.ts";
import { type View, viewerTest } from "../support/harness/character_viewer.ts";
import { createVrm } from "../support/harness/vrm_file.ts";

/** Opens a character from a file with these bytes. */
async function openVrm(bytes: Uint8Array): Promise<AsyncDisposable & { character: Character }> {
  const path = await Deno.makeTempFile({ prefix: "oab-vtuber-", suffix: ".vrm" });
  await Deno.writeFile(path, bytes);
  const character = await openCharacter(path);
  return { character, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

const SHOULDER_Y = 1.2;
/** Returns an expression for the position of a bone, or of a node below it. The model looks along +z, its left is +x. */
function position(axis: "x" | "y" | "z", bone: string, below = ""): string {
  const index = 12 + "xyz".indexOf(axis);
  const node = `character.vrm.humanoid.getRawBoneNode("${bone}")`;
  return `(${node}.getObjectByName("${below}") ?? ${node}).matrixWorld.elements[${index}]`;
}
const HAND_X = position("x", "rightHand");
const HAND_Y = position("y", "rightHand");
const HAND_Z = position("z", "rightHand");
const weight = (name: string) => `character.vrm.expressionManager.getValue("${name}")`;
/** Expression for the strongest morph of the model, which expressions end in. */
const STRONGEST_MORPH = `(() => {
  let strongest = 0;
  character.vrm.scene.traverse(({ morphTargetInfluences }) => {
    strongest = Math.max(strongest, ...morphTargetInfluences ?? []);
  });
  return strongest;
})()`;

/** Counts all pixels, the transparent ones, and the ones in the colour of the model's image. */
function countPixels(view: View): Promise<Record<"all" | "transparent" | "green", number>> {
  return view.evaluate(`new Promise((resolve) => requestAnimationFrame(() => {
    const { domElement } = character.renderer;
    const { width, height } = domElement;
    const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
    context.drawImage(domElement, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    const counts = { all: data.length / 4, transparent: 0, green: 0 };
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] === 0) counts.transparent++;
      else if (data[i + 1] > 1.4 * data[i] && data[i + 1] > 1.2 * data[i + 2]) counts.green++;
    }
    resolve(counts);
  }))`);
}

/** Returns an expression that resolves to true once a number stayed the same for 30 frames and half a second. */
function holdsStill(number: string, tolerance: number): string {
  return `new Promise((resolve) => {
    let value = NaN, frames = 0, sinceMs = 0;
    setTimeout(() => resolve(false), 60_000);
    requestAnimationFrame(function check(nowMs) {
      if (!(Math.abs(${number} - value) < ${tolerance})) [value, frames, sinceMs] = [${number}, 0, nowMs];
      if (++frames > 30 && nowMs - sinceMs > 500) resolve(true);
      else requestAnimationFrame(check);
    });
  })`;
}

/** Expression for the numbers of objects on the graphics card. */
const HELD = `({
  geometries: character.renderer.info.memory.geometries,
  textures: character.renderer.info.memory.textures,
  programs: character.renderer.info.programs.length,
})`;

Deno.test("readPageFile: the VRM module is bundled, without imports and with the licences", async () => {
  const module = await readPageFile("characters/vrm/vrm.js") ?? "";
  assertEquals(/(^|[;}\s])import\s*["'{*]/.test(module), false);
  assertEquals(/\beval\(|new Function\(/.test(module), false);
  const notices = [
    "three.js authors",
    "pixiv Inc.",
    "Permission is hereby granted, free of charge",
    "this permission notice shall be included",
  ];
  for (const notice of notices) assertStringIncludes(module, notice);
});

for (const version of ["1.0", "0.x"] as const) {
  viewerTest(`VRM ${version}: shows emotions, speech and states, and frees everything`, async (viewer) => {
    await using file = await openVrm(createVrm(version));
    const view = await viewer.show(file.character);
    assertEquals(await view.evaluate("globalThis.failure"), undefined);
    assertEquals(await view.evaluate("({ ...container.dataset })"), { expression: "neutral", state: "idle" });

    const { all, transparent, green } = await countPixels(view);
    assert(transparent > all / 5, `the background is not transparent: ${transparent} of ${all}`);
    assert(green > all / 20, `the model's image is not visible: ${green} of ${all}`);

    // VRM 0.x calls its preset "joy".
    await view.evaluate(`character.express("joy", 1)`);
    assertEquals(await view.evaluate("container.dataset.expression"), "happy");
    await view.waitFor(`${weight("happy")} > 0.95 && ${STRONGEST_MORPH} > 0.95`);
    await view.evaluate(`character.express("smug", 0.5)`);
    assertEquals(await view.evaluate("container.dataset.expression"), "smug");
    await view.waitFor(`${weight("Smug")} === 0.5 && ${weight("happy")} === 0`);
    for (const tag of ["no such word", "aa", "blink", "__proto__", "constructor"]) {
      await view.evaluate(`character.express(${JSON.stringify(tag)}, 1)`);
      assertEquals(await view.evaluate("container.dataset.expression"), "neutral", tag);
    }
    await view.evaluate("character.mouth(0.8)");
    await view.waitFor(`${weight("aa")} > 0.75`);
    await view.evaluate("character.mouth(0)");
    await view.waitFor(`${weight("aa")} === 0`);

    assertEquals(await view.evaluate("character.vrm.springBoneManager.joints.size > 0"), true);
    const hairY = await view.evaluate<number>(position("y", "head", "lockTip"));
    assert(hairY > 1.2 && hairY < 1.4, `the hair is not at rest: ${hairY}`);
    for (const [side, sign] of [["left", 1], ["right", -1]] as const) {
      const x = await view.evaluate<number>(position("x", `${side}Hand`));
      const y = await view.evaluate<number>(position("y", `${side}Hand`));
      assert(y < SHOULDER_Y - 0.3, `the arm is not down: ${y}`);
      assert(x * sign > 0.1, `the hand is in the body: ${x}`);
    }
    await view.evaluate(`character.act("thinking", {})`);
    assertEquals(await view.evaluate("container.dataset.state"), "thinking");
    await view.waitFor(`${HAND_Y} > ${SHOULDER_Y - 0.02} && ${HAND_Z} > 0.05 && Math.abs(${HAND_X}) < 0.15`);
    await view.evaluate(`character.act("attention")`);
    await view.waitFor(`${HAND_X} < -0.25`);
    await view.evaluate(`character.act("idle")`);
    await view.waitFor(`${HAND_Y} < ${SHOULDER_Y - 0.35}`);

    assertEquals(view.errors, []);
    const held = await view.evaluate<Record<string, number>>(HELD);
    assert(Object.values(held).every((count) => count > 0), JSON.stringify(held));
    await view.evaluate("character.dispose()");
    assertEquals(await view.evaluate(HELD), { geometries: 0, textures: 0, programs: 0 });
    assertEquals(await view.evaluate("character.renderer.getContext().isContextLost()"), true);
    assertEquals(await view.evaluate("container.children.length"), 0);
    await view.evaluate("character.dispose()");
  });
}

viewerTest("VRM: the head follows the pointer, and reduced motion holds the pose still", async (viewer) => {
  await using file = await openVrm(createVrm("1.0"));
  const view = await viewer.show(file.character, (page) => page.emulateMedia({ reducedMotion: "reduce" }));
  await view.evaluate(`character.act("working")`);
  await view.waitFor(`${HAND_Y} > ${SHOULDER_Y - 0.26}`);
  assertEquals(await view.evaluate(holdsStill(HAND_Y, 0.0005)), true);

  const headTurn = `character.vrm.humanoid.getNormalizedBoneNode("head").rotation.y`;
  // Move the pointer again and again, because the character soon ignores one that rests.
  let moves = 0;
  const pointAt = (x: number) => () => view.page.mouse.move(x, 100 + ++moves % 2);
  await view.waitFor(`${headTurn} > 0.05`, pointAt(410));
  await view.waitFor(`${headTurn} < -0.05`, pointAt(10));
});

viewerTest("VRM: draws no frames while hidden, except in the overlay", async (viewer) => {
  await using file = await openVrm(createVrm("1.0"));
  const frame = "character.renderer.info.render.frame";
  const afterTenFrames = `(async () => {
    for (let i = 0; i < 10; i++) await new Promise(requestAnimationFrame);
    return ${frame};
  })()`;
  for (const [query, pauses] of [["", true], ["?overlay", false]] as const) {
    const view = await viewer.show(file.character, undefined, query);
    const setHidden = (hidden: boolean) =>
      view.evaluate(`Object.defineProperty(document, "hidden", { value: ${hidden}, configurable: true }) &&
        document.dispatchEvent(new Event("visibilitychange"))`);
    await setHidden(true);
    const before = await view.evaluate<number>(frame);
    if (pauses) assertEquals(await view.evaluate(afterTenFrames), before);
    else await view.waitFor(`${frame} > ${before}`);
    const after = await view.evaluate<number>(frame);
    await setHidden(false);
    await view.waitFor(`${frame} > ${after}`);
    await view.page.close();
  }
});

viewerTest("VRM: fits a wide and a narrow window", async (viewer) => {
  await using file = await openVrm(createVrm("1.0"));
  const view = await viewer.show(file.character);
  for (const [width, height] of [[900, 300], [200, 700]] as const) {
    await view.page.setViewportSize({ width, height });
    await view.waitFor(`character.renderer.domElement.width === ${width}`);
    assertEquals(await view.evaluate("character.renderer.domElement.height"), height);
    const { all, green } = await countPixels(view);
    assert(green > all / 60, `${green} of ${all} at ${width} x ${height}`);
  }
  assertEquals(view.errors, []);
});

viewerTest("VRM: reports a file or browser that cannot show it, and leaves no canvas", async (viewer) => {
  const vrm = createVrm("1.0");
  const hex = (text: string) => new TextEncoder().encode(text).toHex();
  // Rename the VRM extension, both in the list of extensions and where its content is.
  const otherModel = Uint8Array.fromHex(vrm.toHex().replaceAll(hex("VRMC_vrm"), hex("VRMC_xxx")));
  const withoutWebGl = async (page: Page) => {
    await page.addInitScript("HTMLCanvasElement.prototype.getContext = () => null");
  };
  const cases = [
    ["cut off", vrm.slice(0, vrm.length / 2), undefined, "cannot be read"],
    ["another model", otherModel, undefined, "is no VRM"],
    ["empty", new Uint8Array(), undefined, "cannot be read"],
    ["no WebGL", vrm, withoutWebGl, "WebGL 2"],
  ] as const;
  for (const [name, bytes, prepare, message] of cases) {
    await using file = await openVrm(bytes);
    const view = await viewer.show(file.character, prepare);
    assertStringIncludes(await view.evaluate<string>("globalThis.failure"), message, name);
    assertEquals(await view.evaluate("container.children.length"), 0, name);
  }
});
