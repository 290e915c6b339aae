/** The body of a VRM: poses put on its bones, with arms that reach for a place whatever their proportions. @module */

import type { VRM, VRMHumanBoneName } from "@pixiv/three-vrm";
// @ts-types="@types/three"
import { type Object3D, Quaternion, Vector3 } from "three";
import { type Arm, between, type Build, headOf, type Pose, poseOf, type Vector } from "./gesture.ts";

/** How fast the body follows a pose, in parts a second. */
const RATE = 9;
const BREATHS_PER_S = 0.26;
/** Fingers whose joints bend with the palm; the thumb stays. */
const FINGERS = ["Index", "Middle", "Ring", "Little"] as const;
const JOINTS = ["Proximal", "Intermediate", "Distal"] as const;
/** Where the chin is in front of and above the head's joint, in lengths of an arm. */
const CHIN_AHEAD = 0.14;
const CHIN_ABOVE = 0.03;

/** What a body can be told. */
export interface Body {
  /** Begins the pose of a state. */
  act(state: string): void;
  /** The expression that the head goes along with. */
  express(expression: string): void;
  /** Turns the head a little towards a point, from -1 to 1 each. */
  glance(right: number, up: number): void;
  /** Sets the bones for this frame; `motion` 0 holds still. */
  update(deltaS: number, motion: number): void;
}

/** Makes the body of a model. */
export function createBody(vrm: VRM): Body {
  const { humanoid } = vrm;
  // VRM 0 looks along -z: there left and right, and front and back, are the other way round.
  const facing = vrm.meta?.metaVersion === "0" ? -1 : 1;
  const bone = (name: VRMHumanBoneName) => humanoid.getNormalizedBoneNode(name) ?? undefined;
  const [spine, chest, neck, head] = [
    bone("spine"),
    bone("chest") ?? bone("upperChest"),
    bone("neck"),
    bone("head"),
  ];
  const left = limb("left");
  const right = limb("right");
  const build = buildOf(right);

  let state = "idle";
  let sinceS = 0;
  let aliveS = 0;
  let mood: Vector = [0, 0, 0];
  let glanced = [0, 0];
  let pose = poseOf(state, 0, 0, build);

  /** The bones of an arm, and how they hang together. */
  function limb(side: "left" | "right") {
    const upper = bone(`${side}UpperArm`);
    const lower = bone(`${side}LowerArm`);
    const hand = bone(`${side}Hand`);
    const fingers = FINGERS.flatMap((finger) => JOINTS.map((joint) => bone(`${side}${finger}${joint}`)))
      .filter((node) => node !== undefined);
    const upperLength = lower?.position.length() ?? 0.25;
    const lowerLength = hand?.position.length() ?? 0.25;
    /** Along the arm in the T-pose, to the side. */
    const outward = (side === "left" ? 1 : -1) * facing;
    return {
      upper,
      lower,
      hand,
      fingers,
      upperLength,
      lowerLength,
      outward,
      length: upperLength + lowerLength,
    };
  }

  /** Where a bone is before anything moves, in the axes of the model: at rest no bone of this rig is turned. */
  function restPosition(node: Object3D): Vector3 {
    const position = new Vector3();
    for (let at: Object3D | null = node; at && at !== humanoid.normalizedHumanBonesRoot; at = at.parent) {
      position.add(at.position);
    }
    return position;
  }

  function buildOf({ upper, outward, length }: ReturnType<typeof limb>): Build {
    const from = upper ? restPosition(upper) : new Vector3();
    const to = head ? restPosition(head) : new Vector3(0, length / 2, 0);
    const away = to.sub(from).divideScalar(length);
    return { chin: [away.x * outward, away.y + CHIN_ABOVE, away.z * facing + CHIN_AHEAD] };
  }

  /** A direction or place of a gesture, in the axes of the model. */
  function inModel([x, y, z]: Vector, outward: number): Vector3 {
    return new Vector3(x * outward, y, z * facing);
  }

  function turn(node: Object3D | undefined, [nod, turned, lean]: Vector, share: number): void {
    node?.rotation.set(nod * share * facing, turned * share, lean * share * facing);
  }

  function reach(arm: ReturnType<typeof limb>, { hand, elbow, palm, bend }: Arm): void {
    const { upper, lower, upperLength, lowerLength, outward } = arm;
    if (!upper || !lower) return;
    const along = new Vector3(outward, 0, 0);
    const restUpper = lower.position.clone().normalize();
    const restLower = arm.hand?.position.clone().normalize() ?? along;

    // Two sides of a triangle are given and so is the third: the elbow is where they meet.
    const goal = inModel(hand, outward).multiplyScalar(arm.length);
    const distance = clamp(goal.length(), Math.abs(upperLength - lowerLength) * 1.01, arm.length * 0.999);
    const ahead = goal.normalize();
    const aside = inModel(elbow, outward);
    aside.addScaledVector(ahead, -aside.dot(ahead)).normalize();
    const cosine = (upperLength ** 2 + distance ** 2 - lowerLength ** 2) / (2 * upperLength * distance);
    const angle = Math.acos(clamp(cosine, -1, 1));
    const upperWay = ahead.clone().multiplyScalar(Math.cos(angle)).addScaledVector(aside, Math.sin(angle));
    const lowerWay = ahead.multiplyScalar(distance).addScaledVector(upperWay, -upperLength).normalize();

    upper.quaternion.setFromUnitVectors(restUpper, upperWay);
    const back = upper.quaternion.clone().invert();
    lower.quaternion.setFromUnitVectors(restLower, lowerWay.clone().applyQuaternion(back));

    // Half of the turn that brings the palm round is the forearm's, half the wrist's, so that neither wrings.
    const now = new Vector3(0, -1, 0).applyQuaternion(lower.quaternion).applyQuaternion(upper.quaternion);
    const wanted = inModel(palm, outward);
    wanted.addScaledVector(lowerWay, -wanted.dot(lowerWay));
    now.addScaledVector(lowerWay, -now.dot(lowerWay));
    const round = Math.atan2(now.clone().cross(wanted).dot(lowerWay), now.dot(wanted));
    const half = new Quaternion().setFromAxisAngle(restLower, round / 2);
    lower.quaternion.multiply(half);
    const [wrist, fingers] = bend;
    const axis = new Vector3(0, 0, -outward);
    arm.hand?.quaternion.copy(half).multiply(new Quaternion().setFromAxisAngle(axis, wrist));
    for (const finger of arm.fingers) finger.quaternion.setFromAxisAngle(axis, fingers);
  }

  return {
    act(next) {
      if (next === state) return;
      state = next;
      sinceS = 0;
    },
    express(expression) {
      mood = headOf(expression);
    },
    glance(toRight, up) {
      glanced = [toRight, up];
    },
    update(deltaS, motion) {
      sinceS += deltaS;
      aliveS += deltaS;
      const wanted = poseOf(state, sinceS, motion, build);
      const [toRight = 0, up = 0] = glanced;
      const looking: Pose = {
        ...wanted,
        // The viewer's right is the character's left.
        head: [
          wanted.head[0] + mood[0] - 0.16 * up,
          wanted.head[1] + mood[1] + 0.22 * toRight,
          wanted.head[2] + mood[2],
        ],
      };
      pose = between(pose, looking, 1 - Math.exp(-RATE * deltaS));
      const breath = motion * Math.sin(2 * Math.PI * BREATHS_PER_S * aliveS);
      const [lean, turned, tilt] = pose.chest;
      turn(spine, pose.chest, chest ? 0.4 : 1);
      turn(chest, [lean - 0.016 * breath, turned, tilt], 0.6);
      turn(neck, pose.head, 0.4);
      turn(head, pose.head, neck ? 0.6 : 1);
      reach(left, pose.left);
      reach(right, pose.right);
    },
  };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
