/** A desk with nobody behind it: what has to be asked is refused. @module */

import { PermissionDesk } from "../../lib/turn/permission.ts";

/** Nobody can be asked. */
export const NOBODY = new PermissionDesk({ timeoutMs: 60_000, isSomeoneThere: () => false });
