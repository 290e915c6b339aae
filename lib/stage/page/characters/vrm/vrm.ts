/**
 * Shows a VRM character, version 0.x or 1.0. Bundled with three and @pixiv/three-vrm into one module.
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

/** Longest step of the animation. After a pause of the browser, hair springs would be torn. */
const MAX_STEP_S = 0.1;
/** Time without a move of the pointer after which the character looks at the viewer again. */
const POINTER_MS = 4_000;
/** Rate at which the eyes follow. */
const LOOK_RATE_PER_S = 7;
/** Movement of the eyes' target for a pointer at the edge, in distances to the camera. */
const LOOK_ASIDE = 0.35;
const LOOK_UP = 0.2;

/** A VRM character: the interface of `character.js`, and the model and the renderer for tests. */
export interface VrmCharacter {
  express(tag: string, intensity?: number): void;
  act(state: string, detail?: unknown): void;
  mouth(openness: number): void;
  dispose(): void;
  readonly vrm: VRM;
  readonly renderer: WebGLRenderer;
}

/**
 * Shows the model that the manifest names.
 *
 * @throws {Error} with a sentence for the user, if the model cannot be loaded or there is no WebGL 2.
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
  return animate(container, view, vrm);
}

function animate(container: HTMLElement, view: View, vrm: VRM): VrmCharacter {
  const face = createFace(vrm);
  const body = createBody(vrm);
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  // Streaming programs may report the overlay as hidden although it is shown.
  const isOverlay = new URLSearchParams(location.search).has("overlay");
  const disposal = new AbortController();

  const head = positionOf(vrm, "head");
  const chest = positionOf(vrm, "chest") ?? positionOf(vrm, "spine");
  const headAboveChest = head && chest ? head.y - chest.y : 0.3;
  const orbs = createOrbs(headAboveChest * 0.75);
  orbs.group.position.set(0, (chest?.y ?? 1) + headAboveChest * 0.45, headAboveChest * 1.3);
  view.add(orbs.group);

  const target = new Object3D();
  const pointer = { x: 0, y: 0, atMs: -Infinity };
  const look = { x: 0, y: 0 };
  if (vrm.lookAt) vrm.lookAt.target = target;
  addEventListener("pointermove", (event) => {
    const box = container.getBoundingClientRect();
    pointer.x = clamp((event.clientX - box.x - box.width / 2) / (box.width / 2 || 1));
    pointer.y = clamp(-(event.clientY - box.y - box.height / 3) / (box.height / 2 || 1));
    pointer.atMs = performance.now();
  }, { signal: disposal.signal, passive: true });

  function updateLook(deltaS: number, nowMs: number): void {
    const isFollowing = nowMs - pointer.atMs < POINTER_MS;
    const share = 1 - Math.exp(-LOOK_RATE_PER_S * deltaS);
    look.x += ((isFollowing ? pointer.x : 0) - look.x) * share;
    look.y += ((isFollowing ? pointer.y : 0) - look.y) * share;
    const { x, y, z } = view.camera.position;
    const eyesY = head?.y ?? y;
    target.position.set(x + look.x * z * LOOK_ASIDE, eyesY + look.y * z * LOOK_UP, z);
    target.updateMatrixWorld();
    body.glance(look.x, look.y);
  }

  let frame = 0;
  let lastMs: number | undefined;
  function draw(nowMs: number): void {
    frame = requestAnimationFrame(draw);
    const deltaS = Math.min(MAX_STEP_S, (nowMs - (lastMs ?? nowMs)) / 1000);
    lastMs = nowMs;
    const motion = reducedMotion.matches ? 0 : 1;
    updateLook(deltaS, nowMs);
    body.update(deltaS, motion);
    face.update(deltaS);
    orbs.update(deltaS, motion);
    vrm.update(deltaS);
    view.render();
  }
  function restart(): void {
    cancelAnimationFrame(frame);
    lastMs = undefined;
    if (!document.hidden || isOverlay) frame = requestAnimationFrame(draw);
  }
  document.addEventListener("visibilitychange", restart, { signal: disposal.signal });

  // Lower the arms and let the hair come to rest before the first frame.
  for (let step = 0; step < 20; step++) {
    body.update(MAX_STEP_S, 0);
    vrm.update(MAX_STEP_S);
  }
  container.dataset.expression = "neutral";
  container.dataset.state = "idle";
  restart();

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
      orbs.isShown = state === "juggling";
      container.dataset.state = state;
    },
    mouth: (openness) => face.mouth(openness),
    dispose() {
      if (disposal.signal.aborted) return;
      disposal.abort();
      cancelAnimationFrame(frame);
      orbs.dispose();
      view.dispose();
    },
  };
}

function positionOf(vrm: VRM, name: "head" | "chest" | "spine"): Vector3 | undefined {
  return vrm.humanoid.getRawBoneNode(name)?.getWorldPosition(new Vector3());
}

function clamp(value: number): number {
  return Math.min(1, Math.max(-1, value));
}
