/** Loads a VRM file, version 0.x or 1.0, with limits on its size and images. @module */

import { type VRM, VRMLoaderPlugin, VRMUtils } from "@pixiv/three-vrm";
// @ts-types="@types/three"
import { Texture, TextureLoader } from "three";
// @ts-types="@types/three/examples/jsm/loaders/GLTFLoader.d.ts"
import { GLTFLoader, type GLTFParser } from "three/addons/loaders/GLTFLoader.js";

const MAX_BYTES = 256 * 1024 * 1024;
const MAX_IMAGES = 256;
/** Longest side of an image. A larger image is scaled down. */
const MAX_SIDE_PX = 2048;
/** Pixels of all images together, after which further images are scaled down to the small side. */
const MAX_PIXELS = 64 * 1024 * 1024;
const SMALL_SIDE_PX = 256;

/**
 * Loads the model at an address and turns it to the viewer.
 *
 * @throws {Error} with a sentence for the user.
 */
export async function loadVrm(src: string): Promise<VRM> {
  const bytes = await download(src);
  const loader = new GLTFLoader();
  loader.register((parser) => new VRMLoaderPlugin(parser));
  loader.register((parser) => {
    const images: unknown[] = parser.json.images ?? [];
    if (images.length > MAX_IMAGES) throw new Error(`it has more than ${MAX_IMAGES} images`);
    // The default loader fetches blob: addresses, which the page's Content Security Policy forbids.
    (parser as { textureLoader: GLTFParser["textureLoader"] }).textureLoader = new BoundedTextureLoader(
      parser.options.manager,
    );
    return { name: "bounded-textures" };
  });
  const gltf = await loader.parseAsync(bytes, "").catch((error) => {
    throw new Error(
      `The character's file cannot be read: ${error instanceof Error ? error.message : error}.`,
    );
  });
  const vrm: VRM | undefined = gltf.userData.vrm;
  if (vrm?.humanoid === undefined) {
    throw new Error("The character's file is no VRM: it contains no humanoid.");
  }
  VRMUtils.removeUnnecessaryVertices(gltf.scene);
  VRMUtils.combineSkeletons(gltf.scene);
  VRMUtils.combineMorphs(vrm);
  VRMUtils.rotateVRM0(vrm);
  // Bounding boxes are those of the T-pose, so culling would hide moved arms at the edges of the picture.
  vrm.scene.traverse((object) => object.frustumCulled = false);
  return vrm;
}

/** Downloads a file, up to {@linkcode MAX_BYTES}. */
async function download(src: string): Promise<ArrayBuffer> {
  const response = await fetch(src).catch(() => undefined);
  if (response === undefined) {
    throw new Error(
      `The character's file cannot be fetched from ${src}: its server cannot be reached, or does not allow this page to load it.`,
    );
  }
  if (!response.ok || response.body === null) {
    throw new Error(`The character's file cannot be fetched from ${src}: status ${response.status}.`);
  }
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for (const reader = response.body.getReader();;) {
    const { value, done } = await reader.read();
    if (done) break;
    length += value.byteLength;
    if (length > MAX_BYTES) {
      await reader.cancel();
      throw new Error(`The character's file has more than ${MAX_BYTES / 1024 ** 2} MB.`);
    }
    chunks.push(value);
  }
  return await new Blob(chunks).arrayBuffer();
}

/** Loads textures as images and scales down those that are too large. */
class BoundedTextureLoader extends TextureLoader {
  #pixels = 0;

  override load(
    url: string,
    onLoad?: (texture: Texture<HTMLImageElement>) => void,
    _onProgress?: (event: ProgressEvent) => void,
    onError?: (error: unknown) => void,
  ): Texture<HTMLImageElement> {
    const texture = new Texture<HTMLImageElement>();
    const image = new Image();
    image.onload = () => {
      // three accepts a canvas too, but its types do not.
      texture.image = this.#scaleDown(image) as HTMLImageElement;
      texture.needsUpdate = true;
      onLoad?.(texture);
    };
    image.onerror = () => onError?.(new Error("an image in it cannot be read"));
    image.src = url;
    return texture;
  }

  #scaleDown(image: HTMLImageElement): HTMLImageElement | HTMLCanvasElement {
    const { naturalWidth: width, naturalHeight: height } = image;
    const side = this.#pixels < MAX_PIXELS ? MAX_SIDE_PX : SMALL_SIDE_PX;
    const scale = Math.min(1, side / Math.max(width, height));
    this.#pixels += width * height * scale * scale;
    if (scale === 1) return image;
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas;
  }
}
