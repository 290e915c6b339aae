/** Loads a VRM file, 0.x or 1.0, within bounds and without asking for more of the page's policy than images. @module */

import { type VRM, VRMLoaderPlugin, VRMUtils } from "@pixiv/three-vrm";
// @ts-types="@types/three"
import { Texture, TextureLoader } from "three";
// @ts-types="@types/three/examples/jsm/loaders/GLTFLoader.d.ts"
import { GLTFLoader, type GLTFParser } from "three/addons/loaders/GLTFLoader.js";

/** Bytes of a file, images in it, and pixels of those: the side of one, and all together before they are made small. */
const MAX_BYTES = 256 * 1024 * 1024;
const MAX_IMAGES = 256;
const MAX_SIDE_PX = 2048;
const MAX_PIXELS = 64 * 1024 * 1024;
const SMALL_SIDE_PX = 256;

/**
 * Loads the model at an address, facing the viewer.
 *
 * @throws {Error} with a sentence that says what is wrong with it.
 */
export async function loadVrm(src: string): Promise<VRM> {
  const bytes = await download(src);
  const loader = new GLTFLoader();
  loader.register((parser) => new VRMLoaderPlugin(parser));
  loader.register((parser) => {
    const images: unknown[] = parser.json.images ?? [];
    if (images.length > MAX_IMAGES) throw new Error(`it has more than ${MAX_IMAGES} images`);
    // three's own choice would fetch blob: addresses, which the page's policy forbids.
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
    throw new Error("The character's file is no VRM: it has no humanoid in it.");
  }
  VRMUtils.removeUnnecessaryVertices(gltf.scene);
  VRMUtils.combineSkeletons(gltf.scene);
  VRMUtils.combineMorphs(vrm);
  VRMUtils.rotateVRM0(vrm);
  // Bounds are those of the T-pose: arms would vanish at the edges of the picture.
  vrm.scene.traverse((object) => object.frustumCulled = false);
  return vrm;
}

/** The bytes at an address, given up as soon as they are too many. */
async function download(src: string): Promise<ArrayBuffer> {
  const response = await fetch(src).catch(() => undefined);
  if (response === undefined) {
    throw new Error(
      `The character's file cannot be fetched from ${src}: it is not there, or its server forbids it.`,
    );
  }
  if (!response.ok || response.body === null) {
    throw new Error(`The character's file cannot be fetched from ${src}: status ${response.status}.`);
  }
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for (const reader = response.body.getReader();;) {
    const { value, done } = await reader.read();
    if (done) break;
    length += value.byteLength;
    if (length > MAX_BYTES) {
      await reader.cancel();
      throw new Error(`The character's file has more than ${MAX_BYTES / 1024 ** 2} MB.`);
    }
    pieces.push(value);
  }
  return await new Blob(pieces).arrayBuffer();
}

/** Loads textures as images, makes the large ones smaller, and all that come once there are too many. */
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
      // A canvas serves where an image does; the types know of images only.
      texture.image = this.#bounded(image) as HTMLImageElement;
      texture.needsUpdate = true;
      onLoad?.(texture);
    };
    image.onerror = () => onError?.(new Error("an image in it cannot be read"));
    image.src = url;
    return texture;
  }

  #bounded(image: HTMLImageElement): HTMLImageElement | HTMLCanvasElement {
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
