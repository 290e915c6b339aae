/** Orbs that circle in front of the character in the state `juggling`. @module */

// @ts-types="@types/three"
import { Group, Mesh, MeshBasicMaterial, SphereGeometry } from "three";

const COLOURS = [0xff8fab, 0x8ecae6, 0xffd166] as const;
const ROUNDS_PER_S = 0.55;
/** Rate at which the orbs grow and shrink. */
const SIZE_RATE_PER_S = 6;

/** The orbs, and the group that contains them. */
export interface Orbs {
  readonly group: Group;
  isShown: boolean;
  update(deltaS: number, motion: number): void;
  dispose(): void;
}

/** Creates orbs that circle around the origin of their group at a distance in metres. */
export function createOrbs(radiusM: number): Orbs {
  const geometry = new SphereGeometry(radiusM * 0.19, 20, 14);
  const materials = COLOURS.map((color) => new MeshBasicMaterial({ color }));
  const group = new Group();
  const orbs = materials.map((material) => new Mesh(geometry, material));
  group.add(...orbs);
  group.visible = false;
  let round = 0;
  let size = 0;
  const self: Orbs = {
    group,
    isShown: false,
    update(deltaS, motion) {
      size += ((self.isShown ? 1 : 0) - size) * (1 - Math.exp(-SIZE_RATE_PER_S * deltaS));
      group.visible = size > 0.02;
      round = (round + deltaS * ROUNDS_PER_S * motion) % 1;
      for (const [i, orb] of orbs.entries()) {
        const angle = 2 * Math.PI * (round + i / orbs.length);
        orb.position.set(radiusM * Math.cos(angle), radiusM * 0.8 * Math.sin(angle), 0);
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
