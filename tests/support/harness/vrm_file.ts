/** Creates a small VRM file: a figure of boxes with a lock of hair and a face that can smile, speak and blink. */

/** Versions of the format. They differ in their JSON and in the direction in which the figure looks. */
export type VrmVersion = "0.x" | "1.0";

type Triple = readonly [number, number, number];

/** Joints of the middle and the left half, in metres, for VRM 1.0: the figure looks along +z, and its left is +x. */
const JOINTS: readonly (readonly [name: string, parent: string | undefined, at: Triple])[] = [
  ["hips", undefined, [0, 0.86, 0]],
  ["spine", "hips", [0, 0.95, 0]],
  ["chest", "spine", [0, 1.06, 0]],
  ["neck", "chest", [0, 1.25, 0]],
  ["head", "neck", [0, 1.31, 0]],
  ["leftShoulder", "chest", [0.04, 1.21, 0]],
  ["leftUpperArm", "leftShoulder", [0.13, 1.2, 0]],
  ["leftLowerArm", "leftUpperArm", [0.36, 1.2, 0]],
  ["leftHand", "leftLowerArm", [0.57, 1.2, 0]],
  ["leftMiddleProximal", "leftHand", [0.65, 1.2, 0]],
  ["leftMiddleIntermediate", "leftMiddleProximal", [0.69, 1.2, 0]],
  ["leftUpperLeg", "hips", [0.08, 0.82, 0]],
  ["leftLowerLeg", "leftUpperLeg", [0.08, 0.45, 0]],
  ["leftFoot", "leftLowerLeg", [0.08, 0.08, 0]],
];

/** Joints of a lock of hair, which are no bones of the humanoid. */
const LOCK: readonly (readonly [name: string, parent: string, at: Triple])[] = [
  ["lock", "head", [0.13, 1.5, -0.05]],
  ["lockTip", "lock", [0.13, 1.3, -0.05]],
];

/** Boxes: the joint that moves the box, its mesh, its middle relative to the joint, and its size. */
const BOXES: readonly (readonly [joint: string, mesh: string, middle: Triple, size: Triple])[] = [
  ["hips", "trousers", [0, 0, 0], [0.26, 0.14, 0.15]],
  ["spine", "shirt", [0, 0.06, 0], [0.22, 0.16, 0.13]],
  ["chest", "shirt", [0, 0.07, 0], [0.28, 0.2, 0.15]],
  ["neck", "skin", [0, 0.03, 0], [0.08, 0.08, 0.08]],
  ["head", "skin", [0, 0.11, 0], [0.19, 0.22, 0.2]],
  ["head", "hair", [0, 0.2, -0.03], [0.23, 0.1, 0.22]],
  ["lock", "hair", [0, -0.1, 0], [0.03, 0.2, 0.05]],
  ["head", "mouth", [0, 0.05, 0.101], [0.05, 0.012, 0.01]],
  ["head", "eye", [0.045, 0.12, 0.101], [0.03, 0.04, 0.01]],
  ["head", "eye", [-0.045, 0.12, 0.101], [0.03, 0.04, 0.01]],
  ["leftUpperArm", "shirt", [0.11, 0, 0], [0.22, 0.08, 0.08]],
  ["leftLowerArm", "skin", [0.1, 0, 0], [0.2, 0.06, 0.06]],
  ["leftHand", "skin", [0.04, 0, 0], [0.08, 0.03, 0.08]],
  // The colour of the palm shows its direction.
  ["leftHand", "palm", [0.04, -0.017, 0], [0.06, 0.004, 0.06]],
  ["leftMiddleProximal", "skin", [0.02, 0, 0], [0.038, 0.02, 0.07]],
  ["leftMiddleIntermediate", "skin", [0.025, 0, 0], [0.048, 0.018, 0.06]],
  ["leftUpperLeg", "trousers", [0, -0.18, 0], [0.12, 0.36, 0.12]],
  ["leftLowerLeg", "trousers", [0, -0.18, 0], [0.1, 0.36, 0.1]],
  ["leftFoot", "hair", [0, -0.04, 0.04], [0.09, 0.08, 0.2]],
];

/** Colours of the meshes. The shirt has the colour of its image, which shows that images are loaded. */
const COLOURS: Readonly<Record<string, readonly [number, number, number, number]>> = {
  skin: [0.95, 0.72, 0.6, 1],
  hair: [0.15, 0.1, 0.2, 1],
  trousers: [0.1, 0.12, 0.35, 1],
  shirt: [1, 1, 1, 1],
  palm: [0.9, 0.2, 0.3, 1],
  mouth: [0.6, 0.05, 0.1, 1],
  eye: [0.02, 0.02, 0.05, 1],
};
const MESHES = Object.keys(COLOURS);
/** One pixel, `rgb(32, 160, 96)`. */
const IMAGE = Uint8Array.fromBase64(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNQWJAAAAIEASFiDFOUAAAAAElFTkSuQmCC",
);
/** Morphs of a mesh: offsets of its corners, relative to their positions. */
const MORPHS: Readonly<Record<string, readonly Triple[]>> = {
  mouth: [[0, 4, 0], [1, 0, 0]],
  eye: [[0, -0.9, 0]],
};

const CORNERS: readonly Triple[] = [0, 1, 2, 3, 4, 5, 6, 7]
  .map((i) => [(i & 1) - 0.5, (i >> 1 & 1) - 0.5, (i >> 2) - 0.5]);
/** Corners of the two triangles of each side of a box. */
const TRIANGLES = [
  ...[0, 2, 3, 0, 3, 1],
  ...[4, 5, 7, 4, 7, 6],
  ...[0, 1, 5, 0, 5, 4],
  ...[2, 6, 7, 2, 7, 3],
  ...[0, 4, 6, 0, 6, 2],
  ...[1, 3, 7, 1, 7, 5],
];

/** Component types of glTF. */
const FLOAT = 5126;
const UNSIGNED_SHORT = 5123;

/** Returns the bytes of a VRM file. */
export function createVrm(version: VrmVersion): Uint8Array<ArrayBuffer> {
  const front = version === "1.0" ? 1 : -1;
  const binary: Uint8Array[] = [];
  const bufferViews: unknown[] = [];
  const accessors: unknown[] = [];

  function addView(bytes: Uint8Array): number {
    const byteOffset = binary.reduce((sum, { length }) => sum + length, 0);
    bufferViews.push({ buffer: 0, byteOffset, byteLength: bytes.length });
    binary.push(bytes, new Uint8Array(-bytes.length & 3));
    return bufferViews.length - 1;
  }
  function addPositions(points: readonly Triple[]): number {
    const coordinates = (axis: number) => points.map((point) => point[axis]!);
    accessors.push({
      bufferView: addView(new Uint8Array(new Float32Array(points.flat()).buffer)),
      componentType: FLOAT,
      count: points.length,
      type: "VEC3",
      min: [0, 1, 2].map((axis) => Math.min(...coordinates(axis))),
      max: [0, 1, 2].map((axis) => Math.max(...coordinates(axis))),
    });
    return accessors.length - 1;
  }

  const image = addView(IMAGE);
  const corners = addPositions(CORNERS);
  accessors.push({
    bufferView: addView(new Uint8Array(new Uint16Array(TRIANGLES).buffer)),
    componentType: UNSIGNED_SHORT,
    count: TRIANGLES.length,
    type: "SCALAR",
  });
  const indices = accessors.length - 1;
  const meshes = MESHES.map((name, material) => {
    const targets = MORPHS[name]?.map((factors) => ({
      POSITION: addPositions(CORNERS.map(([x, y, z]) => [x * factors[0], y * factors[1], z * factors[2]])),
    }));
    return { name, primitives: [{ attributes: { POSITION: corners }, indices, material, targets }] };
  });

  const nodes: { name: string; children?: number[]; [key: string]: unknown }[] = [];
  const indexes = new Map<string, number>();
  const positions = new Map<string, Triple>();
  const add = (parent: string | undefined, node: { name: string; [key: string]: unknown }): number => {
    const index = nodes.push(node) - 1;
    if (parent !== undefined) (nodes[indexes.get(parent)!]!.children ??= []).push(index);
    return index;
  };
  const toFront = ([x, y, z]: Triple): Triple => [x * front, y, z * front];
  for (const [left, leftParent, [x, y, z]] of [...JOINTS, ...LOCK]) {
    for (const side of sidesOf(left)) {
      const name = left.replace("left", side);
      const parent = leftParent?.replace("left", side);
      const at: Triple = [side === "right" ? -x : x, y, z];
      const from = parent === undefined ? [0, 0, 0] as const : positions.get(parent)!;
      const translation = toFront([at[0] - from[0], at[1] - from[1], at[2] - from[2]]);
      positions.set(name, at);
      indexes.set(name, add(parent, { name, translation }));
    }
  }
  for (const [left, mesh, [x, y, z], scale] of BOXES) {
    for (const side of sidesOf(left)) {
      const joint = left.replace("left", side);
      const translation = toFront([side === "right" ? -x : x, y, z]);
      add(joint, { name: `${joint} ${mesh}`, mesh: MESHES.indexOf(mesh), translation, scale });
    }
  }

  const meshNode = (mesh: string) => nodes.findIndex((node) => node.mesh === MESHES.indexOf(mesh));
  const json = {
    asset: { version: "2.0", generator: "a test" },
    scene: 0,
    scenes: [{ nodes: [0] }],
    nodes,
    meshes,
    accessors,
    bufferViews,
    buffers: [{ byteLength: binary.reduce((sum, { length }) => sum + length, 0) }],
    images: [{ bufferView: image, mimeType: "image/png" }],
    textures: [{ source: 0 }],
    materials: MESHES.map((name) => ({
      name,
      ...(version === "1.0" ? { extensions: { VRMC_materials_mtoon: toon(name) } } : {}),
      pbrMetallicRoughness: {
        baseColorFactor: COLOURS[name],
        ...(name === "shirt" ? { baseColorTexture: { index: 0 } } : {}),
        metallicFactor: 0,
        roughnessFactor: 0.9,
      },
    })),
    ...(version === "1.0" ? vrm1(indexes, meshNode) : vrm0(indexes)),
  };
  return encodeGlb(json, binary);
}

/** Returns the sides on which a joint exists. A joint in the middle exists once. */
function sidesOf(name: string): readonly string[] {
  return name.startsWith("left") ? ["left", "right"] : ["left"];
}

/** Returns the bones of the humanoid with their nodes. */
function bonesOf(indexes: ReadonlyMap<string, number>): [bone: string, node: number][] {
  return [...indexes].filter(([name]) => LOCK.every(([joint]) => joint !== name));
}

/** Returns the cartoon material of VRM 1.0, with a darker shade. */
function toon(name: string) {
  return { specVersion: "1.0", shadeColorFactor: COLOURS[name]!.slice(0, 3).map((part) => part * 0.7) };
}

function vrm1(indexes: ReadonlyMap<string, number>, meshNode: (mesh: string) => number) {
  const bind = (mesh: string, index: number) => ({
    morphTargetBinds: [{ node: meshNode(mesh), index, weight: 1 }],
  });
  return {
    extensionsUsed: ["VRMC_vrm", "VRMC_springBone", "VRMC_materials_mtoon"],
    extensions: {
      VRMC_springBone: {
        specVersion: "1.0",
        springs: [{
          name: "hair",
          joints: LOCK.map(([name]) => ({ node: indexes.get(name), hitRadius: 0.01 })),
        }],
      },
      VRMC_vrm: {
        specVersion: "1.0",
        meta: {
          name: "Boxes",
          authors: ["tester"],
          licenseUrl: "https://vrm.dev/licenses/1.0/",
        },
        humanoid: {
          humanBones: Object.fromEntries(bonesOf(indexes).map(([bone, node]) => [bone, { node }])),
        },
        expressions: {
          preset: { aa: bind("mouth", 0), happy: bind("mouth", 1), blink: bind("eye", 0) },
          custom: { Smug: bind("mouth", 1) },
        },
      },
    },
  };
}

function vrm0(indexes: ReadonlyMap<string, number>) {
  const group = (presetName: string, mesh: string, index: number, name = presetName) => ({
    name,
    presetName,
    binds: [{ mesh: MESHES.indexOf(mesh), index, weight: 100 }],
    materialValues: [],
  });
  return {
    extensionsUsed: ["VRM"],
    extensions: {
      VRM: {
        specVersion: "0.0",
        exporterVersion: "a test",
        meta: { title: "Boxes", author: "tester" },
        humanoid: {
          humanBones: bonesOf(indexes).map(([bone, node]) => ({ bone, node, useDefaultValues: true })),
        },
        firstPerson: {},
        blendShapeMaster: {
          blendShapeGroups: [
            group("a", "mouth", 0),
            group("joy", "mouth", 1),
            group("blink", "eye", 0),
            group("unknown", "mouth", 1, "Smug"),
          ],
        },
        secondaryAnimation: {
          boneGroups: [{
            stiffiness: 1, // as the format spells it
            gravityPower: 0,
            gravityDir: { x: 0, y: -1, z: 0 },
            dragForce: 0.4,
            center: -1,
            hitRadius: 0.01,
            bones: [indexes.get("lock")],
            colliderGroups: [],
          }],
          colliderGroups: [],
        },
        materialProperties: MESHES.map((name) => ({
          name,
          shader: "VRM/MToon",
          renderQueue: 2000,
          floatProperties: { _ShadeShift: 0, _ShadeToony: 0.9, _CullMode: 2, _BlendMode: 0 },
          vectorProperties: { _Color: COLOURS[name], _ShadeColor: COLOURS[name]!.map((part) => part * 0.7) },
          textureProperties: name === "shirt" ? { _MainTex: 0, _ShadeTexture: 0 } : {},
          keywordMap: {},
          tagMap: {},
        })),
      },
    },
  };
}

/** Encodes a GLB file: a header, a chunk of JSON and a chunk of bytes. */
function encodeGlb(json: unknown, binary: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify(json));
  const padded = new Uint8Array(text.length + (-text.length & 3)).fill(0x20);
  padded.set(text);
  const bytesLength = binary.reduce((sum, { length }) => sum + length, 0);
  const file = new Uint8Array(12 + 8 + padded.length + 8 + bytesLength);
  const data = new DataView(file.buffer);
  const words = [0x46546c67, 2, file.length, padded.length, 0x4e4f534a];
  for (const [i, word] of words.entries()) data.setUint32(i * 4, word, true);
  file.set(padded, 20);
  let at = 20 + padded.length;
  data.setUint32(at, bytesLength, true);
  data.setUint32(at + 4, 0x004e4942, true);
  at += 8;
  for (const bytes of binary) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}
