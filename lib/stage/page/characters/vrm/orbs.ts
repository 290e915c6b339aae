/** The orbs that circle in front of the character while it juggles. @module */

// @ts-types="@types/three"
import { Group, Mesh, MeshBasicMaterial, SphereGeometry } from "three";

const COLOURS = [0xff8fab, 0x8ecae6, 0xffd166] as const;
const TURNS_PER_S = 0.55;
/** How fast they come and go, in parts a second. */
const RATE = 6;

/** The orbs, in a group that is placed where their circle is. */
export interface Orbs {
  readonly group: Group;
  /** Whether they are to be seen. */
  shown: boolean;
  update(deltaS: number, motion: number): void;
  dispose(): void;
}

/** Makes orbs that circle at this distance, in metres. */
export function createOrbs(radius: number): Orbs {
  const geometry = new SphereGeometry(radius * 0.19, 20, 14);
  const materials = COLOURS.map((color) => new MeshBasicMaterial({ color }));
  const group = new Group();
  const orbs = materials.map((material) => new Mesh(geometry, material));
  group.add(...orbs);
  group.visible = false;
  let turned = 0;
  let size = 0;
  const self: Orbs = {
    group,
    shown: false,
    update(deltaS, motion) {
      size += ((self.shown ? 1 : 0) - size) * (1 - Math.exp(-RATE * deltaS));
      group.visible = size > 0.02;
      turned = (turned + deltaS * TURNS_PER_S * motion) % 1;
      for (const [i, orb] of orbs.entries()) {
        const angle = 2 * Math.PI * (turned + i / orbs.length);
        orb.position.set(radius * Math.cos(angle), radius * 0.8 * Math.sin(angle), 0);
        orb.scale.setScalar(Math.max(0.001, size));
      }
    },
    dispose() {
      geometry.dispose();
      for (const material of materials) material.dispose();
    },
  };
  return self;
}
