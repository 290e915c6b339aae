/** The picture of a VRM: the canvas, the light, and a camera that keeps the upper body in view. @module */

import { type VRM, VRMUtils } from "@pixiv/three-vrm";
// @ts-types="@types/three"
import {
  AmbientLight,
  Box3,
  DirectionalLight,
  type Object3D,
  PerspectiveCamera,
  Scene,
  Vector3,
  WebGLRenderer,
} from "three";

const FIELD_OF_VIEW_DEG = 22;
/** More than this many pixels to one of CSS cost much and show little. */
const MAX_PIXEL_RATIO = 2;
/** Room above the head, and to the sides for the arms, in parts of what is between hips and head. */
const ABOVE = 0.12;
const BESIDE = 0.82;

/** A canvas and what it shows. */
export interface View {
  readonly renderer: WebGLRenderer;
  readonly camera: PerspectiveCamera;
  /** Puts the model into the picture. */
  show(vrm: VRM): void;
  /** Puts something beside the model, or takes it out. */
  add(object: Object3D): void;
  render(): void;
  /** Takes the canvas out of the page and frees what it and the model hold on the graphics card. */
  dispose(): void;
}

/**
 * Opens a canvas that fills the container.
 *
 * @throws {Error} when there is no WebGL 2.
 */
export function createView(container: HTMLElement): View {
  let renderer: WebGLRenderer;
  try {
    renderer = new WebGLRenderer({ alpha: true, antialias: true });
  } catch {
    throw new Error("This browser shows no 3D pictures (WebGL 2), which a VRM character needs.");
  }
  const canvas = renderer.domElement;
  Object.assign(canvas.style, { display: "block", width: "100%", height: "100%" });
  canvas.role = "img";
  canvas.ariaLabel = "The character";
  container.append(canvas);

  const scene = new Scene();
  const camera = new PerspectiveCamera(FIELD_OF_VIEW_DEG, 1, 0.05, 50);
  const light = new DirectionalLight(0xffffff, 2.3);
  light.position.set(0.6, 1.2, 1.6);
  scene.add(new AmbientLight(0xffffff, 0.9), light);
  let model: VRM | undefined;
  let frame = { low: 0, high: 1, halfWidth: 0.5 };

  function resize(): void {
    const { clientWidth: width, clientHeight: height } = container;
    if (width === 0 || height === 0) return;
    renderer.setPixelRatio(Math.min(MAX_PIXEL_RATIO, globalThis.devicePixelRatio));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    const tangent = Math.tan(FIELD_OF_VIEW_DEG * Math.PI / 360);
    const forHeight = (frame.high - frame.low) / 2 / tangent;
    const forWidth = frame.halfWidth / tangent / camera.aspect;
    const distance = Math.max(forHeight, forWidth);
    // In a narrow place the head stays at the top, and more of the body comes into view.
    const middle = frame.high - distance * tangent;
    camera.position.set(0, middle, distance);
    camera.lookAt(0, middle, 0);
    camera.updateProjectionMatrix();
  }
  const observer = new ResizeObserver(resize);
  observer.observe(container);
  resize();

  return {
    renderer,
    camera,
    show(vrm) {
      model = vrm;
      scene.add(vrm.scene);
      frame = frameOf(vrm);
      resize();
    },
    add: (object) => scene.add(object),
    render: () => renderer.render(scene, camera),
    dispose() {
      observer.disconnect();
      if (model) VRMUtils.deepDispose(model.scene);
      scene.clear();
      renderer.dispose();
      // Browsers have few contexts to give: this one is given back now, not when it is swept.
      renderer.forceContextLoss();
      canvas.remove();
    },
  };
}

/** What of a model is to be seen: from the hips to above the hair, and room for the arms. */
function frameOf(vrm: VRM): { low: number; high: number; halfWidth: number } {
  const height = (name: "hips" | "head") =>
    vrm.humanoid.getRawBoneNode(name)?.getWorldPosition(new Vector3()).y ?? 0;
  vrm.scene.updateWorldMatrix(true, true);
  const [hips, head] = [height("hips"), height("head")];
  const torso = Math.max(0.1, head - hips);
  // Hair and horns may reach far: the head alone is about half as high as what is below it.
  const top = Math.min(new Box3().setFromObject(vrm.scene).max.y, head + 0.8 * torso);
  const high = Math.max(top, head + 0.3 * torso) + ABOVE * torso;
  return { low: hips - 0.25 * torso, high, halfWidth: BESIDE * torso };
}
