import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Character, openCharacter } from "../../lib/stage/character.ts";
import { vrmModule } from "../../lib/stage/vrm_module.ts";
import { fakeVrm, type VrmVersion } from "../support/harness/vrm_file.ts";
import {
  CHROMIUM,
  IN_CHROMIUM,
  openViewer,
  type View,
  type Viewer,
} from "../support/harness/character_viewer.ts";

/** A character from a file with these bytes. */
async function characterOf(bytes: Uint8Array): Promise<AsyncDisposable & { character: Character }> {
  const path = await Deno.makeTempFile({ prefix: "oab-vtuber-", suffix: ".vrm" });
  await Deno.writeFile(path, bytes);
  const character = await openCharacter(path);
  return { character, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

/** Where a bone, or what hangs on it, is in the world, in metres: it looks along +z, its right is -x. */
function placeOf(view: View, bone: string, below = ""): Promise<{ x: number; y: number; z: number }> {
  return view.look(`(() => {
    const node = character.vrm.humanoid.getRawBoneNode("${bone}");
    const { elements } = (node.getObjectByName("${below}") ?? node).matrixWorld;
    return { x: elements[12], y: elements[13], z: elements[14] };
  })()`);
}

const [HAND_X, HAND_Y, HAND_Z] = [12, 13, 14].map((index) =>
  `character.vrm.humanoid.getRawBoneNode("rightHand").matrixWorld.elements[${index}]`
);
const SHOULDER_Y = 1.2;
const weight = (name: string) => `character.vrm.expressionManager.getValue("${name}")`;
/** The strongest morph in the model: what the expressions do in the end. */
const STRONGEST = `(() => {
  let strongest = 0;
  character.vrm.scene.traverse(({ morphTargetInfluences }) => {
    strongest = Math.max(strongest, ...morphTargetInfluences ?? []);
  });
  return strongest;
})()`;
/** How many pixels are transparent, and how many have the colour of the model's image. */
const PIXELS = `new Promise((resolve) => requestAnimationFrame(() => {
  const source = character.renderer.domElement;
  const copy = Object.assign(document.createElement("canvas"), { width: source.width, height: source.height });
  const context = copy.getContext("2d");
  context.drawImage(source, 0, 0);
  const { data } = context.getImageData(0, 0, copy.width, copy.height);
  const counts = { all: data.length / 4, clear: 0, green: 0 };
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] === 0) counts.clear++;
    else if (data[i + 1] > 1.4 * data[i] && data[i + 1] > 1.2 * data[i + 2]) counts.green++;
  }
  resolve(counts);
}))`;

/** Resolves to an expression's value after so many frames of the browser. */
function afterFrames(count: number, expression: string): string {
  return `new Promise((resolve) => {
    let left = ${count};
    requestAnimationFrame(function next() {
      if (left-- > 0) requestAnimationFrame(next);
      else resolve(${expression});
    });
  })`;
}

/** Resolves to true once a number has kept its place for 30 frames that last more than half a second. */
function restsAt(number: string, within: number): string {
  return `new Promise((resolve) => {
    let place = NaN, frames = 0, sinceMs = 0;
    setTimeout(() => resolve(false), 60_000);
    requestAnimationFrame(function look(nowMs) {
      if (!(Math.abs(${number} - place) < ${within})) [place, frames, sinceMs] = [${number}, 0, nowMs];
      if (++frames > 30 && nowMs - sinceMs > 500) resolve(true);
      else requestAnimationFrame(look);
    });
  })`;
}

/** Counts, from now on too, what the model holds on the graphics card. */
const HELD = `(() => {
  const held = { geometries: new Set(), materials: new Set(), textures: new Set() };
  character.vrm.scene.traverse(({ geometry, material }) => {
    if (geometry) held.geometries.add(geometry);
    for (const one of [material ?? []].flat()) {
      held.materials.add(one);
      const uniforms = Object.values(one.uniforms ?? {}).map(({ value }) => value);
      for (const value of [...Object.values(one), ...uniforms]) if (value?.isTexture) held.textures.add(value);
    }
  });
  globalThis.counts = Object.fromEntries(Object.entries(held).map(([name, { size }]) => [name, size]));
  for (const [name, things] of Object.entries(held)) {
    // Each may say so more than once.
    for (const thing of things) thing.addEventListener("dispose", () => counts[name] -= Number(things.delete(thing)));
  }
  return { ...counts };
})()`;

const hex = (text: string) => new TextEncoder().encode(text).toHex();

/** A test with a browser; ignored where there is none. */
function browserTest(name: string, run: (viewer: Viewer) => Promise<void>): void {
  Deno.test(IN_CHROMIUM + name, { ignore: CHROMIUM === undefined }, async () => {
    await using viewer = await openViewer();
    await run(viewer);
  });
}

Deno.test("vrmModule() is one module without imports, carries its notices, and is made once", async () => {
  const module = await vrmModule() ?? "";
  assertEquals(/(^|[;}\s])import\s*["'{*]/.test(module), false);
  assertEquals(/\beval\(|new Function\(/.test(module), false);
  for (
    const notice of [
      "three.js authors",
      "pixiv Inc.",
      "Permission is hereby granted, free of charge",
      "this permission notice shall be included",
    ]
  ) assertStringIncludes(module, notice);
  assert(vrmModule() === vrmModule());
});

for (const version of ["1.0", "0.x"] as const satisfies readonly VrmVersion[]) {
  browserTest(`VRM ${version} is shown, feels, speaks, moves and leaves nothing behind`, async (viewer) => {
    await using file = await characterOf(fakeVrm(version));
    const view = await viewer.show(file.character);
    assertEquals(await view.look("globalThis.failed"), undefined);
    assertEquals(await view.look("({ ...container.dataset })"), { expression: "neutral", state: "idle" });

    const { all, clear, green } = await view.look<Record<"all" | "clear" | "green", number>>(PIXELS);
    assert(clear > all / 5, `the background is not transparent: ${clear} of ${all}`);
    assert(green > all / 20, `its image is not to be seen: ${green} of ${all}`);

    // An old model's "joy" is its "happy", and so is ours.
    await view.look(`character.express("joy", 1)`);
    assertEquals(await view.look("container.dataset.expression"), "happy");
    await view.until(`${weight("happy")} > 0.95 && ${STRONGEST} > 0.95`);
    await view.look(`character.express("smug", 0.5)`);
    assertEquals(await view.look("container.dataset.expression"), "smug");
    await view.until(`${weight("Smug")} === 0.5 && ${weight("happy")} === 0`);
    for (const tag of ["no such word", "aa", "blink", "__proto__", "constructor"]) {
      await view.look(`character.express(${JSON.stringify(tag)}, 1)`);
      assertEquals(await view.look("container.dataset.expression"), "neutral", tag);
    }
    await view.look(`character.mouth(0.8)`);
    await view.until(`${weight("aa")} > 0.75`);
    await view.look(`character.mouth(0)`);
    await view.until(`${weight("aa")} === 0`);

    assertEquals(await view.look("character.vrm.springBoneManager.joints.size > 0"), true);
    const lock = await placeOf(view, "head", "lockTip");
    assert(lock.y > 1.2 && lock.y < 1.4, `the hair flies: ${lock.y}`);
    for (const side of ["left", "right"]) {
      const hand = await placeOf(view, `${side}Hand`);
      assert(hand.y < SHOULDER_Y - 0.3, `the arm is not down: ${hand.y}`);
      assert(side === "left" ? hand.x > 0.1 : hand.x < -0.1, `the hand is in the body: ${hand.x}`);
    }
    await view.look(`character.act("thinking", {})`);
    assertEquals(await view.look("container.dataset.state"), "thinking");
    await view.until(`${HAND_Y} > ${SHOULDER_Y - 0.02} && ${HAND_Z} > 0.05 && Math.abs(${HAND_X}) < 0.15`);
    await view.look(`character.act("attention")`);
    await view.until(`${HAND_X} < -0.25`);
    await view.look(`character.act("idle")`);
    await view.until(`${HAND_Y} < ${SHOULDER_Y - 0.35}`);

    assertEquals(view.complaints, []);
    const held = await view.look<Record<string, number>>(HELD);
    assert(held.geometries! > 0 && held.materials! > 0 && held.textures! > 0, JSON.stringify(held));
    await view.look(`character.dispose()`);
    assertEquals(await view.look("counts"), { geometries: 0, materials: 0, textures: 0 });
    assertEquals(await view.look("character.renderer.getContext().isContextLost()"), true);
    assertEquals(await view.look("container.children.length"), 0);
    await view.look(`character.dispose()`);
  });
}

browserTest("the eyes follow the pointer, and it holds still for those who want that", async (viewer) => {
  await using file = await characterOf(fakeVrm("1.0"));
  const view = await viewer.show(file.character, (page) => page.emulateMedia({ reducedMotion: "reduce" }));
  await view.look(`character.act("working")`);
  await view.until(`${HAND_Y} > ${SHOULDER_Y - 0.26}`);
  assertEquals(await view.look(restsAt(HAND_Y!, 0.0005)), true);

  const turned = `character.vrm.humanoid.getNormalizedBoneNode("head").rotation.y`;
  // A pointer that rests is soon no longer looked at.
  let moves = 0;
  const pointAt = (x: number) => () => view.page.mouse.move(x, 100 + ++moves % 2);
  await view.until(`${turned} > 0.05`, pointAt(410));
  await view.until(`${turned} < -0.05`, pointAt(10));
});

browserTest("it rests while nobody sees it, but not as an overlay", async (viewer) => {
  await using file = await characterOf(fakeVrm("1.0"));
  const frame = "character.renderer.info.render.frame";
  for (const [query, rests] of [["", true], ["?overlay", false]] as const) {
    const view = await viewer.show(file.character, undefined, query);
    const hide = (hidden: boolean) =>
      view.look(`Object.defineProperty(document, "hidden", { value: ${hidden}, configurable: true }) &&
        document.dispatchEvent(new Event("visibilitychange"))`);
    await hide(true);
    const before = await view.look<number>(frame);
    if (!rests) await view.until(`${frame} > ${before}`);
    else assertEquals(await view.look<number>(afterFrames(10, frame)), before);
    const then = await view.look<number>(frame);
    await hide(false);
    await view.until(`${frame} > ${then}`);
    await view.page.close();
  }
});

browserTest("it fits whatever place it has", async (viewer) => {
  await using file = await characterOf(fakeVrm("1.0"));
  const view = await viewer.show(file.character);
  for (const [width, height] of [[900, 300], [200, 700]] as const) {
    await view.page.setViewportSize({ width, height });
    await view.until(`character.renderer.domElement.width === ${width}`);
    assertEquals(await view.look("character.renderer.domElement.height"), height);
    const { all, green } = await view.look<Record<"all" | "green", number>>(PIXELS);
    assert(green > all / 60, `${green} of ${all} at ${width} x ${height}`);
  }
  assertEquals(view.complaints, []);
});

browserTest("what cannot be shown is said, and leaves no canvas", async (viewer) => {
  const whole = fakeVrm("1.0");
  // The name of the extension stands in the file as it is: where it is listed, and where its content is.
  const noVrm = Uint8Array.fromHex(whole.toHex().replaceAll(hex("VRMC_vrm"), hex("VRMC_xxx")));
  const without = (page: { addInitScript(script: string): Promise<unknown> }) =>
    page.addInitScript("HTMLCanvasElement.prototype.getContext = () => null").then(() => {});
  const cases = [
    ["cut off", whole.slice(0, whole.length / 2), undefined, "cannot be read"],
    ["another model", noVrm, undefined, "is no VRM"],
    ["empty", new Uint8Array(), undefined, "cannot be read"],
    ["no WebGL", whole, without, "WebGL 2"],
  ] as const;
  for (const [name, bytes, prepare, part] of cases) {
    await using file = await characterOf(bytes);
    const view = await viewer.show(file.character, prepare);
    assertStringIncludes(await view.look<string>("globalThis.failed"), part, name);
    assertEquals(await view.look("container.children.length"), 0, name);
  }
});
