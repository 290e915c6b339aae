/** The canvas of a VRM, its light, and a camera that keeps the upper body in view. @module */

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
/** Pixels for each CSS pixel. More of them cost much and show little. */
const MAX_PIXEL_RATIO = 2;
/** Space above the head and on each side for the arms, in distances between hips and head. */
const SPACE_ABOVE = 0.12;
const SPACE_BESIDE = 0.82;

/** A canvas and its scene. */
export interface View {
  readonly renderer: WebGLRenderer;
  readonly camera: PerspectiveCamera;
  /** Adds the model and points the camera at it. */
  show(vrm: VRM): void;
  /** Adds another object. */
  add(object: Object3D): void;
  render(): void;
  /** Removes the canvas and frees the memory of the graphics card. */
  dispose(): void;
}

/**
 * Creates a canvas that fills the container.
 *
 * @throws {Error} if the browser has no WebGL 2.
 */
export function createView(container: HTMLElement): View {
  let renderer: WebGLRenderer;
  try {
    renderer = new WebGLRenderer({ alpha: true, antialias: true });
  } catch {
    throw new Error("A VRM character needs WebGL 2, which this browser does not offer.");
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
    const distanceForHeight = (frame.high - frame.low) / 2 / tangent;
    const distanceForWidth = frame.halfWidth / tangent / camera.aspect;
    const distance = Math.max(distanceForHeight, distanceForWidth);
    // In a narrow window the head stays at the top, and more of the body comes into view.
    const centerY = frame.high - distance * tangent;
    camera.position.set(0, centerY, distance);
    camera.lookAt(0, centerY, 0);
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
      // Browsers allow few contexts at a time: release this one now rather than at garbage collection.
      renderer.forceContextLoss();
      canvas.remove();
    },
  };
}

/** Returns the part of a model that the camera shows: from the hips to above the hair, with space for the arms. */
function frameOf(vrm: VRM): { low: number; high: number; halfWidth: number } {
  const height = (name: "hips" | "head") =>
    vrm.humanoid.getRawBoneNode(name)?.getWorldPosition(new Vector3()).y ?? 0;
  vrm.scene.updateWorldMatrix(true, true);
  const [hips, head] = [height("hips"), height("head")];
  const torso = Math.max(0.1, head - hips);
  // Limit hair, hats and horns. A head itself is about half as high as the torso.
  const top = Math.min(new Box3().setFromObject(vrm.scene).max.y, head + 0.8 * torso);
  const high = Math.max(top, head + 0.3 * torso) + SPACE_ABOVE * torso;
  return { low: hips - 0.25 * torso, high, halfWidth: SPACE_BESIDE * torso };
}
