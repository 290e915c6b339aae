/** The body of a VRM: puts poses on its bones. Inverse kinematics fit the arms of any proportions. @module */

import type { VRM, VRMHumanBoneName } from "@pixiv/three-vrm";
// @ts-types="@types/three"
import { type Object3D, Quaternion, Vector3 } from "three";
import { type Arm, type Build, headTilt, interpolate, type Pose, poseOf, type Vector } from "./gesture.ts";

/** Rate at which the body approaches a pose. */
const POSE_RATE_PER_S = 9;
const BREATHS_PER_S = 0.26;
/** Fingers that bend. The thumb does not. */
const FINGERS = ["Index", "Middle", "Ring", "Little"] as const;
const JOINTS = ["Proximal", "Intermediate", "Distal"] as const;
/** Position of the chin relative to the head's joint, in arm lengths. */
const CHIN_AHEAD = 0.14;
const CHIN_ABOVE = 0.03;

/** The body of a model. */
export interface Body {
  /** Takes the pose of a state. */
  act(state: string): void;
  /** Tilts the head to suit an expression. */
  express(expression: string): void;
  /** Turns the head a little towards a point, seen by the viewer; both numbers are from -1 to 1. */
  glance(right: number, up: number): void;
  /** Sets the bones for a frame. With `motion` 0 the body holds still; 1 is normal. */
  update(deltaS: number, motion: number): void;
}

/** Creates the body of a model. */
export function createBody(vrm: VRM): Body {
  const { humanoid } = vrm;
  // A VRM 0.x model looks along -z, a 1.0 model along +z: x and z have opposite signs.
  const facing = vrm.meta?.metaVersion === "0" ? -1 : 1;
  const bone = (name: VRMHumanBoneName) => humanoid.getNormalizedBoneNode(name) ?? undefined;
  const [spine, chest, neck, head] = [
    bone("spine"),
    bone("chest") ?? bone("upperChest"),
    bone("neck"),
    bone("head"),
  ];
  const left = armBones("left");
  const right = armBones("right");
  const build = measureBuild(right);

  let state = "idle";
  /** Time since the state began, and since the body was created. */
  let stateS = 0;
  let totalS = 0;
  let expressionTilt: Vector = [0, 0, 0];
  let glance = [0, 0];
  let pose = poseOf(state, 0, 0, build);

  /** Returns the bones of an arm and their measures. */
  function armBones(side: "left" | "right") {
    const upper = bone(`${side}UpperArm`);
    const lower = bone(`${side}LowerArm`);
    const hand = bone(`${side}Hand`);
    const fingers = FINGERS.flatMap((finger) => JOINTS.map((joint) => bone(`${side}${finger}${joint}`)))
      .filter((node) => node !== undefined);
    const upperLength = lower?.position.length() ?? 0.25;
    const lowerLength = hand?.position.length() ?? 0.25;
    /** Sign of the x axis along the arm, away from the body. */
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

  /** Returns the position of a bone in the T-pose, in the model's axes. Normalized bones are not rotated there. */
  function restPosition(node: Object3D): Vector3 {
    const position = new Vector3();
    for (let at: Object3D | null = node; at && at !== humanoid.normalizedHumanBonesRoot; at = at.parent) {
      position.add(at.position);
    }
    return position;
  }

  function measureBuild({ upper, outward, length }: ReturnType<typeof armBones>): Build {
    const from = upper ? restPosition(upper) : new Vector3();
    const to = head ? restPosition(head) : new Vector3(0, length / 2, 0);
    const offset = to.sub(from).divideScalar(length);
    return { chin: [offset.x * outward, offset.y + CHIN_ABOVE, offset.z * facing + CHIN_AHEAD] };
  }

  /** Converts a vector of a gesture to the model's axes. */
  function toModel([x, y, z]: Vector, outward: number): Vector3 {
    return new Vector3(x * outward, y, z * facing);
  }

  /** Rotates a bone by a share of the angles. */
  function rotate(node: Object3D | undefined, [nod, turned, lean]: Vector, share: number): void {
    node?.rotation.set(nod * share * facing, turned * share, lean * share * facing);
  }

  /** Moves the hand of an arm to the position in its pose. */
  function reach(arm: ReturnType<typeof armBones>, { hand, elbow, palm, bend }: Arm): void {
    const { upper, lower, upperLength, lowerLength, outward } = arm;
    if (!upper || !lower) return;
    const along = new Vector3(outward, 0, 0);
    const restUpper = lower.position.clone().normalize();
    const restLower = arm.hand?.position.clone().normalize() ?? along;

    // Shoulder, elbow and wrist are a triangle with three known sides: the law of cosines gives its angle.
    const goal = toModel(hand, outward).multiplyScalar(arm.length);
    const distance = clamp(goal.length(), Math.abs(upperLength - lowerLength) * 1.01, arm.length * 0.999);
    const toHand = goal.normalize();
    const toElbow = toModel(elbow, outward);
    toElbow.addScaledVector(toHand, -toElbow.dot(toHand)).normalize();
    const cosine = (upperLength ** 2 + distance ** 2 - lowerLength ** 2) / (2 * upperLength * distance);
    const angle = Math.acos(clamp(cosine, -1, 1));
    const upperAxis = toHand.clone().multiplyScalar(Math.cos(angle)).addScaledVector(
      toElbow,
      Math.sin(angle),
    );
    const lowerAxis = toHand.multiplyScalar(distance).addScaledVector(upperAxis, -upperLength).normalize();

    upper.quaternion.setFromUnitVectors(restUpper, upperAxis);
    const inverse = upper.quaternion.clone().invert();
    lower.quaternion.setFromUnitVectors(restLower, lowerAxis.clone().applyQuaternion(inverse));

    // The forearm and the wrist share the rotation of the palm, so that neither looks twisted.
    const palmNow = new Vector3(0, -1, 0).applyQuaternion(lower.quaternion).applyQuaternion(upper.quaternion);
    const palmGoal = toModel(palm, outward);
    palmGoal.addScaledVector(lowerAxis, -palmGoal.dot(lowerAxis));
    palmNow.addScaledVector(lowerAxis, -palmNow.dot(lowerAxis));
    const twist = Math.atan2(palmNow.clone().cross(palmGoal).dot(lowerAxis), palmNow.dot(palmGoal));
    const half = new Quaternion().setFromAxisAngle(restLower, twist / 2);
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
      stateS = 0;
    },
    express(expression) {
      expressionTilt = headTilt(expression);
    },
    glance(toRight, up) {
      glance = [toRight, up];
    },
    update(deltaS, motion) {
      stateS += deltaS;
      totalS += deltaS;
      const goal = poseOf(state, stateS, motion, build);
      const [toRight = 0, up = 0] = glance;
      const looking: Pose = {
        ...goal,
        // The viewer's right is the character's left, to which positive angles turn.
        head: [
          goal.head[0] + expressionTilt[0] - 0.16 * up,
          goal.head[1] + expressionTilt[1] + 0.22 * toRight,
          goal.head[2] + expressionTilt[2],
        ],
      };
      pose = interpolate(pose, looking, 1 - Math.exp(-POSE_RATE_PER_S * deltaS));
      const breath = motion * Math.sin(2 * Math.PI * BREATHS_PER_S * totalS);
      const [lean, turned, tilt] = pose.chest;
      rotate(spine, pose.chest, chest ? 0.4 : 1);
      rotate(chest, [lean - 0.016 * breath, turned, tilt], 0.6);
      rotate(neck, pose.head, 0.4);
      rotate(head, pose.head, neck ? 0.6 : 1);
      reach(left, pose.left);
      reach(right, pose.right);
    },
  };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
