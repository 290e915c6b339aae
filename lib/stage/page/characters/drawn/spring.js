// @ts-check
/** A number that follows its target like a weight on a spring. @module */

/** Longest step of the integration. */
const MAX_STEP_S = 1 / 60;

/** A damped spring. */
export class Spring {
  /**
   * @param {number} value
   * @param {number} stiffness
   * @param {number} damping From 1 on, the value does not overshoot its target.
   */
  constructor(value, stiffness = 120, damping = 1) {
    this.value = value;
    this.target = value;
    this.velocity = 0;
    this.stiffness = stiffness;
    this.damping = 2 * damping * Math.sqrt(stiffness);
  }

  /** @param {number} seconds */
  step(seconds) {
    for (let left = seconds; left > 0; left -= MAX_STEP_S) {
      const dt = Math.min(left, MAX_STEP_S);
      this.velocity += ((this.target - this.value) * this.stiffness - this.velocity * this.damping) * dt;
      this.value += this.velocity * dt;
    }
  }

  /** Sets the value to the target. */
  settle() {
    this.value = this.target;
    this.velocity = 0;
  }

  /** Whether the motion is too small to be seen. */
  get isStill() {
    return Math.abs(this.target - this.value) < 0.05 && Math.abs(this.velocity) < 0.5;
  }
}
