/**
 * Shows a VRM character, 0.x or 1.0. Bundled into one module of the page, with three and @pixiv/three-vrm in it.
 *
 * @module
 */

/*!
 * With three.js, Copyright (c) 2010-2026 three.js authors, and @pixiv/three-vrm, Copyright (c) 2019-2026 pixiv Inc.
 * Both are under the MIT License:
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
 * documentation files (the "Software"), to deal in the Software without restriction, including without limitation
 * the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
 * to permit persons to whom the Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or substantial portions of
 * the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
 * THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
 * CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS
 * IN THE SOFTWARE.
 */

import type { VRM } from "@pixiv/three-vrm";
// @ts-types="@types/three"
import { Object3D, Vector3, type WebGLRenderer } from "three";
import { createBody } from "./body.ts";
import { createFace } from "./face.ts";
import { loadVrm } from "./load.ts";
import { createOrbs } from "./orbs.ts";
import { createView, type View } from "./view.ts";

/** The longest step that is made at once, in seconds: after a pause springs would tear. */
const MAX_STEP_S = 0.1;
/** After this long without a move of the pointer the character looks at the viewer again. */
const POINTER_MS = 4_000;
/** How fast the eyes follow, in parts a second. */
const LOOK_RATE = 7;
/** How far to the side and up the eyes go for a pointer at the edge, in parts of the distance. */
const LOOK_ASIDE = 0.35;
const LOOK_UP = 0.2;

/** What the page tells a character; the same for every kind. */
export interface VrmCharacter {
  /** Shows an emotion, by its lower-case word; `intensity` is from 0 to 1. */
  express(tag: string, intensity?: number): void;
  /** Takes the pose of a state of the agent. */
  act(state: string, detail?: unknown): void;
  /** Opens the mouth, from 0 to 1. */
  mouth(openness: number): void;
  /** Takes it off the page and frees all that it holds. */
  dispose(): void;
  /** The model and what draws it, for whoever wants to look inside. */
  readonly vrm: VRM;
  readonly renderer: WebGLRenderer;
}

/**
 * Loads the model that the manifest names and shows it in the container.
 *
 * @throws {Error} with a sentence for the user, when it cannot be loaded or there is no WebGL.
 */
export async function createCharacter(
  container: HTMLElement,
  manifest: { readonly src: string },
): Promise<VrmCharacter> {
  const view = createView(container);
  let vrm: VRM;
  try {
    vrm = await loadVrm(manifest.src);
    view.show(vrm);
  } catch (error) {
    view.dispose();
    throw error;
  }
  return bringToLife(container, view, vrm);
}

function bringToLife(container: HTMLElement, view: View, vrm: VRM): VrmCharacter {
  const face = createFace(vrm);
  const body = createBody(vrm);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  // A program that shows the page over others may call it hidden while it is seen.
  const overlay = new URLSearchParams(location.search).has("overlay");
  const ends = new AbortController();

  const head = placeOf(vrm, "head");
  const chest = placeOf(vrm, "chest") ?? placeOf(vrm, "spine");
  const reach = head && chest ? head.y - chest.y : 0.3;
  const orbs = createOrbs(reach * 0.75);
  orbs.group.position.set(0, (chest?.y ?? 1) + reach * 0.45, reach * 1.3);
  view.add(orbs.group);

  const target = new Object3D();
  const pointer = { x: 0, y: 0, atMs: -Infinity };
  const looking = { x: 0, y: 0 };
  if (vrm.lookAt) vrm.lookAt.target = target;
  addEventListener("pointermove", (event) => {
    const box = container.getBoundingClientRect();
    pointer.x = clamp((event.clientX - box.x - box.width / 2) / (box.width / 2 || 1));
    pointer.y = clamp(-(event.clientY - box.y - box.height / 3) / (box.height / 2 || 1));
    pointer.atMs = performance.now();
  }, { signal: ends.signal, passive: true });

  function look(deltaS: number, nowMs: number): void {
    const seen = nowMs - pointer.atMs < POINTER_MS;
    const share = 1 - Math.exp(-LOOK_RATE * deltaS);
    looking.x += ((seen ? pointer.x : 0) - looking.x) * share;
    looking.y += ((seen ? pointer.y : 0) - looking.y) * share;
    const { x, y, z } = view.camera.position;
    const eyes = head?.y ?? y;
    target.position.set(x + looking.x * z * LOOK_ASIDE, eyes + looking.y * z * LOOK_UP, z);
    target.updateMatrixWorld();
    body.glance(looking.x, looking.y);
  }

  let request = 0;
  let lastMs: number | undefined;
  function draw(nowMs: number): void {
    request = requestAnimationFrame(draw);
    const deltaS = Math.min(MAX_STEP_S, (nowMs - (lastMs ?? nowMs)) / 1000);
    lastMs = nowMs;
    const motion = still.matches ? 0 : 1;
    look(deltaS, nowMs);
    body.update(deltaS, motion);
    face.update(deltaS);
    orbs.update(deltaS, motion);
    vrm.update(deltaS);
    view.render();
  }
  function run(): void {
    cancelAnimationFrame(request);
    lastMs = undefined;
    if (!document.hidden || overlay) request = requestAnimationFrame(draw);
  }
  document.addEventListener("visibilitychange", run, { signal: ends.signal });

  // Its arms are down before it is first seen, and its hair has come to rest.
  for (let step = 0; step < 20; step++) {
    body.update(MAX_STEP_S, 0);
    vrm.update(MAX_STEP_S);
  }
  container.dataset.expression = "neutral";
  container.dataset.state = "idle";
  run();

  return {
    vrm,
    renderer: view.renderer,
    express(tag, intensity = 1) {
      const expression = face.express(tag, intensity);
      body.express(expression);
      container.dataset.expression = expression;
    },
    act(state) {
      body.act(state);
      orbs.shown = state === "juggling";
      container.dataset.state = state;
    },
    mouth: (openness) => face.mouth(openness),
    dispose() {
      if (ends.signal.aborted) return;
      ends.abort();
      cancelAnimationFrame(request);
      orbs.dispose();
      view.dispose();
    },
  };
}

function placeOf(vrm: VRM, name: "head" | "chest" | "spine"): Vector3 | undefined {
  return vrm.humanoid.getRawBoneNode(name)?.getWorldPosition(new Vector3());
}

function clamp(value: number): number {
  return Math.min(1, Math.max(-1, value));
}
