// @ts-check
/** Numbers that follow their targets as if they hung on springs. @module */

/** The longest step that is computed at once, in seconds. */
const MAX_STEP_S = 1 / 60;

export class Spring {
  /**
   * @param {number} value
   * @param {number} stiffness
   * @param {number} damping Of 1 or more: it does not swing over.
   */
  constructor(value, stiffness = 120, damping = 1) {
    this.value = value;
    this.target = value;
    this.velocity = 0;
    this.stiffness = stiffness;
    this.damping = 2 * damping * Math.sqrt(stiffness);
  }

  /** Goes on in time; returns the value. @param {number} seconds */
  step(seconds) {
    for (let left = seconds; left > 0; left -= MAX_STEP_S) {
      const dt = Math.min(left, MAX_STEP_S);
      this.velocity += ((this.target - this.value) * this.stiffness - this.velocity * this.damping) * dt;
      this.value += this.velocity * dt;
    }
    return this.value;
  }

  /** Is where it goes to, at once. */
  settle() {
    this.value = this.target;
    this.velocity = 0;
  }

  /** Whether it moves so little that nobody sees it. */
  get rests() {
    return Math.abs(this.target - this.value) < 0.05 && Math.abs(this.velocity) < 0.5;
  }
}
